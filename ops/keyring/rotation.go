package keyring

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/keyset"
)

// Rotation changes the sealing keyset of a directory, in Tink's order: a key is
// added, so that every process can open what it will seal; promoted, so that it
// seals; the one before is retired, and destroyed when nothing needs it any more.
type Rotation struct {
	Dir  string
	Root Root // a FileRoot; anything else can be shown but not changed
	// ReadOnlySecrets as in Options.
	ReadOnlySecrets bool
	// Retention is how long something that a key sealed may be found after its last use.
	Retention time.Duration
	// Resealed says why something that lies in the store may still need a key,
	// although primary seals now; only what was done after since counts. Nil: nothing does.
	Resealed func(primary uint32, since time.Time) error

	By  string           // who does it, for the history
	Now func() time.Time // default: time.Now

	crash func(step string) error // for tests: ends a command after a step
}

// Key is one sealing key as it stands.
type Key struct {
	Life
	Primary bool
	// Destroyable is when the key may be destroyed at the earliest; zero while it
	// is not retired.
	Destroyable time.Time
}

// NotYet refuses to destroy a key that may still be needed.
type NotYet struct {
	ID              uint32
	LastUse, Allows time.Time
	Retention       time.Duration
}

// Error names the date.
func (e *NotYet) Error() string {
	return fmt.Sprintf("key %d may still be needed: it was retired on %s, and what it sealed can be found for %s after that, dead letters and backups "+
		"included; it can be destroyed from %s on", e.ID, e.LastUse.UTC().Format(time.DateTime), days(e.Retention), e.Allows.UTC().Format(time.DateTime+" MST"))
}

func days(d time.Duration) string {
	if d >= 48*time.Hour {
		return fmt.Sprintf("%.4g days", d.Hours()/24)
	}
	return d.String()
}

// ErrUnchangeable refuses to change what does not lie in a file.
var ErrUnchangeable = errors.New("the sealing keyset does not lie in a file of the key directory: change it where it comes from, and restart")

// change is a command at work on a locked directory.
type change struct {
	*Rotation
	root    FileRoot
	handle  *keyset.Handle
	history history
	now     time.Time
}

// List gives the keys in the order of the keyset, and behind them those that
// were destroyed. It changes nothing and waits for nobody.
func (r *Rotation) List(ctx context.Context) (keys []Key, err error) {
	handle, err := r.Root.Load(ctx)
	if err != nil {
		return nil, fmt.Errorf("sealing keyset: %w", err)
	}
	s, err := newSealing(handle, r.now())
	if err != nil {
		return nil, fmt.Errorf("sealing keyset: %w", err)
	}
	h, err := readHistory(r.Dir, r.ReadOnlySecrets)
	if err != nil {
		return nil, err
	}
	for i := range handle.Len() {
		entry, err := handle.Entry(i)
		if err != nil {
			return nil, fmt.Errorf("read key %d: %w", i, err)
		}
		keys = append(keys, r.shown(h.of(entry.KeyID()), entry.KeyID() == s.primary))
	}
	for _, life := range h.Keys {
		if s.key(life.ID) == nil && life.Destroyed != nil {
			keys = append(keys, Key{Life: life})
		}
	}
	return keys, nil
}

func (r *Rotation) shown(life Life, primary bool) Key {
	life.Destroyed = nil // it is there
	k := Key{Life: life, Primary: primary}
	if life.Retired != nil && !primary {
		k.Destroyable = r.destroyable(life)
	}
	return k
}

// destroyable is the end of the longest retention. A key that never sealed
// anything has none.
func (r *Rotation) destroyable(life Life) time.Time {
	if life.Created != nil && life.Promoted == nil {
		return life.Retired.At
	}
	return life.Retired.At.Add(r.Retention)
}

