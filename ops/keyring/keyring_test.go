package keyring

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	tinkpb "github.com/tink-crypto/tink-go/v2/proto/tink_go_proto"

	"moltbot/contracts"
)

var noon = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

// newDir is a key directory as Init makes it.
func newDir(t testing.TB) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "data", "keys")
	if err := Init(dir); err != nil {
		t.Fatal(err)
	}
	return dir
}

func open(t testing.TB, dir string) *Keyring {
	t.Helper()
	k, err := Open(context.Background(), dir, Options{Now: func() time.Time { return noon }})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// replace puts other content into a key file.
func replace(t testing.TB, dir, name, content string) {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o400); err != nil {
		t.Fatal(err)
	}
}

func TestInitMakesClosedFilesOnce(t *testing.T) {
	dir := newDir(t)
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("directory: %v, %v", info.Mode(), err)
	}
	before := contents(t, dir)
	for name := range before {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm() != 0o400 {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
	if len(before) != 3 {
		t.Errorf("files: %d, want 3", len(before))
	}
	if err := os.Remove(filepath.Join(dir, tokenFile)); err != nil {
		t.Fatal(err)
	}
	if err := Init(dir); err != nil {
		t.Fatal(err)
	}
	after := contents(t, dir)
	if after[sealFile] != before[sealFile] || after[idFile] != before[idFile] {
		t.Error("a second Init replaced keys")
	}
	if after[tokenFile] == before[tokenFile] || len(after) != 3 {
		t.Error("a second Init did not make what was missing")
	}
	open(t, dir)
}

func contents(t testing.TB, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		all[e.Name()] = string(b)
	}
	return all
}

func TestInitNeverReplacesEvenDamagedFiles(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, idFile), nil, 0o400); err != nil {
		t.Fatal(err)
	}
	if err := Init(dir); err != nil {
		t.Fatal(err)
	}
	if got := contents(t, dir)[idFile]; got != "" {
		t.Errorf("replaced by %d bytes", len(got))
	}
}

// Everybody who ran Init has the same keys afterwards, and saw them whole.
func TestRacingInitsGiveOneSet(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	const racers = 16
	ids, tokens := make([]string, racers), make([]string, racers)
	var wg sync.WaitGroup
	start := make(chan struct{})
	for i := range racers {
		wg.Go(func() {
			<-start
			if err := Init(dir); err != nil {
				t.Errorf("init: %v", err)
				return
			}
			k, err := Open(context.Background(), dir, Options{})
			if err != nil {
				t.Errorf("open: %v", err)
				return
			}
			ids[i], tokens[i] = string(k.IDKey()), k.tokens.primary+string(k.tokens.byID[k.tokens.primary])
		})
	}
	close(start)
	wg.Wait()
	for i := range racers {
		if ids[i] != ids[0] || tokens[i] != tokens[0] {
			t.Errorf("racer %d has other keys", i)
		}
	}
	if n := len(contents(t, dir)); n != 3 {
		t.Errorf("%d files left, want 3", n)
	}
}

// A file that appears while the new one is being made wins.
func TestCreateLosesTheRace(t *testing.T) {
	dir := t.TempDir()
	err := create(dir, idFile, func() ([]byte, error) {
		return []byte("mine"), os.WriteFile(filepath.Join(dir, idFile), []byte("theirs"), 0o400)
	})
	if all := contents(t, dir); err != nil || all[idFile] != "theirs" || len(all) != 1 {
		t.Errorf("got %q, %v", all, err)
	}
}

