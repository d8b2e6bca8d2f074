package ingress_test

import (
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"testing"
	"time"

	"moltbot/contracts"
	"moltbot/ingress"
)

// The time to write that a stream or a completion had is over with it: what
// comes next on the same connection has its own.
func TestDeadlinesEndWithTheirRequest(t *testing.T) {
	r := newOpenAIRig(t, func(o *ingress.Options) { o.WriteWait = 50 * time.Millisecond })
	srv := httptest.NewUnstartedServer(r.in.Handler())
	srv.Config.WriteTimeout = 10 * time.Second // Run sets one, too
	srv.Start()
	t.Cleanup(srv.Close)
	r.base = srv.URL
	slow := make(chan contracts.Result, 1)
	w := r.work(func(m contracts.Message) (contracts.Result, bool) {
		if m.Text == "slow" {
			return ending(t, slow)(m)
		}
		return answered(m)
	})
	for _, first := range [][2]string{{"/api/chat", say("hi", `"stream":true`)}, {"/v1/chat/completions", ask(user("hi"), streaming)}, {"/v1/chat/completions", ask(user("hi"))}} {
		if res := r.call(http.MethodPost, first[0], first[1]); res.status != 200 {
			t.Fatalf("%d %s", res.status, res.body)
		}
		await(t, "the message", w.taken)
		reused := false
		ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) { reused = i.Reused }})
		go func() {
			<-w.taken
			<-time.After(150 * time.Millisecond)
			slow <- contracts.Result{Reply: "late", Run: 1}
		}()
		res, err := r.do(r.request(ctx, http.MethodPost, "/api/chat", say("slow")))
		if err != nil || res.status != 200 || !reused {
			t.Errorf("%v: %d %s, on the same connection %v", err, res.status, res.body, reused)
		}
	}
}
