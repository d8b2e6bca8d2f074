package workers

import (
	"context"
	"errors"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/rs/zerolog"

	"moltbot/contracts"
	"moltbot/workers/model"
	"moltbot/workers/workerstest"
)

// signer notes what it is to show.
type signer func(ctx context.Context, o *contracts.Origin) error

func (f signer) Received(ctx context.Context, c contracts.Channel, o *contracts.Origin) error {
	if c != contracts.ChannelFeishu {
		return errors.New("another channel")
	}
	return f(ctx, o)
}

func (p *plant) fromFeishu(n int, text string) contracts.Message {
	m := p.message("s", n, text, "")
	m.Channel, m.Origin = contracts.ChannelFeishu, &contracts.Origin{App: "default", MessageID: text}
	return m
}

func TestSignIsShownOnce(t *testing.T) {
	p := newPlant(t)
	shown := make(chan string, 8)
	s := newSigns(signer(func(_ context.Context, o *contracts.Origin) error {
		shown <- o.MessageID
		return errors.New("refused") // which is nobody's problem
	}), zerolog.Nop(), nil)
	stop := s.start()
	tn, _ := p.seeing(&album{})
	tn.signs = s
	run := func(m contracts.Message, attempt int) {
		task := p.task(m)
		task.Attempt = attempt
		_, err := tn.Run(t.Context(), task)
		must(t, err)
	}
	run(p.fromFeishu(1, "again"), 2)
	run(p.fromFeishu(2, "/help"), 1)
	run(p.message("s", 3, "of the API", ""), 1)
	run(p.fromFeishu(4, "hello"), 1)
	if got := workerstest.Await(t, "a sign", shown); got != "hello" {
		t.Errorf("a sign for %q", got)
	}
	stop()
	if len(shown) != 0 || testutil.ToFloat64(s.metrics[signFailed]) != 1 {
		t.Errorf("%d more signs", len(shown))
	}
	run(p.fromFeishu(5, "late"), 1) // after the end nothing happens, and nothing breaks
}

func TestSignNeverHoldsUpAMessage(t *testing.T) {
	p := newPlant(t)
	s := newSigns(signer(func(ctx context.Context, _ *contracts.Origin) error {
		<-ctx.Done()
		return ctx.Err()
	}), zerolog.Nop(), nil)
	stop := s.start()
	m := p.fromFeishu(1, "hello")
	for range signRoom + 100 {
		s.received(1, &m)
	}
	if testutil.ToFloat64(s.metrics[signDropped]) < 100-signHands {
		t.Error("nothing was dropped")
	}
	stop() // ends what hangs
}

// The role shows signs and ends with all of it.
func TestSignsOfTheRole(t *testing.T) {
	p := newPlant(t)
	shown := make(chan string, 8)
	o := p.options(completer(func(context.Context, model.Request) (model.Answer, error) { return said("well"), nil }))
	o.Signs = signer(func(_ context.Context, o *contracts.Origin) error { shown <- o.MessageID; return nil })
	w, err := New(o)
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	p.publish(p.fromFeishu(1, "hello"))
	if got := workerstest.Await(t, "a sign", shown); got != "hello" {
		t.Errorf("a sign for %q", got)
	}
	cancel()
	must(t, workerstest.Await(t, "the end", ended))
}
