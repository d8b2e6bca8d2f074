package ingress_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"moltbot/contracts"
	"moltbot/ingress"
)

// nobody is an answer that nobody reads.
type nobody struct {
	header http.Header
	status int
}

func (w *nobody) Header() http.Header         { return w.header }
func (w *nobody) Write(b []byte) (int, error) { return len(b), nil }
func (w *nobody) WriteHeader(status int)      { w.status = status }

// What a request for something made up costs beside net/http.
func BenchmarkStrangers(b *testing.B) {
	usual := contracts.Rate{PerSecond: 1e6, Burst: 1e6}
	few := contracts.Rate{PerSecond: 0.01, Burst: 1}
	made := "/api/chat/" + strings.Repeat("0", 26) + ".mfkz0000." + strings.Repeat("0", 16) + "." + strings.Repeat("0", 16)
	for _, c := range []struct {
		name, path, token string
		rate              contracts.Rate
		status            int
	}{
		{"Health", "/api/health", "", usual, http.StatusOK},
		{"NoToken", made, "", usual, http.StatusUnauthorized},
		{"NoTokenLimited", made, "", few, http.StatusTooManyRequests},
		{"Message", made, ann, usual, http.StatusNotFound},
		{"MessageLimited", made, ann, few, http.StatusTooManyRequests},
		{"Session", "/api/sessions/nosuch", ann, usual, http.StatusNotFound},
		{"Path", "/wp-login.php", "", usual, http.StatusNotFound},
	} {
		b.Run(c.name, func(b *testing.B) {
			r := newBareRig(b)
			r.run(func(o *ingress.Options) { o.Log, o.Rate = zerolog.Nop().Level(zerolog.InfoLevel), c.rate })
			req, err := http.NewRequestWithContext(b.Context(), http.MethodGet, c.path, http.NoBody)
			if err != nil {
				b.Fatal(err)
			}
			req.RemoteAddr = "192.0.2.1:4711"
			if c.token != "" {
				req.Header.Set("Authorization", "Bearer "+c.token)
			}
			h, w := r.in.Handler(), &nobody{header: make(http.Header)}
			h.ServeHTTP(w, req) // spends the burst
			b.ReportAllocs()
			for b.Loop() {
				clear(w.header)
				h.ServeHTTP(w, req)
			}
			if w.status != c.status && c.status != http.StatusOK {
				b.Errorf("status %d", w.status)
			}
		})
	}
}
