package keyring

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tink-crypto/tink-go/v2/aead/subtle"
	"github.com/tink-crypto/tink-go/v2/tink"

	"moltbot/contracts"
)

const vaultToken = "hvs.CANARYtoken"

// vaultStand speaks the transit engine's API: encrypt and decrypt with one key,
// the associated data, the token and namespace headers, the form of errors.
type vaultStand struct {
	*httptest.Server
	key tink.AEAD

	mu     sync.Mutex
	answer http.HandlerFunc // instead of its own
	asked  []string
}

func newVaultStand(t *testing.T) *vaultStand {
	t.Helper()
	key, err := subtle.NewAESGCM(bytes.Repeat([]byte("k1"), 16))
	must(t, err)
	v := &vaultStand{key: key}
	v.Server = httptest.NewServer(v)
	t.Cleanup(v.Close)
	return v
}

func (v *vaultStand) behave(answer http.HandlerFunc) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.answer, v.asked = answer, nil
}

func (v *vaultStand) requests() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return len(v.asked)
}

func (v *vaultStand) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	v.mu.Lock()
	v.asked = append(v.asked, r.URL.Path)
	answer := v.answer
	v.mu.Unlock()
	if answer != nil {
		answer(w, r)
		return
	}
	var ask map[string]string
	if json.NewDecoder(r.Body).Decode(&ask) != nil {
		refuse(http.StatusBadRequest, "failed to parse JSON input")(w, r)
		return
	}
	place, _ := base64.StdEncoding.DecodeString(ask["associated_data"])
	path, _ := strings.CutPrefix(r.URL.Path, "/v1/teams/transit/")
	switch {
	case r.Header.Get("X-Vault-Token") != vaultToken || r.Header.Get("X-Vault-Namespace") != "bots":
		refuse(http.StatusForbidden, "permission denied for "+r.Header.Get("X-Vault-Token"))(w, r)
	case r.Header.Get("X-Vault-Request") != "true" || r.Method != http.MethodPut && r.Method != http.MethodPost:
		refuse(http.StatusMethodNotAllowed, "unsupported operation")(w, r)
	case path == "encrypt/moltbot":
		plain, _ := base64.StdEncoding.DecodeString(ask["plaintext"])
		sealed, _ := v.key.Encrypt(plain, place)
		tell(w, map[string]string{"ciphertext": "vault:v1:" + base64.StdEncoding.EncodeToString(sealed), "key_version": "1"})
	case path == "decrypt/moltbot":
		text, ok := strings.CutPrefix(ask["ciphertext"], "vault:v1:")
		sealed, _ := base64.StdEncoding.DecodeString(text)
		plain, err := v.key.Decrypt(sealed, place)
		if !ok || err != nil {
			refuse(http.StatusBadRequest, "cipher: message authentication failed")(w, r)
			return
		}
		tell(w, map[string]string{"plaintext": base64.StdEncoding.EncodeToString(plain)})
	default:
		refuse(http.StatusNotFound, "no handler for route")(w, r)
	}
}

func tell(w http.ResponseWriter, data map[string]string) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"request_id": "r", "lease_id": "", "renewable": false, "data": data, "warnings": nil})
}

func refuse(status int, text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(map[string][]string{"errors": {text}})
	}
}

func (v *vaultStand) root(t *testing.T, change func(*VaultOptions)) tink.AEAD {
	t.Helper()
	o := VaultOptions{Address: v.URL, Token: vaultToken, Mount: "teams/transit", Key: "moltbot", Namespace: "bots", Timeout: 2 * time.Second}
	if change != nil {
		change(&o)
	}
	root, err := NewVault(o)
	must(t, err)
	return root
}

// wrappedDir is a key directory whose keyset Vault wraps.
func wrappedDir(t *testing.T, wrap tink.AEAD) (string, FileRoot) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "keys")
	root := DirRoot(dir, wrap, false)
	must(t, InitRoot(dir, root))
	return dir, root
}

