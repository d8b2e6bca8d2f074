package link

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
)

// maxAnswer is the largest answer that is read, in bytes.
const maxAnswer = 64 << 10

// Ask posts in as JSON and reads the answer into out, whatever its status. It
// follows no redirect and asks no proxy, because in holds a secret; no error
// quotes what came.
func Ask(ctx context.Context, address string, header http.Header, in, out any) (status int, err error) {
	body, err := json.Marshal(in)
	if err != nil {
		return 0, errors.New("the request cannot be written")
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		return 0, errors.New("the address of the platform is none")
	}
	req.Header = header.Clone()
	req.Header.Set("Content-Type", "application/json")
	client := http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true, ForceAttemptHTTP2: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	resp, err := client.Do(req)
	if err != nil {
		var quoted *url.Error
		if errors.As(err, &quoted) {
			err = quoted.Err // without the address
		}
		return 0, err
	}
	defer func() { _ = resp.Body.Close() }() // only read from
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return resp.StatusCode, fmt.Errorf("read the answer: %w", err)
	}
	if json.Unmarshal(raw, out) != nil && resp.StatusCode == http.StatusOK {
		return resp.StatusCode, errors.New("the answer is no JSON of the platform")
	}
	return resp.StatusCode, nil
}
