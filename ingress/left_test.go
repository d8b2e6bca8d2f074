package ingress_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"moltbot/contracts"
	"moltbot/ingress"
)

// What fails because its client left is no refusal: nobody is to be woken for it.
func TestClientThatLeftIsNoRefusal(t *testing.T) {
	reg := prometheus.NewRegistry()
	r := newRig(t, func(o *ingress.Options) { o.Metrics = reg })
	r.store.failing(true)
	refused := func() (n float64) {
		families, err := reg.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			if f.GetName() != "moltbot_ingress_refused_total" {
				continue
			}
			for _, m := range f.GetMetric() {
				n += m.GetCounter().GetValue()
			}
		}
		return n
	}
	left, leave := context.WithCancel(t.Context())
	leave()
	for ctx, want := range map[context.Context]float64{left: 0, t.Context(): 1} {
		before := refused()
		req := r.request(ctx, http.MethodPost, "/api/chat", say("hi"), "Idempotency-Key: k")
		r.in.Handler().ServeHTTP(httptest.NewRecorder(), req)
		if got := refused() - before; got != want {
			t.Errorf("%v refusals, want %v", got, want)
		}
	}
	if n := testutil.CollectAndCount(reg, "moltbot_ingress_refused_total"); n != len(contracts.Codes()) {
		t.Errorf("%d codes are shown", n)
	}
}
