package bench

import (
	"context"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// roles says which processes stand around an outside NATS, Redis and model.
type roles struct {
	ingress, workers, slots int
	model                   time.Duration
	tokens                  int // of an answer that is streamed; 0: none is
}

var (
	backendLines = regexp.MustCompile(`nats (\S+)\nredis (\S+)\n`)
	modelLine    = regexp.MustCompile(`model (\S+)\n`)
)

// cluster starts every process of r and returns once all are ready.
func (b *bench) cluster(ctx context.Context, t turn, r roles) (*stand, error) {
	s, err := b.room()
	if err != nil {
		return nil, err
	}
	if err := b.populate(ctx, s, t, r); err != nil {
		return nil, s.close(err)
	}
	return s, nil
}

func (b *bench) populate(ctx context.Context, s *stand, t turn, r roles) error {
	at, err := b.start(ctx, s, "nats", backendLines, "bench-backend", "--data-dir", filepath.Join(s.dir, "backend"), "--durability", t.Durability)
	if err != nil {
		return err
	}
	answers, err := b.start(ctx, s, "model", modelLine, "bench-model", "--takes", r.model.String(), "--tokens", strconv.Itoa(r.tokens))
	if err != nil {
		return err
	}
	file := filepath.Join(s.dir, "config.yaml")
	if err := os.WriteFile(file, []byte(b.config(s.dir, t, r, at[1], at[2], answers[1])), 0o600); err != nil {
		return err
	}
	token, err := b.keys(ctx, s, file)
	if err != nil {
		return err
	}
	for range r.ingress {
		address, err := freeAddress(ctx)
		if err != nil {
			return err
		}
		s.addresses = append(s.addresses, address)
		// Its data directory holds the access to its admin API, so each has its own.
		data := filepath.Join(s.dir, fmt.Sprintf("ingress%d", len(s.addresses)))
		if _, err := b.launch(s, "ingress", "--config", file, "serve", "ingress", "--listen", address, "--data-dir", data); err != nil {
			return err
		}
	}
	for range r.workers {
		if _, err := b.launch(s, "workers", "--config", file, "serve", "workers"); err != nil {
			return err
		}
	}
	s.target = &chatTarget{sessions: 1 << 40, token: token} // nobody waits for an earlier message of the session
	for _, a := range s.addresses {
		if err := awaitReady(ctx, s, "http://"+a+"/readyz"); err != nil {
			return err
		}
	}
	return nil
}

// config is what all roles are told. The NATS syncs as asked, we made it so.
func (b *bench) config(dir string, t turn, r roles, nats, redis, model string) string {
	return fmt.Sprintf(`data_dir: %q
keys_dir: %q
durability: %s
nats: {url: %q, allow_unproven_sync: true}
redis: {url: %q}
http: {rate_limit: %q, max_waiting: %d}
workers: {slots: %d}
queue: {max_ack_pending: %d}
model: {model_provider: bench, model: slow, endpoint: %q, api_key: none, stream: %t}
log: {level: warn, format: json}
`, filepath.Join(dir, "data"), filepath.Join(dir, "keys"), t.Durability, nats, redis, unlimited, 2*b.o.Requests+1000,
		r.slots, max(20_000, 2*r.slots*r.workers), model, r.tokens > 0)
}

// keys makes the keys that all roles share, and a token.
func (b *bench) keys(ctx context.Context, s *stand, file string) (token string, err error) {
	if _, err := b.command(ctx, s, "key-init", "--config", file, "key", "init"); err != nil {
		return "", err
	}
	return b.command(ctx, s, "token", "--config", file, "token", "-u", "bench", "-d", "1")
}

const probeEvery = 50 * time.Millisecond

// awaitReady asks until the process answers 200, or one of all has ended.
func awaitReady(ctx context.Context, s *stand, url string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startWait, fmt.Errorf("not within %s", startWait))
	defer cancel()
	for {
		if ready(ctx, url) {
			return nil
		}
		for _, c := range s.servers {
			select {
			case <-c.Done():
				return fmt.Errorf("%s ended before it was ready", c.role) // close says more
			default:
			}
		}
		if err := pause(ctx, probeEvery); err != nil {
			return fmt.Errorf("wait for %s: %w", url, err)
		}
	}
}

func ready(ctx context.Context, url string) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return false
	}
	req.Close = true
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	_ = res.Body.Close() // only the status counts
	return res.StatusCode == http.StatusOK
}

// freeAddress is one that nobody listens on at the moment: roles print none.
func freeAddress(ctx context.Context) (string, error) {
	var listen net.ListenConfig
	l, err := listen.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	return l.Addr().String(), l.Close()
}

// memory says who holds how much.
func memory(h held) string {
	var parts []string
	for _, role := range slices.Sorted(maps.Keys(h.rss)) {
		part := role
		if n := h.processes[role]; n > 1 {
			part = strconv.Itoa(n) + " " + part
		}
		part += " " + strconv.FormatUint(h.rss[role]>>20, 10) + " MB"
		if h.shared[role]>>20 > 0 {
			part += " (" + strconv.FormatUint(h.shared[role]>>20, 10) + " of them shared)"
		}
		parts = append(parts, part)
	}
	return "resident: " + strings.Join(parts, ", ")
}
