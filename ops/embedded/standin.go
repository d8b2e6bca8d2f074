package embedded

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/alicebob/miniredis/v2/server"
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"
)

const (
	clockTick     = 250 * time.Millisecond
	shortestPause = time.Second
	pauseFactor   = 20 // a dump stops the world: at most a twentieth of the time

	standInKind    = "embedded stand-in"
	standInWarning = "no valkey-server or redis-server on PATH: the embedded stand-in saves once a second, " +
		"so a kill can cost the last second(s) of answers and context"
)

// standIn is a Redis in this process that saves itself to a file. It keeps
// strings, hashes, lists, sets and sorted sets of database 0, and refuses the
// commands that make anything else, so that nothing goes missing unseen.
type standIn struct {
	mini     *miniredis.Miniredis
	password string
	path     string
	log      zerolog.Logger

	writes  atomic.Uint64
	stop    func()
	done    chan struct{}
	closing func() error
}

func startStandIn(ctx context.Context, opts RedisOptions) (*Redis, error) {
	s := &standIn{
		mini:     miniredis.NewMiniRedis(),
		password: newPassword(),
		path:     filepath.Join(opts.Dir, snapshotName),
		log:      opts.Log,
		done:     make(chan struct{}),
	}
	saved, err := readSnapshot(s.path)
	if err != nil {
		return nil, err
	}
	s.mini.RequireAuth(s.password) // before it listens
	if err := s.mini.Start(); err != nil {
		return nil, fmt.Errorf("start stand-in: %w", err)
	}
	addr := s.mini.Addr()
	if err := s.load(ctx, saved); err != nil {
		s.mini.Close()
		return nil, err
	}
	s.guard(s.mini.Server())
	s.run()
	u := url.URL{Scheme: "redis", User: url.UserPassword("", s.password), Host: addr, Path: "/0"}
	return &Redis{url: u.String(), kind: standInKind, warning: standInWarning, engine: s}, nil
}

func newPassword() string {
	secret := make([]byte, 32)
	rand.Read(secret) // never fails: it ends the program instead
	return hex.EncodeToString(secret)
}

// Done is closed by Close.
func (s *standIn) Done() <-chan struct{} { return s.done }

// Err is always nil: the stand-in lives and dies with this process.
func (s *standIn) Err() error { return nil }

// Close cuts all connections and writes the last snapshot.
func (s *standIn) Close(context.Context) error { return s.closing() }

func (s *standIn) load(ctx context.Context, saved *snapshot) error {
	if saved == nil {
		return nil
	}
	err := s.inside(func(rdb *redis.Client) error {
		return restore(ctx, rdb, saved.entries, time.Now())
	})
	if err != nil {
		return fmt.Errorf("load snapshot %s: %w", s.path, err)
	}
	s.log.Info().Int("keys", len(saved.entries)).Time("saved", saved.at).Msg("snapshot loaded")
	return nil
}

// inside gives f a client over a pipe, which works with or without a listener.
// No pipelines: a pipe holds nothing, so both ends would wait to write.
func (s *standIn) inside(f func(*redis.Client) error) error {
	rdb := redis.NewClient(&redis.Options{
		Dialer:          func(context.Context, string, string) (net.Conn, error) { return s.mini.Dial() },
		Password:        s.password,
		Protocol:        2,
		DisableIdentity: true,
		PoolSize:        1,
		MaxRetries:      -1,
		ReadTimeout:     -1, // a large dump takes as long as it takes
	})
	return errors.Join(f(rdb), rdb.Close())
}

// guard counts writes and refuses what a snapshot would not hold.
func (s *standIn) guard(srv *server.Server) {
	srv.SetPreHook(func(c *server.Peer, cmd string, args ...string) bool {
		if !kept(cmd, args) {
			c.WriteError("ERR " + cmd + " is not supported by the embedded stand-in; install valkey-server or redis-server")
			return true
		}
		if !harmless(cmd) && !srv.IsReadOnlyCommand(cmd) {
			s.writes.Add(1)
		}
		return false
	})
}

// harmless are commands that change no key, though the server does not list
// them as reads. Those inside a script pass the guard one by one, so the script
// itself counts for nothing. A dump of our own connects anew: it must not count.
func harmless(cmd string) bool {
	switch cmd {
	case "AUTH", "HELLO", "CLIENT", "PING", "SELECT", "QUIT", "EVAL", "EVALSHA", "SCRIPT":
		return true
	}
	return false
}

func kept(cmd string, args []string) bool {
	switch cmd {
	case "XADD", "XGROUP", "PFADD", "PFMERGE", "SWAPDB", "MOVE":
		return false
	case "HEXPIRE", "HPEXPIRE", "HEXPIREAT", "HPEXPIREAT", "HSETEX", "HGETEX":
		return false
	case "SELECT":
		return len(args) == 1 && args[0] == "0"
	case "COPY":
		return len(args) < 4 // four and more name a database
	}
	return true
}

// run moves the clock and saves in one goroutine, so Close has one thing to
// wait for and two saves never meet.
func (s *standIn) run() {
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	s.closing = sync.OnceValue(s.finish)
	go func() {
		defer close(s.done)
		s.loop(ctx)
	}()
}

func (s *standIn) loop(ctx context.Context) {
	clock := time.NewTicker(clockTick)
	defer clock.Stop()
	next := time.NewTimer(shortestPause)
	defer next.Stop()
	last := wallClock()
	sv := saver{standIn: s}
	for {
		select {
		case <-ctx.Done():
			return
		case <-clock.C:
			now := wallClock()
			// Not ClockTTL: with it every command looks at every key.
			s.mini.FastForward(max(0, now.Sub(last)))
			last = now
		case <-next.C:
			next.Reset(sv.round())
		}
	}
}

// wallClock leaves out the monotonic reading, which stands still while a
// laptop sleeps. Expiry must not.
func wallClock() time.Time { return time.Now().Round(0) }

// finish saves after the last connection is cut, so nothing that a client was
// told can be missing.
func (s *standIn) finish() error {
	s.stop()
	<-s.done
	s.mini.Close()
	defer s.mini.Close() // the dump opens it again, for its own pipe only
	if err := s.save(); err != nil {
		return fmt.Errorf("close stand-in: %w", err)
	}
	return nil
}

func (s *standIn) save() error {
	return s.inside(func(rdb *redis.Client) error {
		snap, err := dump(context.Background(), rdb)
		if err != nil {
			return err
		}
		return writeSnapshot(s.path, snap)
	})
}

// saver remembers between rounds what was saved.
type saver struct {
	*standIn
	seen    uint64
	settled bool // nothing was written between the last two saves
	failing bool
}

// round saves if there may be something new, and says how long to rest. A
// write is counted shortly before it happens, so after the last one there is
// one more save than the count asks for.
func (s *saver) round() time.Duration {
	seen := s.writes.Load()
	if seen == s.seen && s.settled {
		return shortestPause
	}
	began := time.Now()
	if err := s.save(); err != nil {
		s.report(err)
		return max(shortestPause, pauseFactor*time.Since(began))
	}
	s.report(nil)
	s.settled, s.seen = seen == s.seen, seen
	return max(shortestPause, pauseFactor*time.Since(began))
}

// report logs a change for the worse or the better, not every round.
func (s *saver) report(err error) {
	switch {
	case err != nil && !s.failing:
		s.log.Error().Err(err).Msg("snapshot failed; a restart now would go back to the last one")
	case err == nil && s.failing:
		s.log.Info().Msg("snapshots work again")
	}
	s.failing = err != nil
}
