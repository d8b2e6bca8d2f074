package keyring

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"hash"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"moltbot/contracts"
)

func TestTokenRoundTrip(t *testing.T) {
	dir := newDir(t)
	k := open(t, dir)
	in := Claims{User: "dingtalk:user-1@a.b_C", Scopes: []string{ScopeChat, ScopeAdmin}, Expires: noon.Add(365 * 24 * time.Hour), ID: "j1", Issued: noon.Add(-time.Hour), Rate: contracts.Rate{PerSecond: 500, Burst: 1000}, Models: contracts.ModelNames{"fast", "gpt-*"}}
	token, err := k.Sign(in)
	if err != nil {
		t.Fatal(err)
	}
	// Another process with the same keys.
	if out, err := open(t, dir).Verify(token); err != nil || !reflect.DeepEqual(out, in) {
		t.Errorf("Verify = %+v, %v\nwant %+v", out, err, in)
	}
	if _, err := open(t, newDir(t)).Verify(token); !errors.Is(err, ErrToken) {
		t.Errorf("a token of another keyring: %v", err)
	}
	first, err1 := k.Sign(Claims{User: "u", Scopes: []string{ScopeChat}, Expires: noon.Add(time.Hour)})
	second, err2 := k.Sign(Claims{User: "u", Scopes: []string{ScopeChat}, Expires: noon.Add(time.Hour)})
	a, err3 := k.Verify(first)
	b, err4 := k.Verify(second)
	if err := errors.Join(err1, err2, err3, err4); err != nil || a.ID == b.ID || len(a.ID) != 32 || !a.Issued.Equal(noon) {
		t.Errorf("made claims: %+v, %+v, %v", a, b, err)
	}
	if !a.Can(ScopeChat) || a.Can(ScopeAdmin) {
		t.Errorf("scopes of %+v", a)
	}
}

func TestSignRefuses(t *testing.T) {
	k := open(t, newDir(t))
	good := Claims{User: "u", Scopes: []string{ScopeChat}, Expires: noon.Add(time.Hour)}
	for name, change := range map[string]func(*Claims){
		"rate too high":   func(c *Claims) { c.Rate = contracts.Rate{PerSecond: 1e7, Burst: 1} },
		"no model name":   func(c *Claims) { c.Models = contracts.ModelNames{""} },
		"rate no burst":   func(c *Claims) { c.Rate = contracts.Rate{PerSecond: 1} },
		"no user":         func(c *Claims) { c.User = "" },
		"long user":       func(c *Claims) { c.User = strings.Repeat("u", 65) },
		"user with space": func(c *Claims) { c.User = "a b" },
		"user with line":  func(c *Claims) { c.User = "a\n" },
		"unicode user":    func(c *Claims) { c.User = "用户" },
		"unknown scope":   func(c *Claims) { c.Scopes = []string{ScopeChat, "root"} },
		"joined scope":    func(c *Claims) { c.Scopes = []string{"chat admin"} },
		"no scope":        func(c *Claims) { c.Scopes = nil },
		"past":            func(c *Claims) { c.Expires = noon },
		"never":           func(c *Claims) { c.Expires = time.Time{} },
		"bad id":          func(c *Claims) { c.ID = "a/b" },
	} {
		c := good
		change(&c)
		if token, err := k.Sign(c); err == nil {
			t.Errorf("%s: signed %s", name, token)
		}
	}
	if _, err := k.Sign(good); err != nil {
		t.Errorf("the good one: %v", err)
	}
}

type object map[string]any

