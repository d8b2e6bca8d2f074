// Package app is the composition root: it dials NATS and Redis, makes the roles
// out of the configuration, runs them, and closes everything in reverse. It
// holds no behavior of its own.
package app

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"moltbot/contracts"
	"moltbot/ingress"
	"moltbot/ops/config"
	"moltbot/ops/embedded"
	"moltbot/ops/keyring"
	"moltbot/scheduler"
	"moltbot/workers"
	"moltbot/workers/deliver"
	"moltbot/workers/model/cache"
	"moltbot/workers/session"
	"moltbot/workers/usage"
)

// Roles that an App can run.
const (
	RoleIngress   = "ingress"
	RoleWorkers   = "workers"
	RoleScheduler = "scheduler"
)

// Roles lists them all.
func Roles() []string { return []string{RoleIngress, RoleWorkers, RoleScheduler} }

// Options of an App.
type Options struct {
	Config config.Config
	Roles  []string
	Log    zerolog.Logger
	// Embedded starts NATS and Redis here where the configuration names none,
	// and takes the data directory for this process alone.
	Embedded bool
	// PathLookup finds redis-server; for tests. Default: exec.LookPath.
	PathLookup func(string) (string, error)
	Version    string
	// Reload reads the configuration again; what it says of models is followed
	// while the process runs. Files are those it may change in. Default: nobody
	// looks again.
	Reload func() (config.Config, error)
	Files  []string
}

// App is one process' share of the system.
type App struct {
	o       Options
	node    string
	started time.Time
	keys    *keyring.Keyring
	namer   *contracts.Namer
	store   *session.Store
	rdb     redis.UniversalClient
	redis   *embedded.Redis // nil: not ours
	nats    *embedded.NATS  // nil: not ours
	book    *usage.Book     // nil without the workers role
	cache   *cache.Cache    // nil: there is none
	usage   *usage.Store    // nil without the ingress role

	// senders speak to IM platforms and callback URLs, by channel.
	senders map[contracts.Channel]deliver.Sender

	tasks  redis.UniversalClient // that of the background tasks
	chores *scheduler.Client

	scheduler  *scheduler.Scheduler
	summarizer *scheduler.Summarizer // nil: it is not done here

	ingress  *ingress.Ingress
	workers  *workers.Workers
	listener net.Listener
	admin    *AdminAccess

	prepared chan struct{} // closed when the queue and the store were checked
	follower *follower
	models   *models
	// platforms are the applications of IM platforms; nil without ingress and workers.
	platforms *Platforms
	closers   []closer
	topology  *topology
	watch     watch
	rotation  rotation
}

type closer struct {
	name  string
	close func() error
}

