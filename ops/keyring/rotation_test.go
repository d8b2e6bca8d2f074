package keyring

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"moltbot/contracts"
)

// clock is a rotation's time.
type clock struct{ at time.Time }

func (c *clock) now() time.Time { return c.at }

const retention = 60 * 24 * time.Hour

func rotation(dir string, c *clock) *Rotation {
	return &Rotation{Dir: dir, Root: DirRoot(dir, nil, false), Retention: retention, By: "ann@host", Now: c.now}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func primaryOf(t testing.TB, r *Rotation) uint32 {
	t.Helper()
	keys, err := r.List(context.Background())
	must(t, err)
	for _, k := range keys {
		if k.Primary {
			return k.ID
		}
	}
	t.Fatal("no primary key")
	return 0
}

func mustAdd(t testing.TB, r *Rotation) uint32 {
	t.Helper()
	id, err := r.Add(context.Background())
	must(t, err)
	return id
}

// A whole rotation, with a process that follows: what was sealed at any time
// opens until its key is destroyed, which is refused until it may be.
func TestRotation(t *testing.T) {
	ctx, dir, c := t.Context(), newDir(t), &clock{noon}
	r, k := rotation(dir, c), open(t, dir)
	s := k.Sealer()
	seal := func() []byte {
		b, err := s.Seal([]byte("text"), contracts.KindTurn, "c", "i")
		must(t, err)
		return b
	}
	opens := func(b []byte) bool {
		plain, err := s.Open(b, contracts.KindTurn, "c", "i")
		return err == nil && string(plain) == "text"
	}
	reload := func(want bool) {
		t.Helper()
		if changed, err := k.Reload(ctx); err != nil || changed != want {
			t.Fatalf("reload: %v, %v", changed, err)
		}
	}
	first, one := k.Primary(), seal()
	reload(false)
	second := mustAdd(t, r)
	reload(true)
	if id, _ := sealedBy(seal()); id != first || k.Primary() != first {
		t.Error("an added key seals")
	}
	must(t, r.Promote(ctx, second))
	reload(true)
	two := seal()
	if id, _ := sealedBy(two); id != second || !opens(one) || !opens(two) || k.Current(one) || !k.Current(two) {
		t.Error("after promote")
	}
	c.at = c.at.Add(time.Hour)
	from, err := r.Retire(ctx, first)
	must(t, err)
	if want := noon.Add(time.Hour + retention); !from.Equal(want) {
		t.Errorf("destroyable from %s, want %s", from, want)
	}
	c.at = c.at.Add(24 * time.Hour)
	if again, err := r.Retire(ctx, first); err != nil || !again.Equal(from) {
		t.Errorf("retired again: %s, %v", again, err)
	}
	reload(false)
	c.at = from.Add(-time.Second)
	var early *NotYet
	if err := r.Destroy(ctx, first); !errors.As(err, &early) || !early.Allows.Equal(from) || !strings.Contains(err.Error(), "2027-01-19 13:00:00 UTC") {
		t.Errorf("too early: %v", err)
	}
	if !opens(one) {
		t.Error("a retired key does not open")
	}
	c.at = from
	r.Resealed = func(primary uint32, since time.Time) error {
		if primary != second || !since.Equal(noon.Add(time.Hour+underWay)) {
			t.Errorf("asked for %d since %s", primary, since)
		}
		return errors.New("not all of it")
	}
	if err := r.Destroy(ctx, first); err == nil || !strings.Contains(err.Error(), "not all of it") {
		t.Errorf("not resealed: %v", err)
	}
	r.Resealed = nil
	must(t, r.Destroy(ctx, first))
	reload(true)
	if opens(one) || !opens(two) {
		t.Error("after destroy")
	}
	keys, err := r.List(ctx)
	must(t, err)
	if len(keys) != 2 || keys[0].ID != second || !keys[0].Primary || keys[1].ID != first || keys[1].Destroyed == nil || keys[1].Retired.By != "ann@host" {
		t.Errorf("list: %+v", keys)
	}
	for _, name := range []string{sealFile, historyFile} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm() != 0o400 {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
	if n := len(contents(t, dir)); n != 4 {
		t.Errorf("%d files, want 4", n)
	}
}

func TestRotationKeepsItsOrder(t *testing.T) {
	ctx, dir, c := t.Context(), newDir(t), &clock{noon}
	r := rotation(dir, c)
	first := primaryOf(t, r)
	second := mustAdd(t, r)
	_, retirePrimary := r.Retire(ctx, first)
	_, retireNone := r.Retire(ctx, 7)
	for want, err := range map[string]error{
		"seals; promote another": retirePrimary, "there is no key 7": retireNone,
		"there is no key 8":         r.Promote(ctx, 8),
		"there is no key 9":         r.Destroy(ctx, 9),
		"seals; promote":            r.Destroy(ctx, first),
		"is not retired; retire it": r.Destroy(ctx, second),
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", want, err)
		}
	}
	// A key that never sealed anything is needed by nothing.
	from, err := r.Retire(ctx, second)
	must(t, err)
	if !from.Equal(noon) {
		t.Errorf("unused: destroyable from %s", from)
	}
	must(t, r.Destroy(ctx, second))
	// One that came back into use is not retired any more.
	third := mustAdd(t, r)
	must(t, r.Promote(ctx, third))
	_, err = r.Retire(ctx, first)
	must(t, err)
	must(t, r.Promote(ctx, first))
	must(t, r.Promote(ctx, third))
	c.at = noon.Add(2 * retention)
	if err := r.Destroy(ctx, first); err == nil || !strings.Contains(err.Error(), "not retired") {
		t.Errorf("in use since: %v", err)
	}
	for range maxSealKeys - 2 {
		mustAdd(t, r)
	}
	if _, err := r.Add(ctx); err == nil || !strings.Contains(err.Error(), "16 keys already") {
		t.Errorf("too many: %v", err)
	}
}

// Two commands at once: one of them goes, and nothing is lost.
func TestRotationIsAlone(t *testing.T) {
	dir, c := newDir(t), &clock{noon}
	var mu sync.Mutex
	added := map[uint32]bool{}
	var wg sync.WaitGroup
	for range 12 {
		wg.Go(func() {
			id, err := rotation(dir, c).Add(context.Background())
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				added[id] = true
			case !strings.Contains(err.Error(), "another command"):
				t.Error(err)
			}
		})
	}
	wg.Wait()
	keys, err := rotation(dir, c).List(t.Context())
	must(t, err)
	if len(added) == 0 || len(keys) != len(added)+1 {
		t.Errorf("%d added, %d keys", len(added), len(keys))
	}
	unlock, err := lockDir(dir)
	must(t, err)
	if _, err := rotation(dir, c).Add(t.Context()); err == nil || !strings.Contains(err.Error(), "another command is changing the keys") {
		t.Errorf("beside another: %v", err)
	}
	must(t, unlock())
}