func TestVault(t *testing.T) {
	t.Setenv("VAULT_TOKEN", "of-somebody-else")
	t.Setenv("VAULT_ADDR", "http://127.0.0.1:1")
	t.Setenv("VAULT_AGENT_ADDR", "http://127.0.0.1:1")
	t.Setenv("VAULT_NAMESPACE", "another")
	ctx, v := t.Context(), newVaultStand(t)
	dir, root := wrappedDir(t, v.root(t, nil))
	file := contents(t, dir)[sealFile]
	if !strings.Contains(file, "encryptedKeyset") || strings.Contains(file, `"keyData"`) {
		t.Fatalf("the file is not wrapped: %s", file)
	}
	k, err := Open(ctx, dir, Options{Root: root})
	must(t, err)
	sealed, err := k.Sealer().Seal([]byte("x"), contracts.KindTurn, "c", "i")
	must(t, err)
	r := &Rotation{Dir: dir, Root: root, Retention: retention, By: "ann"}
	second := mustAdd(t, r)
	must(t, r.Promote(ctx, second))
	if changed, err := k.Reload(ctx); err != nil || !changed || k.Primary() != second {
		t.Errorf("reload: %v, %v", changed, err)
	}
	if plain, err := k.Sealer().Open(sealed, contracts.KindTurn, "c", "i"); err != nil || string(plain) != "x" {
		t.Errorf("%q, %v", plain, err)
	}
	// Neither without Vault's key, nor as something else that Vault wrapped.
	if _, err := Open(ctx, dir, Options{}); err == nil || !strings.Contains(err.Error(), "set keys.root") {
		t.Errorf("as a file in the clear: %v", err)
	}
	if _, err := (FileRoot{Path: newDir(t) + "/" + sealFile, Wrap: v.root(t, nil)}).Load(ctx); err == nil || !strings.Contains(err.Error(), "moltbot key wrap") {
		t.Errorf("a file in the clear: %v", err)
	}
}

// Whatever Vault says or does not say, the keys in use and the files stay, the
// error says what to do, in time, and nothing of token or keyset is in it.
func TestVaultHostile(t *testing.T) {
	ctx, v := t.Context(), newVaultStand(t)
	dir, root := wrappedDir(t, v.root(t, nil))
	k, err := Open(ctx, dir, Options{Root: root})
	must(t, err)
	before := contents(t, dir)
	released := make(chan struct{})
	t.Cleanup(func() { close(released) })
	slow := func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-released:
		case <-r.Context().Done():
		}
	}
	echo := func(status int) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			b, _ := io.ReadAll(r.Body)
			refuse(status, string(b)+r.Header.Get("X-Vault-Token"))(w, r)
		}
	}
	data := func(d map[string]string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { tell(w, d) }
	}
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("a redirect was followed, with token %q", r.Header.Get("X-Vault-Token"))
	}))
	t.Cleanup(elsewhere.Close)
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		want   string // in one of the errors of the two calls
		most   int    // requests of one call
	}{
		"403":              {echo(403), "answers 403 (the token", 1},
		"404":              {echo(404), "no transit engine", 1},
		"400":              {echo(400), "not what this key wrapped", 1},
		"503, sealed":      {echo(503), "answers 503 (it is sealed", 1 + vaultTries},
		"500":              {echo(500), "answers 500", 1 + vaultTries},
		"slow":             {slow, "does not answer in time", 1 + vaultTries},
		"redirect":         {http.RedirectHandler(elsewhere.URL, http.StatusTemporaryRedirect).ServeHTTP, "vault: ", 1},
		"no JSON":          {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>") }, "cannot be read", 1},
		"nothing":          {func(http.ResponseWriter, *http.Request) {}, "", 1},
		"empty data":       {data(nil), "", 1},
		"foreign text":     {data(map[string]string{"ciphertext": "x", "plaintext": "eA=="}), "", 1},
		"another's keyset": {data(map[string]string{"ciphertext": "vault:v1:eA==", "plaintext": "CgA="}), "", 1},
		"endless": {func(w http.ResponseWriter, _ *http.Request) {
			for chunk := bytes.Repeat([]byte(`{"data":`), 4096); ; {
				if _, err := w.Write(chunk); err != nil {
					return
				}
			}
		}, "too long", 1},
		"it breaks off": {func(w http.ResponseWriter, _ *http.Request) {
			c, _, err := w.(http.Hijacker).Hijack()
			if err == nil {
				_ = c.Close()
			}
		}, "cannot be reached", 1 + vaultTries},
	} {
		t.Run(name, func(t *testing.T) {
			patience := 2 * time.Second
			if name == "slow" {
				patience = 200 * time.Millisecond
			}
			r := &Rotation{Dir: dir, Root: DirRoot(dir, v.root(t, func(o *VaultOptions) { o.Timeout = patience }), false), Retention: retention}
			k.root = r.Root
			v.behave(c.answer)
			began := time.Now()
			_, reload := k.Reload(ctx)
			if n := v.requests(); n > c.most || time.Since(began) > 5*time.Second {
				t.Errorf("%d requests in %s", n, time.Since(began))
			}
			_, add := r.Add(ctx)
			handle := k.seal.Load().handle
			_, encode := r.Root.(FileRoot).encode(handle) // Add did not come so far
			save := (&change{Rotation: r, root: r.Root.(FileRoot), now: noon}).saveKeyset(handle)
			for step, err := range map[string]error{"reload": reload, "add": add, "save": save} {
				if err == nil {
					t.Fatalf("%s worked", step)
				}
				text := err.Error()
				if strings.Contains(text, vaultToken) || strings.Contains(text, "plaintext") || len(text) > 400 {
					t.Errorf("%s: the error quotes Vault: %s", step, text)
				}
			}
			if encode != nil && strings.Contains(encode.Error(), vaultToken) {
				t.Error("the error of wrapping quotes Vault")
			}
			if !strings.Contains(reload.Error(), c.want) {
				t.Errorf("%v, want %q", reload, c.want)
			}
			if !maps.Equal(before, contents(t, dir)) {
				t.Error("files were changed")
			}
			if _, err := k.Sealer().Seal([]byte("x"), contracts.KindTurn, "c", "i"); err != nil {
				t.Errorf("the keys in use: %v", err)
			}
		})
	}
	v.behave(nil)
	if _, err := k.Reload(ctx); err != nil {
		t.Errorf("once it answers again: %v", err)
	}
}

