package call

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
	"time"

	"go.uber.org/goleak"

	"moltbot/workers/deliver"
	"moltbot/workers/deliver/egress"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// An answer that breaks off, or is too large, keeps its status: a refusal stays one.
func TestABrokenAnswerKeepsItsStatus(t *testing.T) {
	for status, want := range map[int]deliver.Verdict{200: deliver.VerdictUncertain, 400: deliver.VerdictFinal, 429: deliver.VerdictRetry, 500: deliver.VerdictUncertain} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			w.WriteHeader(status)
			_, _ = w.Write([]byte("cut"))
		}))
		client := egress.New(egress.Options{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		r, err := Do(client, req)
		if err != nil || r.Broken == nil || string(r.Body) != "cut" {
			t.Fatal(r, err)
		}
		if f := r.Failed("x"); f.Verdict != want {
			t.Errorf("%d: %v", status, f)
		}
		client.CloseIdleConnections()
		s.Close()
	}
}

func TestWait(t *testing.T) {
	for said, want := range map[string]time.Duration{
		"": 0, "x": 0, "-3": 0, "0": 0, "NaN": 0, "2": 2 * time.Second, "0.5": 500 * time.Millisecond, "1e9": longestWait, "+Inf": longestWait,
		"Wed, 21 Oct 2026 07:28:00 GMT": 0,
	} {
		r := Reply{Header: http.Header{"Retry-After": {said}}}
		if got := r.Wait("Retry-After"); got != want {
			t.Errorf("%q: %s, want %s", said, got, want)
		}
	}
}

func TestUnsent(t *testing.T) {
	for _, tc := range []struct{ was, want deliver.Verdict }{
		{deliver.VerdictUncertain, deliver.VerdictRetry}, {deliver.VerdictRetry, deliver.VerdictRetry}, {deliver.VerdictFinal, deliver.VerdictFinal},
	} {
		var f *deliver.Failure
		if errors.As(Unsent(&deliver.Failure{Verdict: tc.was, Err: errors.New("x")}), &f); f.Verdict != tc.want {
			t.Errorf("%s became %s", tc.was, f.Verdict)
		}
	}
	var f *deliver.Failure
	if !errors.As(Unsent(errors.New("x")), &f) || f.Verdict != deliver.VerdictRetry {
		t.Error(f)
	}
}
