package app

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"moltbot/contracts"
	"moltbot/ingress"
	"moltbot/ops/keyring"
)

// AdminFile is the file, in the data directory, by which operator commands find
// the admin API and prove who they are.
const AdminFile = "admin.json"

// AdminAccess is its content. Only its owner can read it.
type AdminAccess struct {
	URL   string `json:"url"`
	Token string `json:"token"`
}

func (a *App) openAdmin(ctx context.Context) (*ingress.Admin, error) {
	var listen net.ListenConfig
	l, err := listen.Listen(ctx, "tcp", a.o.Config.AdminListen)
	if err != nil {
		return nil, err
	}
	a.onClose("admin listener", closeListener(l))
	a.admin = &AdminAccess{URL: "http://" + l.Addr().String(), Token: rand.Text() + rand.Text()}
	letters, err := a.deadLetters()
	if err != nil {
		return nil, err
	}
	path := filepath.Join(a.o.Config.DataDir, AdminFile)
	if err := writeAdminFile(path, a.admin); err != nil {
		return nil, err
	}
	a.onClose("admin file", func() error { return removeIfOurs(path, a.admin.Token) })
	return &ingress.Admin{
		Listener: l, Token: a.admin.Token, Status: a.status, Mint: a.mint, Workers: a.roll, Resize: a.resize,
		Models: modelAdmin{a}, Usage: a.usageReport, Purge: a.purgeCache, Owner: a.store.Owner, Tasks: newTaskAdmin(a.tasks), Keys: a.showKeys, Reseal: a.resealNow, Dead: letters,
	}, nil
}

func writeAdminFile(path string, f *AdminAccess) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	b, err := json.Marshal(f)
	if err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), AdminFile+".*") // mode 0600
	if err != nil {
		return err
	}
	_, err = tmp.Write(b)
	if err = errors.Join(err, tmp.Close()); err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		_ = os.Remove(tmp.Name()) // the first error is the one that counts
	}
	return err
}

// removeIfOurs leaves the file of a process that took our place meanwhile.
func removeIfOurs(path, token string) error {
	f, err := readAdminFile(path)
	if err != nil || f.Token != token {
		return nil
	}
	return os.Remove(path)
}

// ReadAdmin finds the admin API of the process that runs on a data directory.
func ReadAdmin(dataDir string) (*AdminAccess, error) {
	return readAdminFile(filepath.Join(dataDir, AdminFile))
}

func readAdminFile(path string) (*AdminAccess, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var f AdminAccess
	if err := json.Unmarshal(b, &f); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return &f, nil
}

func (a *App) status(ctx context.Context) (contracts.AdminStatus, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	kind, _ := a.Store()
	s := contracts.AdminStatus{
		Version: a.o.Version, Node: a.node, Roles: a.o.Roles, Uptime: uptime(a.started), Store: kind,
		Model: a.models.shown(), Metrics: a.MetricsAddress(), Checks: make(map[string]string), Waiting: a.ingress.Waiting(),
	}
	for name, check := range a.ingress.Ready(ctx).Checks {
		s.Checks[name] = check
	}
	if a.workers != nil {
		s.Slots, s.SlotsUse = a.workers.Slots()
	}
	if wanted, err := a.topology.wanted(ctx); err != nil {
		a.o.Log.Debug().Err(err).Msg("wanted slots not read")
	} else if n, ok := wanted[contracts.PoolChat]; ok {
		s.SlotsWanted = &n
	}
	var err error
	if s.Queue, err = a.topology.status(ctx); err != nil {
		s.Checks["queue"] = "its state could not be read"
		a.o.Log.Debug().Err(err).Msg("queue state not read")
	}
	return s, nil
}

func (a *App) mint(r contracts.TokenRequest) (contracts.TokenReply, error) {
	return MintToken(a.keys, r)
}

// MaxTokenDays is the longest life of a token.
const MaxTokenDays = 3650

// MintToken signs a token as r asks for.
func MintToken(keys *keyring.Keyring, r contracts.TokenRequest) (contracts.TokenReply, error) {
	if r.Days < 1 || r.Days > MaxTokenDays {
		return contracts.TokenReply{}, fmt.Errorf("days must be 1 to %d", MaxTokenDays)
	}
	var rate contracts.Rate
	if r.Rate != "" {
		var err error
		if rate, err = contracts.ParseRate(r.Rate); err != nil {
			return contracts.TokenReply{}, err
		}
	}
	c := keyring.Claims{User: r.User, Scopes: r.Scopes, Rate: rate, Models: r.Models, Budget: r.Budget, Expires: time.Now().AddDate(0, 0, r.Days).Truncate(time.Second)}
	token, err := keys.Sign(c)
	if err != nil {
		return contracts.TokenReply{}, err
	}
	return contracts.TokenReply{Token: token, User: r.User, Scopes: r.Scopes, Rate: rate.String(), Models: r.Models, Budget: c.Budget, Expires: c.Expires.UTC()}, nil
}
