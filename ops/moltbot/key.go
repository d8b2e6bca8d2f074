package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"moltbot/contracts"
	"moltbot/ops/app"
	"moltbot/ops/config"
	"moltbot/ops/keyring"
)

type keyCmd struct {
	Init    keyInitCmd    `cmd:"" help:"Make the key files that a deployment needs, where they are missing."`
	List    keyListCmd    `cmd:"" help:"Show the sealing keys, which process holds which, and how far Redis is sealed anew."`
	Add     keyAddCmd     `cmd:"" help:"Add a new sealing key, which only opens."`
	Promote keyPromoteCmd `cmd:"" help:"Let a key seal from now on; the one before goes on opening."`
	Retire  keyRetireCmd  `cmd:"" help:"Mark a key that does not seal any more to be destroyed later."`
	Destroy keyDestroyCmd `cmd:"" help:"Destroy a retired key, once nothing can need it any more."`
	Reseal  keyResealCmd  `cmd:"" help:"Seal what lies in Redis anew with the key that seals; after promote it happens by itself."`
	Wrap    keyWrapCmd    `cmd:"" help:"Wrap a keyset that lies in the clear with the root key of the configuration."`
}

// keyFlags are those of every subcommand but init.
type keyFlags struct {
	DataDir string `name:"data-dir" placeholder:"DIR" help:"Data directory, of an ingress process where one is asked."`
	JSON    bool   `help:"Print JSON."`
}

// rotation gives the configuration and what changes its keys.
func (k keyFlags) rotation(c *cli) (config.Config, *keyring.Rotation, error) {
	conf, err := flags{DataDir: k.DataDir}.load(c)
	if err != nil {
		return conf, nil, err
	}
	guarded := conf.KeysDir != ""
	root, err := app.KeyRoot(conf, guarded)
	if err != nil {
		return conf, nil, err
	}
	return conf, app.KeyRotation(app.KeysDir(conf), root, app.KeyRetention(conf), guarded), nil
}

type keyInitCmd struct {
	Dir string `arg:"" optional:"" help:"Directory of the keys (default: keys in the data directory)."`
}

// Run makes the files; it never replaces one.
func (k *keyInitCmd) Run(c *cli, out *console) error {
	conf, err := flags{}.load(c)
	if err != nil {
		return err
	}
	dir := k.Dir
	if dir == "" {
		dir = app.KeysDir(conf)
	}
	if err := app.InitKeys(conf, dir); err != nil {
		return err
	}
	fmt.Fprintf(out.out, "keys are in %s: every process of the deployment needs the same files; back them up, conversations cannot be read without them\n", dir)
	return nil
}

type keyListCmd struct{ keyFlags }

// keyList is what the list shows.
type keyList struct {
	Keys []keyShown `json:"keys"`
	// Running is null where no process could be asked, and Unasked says why.
	Running *contracts.AdminKeys `json:"running"`
	Unasked string               `json:"unasked,omitempty"`
}

type keyShown struct {
	keyring.Life
	State       string     `json:"state"` // primary, enabled, retired or destroyed
	Destroyable *time.Time `json:"destroyable,omitempty"`
}

// Run shows the files, and the processes where one can be asked.
func (k *keyListCmd) Run(ctx context.Context, c *cli, out *console) error {
	conf, r, err := k.rotation(c)
	if err != nil {
		return err
	}
	keys, err := r.List(ctx)
	if err != nil {
		return err
	}
	list := keyList{Keys: []keyShown{}}
	for _, key := range keys {
		list.Keys = append(list.Keys, shownKey(key))
	}
	if list.Running, err = askKeys(ctx, conf); err != nil {
		list.Unasked = err.Error()
	}
	if k.JSON {
		return printJSON(out.out, list)
	}
	return printKeys(out.out, list, time.Now())
}

func shownKey(k keyring.Key) keyShown {
	s := keyShown{Life: k.Life, State: "enabled"}
	switch {
	case k.Destroyed != nil:
		s.State = "destroyed"
	case k.Primary:
		s.State = "primary"
	case k.Retired != nil:
		s.State, s.Destroyable = "retired", &k.Destroyable
	}
	return s
}

