package bench

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"moltbot/ops/bench/child"
	"moltbot/ops/bench/load"
)

// stand is what stands to be loaded.
type stand struct {
	addresses []string
	target    load.Target
	tls       *tls.Config
	servers   []*server // in the order in which they were started
	profiled  *child.Process
	dir       string
}

// server is a child with the role that it has in the report.
type server struct {
	*child.Process
	role string
}

// close stops everything and says what of err, or of the stopping, went wrong.
// The first server is stopped last: the others stand on it.
func (s *stand) close(err error) error {
	errs := make([]error, len(s.servers), len(s.servers)+2)
	var wg sync.WaitGroup
	for i := len(s.servers) - 1; i >= 0; i-- {
		if i == 0 {
			wg.Wait()
		}
		wg.Go(func() { errs[i] = s.servers[i].Stop() })
	}
	wg.Wait()
	errs = append(errs, err)
	if s.dir != "" {
		errs = append(errs, os.RemoveAll(s.dir))
	}
	return errors.Join(errs...)
}

// room makes the directory of a stand.
func (b *bench) room() (*stand, error) {
	dir, err := os.MkdirTemp(b.dir, "")
	if err != nil {
		return nil, err
	}
	return &stand{dir: dir}, nil
}

// launch runs a moltbot command as a server of the stand.
func (b *bench) launch(s *stand, role string, args ...string) (*child.Process, error) {
	p, err := child.Start(child.Options{
		Name: role, Program: b.o.Executable, Args: args, Log: filepath.Join(s.dir, fmt.Sprintf("%d-%s.log", len(s.servers), role)),
	})
	if err != nil {
		return nil, err
	}
	s.servers = append(s.servers, &server{p, role})
	return p, nil
}

// command runs a moltbot command to its end and gives what it printed.
func (b *bench) command(ctx context.Context, s *stand, name string, args ...string) (string, error) {
	p, err := child.Start(child.Options{Name: name, Program: b.o.Executable, Args: args, Log: filepath.Join(s.dir, name+".log")})
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, startWait, fmt.Errorf("not within %s", startWait))
	defer cancel()
	return p.Output(ctx)
}

// start runs one and waits for the line that says it is ready.
func (b *bench) start(ctx context.Context, s *stand, role string, ready *regexp.Regexp, args ...string) ([]string, error) {
	p, err := b.launch(s, role, args...)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, startWait, fmt.Errorf("not within %s", startWait))
	defer cancel()
	return p.Await(ctx, ready)
}

var (
	readyLine = regexp.MustCompile(`is ready on http://(\S+)`)
	upLines   = regexp.MustCompile(`(?s)is ready on http://(\S+) .*\ntoken [^\n]*:\n(\S+)\n`)
)

// up is the whole product on an empty data directory, with settings beside the defaults.
func (b *bench) up(ctx context.Context, t turn, target load.Target, settings ...string) (*stand, error) {
	s, err := b.room()
	if err != nil {
		return nil, err
	}
	args := append([]string{
		"up", "--data-dir", filepath.Join(s.dir, "data"), "--listen", "127.0.0.1:0", "--durability", t.Durability,
		"--slots", strconv.Itoa(b.o.Slots), "--rate-limit", unlimited, "--log-level", "warn", "--log-format", "json",
	}, b.profile(t)...)
	if len(settings) > 0 {
		file := filepath.Join(s.dir, "config.yaml")
		if err := os.WriteFile(file, []byte(strings.Join(settings, "\n")), 0o600); err != nil {
			return nil, s.close(err)
		}
		args = append([]string{"--config", file}, args...)
	}
	found, err := b.start(ctx, s, "up", upLines, args...)
	if err != nil {
		return nil, s.close(err)
	}
	s.addresses, s.target = found[1:2], target
	if c, is := target.(interface{ login(token string) }); is {
		c.login(found[2])
	}
	s.watch(b)
	return s, nil
}

// unlimited is a limit that nobody reaches: the limiter stays in the way, as in
// production.
const unlimited = "1000000/1000000"

func (b *bench) floor(ctx context.Context, t turn) (*stand, error) {
	s, err := b.room()
	if err != nil {
		return nil, err
	}
	args := append([]string{
		"bench-floor", "--data-dir", filepath.Join(s.dir, "data"), "--durability", t.Durability, "--slots", strconv.Itoa(b.o.Slots),
	}, b.profile(t)...)
	found, err := b.start(ctx, s, "floor", readyLine, args...)
	if err != nil {
		return nil, s.close(err)
	}
	s.addresses, s.target = found[1:2], &chatTarget{sessions: sessions(t.Callers)}
	s.watch(b)
	return s, nil
}

// profile is the flag that has a child write profiles.
func (b *bench) profile(t turn) []string {
	if b.o.Profiles == "" {
		return nil
	}
	name := fmt.Sprintf("%s-%s-%d-run%d", t.Scenario, t.Durability, t.Callers, t.run)
	return []string{"--bench-profile", filepath.Join(b.o.Profiles, name)}
}

// watch marks the first server as the one that writes profiles.
func (s *stand) watch(b *bench) {
	if b.o.Profiles != "" {
		s.profiled = s.servers[0].Process
	}
}

// profiles waits until they are written: stopping the child would cut them.
func (s *stand) profiles(ctx context.Context) error {
	if s.profiled == nil {
		return nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, profileWait, errors.New("no profiles"))
	defer cancel()
	_, err := s.profiled.Await(ctx, regexp.MustCompile(child.ProfilesWritten))
	return err
}

const profileWait = 20 * time.Second
