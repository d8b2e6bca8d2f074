package call

import (
	"errors"
	"fmt"
	"net/http"
	"slices"

	"moltbot/workers/deliver"
	"moltbot/workers/deliver/egress"
)

// Image is what became of fetching an image: its bytes and their media type, which
// the bytes alone decide, or a failure.
func Image(b []byte, err error) ([]byte, string, error) {
	switch {
	case errors.Is(err, egress.ErrTooLarge):
		return nil, "", noImage("too_large", "it is too large")
	case err != nil:
		return nil, "", fmt.Errorf("fetch an image: %w", Unsent(err))
	}
	kind := http.DetectContentType(b)
	if !slices.Contains([]string{"image/png", "image/jpeg", "image/gif", "image/webp"}, kind) {
		return nil, "", noImage("no_image", "it is none that models take")
	}
	return b, kind, nil
}

func noImage(detail, why string) error {
	return &deliver.Failure{Verdict: deliver.VerdictFinal, Detail: detail, Err: errors.New("fetch an image: " + why)}
}