// forge makes a token signed as an attacker who even has the secret would.
func forge(t testing.TB, h func() hash.Hash, secret []byte, header, claims object) string {
	t.Helper()
	text := segment(t, header) + "." + segment(t, claims)
	mac := hmac.New(h, secret)
	mac.Write([]byte(text))
	return text + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

func segment(t testing.TB, o object) string {
	t.Helper()
	b, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

// with is base with some values changed; a nil value removes one.
func with(base object, changes object) object {
	o := object{}
	for _, from := range []object{base, changes} {
		for key, v := range from {
			if o[key] = v; v == nil {
				delete(o, key)
			}
		}
	}
	return o
}

// forger holds what a good token is made of, to make bad ones from.
type forger struct {
	t              testing.TB
	k              *Keyring
	secret         []byte
	header, claims object
}

func newForger(t testing.TB) forger {
	k := open(t, newDir(t))
	return forger{
		t: t, k: k, secret: k.tokens.byID[k.tokens.primary],
		header: object{"alg": "HS256", "typ": "JWT", "kid": k.tokens.primary},
		claims: object{"iss": "moltbot", "aud": "moltbot", "sub": "admin", "jti": "j", "scope": "chat", "exp": noon.Unix() + 3600, "iat": noon.Unix()},
	}
}

func (f forger) token(header, claims object) string {
	return forge(f.t, sha256.New, f.secret, with(f.header, header), with(f.claims, claims))
}

// The attacks of the security list, group A. All but the signature ones carry a
// signature that is right, so that only the rule in question can refuse them.
func TestVerifyRefuses(t *testing.T) {
	f := newForger(t)
	good := f.token(nil, nil)
	if _, err := f.k.Verify(good); err != nil {
		t.Fatalf("the token that the bad ones are made from: %v", err)
	}
	parts := strings.Split(good, ".")
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	rs := jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.MapClaims(f.claims))
	rs.Header["kid"] = f.header["kid"]
	rs256, err := rs.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	public := x509.MarshalPKCS1PublicKey(&key.PublicKey)
	now := noon.Unix()

	attacks := map[string]string{
		"A2 none, unsigned":          segment(t, with(f.header, object{"alg": "none"})) + "." + parts[1] + ".",
		"A2 none":                    f.token(object{"alg": "none"}, nil),
		"A2 None":                    f.token(object{"alg": "None"}, nil),
		"A2 nOnE":                    f.token(object{"alg": "nOnE"}, nil),
		"A2 empty":                   f.token(object{"alg": ""}, nil),
		"A2 missing":                 f.token(object{"alg": nil}, nil),
		"A2 number":                  f.token(object{"alg": 256}, nil),
		"A2 list":                    f.token(object{"alg": []string{"HS256"}}, nil),
		"A2 lower case":              f.token(object{"alg": "hs256"}, nil),
		"A3 RS256":                   rs256,
		"A3 HMAC with a public key":  forge(t, sha256.New, public, f.header, f.claims),
		"A3 HMAC with an empty key":  forge(t, sha256.New, nil, f.header, f.claims),
		"A3 HMAC named RS256":        f.token(object{"alg": "RS256"}, nil),
		"A4 HS384":                   forge(t, sha512.New384, f.secret, with(f.header, object{"alg": "HS384"}), f.claims),
		"A4 HS512":                   forge(t, sha512.New, f.secret, with(f.header, object{"alg": "HS512"}), f.claims),
		"A5 expired over leeway":     f.token(nil, object{"exp": now - 31}),
		"A5 expired at leeway":       f.token(nil, object{"exp": now - 30}),
		"A5 no exp":                  f.token(nil, object{"exp": nil}),
		"A5 exp text":                f.token(nil, object{"exp": "tomorrow"}),
		"A6 nbf ahead":               f.token(nil, object{"nbf": now + 31}),
		"A6 iat ahead":               f.token(nil, object{"iat": now + 31}),
		"A6 no iat":                  f.token(nil, object{"iat": nil}),
		"A7 other aud":               f.token(nil, object{"aud": "other"}),
		"A7 no aud":                  f.token(nil, object{"aud": nil}),
		"A7 aud list":                f.token(nil, object{"aud": []string{"moltbot"}}),
		"A7 aud list of two":         f.token(nil, object{"aud": []string{"moltbot", "other"}}),
		"A7 other iss":               f.token(nil, object{"iss": "Moltbot"}),
		"A7 no iss":                  f.token(nil, object{"iss": nil}),
		"A8 no sub":                  f.token(nil, object{"sub": nil}),
		"A8 long sub":                f.token(nil, object{"sub": strings.Repeat("a", 65)}),
		"A8 sub with a line":         f.token(nil, object{"sub": "a\nb"}),
		"A8 no jti":                  f.token(nil, object{"jti": nil}),
		"A9 kid path":                f.token(object{"kid": "../../dev/null"}, nil),
		"A9 kid SQL":                 f.token(object{"kid": "' OR 1=1 --"}, nil),
		"A9 kid unknown":             f.token(object{"kid": "k9"}, nil),
		"A9 kid empty":               f.token(object{"kid": ""}, nil),
		"A9 kid missing":             f.token(object{"kid": nil}, nil),
		"A9 kid list":                f.token(object{"kid": []any{f.header["kid"]}}, nil),
		"A9 kid unknown, empty key":  forge(t, sha256.New, nil, with(f.header, object{"kid": "k9"}), f.claims),
		"A9 kid missing, empty key":  forge(t, sha256.New, nil, with(f.header, object{"kid": nil}), f.claims),
		"A9 kid 4 KB":                f.token(object{"kid": strings.Repeat("k", 4<<10)}, nil),
		"A9 kid 10 KB":               f.token(object{"kid": strings.Repeat("k", 10<<10)}, nil),
		"A10 jku":                    f.token(object{"jku": "https://evil/keys"}, nil),
		"A10 x5u":                    f.token(object{"x5u": "https://evil/cert"}, nil),
		"A10 jwk":                    f.token(object{"jwk": object{"kty": "oct", "k": "AA"}}, nil),
		"A10 x5c":                    f.token(object{"x5c": []string{"AA"}}, nil),
		"A10 crit":                   f.token(object{"crit": []string{"exp"}}, nil),
		"A14 100k dots":              strings.Repeat(".", 100_000),
		"A14 1 MB":                   parts[0] + "." + strings.Repeat("A", 1<<20) + "." + parts[2],
		"A14 over 8 KiB, all right":  f.token(nil, object{"pad": strings.Repeat("x", 8<<10)}),
		"A14 one dot":                parts[0] + "." + parts[1],
		"A14 three dots":             good + ".",
		"A14 only dots":              "..",
		"A15 padding":                good + "=",
		"A15 line break in the end":  good + "\n",
		"A15 line break in the MAC":  parts[0] + "." + parts[1] + "." + parts[2][:10] + "\r\n" + parts[2][10:],
		"A15 space before":           " " + good,
		"A15 trailing bits":          parts[0] + "." + parts[1] + "." + parts[2][:42] + sibling(t, parts[2]),
		"A15 standard alphabet":      parts[0] + "." + parts[1] + ".+/" + parts[2][2:],
		"A15 signature cut":          good[:len(good)-1],
		"A15 no signature":           parts[0] + "." + parts[1] + ".",
		"A15 other claims":           parts[0] + "." + segment(t, with(f.claims, object{"scope": "chat admin"})) + "." + parts[2],
		"A15 scheme before":          "Bearer " + good,
		"empty":                      "",
		"claims null":                mac(f.secret, segment(t, f.header)+"."+base64.RawURLEncoding.EncodeToString([]byte("null"))),
		"header null":                mac(f.secret, base64.RawURLEncoding.EncodeToString([]byte("null"))+"."+parts[1]),
		"claims with something more": mac(f.secret, parts[0]+"."+base64.RawURLEncoding.EncodeToString([]byte(`{} {}`))),
	}
	for name, token := range attacks {
		t.Run(name, func(t *testing.T) {
			c, err := f.k.Verify(token)
			if !errors.Is(err, ErrToken) || !reflect.DeepEqual(c, Claims{}) {
				t.Fatalf("Verify = %+v, %v", c, err)
			}
			if len(err.Error()) > 100 || strings.ContainsAny(err.Error(), "\n\"'/") {
				t.Errorf("the error quotes the token: %.200q", err)
			}
		})
	}
}

func mac(secret []byte, text string) string {
	m := hmac.New(sha256.New, secret)
	m.Write([]byte(text))
	return text + "." + base64.RawURLEncoding.EncodeToString(m.Sum(nil))
}

// sibling is another last character that decodes to the same bytes where
// trailing bits are ignored.
func sibling(t *testing.T, signature string) string {
	t.Helper()
	want, err := base64.RawURLEncoding.DecodeString(signature)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_" {
		other := signature[:42] + string(c)
		if got, err := base64.RawURLEncoding.DecodeString(other); err == nil && other != signature && hmac.Equal(got, want) {
			return string(c)
		}
	}
	t.Fatal("no sibling")
	return ""
}

