package app

import (
	"context"
	"fmt"
	"time"

	"moltbot/ops/config"
	"moltbot/ops/keyring"
)

// KeyRoot is where the sealing keyset of a configuration comes from. It asks nobody yet.
func KeyRoot(c config.Config, readOnlySecrets bool) (keyring.Root, error) {
	dir, k := KeysDir(c), c.Keys
	switch {
	case k.Root == config.RootEnv && k.Keyset != "":
		return keyring.TextRoot{Text: k.Keyset}, nil
	case k.Root == config.RootEnv:
		wrap, err := keyring.NewRootKey(k.RootKey)
		if err != nil {
			return nil, err
		}
		return keyring.DirRoot(dir, wrap, readOnlySecrets), nil
	case k.Root == config.RootVault:
		wrap, err := keyring.NewVault(keyring.VaultOptions{
			Address: k.Vault.Address, Token: k.Vault.Token, Mount: k.Vault.Mount, Key: k.Vault.Key,
			Namespace: k.Vault.Namespace, Timeout: k.Vault.Timeout,
		})
		if err != nil {
			return nil, err
		}
		return keyring.DirRoot(dir, wrap, readOnlySecrets), nil
	}
	return keyring.DirRoot(dir, nil, readOnlySecrets), nil
}

// OpenKeys opens the keys of a configuration.
func OpenKeys(ctx context.Context, c config.Config, readOnlySecrets bool) (*keyring.Keyring, error) {
	root, err := KeyRoot(c, readOnlySecrets)
	if err != nil {
		return nil, fmt.Errorf("open keys: %w", err)
	}
	return keyring.Open(ctx, KeysDir(c), keyring.Options{Root: root, ReadOnlySecrets: readOnlySecrets})
}

// InitKeys makes the key files that a configuration needs in dir, where they are missing.
func InitKeys(c config.Config, dir string) error {
	c.KeysDir = dir
	root, err := KeyRoot(c, false)
	if err != nil {
		return fmt.Errorf("make keys: %w", err)
	}
	return keyring.InitRoot(dir, root)
}

// usageDays is how long the sealed names of callers are kept beside their usage.
const usageDays = 40 * 24 * time.Hour

// KeyRetention is how long something that a key sealed may be found after its
// last use: in Redis, among the dead letters after all tries, and in a backup that
// was made on the last of these days. What lives on in Redis longer, because its
// conversation does, is sealed anew.
func KeyRetention(c config.Config) time.Duration {
	const jitter = 11.0 / 10
	live := max(c.Session.TTL, c.Reply.ResultTTL, c.Reply.DoneTTL, c.Cache.TTL)
	return max(time.Duration(float64(live)*jitter), deadLetters+c.Queue.RetryFor, usageDays) + c.Keys.BackupRetention
}