// A root key that does not open what it wrapped does not cost the keys.
func TestRootKeyThatForgets(t *testing.T) {
	v := newVaultStand(t)
	dir, root := wrappedDir(t, v.root(t, nil))
	before := contents(t, dir)
	handle, err := root.Load(t.Context())
	must(t, err)
	v.behave(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "/encrypt/") {
			tell(w, map[string]string{"ciphertext": "vault:v1:AAAA"})
			return
		}
		refuse(http.StatusBadRequest, "cipher: message authentication failed")(w, r)
	})
	c := &change{Rotation: &Rotation{Dir: dir}, root: root, now: noon}
	if err := c.saveKeyset(handle); err == nil || !strings.Contains(err.Error(), "check what is to be written") {
		t.Errorf("%v", err)
	}
	if !maps.Equal(before, contents(t, dir)) {
		t.Error("the file was changed")
	}
}

func TestEnvironmentRoots(t *testing.T) {
	ctx := t.Context()
	key := base64.StdEncoding.EncodeToString(random())
	wrap, err := NewRootKey(key)
	must(t, err)
	dir, root := wrappedDir(t, wrap)
	k, err := Open(ctx, dir, Options{Root: root})
	must(t, err)
	other, err := NewRootKey(base64.StdEncoding.EncodeToString(random()))
	must(t, err)
	if _, err := Open(ctx, dir, Options{Root: DirRoot(dir, other, false)}); err == nil || !strings.Contains(err.Error(), "not the root key of this file") {
		t.Errorf("another root key: %v", err)
	}
	for text, want := range map[string]string{
		"": "has 0 bytes", "secret!": "neither base64 nor hex", strings.Repeat("00", 32): "sample", key + "AAAA": "neither", "AAAA": "has 2 bytes",
	} {
		if _, err := NewRootKey(text); err == nil || !strings.Contains(err.Error(), want) || text != "" && strings.Contains(err.Error(), text) {
			t.Errorf("%q: %v", text, err)
		}
	}
	// The keyset itself.
	clear, err := DirRoot(dir, nil, false).encode(k.seal.Load().handle)
	must(t, err)
	text := TextRoot{base64.StdEncoding.EncodeToString(clear)}
	bare := filepath.Join(t.TempDir(), "keys")
	must(t, InitRoot(bare, text))
	if all := contents(t, bare); len(all) != 2 || all[sealFile] != "" {
		t.Errorf("%d files", len(all))
	}
	same, err := Open(ctx, bare, Options{Root: text})
	must(t, err)
	if same.Primary() != k.Primary() {
		t.Error("another keyset")
	}
	r := &Rotation{Dir: bare, Root: text}
	if keys, err := r.List(ctx); err != nil || len(keys) != 1 || !keys[0].Primary {
		t.Errorf("%v, %v", keys, err)
	}
	if _, err := r.Add(ctx); !errors.Is(err, ErrUnchangeable) {
		t.Errorf("add: %v", err)
	}
	for _, damaged := range []string{"", "?", base64.StdEncoding.EncodeToString(clear[:20])} {
		if _, err := (TextRoot{damaged}).Load(ctx); err == nil || damaged != "" && strings.Contains(err.Error(), damaged) {
			t.Errorf("%q: %v", damaged, err)
		}
	}
}

// A keyset in the clear becomes a wrapped one with the same keys.
func TestRewrap(t *testing.T) {
	dir := newDir(t)
	before := open(t, dir)
	wrap, err := NewRootKey(base64.StdEncoding.EncodeToString(random()))
	must(t, err)
	r := &Rotation{Dir: dir, Root: DirRoot(dir, wrap, false)}
	must(t, r.Rewrap(context.Background(), DirRoot(dir, nil, false)))
	after, err := Open(t.Context(), dir, Options{Root: r.Root})
	must(t, err)
	if !after.seal.Load().same(before.seal.Load()) {
		t.Error("the keys are others")
	}
	if err := r.Rewrap(context.Background(), DirRoot(dir, nil, false)); err == nil {
		t.Error("wrapped twice")
	}
}