// Add puts a new key into the keyset. It opens from then on and seals nothing.
func (r *Rotation) Add(ctx context.Context) (id uint32, err error) {
	err = r.change(ctx, func(c *change) error {
		if c.handle.Len() >= maxSealKeys {
			return fmt.Errorf("the keyset holds %d keys already; destroy one that is retired", c.handle.Len())
		}
		m := keyset.NewManagerFromHandle(c.handle)
		for { // an id that was used before would mix two histories
			if id, err = m.Add(aead.AES256GCMKeyTemplate()); err != nil {
				return fmt.Errorf("make key: %w", err)
			}
			if (c.history.of(id) == Life{ID: id}) {
				break
			}
			if err := m.Delete(id); err != nil {
				return fmt.Errorf("drop key: %w", err)
			}
		}
		// The history first: a key that is known to be new and unused, and is not
		// there after a crash, does no harm.
		c.history.put(Life{ID: id, Created: c.event()})
		return c.save(ctx, m, true)
	})
	return id, err
}

// Promote lets a key seal from then on. The one before goes on opening.
func (r *Rotation) Promote(ctx context.Context, id uint32) error {
	return r.change(ctx, func(c *change) error {
		if err := c.has(id); err != nil {
			return err
		}
		m := keyset.NewManagerFromHandle(c.handle)
		if err := m.SetPrimary(id); err != nil {
			return fmt.Errorf("promote key %d: %w", id, err)
		}
		if c.primary() == id {
			return nil
		}
		// The history first: after a crash in between a key must not seal that is
		// still known as retired or as never used.
		life := c.history.of(id)
		life.Promoted, life.Retired = c.event(), nil
		c.history.put(life)
		return c.save(ctx, m, true)
	})
}

// Retire notes that a key is to go. It goes on opening; the time until it may
// be destroyed begins.
func (r *Rotation) Retire(ctx context.Context, id uint32) (from time.Time, err error) {
	err = r.change(ctx, func(c *change) error {
		if err := c.has(id); err != nil {
			return err
		}
		if c.primary() == id {
			return fmt.Errorf("key %d seals; promote another one first", id)
		}
		life := c.history.of(id)
		if life.Retired == nil {
			life.Retired = c.event()
			c.history.put(life)
		}
		from = r.destroyable(life)
		return c.saveHistory()
	})
	return from, err
}

// Destroy takes a key away for good: nothing that it sealed can be read any
// more. It refuses with a *NotYet while something may be found.
func (r *Rotation) Destroy(ctx context.Context, id uint32) error {
	return r.change(ctx, func(c *change) error {
		if err := c.has(id); err != nil {
			return err
		}
		life := c.history.of(id)
		switch {
		case c.primary() == id:
			return fmt.Errorf("key %d seals; promote another one first", id)
		case life.Retired == nil:
			return fmt.Errorf("key %d is not retired; retire it first, then the time begins after which it may be destroyed", id)
		}
		if from := r.destroyable(life); c.now.Before(from) {
			return &NotYet{ID: id, LastUse: life.Retired.At, Allows: from, Retention: r.Retention}
		}
		if err := c.resealed(life); err != nil {
			return fmt.Errorf("key %d is not destroyed: %w", id, err)
		}
		m := keyset.NewManagerFromHandle(c.handle)
		if err := m.Delete(id); err != nil {
			return fmt.Errorf("destroy key %d: %w", id, err)
		}
		life.Destroyed = c.event()
		c.history.put(life)
		return c.save(ctx, m, false)
	})
}

// Rewrap keeps the keyset in another way: what from reads is written as Root does.
func (r *Rotation) Rewrap(ctx context.Context, from FileRoot) error {
	to := *r
	to.Root = from
	return to.change(ctx, func(c *change) error {
		target, ok := r.Root.(FileRoot)
		if !ok {
			return ErrUnchangeable
		}
		c.root = target
		return c.saveKeyset(c.handle)
	})
}

