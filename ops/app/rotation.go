package app

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"moltbot/contracts"
	"moltbot/ops/keyring"
	"moltbot/ops/observe"
)

// keysAgain is the wait before a key file that could not be used is tried again,
// because it may be Vault that was away.
const keysAgain = 2 * time.Second

// rotation is what this process does about the sealing keys while it runs.
type rotation struct {
	due     chan struct{} // Redis may have to be sealed anew
	asked   atomic.Bool   // an operator says so
	refused atomic.Pointer[string]
}

// watchKeys shows which keys are in use.
func (a *App) watchKeys() {
	if a.watch.registry == nil {
		return
	}
	a.watch.registry.MustRegister(observe.NewKeyCollector(func() observe.KeyState {
		primary, all, _ := a.keys.Keys()
		return observe.KeyState{Primary: primary, Keys: all, Refused: a.rotation.refused.Load() != nil}
	}))
}

// followKeys takes over what the key directory holds, until ctx ends: a change is
// read once it has stayed as it is for one look. What cannot be used leaves
// the keys as they are, and is tried again.
func (a *App) followKeys(ctx context.Context) error {
	files := []string{keyring.SealFile(a.keysDir())}
	look := time.NewTicker(lookAtFiles)
	defer look.Stop()
	seen, settled, again := "", false, time.Time{}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-look.C:
		}
		if now := stamp(files); now != seen {
			seen, settled, again = now, false, time.Time{}
			continue
		}
		if settled && (again.IsZero() || time.Now().Before(again)) {
			continue
		}
		if settled, again = true, (time.Time{}); !a.reloadKeys(ctx) {
			again = time.Now().Add(keysAgain)
		}
	}
}

func (a *App) reloadKeys(ctx context.Context) (ok bool) {
	before := a.keys.Primary()
	changed, err := a.keys.Reload(ctx)
	if err != nil {
		text := err.Error()
		if told := a.rotation.refused.Swap(&text); told == nil || *told != text { // once per reason
			a.o.Log.Error().Err(err).Msg("the sealing keys are refused, those before stay")
		}
		return false
	}
	if a.rotation.refused.Swap(nil) != nil && !changed {
		a.o.Log.Info().Msg("the sealing keys are in order again")
	}
	if changed {
		primary, all, _ := a.keys.Keys()
		a.o.Log.Info().Uint32("primary", primary).Uints32("keys", all).Msg("sealing keys changed")
		if primary != before {
			a.wantSealed()
		}
	}
	return true
}

// wantSealed lets keepSealed look.
func (a *App) wantSealed() {
	select {
	case a.rotation.due <- struct{}{}:
	default: // it is about to look anyway
	}
}

// answerKeys answers whoever asks which keys the processes hold, for as long as nc lives.
func (a *App) answerKeys(nc *nats.Conn) error {
	_, err := nc.Subscribe(contracts.SubjectKeysStatus(), func(m *nats.Msg) {
		b, err := contracts.EncodeKeyStatus(a.keyStatus())
		if err == nil {
			err = m.Respond(b)
		}
		if err != nil {
			a.o.Log.Debug().Err(err).Msg("keys not told")
		}
	})
	if err != nil {
		return fmt.Errorf("listen for the roll of keys: %w", err)
	}
	return nil
}

func (a *App) keyStatus() contracts.KeyStatus {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	primary, all, since := a.keys.Keys()
	s := contracts.KeyStatus{
		Node: a.node, Host: host, PID: os.Getpid(), Roles: a.o.Roles, Build: a.o.Version, Primary: primary, Keys: all, Since: since.UTC(),
	}
	if text := a.rotation.refused.Load(); text != nil {
		s.Refused = *text
	}
	return s
}

// keysQuiet is longer than that of other rolls: a process that is busy and passed
// over here may not hold the key that is to seal.
const keysQuiet = time.Second

// keyAnswer lets a process whose answer is of a newer version count as one that
// follows nobody: it is there, and what it holds is not known.
func keyAnswer(b []byte) (contracts.KeyStatus, error) {
	s, err := contracts.DecodeKeyStatus(b)
	if err != nil {
		return contracts.KeyStatus{Node: "unknown", Refused: "its answer cannot be read, it may be of a newer version"}, nil //nolint:nilerr // see above
	}
	return s, nil
}

// callKeys collects the answers of all processes, whatever their roles.
func callKeys(ctx context.Context, nc *nats.Conn) ([]contracts.KeyStatus, error) {
	all, err := poll(ctx, nc, call[contracts.KeyStatus]{subject: contracts.SubjectKeysStatus(), decode: keyAnswer, quiet: keysQuiet})
	slices.SortFunc(all, func(a, b contracts.KeyStatus) int {
		return cmp.Or(cmp.Compare(a.Host, b.Host), cmp.Compare(a.PID, b.PID), cmp.Compare(a.Node, b.Node))
	})
	return all, err
}

// showKeys is GET /admin/keys.
func (a *App) showKeys(ctx context.Context) (out contracts.AdminKeys, err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if out.Processes, err = callKeys(ctx, a.topology.js.Conn()); err != nil {
		return out, queueDown(err)
	}
	out.Reseal, err = a.resealer().State(ctx)
	return out, err
}

// KeyRotation changes the keys of a configuration's directory.
func KeyRotation(dir string, root keyring.Root, retention time.Duration, readOnlySecrets bool) *keyring.Rotation {
	return &keyring.Rotation{Dir: dir, Root: root, ReadOnlySecrets: readOnlySecrets, Retention: retention, By: whoami()}
}

// whoami names the person at the keyboard, for the history of keys.
func whoami() string {
	host, _ := os.Hostname() // without it the name alone has to do
	user := cmp.Or(os.Getenv("SUDO_USER"), os.Getenv("USER"), fmt.Sprint("uid ", os.Getuid()))
	return filepath.Base(user) + "@" + host
}
