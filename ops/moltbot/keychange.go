package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mattn/go-isatty"

	"moltbot/contracts"
	"moltbot/ops/app"
	"moltbot/ops/config"
	"moltbot/ops/keyring"
)

// keyChanged is what a change prints as JSON.
type keyChanged struct {
	Key         uint32     `json:"key"`
	Done        string     `json:"done"` // added, promoted, retired or destroyed
	Destroyable *time.Time `json:"destroyable,omitempty"`
}

func (k keyFlags) say(out *console, c keyChanged, text string, args ...any) error {
	if k.JSON {
		return printJSON(out.out, c)
	}
	fmt.Fprintf(out.out, text+"\n", args...)
	return nil
}

// of opens the keys for what is to be done with one of them. That there is no such
// key is said before any process is asked.
func (k keyFlags) of(ctx context.Context, c *cli, key string) (id uint32, conf config.Config, r *keyring.Rotation, err error) {
	if id, err = keyID(key); err != nil {
		return id, conf, r, err
	}
	if conf, r, err = k.rotation(c); err != nil {
		return id, conf, r, err
	}
	all, err := r.List(ctx)
	if err == nil && !slices.ContainsFunc(all, func(k keyring.Key) bool { return k.ID == id }) {
		err = fmt.Errorf("there is no key %d; see: moltbot key list", id)
	}
	return id, conf, r, err
}

type keyAddCmd struct{ keyFlags }

// Run adds a key.
func (k *keyAddCmd) Run(ctx context.Context, c *cli, out *console) error {
	_, r, err := k.rotation(c)
	if err != nil {
		return err
	}
	id, err := r.Add(ctx)
	if err != nil {
		return err
	}
	return k.say(out, keyChanged{Key: id, Done: "added"},
		"key %d is added; when every process holds it (moltbot key list): moltbot key promote %d", id, id)
}

type keyPromoteCmd struct {
	Key       string `arg:"" help:"Number of the key."`
	Unchecked bool   `help:"Do not ask the running processes whether all of them hold the key."`
	keyFlags
}

// Run refuses while a process would not be able to open what the others seal.
func (k *keyPromoteCmd) Run(ctx context.Context, c *cli, out *console) error {
	id, conf, r, err := k.of(ctx, c, k.Key)
	if err != nil {
		return err
	}
	if !k.Unchecked {
		all, err := askKeys(ctx, conf)
		if err != nil {
			return errUnchecked(err)
		}
		if err := lacking(all, func(p contracts.KeyStatus) bool { return p.Holds(id) }); err != nil {
			return fmt.Errorf("key %d is not promoted: what it seals could not be opened everywhere: %w", id, err)
		}
	}
	if err := r.Promote(ctx, id); err != nil {
		return err
	}
	return k.say(out, keyChanged{Key: id, Done: "promoted"},
		"key %d seals from now on; the workers seal Redis anew as soon as all processes follow (moltbot key reseal --wait)", id)
}

type keyRetireCmd struct {
	Key       string `arg:"" help:"Number of the key."`
	Unchecked bool   `help:"Do not ask the running processes whether one of them still seals with the key."`
	keyFlags
}

// Run refuses while a process seals with the key: its last use would be later.
func (k *keyRetireCmd) Run(ctx context.Context, c *cli, out *console) error {
	id, conf, r, err := k.of(ctx, c, k.Key)
	if err != nil {
		return err
	}
	if !k.Unchecked {
		all, err := askKeys(ctx, conf)
		if err != nil {
			return errUnchecked(err)
		}
		if err := lacking(all, sealsWithout(id)); err != nil {
			return fmt.Errorf("key %d is not retired: the key after it does not seal everywhere: %w", id, err)
		}
	}
	from, err := r.Retire(ctx, id)
	if err != nil {
		return err
	}
	from = from.UTC()
	return k.say(out, keyChanged{Key: id, Done: "retired", Destroyable: &from},
		"key %d is retired and goes on opening; it can be destroyed from %s on", id, from.Format(time.DateTime+" MST"))
}

// sealsWithout is for a process that is known to seal with another key.
func sealsWithout(id uint32) func(contracts.KeyStatus) bool {
	return func(p contracts.KeyStatus) bool { return p.Primary != 0 && p.Primary != id }
}

type keyDestroyCmd struct {
	Key       string `arg:"" help:"Number of the key."`
	Unchecked bool   `help:"Do not ask a running process whether all of Redis is sealed with another key."`
	keyFlags
}

// Run refuses while something may need the key. The date has no exception.
func (k *keyDestroyCmd) Run(ctx context.Context, c *cli, out *console) error {
	id, conf, r, err := k.of(ctx, c, k.Key)
	if err != nil {
		return err
	}
	r.Resealed = func(primary uint32, since time.Time) error {
		if k.Unchecked {
			return nil
		}
		all, err := askKeys(ctx, conf)
		if err != nil {
			return errUnchecked(err)
		}
		if err := lacking(all, sealsWithout(id)); err != nil { // one that came with an old copy of the files
			return fmt.Errorf("a process may still seal with it: %w", err)
		}
		return resealed(all.Reseal, primary, since)
	}
	if err := r.Destroy(ctx, id); err != nil {
		return err
	}
	return k.say(out, keyChanged{Key: id, Done: "destroyed"}, "key %d is destroyed; destroy its copies in backups of the keys, too", id)
}

