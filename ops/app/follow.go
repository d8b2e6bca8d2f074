package app

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"
)

const (
	firstRead  = 2 * time.Second // longest wait of the workers for what operators asked for
	checkWatch = 400 * time.Millisecond
)

// follower lets parts of this process follow keys of the bucket, all of them
// through one watch.
//
// A watch brings changes at once, but it does not notice that its bucket was
// deleted, and after a lost connection it takes many seconds to come back. So
// the bucket itself is looked at a few times a second: whenever it is another
// one, or further than what the watch has brought, there is a new watch.
type follower struct {
	topology *topology
	log      zerolog.Logger
	keys     map[string]func(entry)
	known    chan struct{} // closed when the bucket was read for the first time
	read     bool
}

// entry is what a key holds.
type entry struct {
	value    []byte
	revision int64
	none     bool // the key has no value
}

func newFollower(t *topology, log zerolog.Logger) *follower {
	return &follower{topology: t, log: log, keys: make(map[string]func(entry)), known: make(chan struct{})}
}

// add lets take follow a key. It is called with what is there, perhaps several
// times with the same, always by one goroutine; it must not wait.
func (f *follower) add(key string, take func(entry)) { f.keys[key] = take }

// run follows until ctx ends. While NATS is away everything stays as it is.
func (f *follower) run(ctx context.Context) error {
	for told := ""; ctx.Err() == nil; {
		err := f.watch(ctx)
		if err != nil && ctx.Err() == nil {
			if text := err.Error(); text != told { // once per reason
				told = text
				f.log.Warn().Err(err).Msg("operators' changes are not followed at the moment")
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
	missing map[string]bool
}

func (f *follower) missing() map[string]bool {
	m := make(map[string]bool)
	for key := range f.keys {
		m[key] = true
	}
	return m
}

// take hands on one change. A nil one says that all that was there has come:
// what did not come is not there.
func (f *follower) take(v *view, e jetstream.KeyValueEntry) {
	if e == nil {
		v.whole = true
		v.seen = max(v.seen, v.life.last)
		for key := range v.missing {
			f.keys[key](entry{none: true})
		}
		if !f.read {
			f.read = true
			close(f.known)
		}
		return
	}
	v.seen = max(v.seen, e.Revision())
	if take, ok := f.keys[e.Key()]; ok {
		delete(v.missing, e.Key())
		take(entry{e.Value(), int64(e.Revision()), e.Operation() != jetstream.KeyValuePut})
	}
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

// follow follows as soon as there is a bucket, and while workers work.
func (a *App) follow(ctx, working context.Context) error {
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