// Whatever a command had done when it was killed, the keys work, and no key may
// be destroyed that is needed.
func TestRotationIsKilled(t *testing.T) {
	killed := errors.New("killed")
	ctx, dir, c := t.Context(), newDir(t), &clock{noon}
	r, broken := rotation(dir, c), rotation(dir, c)
	broken.crash = func(string) error { return killed }
	first := primaryOf(t, r)

	if _, err := broken.Add(ctx); !errors.Is(err, killed) {
		t.Fatal(err)
	}
	if keys, err := r.List(ctx); err != nil || len(keys) != 1 {
		t.Errorf("after a killed add: %v, %v", keys, err)
	}
	second := mustAdd(t, r)
	must(t, r.Promote(ctx, second))
	_, err := r.Retire(ctx, first)
	must(t, err)
	// It was about to seal again: its retirement is void, although it does not.
	if err := broken.Promote(ctx, first); !errors.Is(err, killed) {
		t.Fatal(err)
	}
	if primaryOf(t, r) != second {
		t.Error("a killed promote promoted")
	}
	c.at = noon.Add(2 * retention)
	if err := r.Destroy(ctx, first); err == nil || !strings.Contains(err.Error(), "not retired") {
		t.Errorf("after a killed promote: %v", err)
	}
	from, err := r.Retire(ctx, first)
	must(t, err)
	c.at = from
	if err := broken.Destroy(ctx, first); !errors.Is(err, killed) {
		t.Fatal(err)
	}
	if keys, err := r.List(ctx); err != nil || len(keys) != 1 || keys[0].ID != second {
		t.Errorf("after a killed destroy: %+v, %v", keys, err)
	}
	open(t, dir)
}