// New opens what the roles need, in order; what it opened is closed again when
// a later step fails. It does not wait for an outside NATS or Redis.
func New(ctx context.Context, o Options) (_ *App, err error) {
	a := &App{
		o: o, node: strings.ToLower(rand.Text()[:10]), started: time.Now(), prepared: make(chan struct{}),
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, a.close())
		}
	}()
	steps := []struct {
		name string
		run  func(context.Context) error
	}{
		{"data directory", a.openData}, {"metrics", a.openWatch}, {"keys", a.openKeys}, {"redis", a.openRedis}, {"nats", a.openNATS},
		{"senders", a.openSenders}, {"workers", a.openWorkers}, {"scheduler", a.openScheduler}, {"ingress", a.openIngress},
	}
	for _, s := range steps {
		if err := s.run(ctx); err != nil {
			return nil, fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return a, nil
}

// onClose adds an undo step. The steps run in reverse.
func (a *App) onClose(name string, f func() error) {
	a.closers = append(a.closers, closer{name, f})
}

func (a *App) close() error {
	var errs []error
	for _, c := range slices.Backward(a.closers) {
		if err := c.close(); err != nil {
			errs = append(errs, fmt.Errorf("close %s: %w", c.name, err))
		}
	}
	a.closers = nil
	return errors.Join(errs...)
}

func (a *App) has(role string) bool { return slices.Contains(a.o.Roles, role) }

func (a *App) openData(context.Context) error {
	if !a.o.Embedded {
		return nil
	}
	lock, err := embedded.Lock(a.o.Config.DataDir)
	if err != nil {
		return err
	}
	a.onClose("data directory", lock.Unlock)
	return InitKeys(a.o.Config, a.keysDir())
}

func (a *App) keysDir() string { return KeysDir(a.o.Config) }

// KeysDir is where the keys of a configuration lie.
func KeysDir(c config.Config) string {
	if c.KeysDir != "" {
		return c.KeysDir
	}
	return filepath.Join(c.DataDir, "keys")
}

func (a *App) openKeys(ctx context.Context) (err error) {
	a.keys, err = OpenKeys(ctx, a.o.Config, !a.o.Embedded && a.o.Config.KeysDir != "")
	if err != nil {
		return err
	}
	a.rotation.due = make(chan struct{}, 1)
	a.watchKeys()
	a.namer, err = contracts.NewNamer(a.keys.IDKey())
	return err
}

// Run runs the roles until ctx ends or one fails, then stops them in the order
// of a message: nothing new is taken, what is taken is finished.
func (a *App) Run(ctx context.Context) (err error) {
	defer func() { err = errors.Join(err, a.close()) }()
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	// Workers outlive ingress, so that whoever waits may still be answered.
	working, stopWorking := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWorking()

	var wg sync.WaitGroup
	var mu sync.Mutex
	var errs []error
	start := func(name string, run func() error) {
		wg.Go(func() {
			if err := run(); err != nil {
				err = fmt.Errorf("%s: %w", name, err)
				mu.Lock()
				errs = append(errs, err)
				mu.Unlock()
				stop(err)
			}
		})
	}
	watching, stopWatching := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWatching()
	watched := make(chan struct{})
	go func() { defer close(watched); a.serveWatch(watching) }()
	start("prepare", func() error { return a.prepare(ctx) })
	if a.redis != nil {
		start("redis", func() error { return a.watchRedis(working) })
	}
	ingressDone := make(chan struct{})
	if a.ingress != nil {
		start("ingress", func() error { defer close(ingressDone); return a.ingress.Run(ctx) })
	} else {
		close(ingressDone)
	}
	start("keys", func() error { return a.followKeys(working) })
	start("reseal", func() error { return a.keepSealed(ctx, working) })
	start("operators' changes", func() error { return a.follow(ctx, working) })
	if a.asksModels() {
		start("models", func() error { return a.keepModels(ctx, working) })
	}
	if a.workers != nil {
		start("workers", func() error { return a.runWorkers(ctx, working) })
	}
	if a.scheduler != nil {
		start("scheduler", func() error { return a.runScheduler(ctx) })
	}
	<-ctx.Done()
	close(a.watch.stopping)
	<-ingressDone
	stopWorking()
	wg.Wait()
	stopWatching()
	<-watched
	return errors.Join(errs...)
}

// runWorkers waits for the queue to be ready first. A process that stops before
// it was ever ready has nothing to drain.
func (a *App) runWorkers(ctx, working context.Context) error {
	select {
	case <-a.prepared:
	case <-ctx.Done():
		return nil
	}
	// With the slots and models that operators asked for from the first message
	// on, unless they cannot be read.
	patience := time.NewTimer(firstRead)
	defer patience.Stop()
	select {
	case <-a.follower.known:
	case <-patience.C:
	case <-ctx.Done():
	}
	return a.workers.Run(working)
}

// watchRedis turns the end of our own Redis into the end of the process.
func (a *App) watchRedis(ctx context.Context) error {
	select {
	case <-a.redis.Done():
		return a.redis.Err()
	case <-ctx.Done():
		return nil
	}
}

// Ready is closed once the queue and the store were found in order.
func (a *App) Ready() <-chan struct{} { return a.prepared }

// Address is where the public API listens; empty without the ingress role.
func (a *App) Address() string {
	if a.listener == nil {
		return ""
	}
	return a.listener.Addr().String()
}

// Store names the Redis in use, and Warning what an operator must know of it.
func (a *App) Store() (kind, warning string) {
	if a.redis == nil {
		return "Redis at " + hostOf(a.o.Config.Redis.URL), ""
	}
	return a.redis.Kind(), a.redis.Warning()
}

// Token signs a token for whoever starts the process to use at once.
func (a *App) Token(user string, days int, scopes ...string) (string, error) {
	return a.keys.Sign(keyring.Claims{User: user, Scopes: scopes, Expires: time.Now().AddDate(0, 0, days)})
}

// Workers is the workers role, or nil.
func (a *App) Workers() *workers.Workers { return a.workers }

// connect gives one connection to NATS, closed with the App.
func (a *App) connect(name string) (*nats.Conn, error) {
	nc, err := a.dialNATS(name)
	if err != nil {
		return nil, err
	}
	a.onClose("nats connection of "+name, func() error { return closeConn(nc) })
	if a.watch.trips != nil {
		a.watch.trips.Add(name, nc)
	}
	return nc, nil
}
