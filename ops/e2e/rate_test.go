package e2e

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestRateOverTwoIngresses lets one caller hammer two ingress processes on one
// Redis. What may pass in T seconds is burst + rate x T; what passes must be
// within 2 % of it, and one request each way for when the clock was read. With
// -full it is the default rate for a minute: 20 + 10 x 60 = 620, so 607 to 633.
func TestRateOverTwoIngresses(t *testing.T) {
	rate, burst, seconds := 50.0, 10.0, 5
	flag := []string{"--rate", "50/10"}
	if *full {
		rate, burst, seconds, flag = 10, 20, 60, nil // what http.rate_limit says
	}
	y := build(t, shape{})
	bases := []string{y.rated("rated0"), y.rated("rated1")}
	token := strings.TrimSpace(y.run(append([]string{"token", "-u", "hammer", "-d", "1"}, flag...)...))

	ctx, stop := context.WithTimeout(t.Context(), time.Duration(seconds)*time.Second)
	defer stop()
	var accepted, refused, other atomic.Int64
	var each [2]atomic.Int64
	var wg sync.WaitGroup
	began := time.Now()
	for lane := range 8 {
		c := y.client()
		c.base, c.token = bases[lane%2], token
		wg.Go(func() {
			for ctx.Err() == nil {
				r, err := c.chat(context.Background(), "", "hammer", "", 0)
				switch {
				case err == nil && r.status == http.StatusAccepted:
					accepted.Add(1)
					each[lane%2].Add(1)
				case err == nil && r.status == http.StatusTooManyRequests && r.header.Get("Retry-After") == "1":
					refused.Add(1)
				default:
					other.Add(1)
					t.Errorf("%d %s %v", r.status, r.problem.Detail, err)
					return
				}
				wait(ctx, 4*time.Millisecond)
			}
		})
	}
	wg.Wait()
	took := time.Since(began).Seconds()
	right := burst + rate*took
	t.Logf("%.2f s: %d accepted (%d and %d), %d refused, %.0f are right", took, accepted.Load(), each[0].Load(), each[1].Load(), refused.Load(), right)
	// The upper bound is the promise. Below it, a machine that is busy with other
	// things stands still for longer than the burst makes up for.
	if got := float64(accepted.Load()); got < 0.85*right-1 || got > 1.02*right+1 {
		t.Errorf("%.0f accepted in %.2f s, want %.0f, at most 2 %% more and 15 %% less", got, took, right)
	}
	if refused.Load() < accepted.Load() {
		t.Errorf("only %d refused: that was no hammering", refused.Load())
	}
	if n := y.lines("rate limits are not shared"); n > 0 {
		t.Errorf("%d times a process counted alone", n)
	}
}

// rated starts one more ingress, with the default rate limit, which build
// switches off, and gives its URL.
func (y *system) rated(name string) string {
	y.t.Helper()
	port := freePort(y.t)
	p := newProcess(y.t, y.dir, name, y.bin, "--config", y.config, "serve", "ingress", "--listen", local(port), "--rate-limit", "10/20")
	p.start()
	y.extra = append(y.extra, p)
	base := "http://" + local(port)
	eventually(y.t, 30*time.Second, name+" is ready", func() bool {
		res, err := http.Get(base + "/readyz")
		if err != nil {
			return false
		}
		defer func() { _ = res.Body.Close() }()
		return res.StatusCode == http.StatusOK
	})
	return base
}

// lines counts text in the logs of the further processes.
func (y *system) lines(text string) (n int) {
	for _, p := range y.extra {
		n += p.lines(text)
	}
	return n
}