// resealed wants a pass that began when nothing sealed with the key of before was
// on its way any more.
func resealed(s *contracts.Resealing, primary uint32, since time.Time) error {
	if !s.Covers(primary) || s.Began.Before(since) {
		return fmt.Errorf("there was no whole pass over Redis with key %d since %s; do it with: moltbot key reseal --wait", primary, since.UTC().Format(time.DateTime+" MST"))
	}
	if s.Bad > 0 { // of a newer version, perhaps
		return fmt.Errorf("the last pass over Redis left %d values as they are, which no key opened or which are of an unknown form, and one of them may need the key; "+
			"they end with their time to live: wait and repeat moltbot key reseal --wait, or repeat this with --unchecked", s.Bad)
	}
	return nil
}

type keyResealCmd struct {
	Wait bool `help:"Wait until it is done, and show how far it is."`
	keyFlags
}

// Run has a running process seal Redis anew.
func (k *keyResealCmd) Run(ctx context.Context, c *cli, out *console) error {
	conf, err := flags{DataDir: k.DataDir}.load(c)
	if err != nil {
		return err
	}
	all, err := askKeys(ctx, conf)
	if err != nil {
		return err
	}
	if len(all.Processes) == 0 {
		return errors.New("no process answers")
	}
	var nothing struct{}
	if err := admin(ctx, conf, http.MethodPost, "/admin/keys/reseal", nil, &nothing); err != nil {
		return err
	}
	if !k.Wait {
		if k.JSON {
			return printJSON(out.out, all.Reseal)
		}
		fmt.Fprintln(out.out, "begun; see how far it is with: moltbot key list")
		return nil
	}
	done, err := k.await(ctx, conf, all.Reseal, bar(out.err))
	if err != nil {
		return err
	}
	if k.JSON {
		return printJSON(out.out, done)
	}
	fmt.Fprintln(out.out, "redis  "+sayReseal(done, time.Now()))
	return nil
}

// await polls until another pass than that of before is done, or that one, if it
// was still at work.
func (k *keyResealCmd) await(ctx context.Context, conf config.Config, before *contracts.Resealing, show io.Writer) (*contracts.Resealing, error) {
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	defer fmt.Fprint(show, "\r\x1b[K")
	for {
		all, err := askKeys(ctx, conf)
		if err != nil {
			return nil, err
		}
		if s := all.Reseal; s != nil && len(all.Processes) > 0 && s.Covers(all.Processes[0].Primary) && newer(s, before) {
			return s, nil
		}
		fmt.Fprint(show, "\r\x1b[K", barOf(all.Reseal, newer(all.Reseal, before)))
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-tick.C:
		}
	}
}

// bar is where a bar may be drawn: a terminal, or nowhere.
func bar(w io.Writer) io.Writer {
	if f, ok := w.(interface{ Fd() uintptr }); ok && isatty.IsTerminal(f.Fd()) {
		return w
	}
	return io.Discard
}

func newer(s, before *contracts.Resealing) bool {
	return s != nil && (before == nil || before.State == contracts.ResealRunning || !s.Began.Equal(before.Began))
}

func barOf(s *contracts.Resealing, begun bool) string {
	const width = 30
	if !begun {
		return "waiting for a process to begin"
	}
	done := 0.0
	if s.Total > 0 {
		done = min(1, float64(s.Keys)/float64(s.Total))
	}
	full := int(done * width)
	line := strings.Repeat("=", full) + strings.Repeat(" ", width-full)
	text := fmt.Sprintf("[%s] %3.0f%%  %d of about %d keys, %d sealed", line, 100*done, s.Keys, s.Total, s.Sealed)
	if spent := s.At.Sub(s.Began); done > 0.02 && done < 1 {
		text += ", about " + (time.Duration(float64(spent) * (1/done - 1))).Round(time.Second).String() + " left"
	}
	return text
}

type keyWrapCmd struct {
	DataDir string `name:"data-dir" placeholder:"DIR" help:"Data directory."`
}

// Run changes how the file is kept, not what is in it.
func (k *keyWrapCmd) Run(ctx context.Context, c *cli, out *console) error {
	conf, r, err := keyFlags{DataDir: k.DataDir}.rotation(c)
	if err != nil {
		return err
	}
	if conf.Keys.Root == config.RootFile {
		return errors.New("keys.root is file: set it to env or vault, which have a root key")
	}
	if err := r.Rewrap(ctx, clearRoot(conf)); err != nil {
		return err
	}
	fmt.Fprintln(out.out, "the keyset is wrapped; restart processes that are configured otherwise, and destroy copies that lie in the clear: "+strconv.Quote(app.KeysDir(conf)))
	return nil
}

// clearRoot is the file of the same directory as it lies in the clear.
func clearRoot(conf config.Config) keyring.FileRoot {
	return keyring.DirRoot(app.KeysDir(conf), nil, conf.KeysDir != "")
}
