package app

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"moltbot/contracts"
)

const (
	firstSlots = 2 * time.Second // longest wait of the workers for the slots that operators asked for
	checkWatch = 400 * time.Millisecond
)

// follower lets the pools of this process follow the bucket.
//
// A watch brings changes at once, but it does not notice that its bucket was
// deleted, and after a lost connection it takes many seconds to come back. So
// the bucket itself is looked at a few times a second: whenever it is another
// one, or further than what the watch has brought, there is a new watch.
type follower struct {
	topology *topology
	log      zerolog.Logger
	pools    map[contracts.Pool]*followed
	known    chan struct{} // closed when the bucket was read for the first time
	read     bool
}

// followed is one pool.
type followed struct {
	own    int // of this process' configuration
	now    int
	resize func(int)
}

func newFollower(t *topology, log zerolog.Logger) *follower {
	return &follower{topology: t, log: log, pools: make(map[contracts.Pool]*followed), known: make(chan struct{})}
}

// add lets a pool follow. It has own slots at the moment.
func (f *follower) add(p contracts.Pool, own int, resize func(int)) {
	f.pools[p] = &followed{own: own, now: own, resize: resize}
}

// run follows until ctx ends. While NATS is away every pool stays as it is.
func (f *follower) run(ctx context.Context) error {
	for told := ""; ctx.Err() == nil; {
		err := f.watch(ctx)
		if err != nil && ctx.Err() == nil {
			if text := err.Error(); text != told { // once per reason
				told = text
				f.log.Warn().Err(err).Msg("slots are not followed at the moment")
			}
			idle(ctx, checkWatch)
			continue
		}
		told = ""
	}
	return nil
}

// watch applies what is in the bucket and follows it until there is reason for
// another watch.
func (f *follower) watch(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	open, opened := context.WithTimeout(ctx, 5*time.Second)
	defer opened()
	kv, err := f.topology.bucket(open)
	if err != nil {
		return fmt.Errorf("find the bucket: %w", err)
	}
	begun, err := f.topology.bucketLife(open)
	if err != nil {
		return fmt.Errorf("look at the bucket: %w", err)
	}
	// The watch lives as long as its context, which is therefore without an end
	// of its own, and a lost answer must not be waited for.
	late := time.AfterFunc(5*time.Second, cancel)
	w, err := kv.WatchAll(ctx)
	if !late.Stop() || err != nil {
		return fmt.Errorf("watch the bucket: %w", errors.Join(err, ctx.Err()))
	}
	defer func() { _ = w.Stop() }() // an ephemeral consumer, which ends by itself as well
	connects := f.topology.js.Conn().Stats().Reconnects
	v := view{life: begun, missing: f.missing()}
	tick := time.NewTicker(checkWatch)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case e, ok := <-w.Updates():
			if !ok {
				return errors.New("the watch ended")
			}
			f.take(&v, e)
		case <-tick.C:
			if f.topology.js.Conn().Stats().Reconnects != connects || !f.current(ctx, &v) {
				return nil
			}
		}
	}
}

// view is what one watch has brought.
type view struct {
	life    life
	seen    uint64 // newest revision
	whole   bool   // everything that was there at its begin
	behind  bool   // it was behind the bucket at the last look
	missing map[contracts.Pool]bool
}

func (f *follower) missing() map[contracts.Pool]bool {
	m := make(map[contracts.Pool]bool)
	for p := range f.pools {
		m[p] = true
	}
	return m
}

// take applies one change. A nil one says that all that was there has come: a
// pool without an entry goes back to its own slots.
func (f *follower) take(v *view, e jetstream.KeyValueEntry) {
	if e == nil {
		v.whole = true
		v.seen = max(v.seen, v.life.last)
		for p := range v.missing {
			f.apply(p, f.pools[p].own, "configuration")
		}
		if !f.read {
			f.read = true
			close(f.known)
		}
		return
	}
	v.seen = max(v.seen, e.Revision())
	for p, pool := range f.pools {
		if e.Key() != contracts.KeyPoolSlots(p) {
			continue
		}
		delete(v.missing, p)
		if e.Operation() != jetstream.KeyValuePut {
			f.apply(p, pool.own, "configuration")
			return
		}
		s, err := contracts.DecodePoolSlots(e.Value())
		if err != nil {
			f.log.Error().Err(err).Str("pool", string(p)).Msg("slots in the bucket cannot be read and are passed over")
			return
		}
		f.apply(p, s.Slots, "operator")
	}
}

func (f *follower) apply(p contracts.Pool, slots int, by string) {
	pool := f.pools[p]
	if pool.now == slots {
		return
	}
	f.log.Info().Str("pool", string(p)).Int("from", pool.now).Int("slots", slots).Str("wanted_by", by).Msg("slots changed")
	pool.now = slots
	pool.resize(slots)
}

// current looks at the bucket and reports whether the watch may be trusted
// further. An answer that does not come proves nothing. A watch may be one look
// behind: its message may be on the way.
func (f *follower) current(ctx context.Context, v *view) bool {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	now, err := f.topology.bucketLife(ctx)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return false
	}
	if err != nil {
		return true
	}
	if !now.created.Equal(v.life.created) {
		return false
	}
	late := !v.whole || now.last > v.seen
	if late && v.behind {
		return false
	}
	v.behind = late
	return true
}

// followSlots follows as soon as there is a bucket, and while workers work.
func (a *App) followSlots(ctx, working context.Context) error {
	select {
	case <-a.prepared:
		return a.follower.run(working)
	case <-ctx.Done():
		return nil
	}
}

func idle(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