// keysetOf is a keyset file made from a template.
func keysetOf(t testing.TB, template *tinkpb.KeyTemplate) string {
	t.Helper()
	handle, err := keyset.NewHandle(template)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := insecurecleartextkeyset.Write(handle, keyset.NewJSONWriter(&b)); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// tokenDocOf is a jwt.json with one key.
func tokenDocOf(secret string) string {
	return fmt.Sprintf(`{"keys":[{"kid":"k1","secret":%q}],"primary":"k1"}`, base64.StdEncoding.EncodeToString([]byte(secret)))
}

// A23 and everything else that must not start.
func TestOpenRefuses(t *testing.T) {
	const canary = "Zq8vT1xK4mW7nB2cR5yU0pL3sD6fG9hJ" // 32 different characters
	good := base64.StdEncoding.EncodeToString([]byte(canary))
	advice := "moltbot key init"
	for name, tt := range map[string]struct{ file, content, want string }{
		"JWT secret empty":        {tokenFile, tokenDocOf(""), advice},
		"JWT secret 31 bytes":     {tokenFile, tokenDocOf(canary[:31]), "31 bytes, needs at least 32; make the keys with: moltbot key init"},
		"JWT secret of one byte":  {tokenFile, tokenDocOf(strings.Repeat("\x00", 32)), "is a sample"},
		"JWT secret sample":       {tokenFile, tokenDocOf("a-string-secret-at-least-256-bits-long"), "is a sample"},
		"JWT secret change me":    {tokenFile, tokenDocOf("CHANGEME-0123456789-0123456789-abc"), "is a sample"},
		"JWT secret not base64":   {tokenFile, `{"keys":[{"kid":"k1","secret":"` + canary + `!"}],"primary":"k1"}`, "is damaged"},
		"JWT secret loose base64": {tokenFile, `{"keys":[{"kid":"k1","secret":"` + strings.TrimRight(good, "=") + `"}],"primary":"k1"}`, "is damaged"},
		"JWT secret other base64": {tokenFile, strings.Replace(tokenDocOf(canary), "Eo=", "Ep=", 1), "is damaged"},
		"JWT empty file":          {tokenFile, "", "is damaged"},
		"JWT no keys":             {tokenFile, `{"keys":[],"primary":""}`, advice},
		"JWT null":                {tokenFile, `null`, advice},
		"JWT two documents":       {tokenFile, tokenDocOf(canary) + tokenDocOf(canary), "something follows"},
		"JWT unknown field":       {tokenFile, `{"keys":[{"kid":"k1","secret":"` + good + `","alg":"none"}],"primary":"k1"}`, "is damaged"},
		"JWT same kid":            {tokenFile, `{"keys":[{"kid":"k1","secret":"` + good + `"},{"kid":"k1","secret":"` + good + `"}],"primary":"k1"}`, "used twice"},
		"JWT bad kid":             {tokenFile, `{"keys":[{"kid":"../k1","secret":"` + good + `"}],"primary":"../k1"}`, "malformed"},
		"JWT foreign primary":     {tokenFile, `{"keys":[{"kid":"k1","secret":"` + good + `"}],"primary":"k2"}`, "its primary"},
		"id empty":                {idFile, "\n", advice},
		"id short":                {idFile, "0123456789abcdef\n", "8 bytes"},
		"id not hex":              {idFile, canary + canary, "is damaged"},
		"id zeros":                {idFile, strings.Repeat("00", 32), "is a sample"},
		"seal empty":              {sealFile, "", "is damaged"},
		"seal text":               {sealFile, canary, "is damaged"},
		"seal cut":                {sealFile, keysetOf(t, aead.AES256GCMKeyTemplate())[:100], "is damaged"},
		"seal 128 bits":           {sealFile, keysetOf(t, aead.AES128GCMKeyTemplate()), "16 bytes"},
		"seal other algorithm":    {sealFile, keysetOf(t, aead.AES256CTRHMACSHA256KeyTemplate()), "is not an AES-GCM key"},
		"seal without prefix":     {sealFile, keysetOf(t, aead.AES256GCMNoPrefixKeyTemplate()), "no Tink prefix"},
		"seal too large":          {sealFile, strings.Repeat(" ", maxKeyFile+1), "is larger than"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := newDir(t)
			replace(t, dir, tt.file, tt.content)
			_, err := Open(context.Background(), dir, Options{})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("got  %v\nwant %s", err, tt.want)
			}
			if strings.Contains(err.Error(), canary) || strings.Contains(err.Error(), good) {
				t.Errorf("the error holds the key: %v", err)
			}
			if tt.file != sealFile && !strings.Contains(err.Error(), filepath.Join(dir, tt.file)) {
				t.Errorf("the error does not name the file: %v", err)
			}
		})
	}
}