func TestDamagedHistory(t *testing.T) {
	ctx, dir, c := t.Context(), newDir(t), &clock{noon}
	r := rotation(dir, c)
	first := primaryOf(t, r)
	second := mustAdd(t, r)
	must(t, r.Promote(ctx, second))
	_, err := r.Retire(ctx, first)
	must(t, err)
	for name, text := range map[string]string{
		"empty": "", "cut": `{"v":1,"keys":[{"id":`, "another version": `{"v":2,"keys":[]}`, "unknown": `{"v":1,"keys":[],"x":1}`,
		"twice": `{"v":1,"keys":[{"id":1},{"id":1}]}`, "more": `{"v":1,"keys":[]} {}`,
		"no time": `{"v":1,"keys":[{"id":1,"retired":{"at":"0001-01-01T00:00:00Z","by":"x"}}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			replace(t, dir, historyFile, text)
			_, add := r.Add(ctx)
			_, list := r.List(ctx)
			for _, err := range []error{add, list, r.Promote(ctx, first), r.Destroy(ctx, first)} {
				if err == nil || !strings.Contains(err.Error(), historyFile) {
					t.Errorf("%v", err)
				}
			}
			open(t, dir) // the keys do not need it
		})
	}
	must(t, os.Remove(filepath.Join(dir, historyFile)))
	c.at = noon.Add(2 * retention)
	if err := r.Destroy(ctx, first); err == nil || !strings.Contains(err.Error(), "not retired") {
		t.Errorf("without a history: %v", err)
	}
	from, err := r.Retire(ctx, first)
	must(t, err)
	if !from.Equal(c.at.Add(retention)) {
		t.Errorf("a key of unknown use is destroyable from %s", from)
	}
	must(t, os.Chmod(filepath.Join(dir, historyFile), 0o644))
	if _, err := r.List(ctx); err == nil || !strings.Contains(err.Error(), "open to others") {
		t.Errorf("a history that others read: %v", err)
	}
}

// What cannot have come from a rotation is refused, and the keys stay.
func TestReloadRefuses(t *testing.T) {
	dir, other := newDir(t), newDir(t)
	k := open(t, dir)
	good, foreign := contents(t, dir)[sealFile], contents(t, other)[sealFile]
	sealed, err := k.Sealer().Seal([]byte("x"), contracts.KindTurn, "c", "i")
	must(t, err)
	swapped := strings.Replace(foreign, idOf(t, foreign), idOf(t, good), -1)
	for name, text := range map[string]string{
		"cut": good[:len(good)/2], "empty": "", "another deployment's": foreign, "another key, same id": swapped,
	} {
		replace(t, dir, sealFile, text)
		changed, err := k.Reload(t.Context())
		if err == nil || changed || strings.Contains(err.Error(), "keyData") {
			t.Errorf("%s: %v, %v", name, changed, err)
		}
		if plain, err := k.Sealer().Open(sealed, contracts.KindTurn, "c", "i"); err != nil || string(plain) != "x" {
			t.Errorf("%s: %q, %v", name, plain, err)
		}
	}
	replace(t, dir, sealFile, good)
	if changed, err := k.Reload(t.Context()); err != nil || changed {
		t.Errorf("put back: %v, %v", changed, err)
	}
}

func idOf(t *testing.T, file string) string {
	t.Helper()
	_, rest, ok := strings.Cut(file, `"primaryKeyId":`)
	id, _, ok2 := strings.Cut(rest, ",")
	if !ok || !ok2 {
		t.Fatal("not a keyset as Tink writes it")
	}
	return strings.TrimSpace(id)
}

// Messages are sealed and opened while keys change.
func TestRotationUnderLoad(t *testing.T) {
	dir, c := newDir(t), &clock{noon}
	r, k := rotation(dir, c), open(t, dir)
	s := k.Sealer()
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for ctx.Err() == nil {
				b, err := s.Seal([]byte("x"), contracts.KindTurn, "c", "i")
				if err == nil {
					_, err = s.Open(b, contracts.KindTurn, "c", "i")
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for range 10 {
		must(t, r.Promote(ctx, mustAdd(t, r)))
		if changed, err := k.Reload(ctx); err != nil || !changed {
			t.Errorf("reload: %v, %v", changed, err)
		}
	}
	stop()
	wg.Wait()
}

func FuzzHistory(f *testing.F) {
	good, err := encodeHistory(history{Keys: []Life{{ID: 7, Created: &Event{noon, "ann"}, Retired: &Event{noon, "bob"}}}})
	must(f, err)
	f.Add(good)
	f.Add([]byte(`{"v":1,"keys":[{"id":1,"retired":{"at":"2026-01-01T00:00:00+02:00","by":""}}]}`))
	f.Add([]byte("{}"))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := decodeHistory(b)
		if err != nil {
			return
		}
		again, err := encodeHistory(h)
		must(t, err)
		if back, err := decodeHistory(again); err != nil || len(back.Keys) != len(h.Keys) {
			t.Errorf("%q does not come back: %v", b, err)
		}
		for _, k := range h.Keys {
			if k.Retired != nil && k.Retired.At.IsZero() {
				t.Errorf("%q retires a key at no time", b)
			}
		}
	})
}
