package ingress_test

import (
	"net/http"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"moltbot/contracts"
	"moltbot/ingress"
)

func benchmark(b *testing.B, r *rig, body string, status int) {
	r.client.Transport.(*http.Transport).MaxIdleConnsPerHost = 1000
	b.SetParallelism(32)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if res := r.post(body); res.status != status {
				b.Errorf("%d %s", res.status, res.body)
				return
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "req/s")
}

func quiet(o *ingress.Options) { o.Log = zerolog.Nop() }

// Accepted and stored, no answer waited for.
func BenchmarkAccept(b *testing.B) {
	benchmark(b, newRig(b, quiet), say("hi", `"timeout":0`), http.StatusAccepted)
}

// Stored and answered by a worker that needs no time: a subscription beside the
// stream, so that what is measured is ingress and the broker.
func BenchmarkAnswer(b *testing.B) {
	r := newBareRig(b)
	r.makeStream(jetstream.StreamConfig{})
	sub, err := r.test.Subscribe(contracts.SubjectsChat, func(d *nats.Msg) {
		letter, err := contracts.DecodeLetter(d.Data)
		if err != nil {
			b.Error(err)
			return
		}
		m, _ := letter.Open(place{})
		result, _ := answered(m)
		_ = r.test.Publish(m.ReplyTo, contracts.EncodeReply(contracts.Reply{ID: m.ID, Data: sealResult(result)}))
	})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = sub.Unsubscribe() }()
	r.run(quiet)
	benchmark(b, r, say("hi"), http.StatusOK)
}
