package workers

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/maypok86/otter/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/rs/zerolog"
	"golang.org/x/sync/semaphore"

	"moltbot/contracts"
	"moltbot/workers/deliver"
)

// Media fetches images from where they were sent. mediaType is what the bytes are.
type Media interface {
	Image(ctx context.Context, i contracts.Image) (data []byte, mediaType string, err error)
}

const (
	mostImages    = 4 // of a prompt, the newest
	imageBytes    = 10 << 20
	imagesBytes   = 20 << 20  // of a prompt
	imagesKept    = 64 << 20  // in memory, as they stand in prompts
	imagesAsked   = 256 << 20 // in all prompts of this process that are answered at the moment
	imagePatience = 15 * time.Second
	imageHands    = 4 // downloads of this process at a time
	imageTries    = 3
)

// What became of an image that a prompt was to have.
const (
	imageFetched = "fetched"
	imageKept    = "kept"   // in memory, since a turn before
	imageFailed  = "failed" // it was not to be had in time, or was too large
	imageUnseen  = "unseen" // the model sees none
)

// media has the images of messages, as data URLs. They are in the memory of this
// process alone: no image is written to Redis or a log. The nil *media has none.
type media struct {
	from    Media
	kept    *otter.Cache[contracts.Image, string]
	hands   chan struct{}
	room    *semaphore.Weighted // of imagesAsked
	wait    time.Duration       // before the second try; the third waits four times as long
	log     zerolog.Logger
	metrics map[string]prometheus.Counter
}

func newMedia(from Media, log zerolog.Logger, reg prometheus.Registerer) (*media, error) {
	if from == nil {
		return nil, nil
	}
	kept, err := otter.New(&otter.Options[contracts.Image, string]{
		MaximumWeight: imagesKept, Weigher: func(_ contracts.Image, address string) uint32 { return uint32(len(address)) },
		Executor: func(f func()) { f() }, // nothing runs beside the messages
	})
	if err != nil {
		return nil, fmt.Errorf("memory of images: %w", err)
	}
	m := &media{from: from, kept: kept, hands: make(chan struct{}, imageHands), room: semaphore.NewWeighted(imagesAsked), wait: 250 * time.Millisecond, log: log, metrics: map[string]prometheus.Counter{}}
	if reg == nil {
		reg = prometheus.NewRegistry()
	}
	images := promauto.With(reg).NewCounterVec(prometheus.CounterOpts{
		Name: "moltbot_workers_images_total", Help: "Images that prompts were to have, by what became of them.",
	}, []string{"outcome"})
	for _, outcome := range []string{imageFetched, imageKept, imageFailed, imageUnseen} {
		m.metrics[outcome] = images.WithLabelValues(outcome)
	}
	return m, nil
}

func (m *media) count(outcome string, n int) {
	if m != nil {
		m.metrics[outcome].Add(float64(n))
	}
}

// addresses gives a data URL for each image, newest first, or "" for one that is
// not to be had. They have room in memory until done, which is never nil, is called.
// An error means that ctx ended.
func (m *media) addresses(ctx context.Context, images []contracts.Image) (out []string, done func(), err error) {
	limited, cancel := context.WithTimeout(ctx, imagePatience)
	defer cancel()
	out = make([]string, len(images))
	// As much as they may have, until it is known how much they do.
	most := base64.StdEncoding.EncodedLen(min(imagesBytes, len(images)*imageBytes)) + len(images)*addressStart
	if m.room.Acquire(limited, int64(most)) == nil {
		m.fill(limited, images, out)
	} else {
		most = 0
		m.log.Warn().Int("images", len(images)).Msg("too many images are asked about at the moment; a message is answered without")
	}
	held := 0
	for _, a := range out {
		held += len(a)
	}
	m.room.Release(int64(most - held))
	done = func() { m.room.Release(int64(held)) }
	if err := ctx.Err(); err != nil {
		done()
		return nil, func() {}, err
	}
	for _, a := range out {
		if a == "" {
			m.count(imageFailed, 1)
		}
	}
	return out, done, nil
}

// addressStart is more than what stands before the image in a data URL.
const addressStart = 64

func (m *media) fill(ctx context.Context, images []contracts.Image, out []string) {
	var all sync.WaitGroup
	for i := range images {
		all.Go(func() { out[i] = m.address(ctx, images[i]) })
	}
	all.Wait()
	left := base64.StdEncoding.EncodedLen(imagesBytes)
	for i, a := range out {
		if left -= len(a); left < 0 {
			clear(out[i:]) // what is older has no room either
			break
		}
	}
}

func (m *media) address(ctx context.Context, i contracts.Image) string {
	if a, ok := m.kept.GetIfPresent(i); ok {
		m.count(imageKept, 1)
		return a
	}
	data, kind, err := m.fetch(ctx, i)
	switch {
	case err == nil && len(data) > imageBytes:
		err = errors.New("it is too large")
	case err == nil && !slices.Contains([]string{"image/png", "image/jpeg", "image/gif", "image/webp"}, kind):
		err = errors.New("models do not take its kind")
	}
	if err != nil {
		m.log.Warn().Err(err).Str("channel", string(i.Channel)).Str("app", i.App).Msg("an image was not to be had; its message is answered without")
		return ""
	}
	a := "data:" + kind + ";base64," + base64.StdEncoding.EncodeToString(data)
	m.kept.Set(i, a)
	m.count(imageFetched, 1)
	return a
}

// fetch tries again what may pass.
func (m *media) fetch(ctx context.Context, i contracts.Image) (data []byte, kind string, err error) {
	select {
	case m.hands <- struct{}{}:
		defer func() { <-m.hands }()
	case <-ctx.Done():
		return nil, "", ctx.Err()
	}
	wait := m.wait
	for try := 1; ; try++ {
		if data, kind, err = m.from.Image(ctx, i); err == nil || try == imageTries || ctx.Err() != nil {
			return data, kind, err
		}
		asked, again := passing(err)
		if !again {
			return nil, "", err
		}
		pause(ctx, max(wait, asked))
		wait *= 4
	}
}

// passing reports whether a download may succeed later, and how long is to be waited.
func passing(err error) (wait time.Duration, again bool) {
	var f *deliver.Failure
	if errors.As(err, &f) {
		return f.Wait, f.Verdict != deliver.VerdictFinal // to fetch twice does no harm
	}
	return 0, contracts.Retryable(err) || errors.Is(err, context.DeadlineExceeded)
}

func blank(s string) bool { return strings.TrimSpace(s) == "" }