func TestVerifyAccepts(t *testing.T) {
	f := newForger(t)
	now := noon.Unix()
	for name, token := range map[string]string{
		"exp within leeway": f.token(nil, object{"exp": now - 29}),
		"nbf within leeway": f.token(nil, object{"nbf": now + 30}),
		"iat within leeway": f.token(nil, object{"iat": now + 30}),
		"no typ":            f.token(object{"typ": nil}, nil),
		"longest sub":       f.token(nil, object{"sub": strings.Repeat("a", 64)}),
	} {
		if _, err := f.k.Verify(token); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if c, err := f.k.Verify(f.token(nil, object{"scope": "chat future"})); err != nil || !reflect.DeepEqual(c.Scopes, []string{ScopeChat}) {
		t.Errorf("a scope of a later version: %+v, %v", c, err)
	}
}

// A9: while keys change, both verify; a retired one does not.
func TestTokenKeyRotation(t *testing.T) {
	const one, two = "Zq8vT1xK4mW7nB2cR5yU0pL3sD6fG9hJ", "hJ9Gf6Ds3Lp0Uy5Rc2Bn7Wm4Kx1Tv8qZ"
	dir := newDir(t)
	ring := func(content string) *Keyring {
		replace(t, dir, tokenFile, content)
		return open(t, dir)
	}
	key := func(kid, secret string) string {
		return `{"kid":"` + kid + `","secret":"` + base64.StdEncoding.EncodeToString([]byte(secret)) + `"}`
	}
	before := ring(`{"keys":[` + key("k1", one) + `],"primary":"k1"}`)
	during := ring(`{"keys":[` + key("k1", one) + `,` + key("k2", two) + `],"primary":"k2"}`)
	after := ring(`{"keys":[` + key("k2", two) + `],"primary":"k2"}`)
	claims := Claims{User: "u", Scopes: []string{ScopeChat}, Expires: noon.Add(time.Hour)}
	oldToken, err1 := before.Sign(claims)
	newToken, err2 := during.Sign(claims)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		k     *Keyring
		token string
		ok    bool
	}{
		"old, during": {during, oldToken, true}, "new, during": {during, newToken, true},
		"old, after": {after, oldToken, false}, "new, after": {after, newToken, true}, "new, before": {before, newToken, false},
	} {
		if _, err := tt.k.Verify(tt.token); (err == nil) != tt.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A14: what a stranger sends costs no memory before its length is known.
func TestVerifyIsBounded(t *testing.T) {
	k := open(t, newDir(t))
	for name, token := range map[string]string{
		"dots": strings.Repeat(".", 100_000), "long": "a.b." + strings.Repeat("c", 1<<20), "spaces": strings.Repeat(" ", 8000) + "..",
	} {
		if n := testing.AllocsPerRun(20, func() { _, _ = k.Verify(token) }); n > 5 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// A rate that this build cannot read voids the token: to pass it over could lift
// a limit.
func TestRateClaim(t *testing.T) {
	f := newForger(t)
	for claim, want := range map[string]contracts.Rate{
		"500/1000": {PerSecond: 500, Burst: 1000}, "off": {Off: true}, "": {},
	} {
		c, err := f.k.Verify(f.token(nil, object{"rate": claim}))
		if err != nil || c.Rate != want {
			t.Errorf("rate %q = %+v, %v", claim, c.Rate, err)
		}
	}
	for _, claim := range []any{"fast", "1e9/1", "0/0", "10/20 ", 10, object{}, []string{"10/20"}, true} {
		if c, err := f.k.Verify(f.token(nil, object{"rate": claim})); !errors.Is(err, ErrToken) {
			t.Errorf("rate %v = %+v, %v", claim, c, err)
		}
	}
}

// The same holds for models: to pass them over would let the caller use all.
func TestModelsClaim(t *testing.T) {
	f := newForger(t)
	for claim, want := range map[string]any{"some": []string{"fast", "gpt-*"}, "none": nil} {
		c, err := f.k.Verify(f.token(nil, object{"models": want}))
		if err != nil || c.Models.Allow("slow") != (want == nil) || !c.Models.Allow("fast") {
			t.Errorf("%s: %+v, %v", claim, c, err)
		}
	}
	for _, claim := range []any{"fast", []string{}, []string{""}, []string{"a b"}, []string{"*a"}, []int{1}, object{}, true} {
		if c, err := f.k.Verify(f.token(nil, object{"models": claim})); !errors.Is(err, ErrToken) {
			t.Errorf("models %v = %+v, %v", claim, c, err)
		}
	}
}

// The same holds for a budget.
func TestBudgetClaim(t *testing.T) {
	f := newForger(t)
	for _, want := range []int64{0, 1, 1_000_000} {
		token, err := f.k.Sign(Claims{User: "u", Scopes: []string{ScopeChat}, Expires: noon.Add(time.Hour), Budget: want})
		if err != nil {
			t.Fatal(err)
		}
		if c, err := f.k.Verify(token); err != nil || c.Budget != want {
			t.Errorf("budget %d = %+v, %v", want, c.Budget, err)
		}
	}
	if _, err := f.k.Sign(Claims{User: "u", Scopes: []string{ScopeChat}, Expires: noon.Add(time.Hour), Budget: -1}); err == nil {
		t.Error("a negative budget was signed")
	}
	for _, claim := range []any{-1, 1.5, "10", "off", object{}, true, 1e30} {
		if c, err := f.k.Verify(f.token(nil, object{"budget": claim})); !errors.Is(err, ErrToken) {
			t.Errorf("budget %v = %+v, %v", claim, c.Budget, err)
		}
	}
}

func FuzzVerify(f *testing.F) {
	fg := newForger(f)
	good := fg.token(nil, nil)
	f.Add(good)
	f.Add(fg.token(object{"jku": "x"}, object{"aud": []string{"moltbot"}}))
	f.Add("..")
	f.Add(good + "=")
	f.Fuzz(func(t *testing.T, token string) {
		c, err := fg.k.Verify(token)
		if err == nil && token != good {
			t.Errorf("%q was accepted as %+v", token, c)
		}
		if err != nil && !errors.Is(err, ErrToken) {
			t.Errorf("%q gives %v", token, err)
		}
	})
}

func TestFileRootNamesItsFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "none.json")
	if _, err := (FileRoot{Path: path}).Load(context.Background()); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("a missing file: %v", err)
	}
}
