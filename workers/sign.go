package workers

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/rs/zerolog"

	"moltbot/contracts"
)

// Signs shows users of IM platforms that their message arrived.
type Signs interface {
	Received(ctx context.Context, c contracts.Channel, o *contracts.Origin) error
}

const (
	signPatience = 5 * time.Second // for one sign
	signEnd      = time.Second     // for all that wait, at shutdown
	signRoom     = 1024
	signHands    = 4
)

// What became of a sign.
const (
	signShown   = "shown"
	signFailed  = "failed"
	signDropped = "dropped" // too many waited
)

// signs shows them beside the messages: none is ever in a message's way. The nil
// *signs shows none.
type signs struct {
	by      Signs
	log     zerolog.Logger
	metrics map[string]prometheus.Counter
	waiting chan sign

	mu     sync.Mutex
	closed bool
}

// sign is one that waits to be shown.
type sign struct {
	channel contracts.Channel
	origin  *contracts.Origin
}

func newSigns(by Signs, log zerolog.Logger, reg prometheus.Registerer) *signs {
	if by == nil {
		return nil
	}
	if reg == nil {
		reg = prometheus.NewRegistry()
	}
	s := &signs{by: by, log: log, metrics: map[string]prometheus.Counter{}, waiting: make(chan sign, signRoom)}
	shown := promauto.With(reg).NewCounterVec(prometheus.CounterOpts{
		Name: "moltbot_workers_signs_total", Help: "Signs that a message was received, by what became of them.",
	}, []string{"outcome"})
	for _, outcome := range []string{signShown, signFailed, signDropped} {
		s.metrics[outcome] = shown.WithLabelValues(outcome)
	}
	return s
}

// received asks for the sign of a message that is run for the first time.
func (s *signs) received(attempt int, m *contracts.Message) {
	if s == nil || m.Origin == nil || attempt > 1 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	select {
	case s.waiting <- sign{m.Channel, m.Origin}:
	default:
		s.metrics[signDropped].Inc()
	}
}

// start begins to show signs. What it gives stops that.
func (s *signs) start() (stop func()) {
	if s == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(context.Background())
	var hands sync.WaitGroup
	for range signHands {
		hands.Go(func() {
			for g := range s.waiting {
				s.show(ctx, g)
			}
		})
	}
	return func() {
		s.mu.Lock()
		s.closed = true
		close(s.waiting)
		s.mu.Unlock()
		limit := time.AfterFunc(signEnd, cancel)
		hands.Wait()
		limit.Stop()
		cancel()
	}
}

func (s *signs) show(ctx context.Context, g sign) {
	ctx, cancel := context.WithTimeout(ctx, signPatience)
	defer cancel()
	if err := s.by.Received(ctx, g.channel, g.origin); err != nil {
		s.metrics[signFailed].Inc()
		s.log.Warn().Err(err).Str("channel", string(g.channel)).Str("app", g.origin.App).Msg("the sign that a message was received was not shown")
		return
	}
	s.metrics[signShown].Inc()
}