// change runs one command alone on the directory.
func (r *Rotation) change(ctx context.Context, do func(*change) error) (err error) {
	root, ok := r.Root.(FileRoot)
	if !ok {
		return ErrUnchangeable
	}
	if err := checkDir(r.Dir, r.ReadOnlySecrets); err != nil {
		return err
	}
	unlock, err := lockDir(r.Dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	c := &change{Rotation: r, root: root, now: r.now().UTC().Truncate(time.Second)}
	if c.handle, err = root.Load(ctx); err != nil {
		return fmt.Errorf("sealing keyset: %w", err)
	}
	if err := checkKeyset(c.handle); err != nil {
		return fmt.Errorf("sealing keyset: %w", err)
	}
	if c.history, err = readHistory(r.Dir, r.ReadOnlySecrets); err != nil {
		return err
	}
	if err := sweep(r.Dir); err != nil {
		return err
	}
	return do(c)
}

func (r *Rotation) now() time.Time {
	if r.Now == nil {
		return time.Now()
	}
	return r.Now()
}

// event is now, by a name that is as long in JSON as it is here.
func (c *change) event() *Event {
	by := strings.ToValidUTF8(c.By, "?")
	by = strings.ToValidUTF8(by[:min(len(by), maxBy)], "")
	return &Event{At: c.now, By: by}
}

func (c *change) primary() uint32 {
	info := c.handle.KeysetInfo()
	return info.GetPrimaryKeyId()
}

// underWay is how long something that was sealed may be on its way to the store:
// an answer waits for it as long as the store is down.
const underWay = time.Hour

func (c *change) resealed(life Life) error {
	if c.Resealed == nil {
		return nil
	}
	return c.Resealed(c.primary(), life.Retired.At.Add(underWay))
}

func (c *change) has(id uint32) error {
	var ids []uint32
	for _, k := range c.handle.KeysetInfo().GetKeyInfo() {
		ids = append(ids, k.GetKeyId())
	}
	if !slices.Contains(ids, id) {
		return fmt.Errorf("there is no key %d; there are %v", id, ids)
	}
	return nil
}

// save writes both files in the order that a crash in between needs.
func (c *change) save(_ context.Context, m *keyset.Manager, historyFirst bool) error {
	handle, err := m.Handle()
	if err != nil {
		return fmt.Errorf("make keyset: %w", err)
	}
	steps := []func() error{c.saveHistory, func() error { return c.saveKeyset(handle) }}
	if !historyFirst {
		slices.Reverse(steps)
	}
	if err := steps[0](); err != nil {
		return err
	}
	if c.crash != nil {
		if err := c.crash("between the files"); err != nil {
			return err
		}
	}
	return steps[1]()
}

func (c *change) saveHistory() error {
	c.history.trim()
	b, err := encodeHistory(c.history)
	if err == nil {
		_, err = decodeHistory(b) // as the next command will
	}
	if err == nil && len(b) > maxKeyFile {
		err = errors.New("it is too long")
	}
	if err != nil {
		return fmt.Errorf("write history: %w", err)
	}
	return replaceFile(c.Dir, historyFile, b)
}

// saveKeyset reads what it is about to write: a root key that does not open what
// it wrapped must not cost the keys.
func (c *change) saveKeyset(handle *keyset.Handle) error {
	want, err := newSealing(handle, c.now)
	if err != nil {
		return fmt.Errorf("sealing keyset: %w", err)
	}
	b, err := c.root.encode(handle)
	if err != nil {
		return fmt.Errorf("sealing keyset: %w", err)
	}
	again, err := c.root.decode(b)
	if err != nil {
		return fmt.Errorf("check what is to be written: %w", err)
	}
	if got, err := newSealing(again, c.now); err != nil || !got.same(want) {
		return errors.New("check what is to be written: the root key gave something else back; nothing was changed")
	}
	return replaceFile(filepath.Dir(c.root.Path), filepath.Base(c.root.Path), b)
}
