package app

import (
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"moltbot/ops/config"
	"moltbot/ops/keyring"
)

// A process follows its key directory: what is in order is taken over without a
// restart, what is not leaves everything as it is and is said.
func TestKeysAreFollowed(t *testing.T) {
	a, lines, err := up(t, settings(t))
	must(t, err)
	r := run(t, a)
	await(t, "ready", r.Ready())
	token, err := a.Token("ann", 1, "chat")
	must(t, err)
	say := func(message string) {
		t.Helper()
		status, body := ask(t, a, token, map[string]any{"message": message, "session_id": "s"})
		equal(t, "status of "+string(body), status, http.StatusOK)
	}
	say("before")
	dir := a.keysDir()
	root, err := KeyRoot(a.o.Config, false)
	must(t, err)
	rotation := KeyRotation(dir, root, KeyRetention(a.o.Config), false)
	first := a.keys.Primary()

	// Damaged, and put right again.
	path := keyring.SealFile(dir)
	good, err := os.ReadFile(path)
	must(t, err)
	put := func(b []byte) {
		t.Helper()
		must(t, os.WriteFile(path+".new", b, 0o400))
		must(t, os.Rename(path+".new", path))
	}
	put(good[:len(good)/2])
	eventually(t, "the damaged file is refused", func() bool {
		return strings.Contains(lines.String(), "the sealing keys are refused") && a.keyStatus().Refused != ""
	})
	_, text := scrape(t, a, "/metrics")
	hasText(t, text, "moltbot_seal_keys_refused 1")
	say("while it is damaged")
	put(good)
	eventually(t, "it is in order again", func() bool { return a.keyStatus().Refused == "" })

	second, err := rotation.Add(t.Context())
	must(t, err)
	eventually(t, "the new key is held", func() bool { return a.keyStatus().Holds(second) })
	equal(t, "primary after add", a.keys.Primary(), first)
	must(t, rotation.Promote(t.Context(), second))
	eventually(t, "Redis is sealed anew by itself", func() bool {
		k, err := a.showKeys(t.Context())
		return err == nil && k.Reseal.Covers(second) && len(k.Processes) == 1 && k.Processes[0].Primary == second
	})
	say("after")
	_, text = scrape(t, a, "/metrics")
	for _, key := range []struct {
		id      uint32
		primary string
	}{{first, "false"}, {second, "true"}} {
		hasText(t, text, `moltbot_seal_key_info{key="`+jsonOf(t, key.id)+`",primary="`+key.primary+`"} 1`)
	}
	before, err := a.resealer().State(t.Context())
	must(t, err)
	must(t, a.resealNow(t.Context(), "ann"))
	eventually(t, "an operator has it done once more", func() bool {
		s, err := a.resealer().State(t.Context())
		return err == nil && s.Covers(second) && s.Began.After(before.Began)
	})
	hasText(t, lines.String(), "sealing keys changed", "Redis is sealed anew")
	for _, secret := range keyTexts(t, good) {
		if strings.Contains(lines.String(), secret) {
			t.Error("a key is in the log")
		}
	}
}

func jsonOf(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	must(t, err)
	return string(b)
}

// keyTexts are the keys as a keyset file holds them.
func keyTexts(t *testing.T, file []byte) (texts []string) {
	t.Helper()
	var doc struct {
		Key []struct{ KeyData struct{ Value string } }
	}
	must(t, json.Unmarshal(file, &doc))
	for _, k := range doc.Key {
		texts = append(texts, k.KeyData.Value)
	}
	if len(texts) == 0 || texts[0] == "" {
		t.Fatal("no key found")
	}
	return texts
}

// Each root opens what it made, and no other does.
func TestKeyRoots(t *testing.T) {
	c := settings(t)
	roots := map[string]config.KeyRoot{
		"file":    {Root: config.RootFile},
		"root":    {Root: config.RootEnv, RootKey: base64.StdEncoding.EncodeToString([]byte("9f8a7b6c5d4e3f2a1b0c9d8e7f6a5b4c"))},
		"another": {Root: config.RootEnv, RootKey: base64.StdEncoding.EncodeToString([]byte("0a1b2c3d4e5f6a7b8c9d0e1f2a3b4c5d"))},
		"vault":   {Root: config.RootVault, Vault: config.Vault{Address: "http://127.0.0.1:1", Token: canary, Mount: "transit", Key: "k", Timeout: time.Second}},
	}
	for _, name := range []string{"file", "root"} {
		c.KeysDir, c.Keys = filepath.Join(t.TempDir(), "keys"), roots[name]
		must(t, InitKeys(c, c.KeysDir))
		for other, keys := range maps.All(roots) {
			c.Keys = keys
			_, err := OpenKeys(t.Context(), c, false)
			if (err == nil) != (other == name) {
				t.Errorf("made by %s, opened by %s: %v", name, other, err)
			}
			if err != nil {
				hasText(t, err.Error(), "seal.json")
			}
		}
	}
}

func TestKeyRetention(t *testing.T) {
	c := config.Default()
	equal(t, "default", KeyRetention(c), 70*24*time.Hour)
	c.Session.TTL, c.Keys.BackupRetention = 100*24*time.Hour, 0
	equal(t, "long sessions, no backups", KeyRetention(c), 110*24*time.Hour)
}
