package config_test

import (
	"strings"
	"testing"

	"moltbot/ops/config"
)

func TestKeyRoot(t *testing.T) {
	const canary = "c4narY"
	vault := func(change func(*config.Vault)) config.KeyRoot {
		k := config.DefaultKeyRoot()
		k.Root, k.Vault.Address, k.Vault.Token, k.Vault.Key = config.RootVault, "https://vault:8200", canary, "moltbot"
		if change != nil {
			change(&k.Vault)
		}
		return k
	}
	with := func(root, rootKey, keyset string) config.KeyRoot {
		k := config.DefaultKeyRoot()
		k.Root, k.RootKey, k.Keyset = root, rootKey, keyset
		return k
	}
	for want, k := range map[string]config.KeyRoot{
		"must be file, env or vault":         with("hsm", "", ""),
		"keys.root: env needs keys.root_key": with("env", "", ""),
		"and not both":                       with("env", canary, canary),
		"keys.root_key: needs keys.root env": with("file", canary, ""),
		"keys.keyset: needs keys.root env":   with("file", "", canary),
		"keys.vault.address: is needed":      vault(func(v *config.Vault) { v.Address = "" }),
		"keys.vault.token: is needed":        vault(func(v *config.Vault) { v.Token = "" }),
		"keys.vault.key: is needed":          vault(func(v *config.Vault) { v.Key = "" }),
		"must be a URL like https://vault":   vault(func(v *config.Vault) { v.Address = "https://u:" + canary + "@vault:8200" }),
		"must be a path like transit":        vault(func(v *config.Vault) { v.Mount = "../sys" }),
		"must be letters, digits":            vault(func(v *config.Vault) { v.Key = "a/b" }),
		"must be at most 1m":                 vault(func(v *config.Vault) { v.Timeout *= 100 }),
		"needs keys.root vault":              {Root: "file", Vault: config.Vault{Token: canary, Mount: "transit", Timeout: 1}},
	} {
		c := config.Default()
		c.Keys = k
		err := c.Validate()
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), canary) {
			t.Errorf("%q: %v", want, err)
		}
	}
	for _, k := range []config.KeyRoot{config.DefaultKeyRoot(), with("env", canary, ""), with("env", "", canary), vault(nil)} {
		c := config.Default()
		c.Keys = k
		if err := c.Validate(); err != nil {
			t.Error(err)
		}
	}
}