func TestOpenRefusesWhatOthersCanReach(t *testing.T) {
	for _, mode := range []os.FileMode{0o440, 0o404, 0o620, 0o601} {
		for _, name := range []string{sealFile, idFile, tokenFile} {
			dir := newDir(t)
			if err := os.Chmod(filepath.Join(dir, name), mode); err != nil {
				t.Fatal(err)
			}
			_, err := Open(context.Background(), dir, Options{})
			if err == nil || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), "chmod") {
				t.Errorf("%s with mode %o: %v", name, mode, err)
			}
			if _, err := Open(context.Background(), dir, Options{ReadOnlySecrets: true}); err != nil {
				t.Errorf("%s with mode %o as a container secret: %v", name, mode, err)
			}
		}
	}
	dir := newDir(t)
	if err := os.Chmod(dir, 0o770); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(context.Background(), dir, Options{}); err == nil || !strings.Contains(err.Error(), "can be changed by others") {
		t.Errorf("a directory open to the group: %v", err)
	}
	if err := Init(dir); err == nil {
		t.Error("Init made keys in a directory open to the group")
	}
}

func TestOpenNamesAllThatIsMissing(t *testing.T) {
	if _, err := Open(context.Background(), filepath.Join(t.TempDir(), "none"), Options{}); err == nil || !strings.Contains(err.Error(), "moltbot key init") {
		t.Errorf("no directory: %v", err)
	}
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, idFile), 0o700); err != nil {
		t.Fatal(err)
	}
	_, err := Open(context.Background(), dir, Options{})
	for _, want := range []string{sealFile + " is missing; make the keys with: moltbot key init", tokenFile + " is missing", idFile + " is not a regular file"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v\nlacks %s", err, want)
		}
	}
}

func TestKeyringKeepsItsKeys(t *testing.T) {
	k := open(t, newDir(t))
	key := k.IDKey()
	if len(key) != 32 {
		t.Errorf("id key of %d bytes", len(key))
	}
	clear(key)
	if bytes.Equal(k.IDKey(), key) {
		t.Error("the caller changed the ring's key")
	}
	if text := fmt.Sprintf("%v %+v %#v %s", k, k, k, k); text != "keyring keyring keyring keyring" {
		t.Errorf("printing gives %s", text)
	}
}

// Whatever the files hold, Open answers; and what it accepts works.
func FuzzOpen(f *testing.F) {
	f.Add(uint8(0), keysetOf(f, aead.AES256GCMKeyTemplate()))
	f.Add(uint8(0), keysetOf(f, aead.AES128GCMKeyTemplate()))
	f.Add(uint8(1), strings.Repeat("0123456789abcdef", 4))
	f.Add(uint8(2), tokenDocOf("Zq8vT1xK4mW7nB2cR5yU0pL3sD6fG9hJ"))
	f.Fuzz(func(t *testing.T, which uint8, content string) {
		dir := newDir(t)
		replace(t, dir, []string{sealFile, idFile, tokenFile}[which%3], content)
		k, err := Open(context.Background(), dir, Options{})
		if err != nil {
			return
		}
		token, err := k.Sign(Claims{User: "u", Scopes: []string{ScopeChat}, Expires: time.Now().Add(time.Hour)})
		if err != nil {
			t.Fatalf("sign: %v", err)
		}
		if _, err := k.Verify(token); err != nil {
			t.Errorf("verify: %v", err)
		}
		sealed, err := k.Sealer().Seal([]byte("x"), contracts.KindTurn, "c", "m")
		if err != nil {
			t.Fatalf("seal: %v", err)
		}
		if _, err := k.Sealer().Open(sealed, contracts.KindTurn, "c", "m"); err != nil || len(k.IDKey()) < 32 {
			t.Errorf("open: %v", err)
		}
	})
}
