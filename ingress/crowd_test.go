package ingress_test

import (
	"context"
	"testing"
	"time"

	"moltbot/ingress"
)

// crowded is a store in which others come in between.
type crowded struct {
	ingress.Store
	come func()
}

func (s crowded) Claim(ctx context.Context, digest, body string, now time.Time) (time.Time, bool, bool, error) {
	s.come()
	return s.Store.Claim(ctx, digest, body, now)
}

// Who found room to wait when it came in, and none any more once it is stored,
// is told to come again, and not that the model is slow.
func TestCompletionWithoutRoom(t *testing.T) {
	for name, body := range map[string]string{"plain": ask(user("x")), "stream": ask(user("x"), streaming)} {
		t.Run(name, func(t *testing.T) {
			var r *rig
			others := make(chan struct{})
			r = newOpenAIRig(t, func(o *ingress.Options) {
				o.MaxWaiting = 1
				o.Store = crowded{o.Store, func() {
					ctx, cancel := context.WithCancel(context.Background())
					req := r.request(ctx, "POST", "/api/chat", say("hi"))
					go func() { defer close(others); _, _ = r.do(req) }()
					t.Cleanup(func() { cancel(); <-others })
					for deadline := time.Now().Add(patient); r.in.Waiting() == 0 && time.Now().Before(deadline); {
						<-time.After(time.Millisecond)
					}
				}}
			})
			res := r.complete(body, "Idempotency-Key: k")
			refused(t, res, 503, "queue_full")
			if res.header.Get("X-Should-Retry") != "" || res.header.Get("Retry-After") == "" {
				t.Errorf("%v", res.header)
			}
		})
	}
}
