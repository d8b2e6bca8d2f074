package workers

import (
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"moltbot/contracts"
	"moltbot/workers/deliver/delivertest"
)

// A chat at its limit gets its answers in order and at its pace, and waiting for a
// turn is no failure.
func TestAPacedChat(t *testing.T) {
	p := newPlant(t)
	platform := &delivertest.Platform{}
	o := p.delivering(completer(echo), platform)
	reg := prometheus.NewRegistry()
	o.Metrics = reg
	o.Delivery.Rate = func(contracts.Channel, string) (int, int) { return 500, 3 }
	p.start(o)
	for n := range 5 {
		p.publish(p.im("c", n, strconv.Itoa(n)))
	}
	began := time.Now()
	if got := awaitShown(t, platform, 5); !slices.Equal(got, []string{"re: 0", "re: 1", "re: 2", "re: 3", "re: 4"}) {
		t.Errorf("shown %v", got)
	}
	if took := time.Since(began); took < time.Second || took > 5*time.Second {
		t.Errorf("five answers at three a second took %s", took)
	}
	all, err := reg.Gather()
	must(t, err)
	for _, f := range all {
		for _, m := range f.GetMetric() {
			if f.GetName() == "moltbot_delivery_total" && strings.Contains(m.String(), `"retry"`) && m.GetCounter().GetValue() > 0 {
				t.Errorf("waiting is counted as a failure: %s", m)
			}
		}
	}
}
