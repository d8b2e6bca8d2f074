package config

import (
	"regexp"
	"strings"
	"time"
)

// KeyRoot says where the keyset that seals content comes from.
type KeyRoot struct {
	Root    string `koanf:"root" doc:"What protects the sealing keyset: file (the mode of seal.json in the key directory), env (keys.root_key wraps that file, or keys.keyset is the keyset), or vault (Vault's transit engine wraps the file)."`
	RootKey string `koanf:"root_key" secret:"value" doc:"With root env: 32 bytes as base64 or hex that wrap seal.json."`
	Keyset  string `koanf:"keyset" secret:"value" doc:"With root env: the keyset itself, as base64 of Tink's JSON; there is no seal.json then, and a change needs a restart."`
	Vault   Vault  `koanf:"vault"`

	BackupRetention time.Duration `koanf:"backup_retention" zero:"off" doc:"How long backups are kept; a retired key can be destroyed only after that and everything else that may hold what it sealed."`
}

// Vault says which key of HashiCorp Vault wraps the keyset.
type Vault struct {
	Address   string        `koanf:"address" doc:"Address of Vault, as https://vault:8200; VAULT_CACERT and the like are read from the environment."`
	Token     string        `koanf:"token" secret:"value" doc:"Token whose policy allows update of encrypt and decrypt with the key."`
	Mount     string        `koanf:"mount" doc:"Where the transit engine is mounted."`
	Key       string        `koanf:"key" doc:"Name of the transit key; it must not be derived."`
	Namespace string        `koanf:"namespace" doc:"Namespace of Vault Enterprise; empty means none."`
	Timeout   time.Duration `koanf:"timeout" doc:"Longest time of one call, repetitions included; at most 1m."`
}

// What protects the sealing keyset.
const (
	RootFile  = "file"
	RootEnv   = "env"
	RootVault = "vault"
)

// DefaultKeyRoot is the file in the clear.
func DefaultKeyRoot() KeyRoot {
	return KeyRoot{Root: RootFile, Vault: Vault{Mount: "transit", Timeout: 5 * time.Second}, BackupRetention: 30 * 24 * time.Hour}
}

var (
	vaultMount = regexp.MustCompile(`^[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*$`)
	vaultName  = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]*$`)
)

func (f *findings) keyRoot(c Config) {
	k, v := c.Keys, c.Keys.Vault
	f.want(oneOf(k.Root, RootFile, RootEnv, RootVault), "must be file, env or vault", "keys.root")
	env := k.Root == RootEnv
	f.want(!env || (k.RootKey == "") != (k.Keyset == ""), "env needs keys.root_key or keys.keyset, and not both", "keys.root", "keys.root_key", "keys.keyset")
	// A secret that is not used gives a wrong feeling of safety.
	f.want(env || k.RootKey == "", "needs keys.root env", "keys.root_key", "keys.root")
	f.want(env || k.Keyset == "", "needs keys.root env", "keys.keyset", "keys.root")
	vault := k.Root == RootVault
	f.want(!vault || v.Address != "", "is needed with keys.root vault", "keys.vault.address", "keys.root")
	f.want(!vault || v.Token != "", "is needed with keys.root vault", "keys.vault.token", "keys.root")
	f.want(!vault || v.Key != "", "is needed with keys.root vault", "keys.vault.key", "keys.root")
	f.want(vault || v.Address == "" && v.Token == "", "needs keys.root vault", "keys.vault.address", "keys.root")
	f.want(v.Address == "" || isURL(v.Address, "http", "https") && !strings.Contains(v.Address, "@"), "must be a URL like https://vault:8200", "keys.vault.address")
	f.want(vaultMount.MatchString(v.Mount), "must be a path like transit", "keys.vault.mount")
	f.want(v.Key == "" || vaultName.MatchString(v.Key), "must be letters, digits, _ . and -", "keys.vault.key")
	f.want(v.Timeout <= time.Minute, "must be at most 1m", "keys.vault.timeout")
}