// askKeys asks the process on conf's data directory what all of them hold.
func askKeys(ctx context.Context, conf config.Config) (*contracts.AdminKeys, error) {
	var r contracts.AdminKeys
	if err := admin(ctx, conf, http.MethodGet, "/admin/keys", nil, &r); err != nil {
		return nil, err
	}
	return &r, nil
}

// old is the age from which a key is due to be replaced.
const old = 90 * 24 * time.Hour

func printKeys(out io.Writer, l keyList, now time.Time) error {
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "KEY\tSTATE\tCREATED (UTC)\tPROMOTED\tRETIRED\tDESTROYABLE\tPROCESSES")
	for _, k := range l.Keys {
		from := ""
		if k.Destroyable != nil {
			from = k.Destroyable.UTC().Format(time.DateTime)
		}
		fmt.Fprintf(t, "%d\t%s\t%s\t%s\t%s\t%s\t%s\n", k.ID, k.State, when(k.Created), when(k.Promoted), when(k.Retired), from, holders(l.Running, k))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, k := range l.Keys {
		if k.State == "primary" && k.Created != nil && now.Sub(k.Created.At) > old {
			fmt.Fprintf(out, "key %d is %d days old: replace it (add, promote, retire)\n", k.ID, int(now.Sub(k.Created.At).Hours()/24))
		}
	}
	if l.Running == nil {
		fmt.Fprintf(out, "no process was asked: %s\n", l.Unasked)
		return nil
	}
	for _, p := range l.Running.Processes {
		if p.Refused != "" {
			fmt.Fprintf(out, "process %s (%s, pid %d) refuses the key file: %s\n", p.Node, p.Host, p.PID, p.Refused)
		}
	}
	fmt.Fprintln(out, "redis  "+sayReseal(l.Running.Reseal, now))
	return nil
}

func when(e *keyring.Event) string {
	if e == nil {
		return "-"
	}
	return e.At.UTC().Format(time.DateTime)
}

// holders says how many of the processes have a key, and seal with it.
func holders(r *contracts.AdminKeys, k keyShown) string {
	if r == nil || k.State == "destroyed" {
		return ""
	}
	hold, seal := 0, 0
	for _, p := range r.Processes {
		if p.Holds(k.ID) {
			hold++
		}
		if p.Primary == k.ID {
			seal++
		}
	}
	text := fmt.Sprintf("%d of %d hold it", hold, len(r.Processes))
	if seal > 0 {
		text += fmt.Sprintf(", %d seal with it", seal)
	}
	return text
}

func sayReseal(s *contracts.Resealing, now time.Time) string {
	if s == nil {
		return "was never sealed anew"
	}
	text := fmt.Sprintf("sealed anew with key %d: %s, %d of about %d keys looked at, %d values sealed", s.Key, s.State, s.Keys, s.Total, s.Sealed)
	if s.State == contracts.ResealRunning && now.Sub(s.At) > time.Minute {
		text += fmt.Sprintf(" (silent since %s: another process takes over)", s.At.UTC().Format(time.DateTime))
	}
	if s.Bad > 0 {
		text += fmt.Sprintf("; %d values that no key opens, or of an unknown form", s.Bad)
	}
	return text
}

// errUnchecked ends what depends on what the running processes hold.
func errUnchecked(why error) error {
	return fmt.Errorf("the running processes cannot be asked which keys they hold; if none runs, or you have asked them yourself, repeat with --unchecked: %w", why)
}

// lacking names the processes of which ok is false.
func lacking(r *contracts.AdminKeys, ok func(contracts.KeyStatus) bool) error {
	var names []string
	for _, p := range r.Processes {
		if !ok(p) {
			names = append(names, fmt.Sprintf("%s (%s, pid %d, %s)", p.Node, p.Host, p.PID, strings.Join(p.Roles, "+")))
		}
	}
	switch {
	case len(r.Processes) == 0:
		return errors.New("no process answers")
	case len(names) > 0:
		return fmt.Errorf("not yet in: %s", strings.Join(names, ", "))
	}
	return nil
}

func keyID(text string) (uint32, error) {
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil || n == 0 {
		return 0, errors.New("a key is named by its number, see: moltbot key list")
	}
	return uint32(n), nil
}
