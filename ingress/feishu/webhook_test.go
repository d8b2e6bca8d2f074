package feishu

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"

	"moltbot/ingress/im"
)

// counted makes a Webhook that counts what is decrypted and parsed.
func counted(t testing.TB) (w *Webhook, opened, parsed *int) {
	w, opened, parsed = newWebhook(t), new(int), new(int)
	w.open = func(d decrypter, text []byte) ([]byte, error) { *opened++; return d.open(text) }
	w.read = func(plain []byte, who Identity) (im.Event, error) { *parsed++; return ReadEvent(plain, who) }
	return w, opened, parsed
}

// W16: nobody can sign with a secret that is not there.
func TestNewRefusesEmptySecrets(t *testing.T) {
	for _, blank := range []string{"", " ", "\t\n"} {
		for name, change := range map[string]func(*Options){
			"Encrypt Key":        func(o *Options) { o.EncryptKey = blank },
			"Verification Token": func(o *Options) { o.VerificationToken = blank },
			"app id":             func(o *Options) { o.Identity.AppID = blank },
		} {
			o := Options{Identity: identity(), EncryptKey: key, VerificationToken: token}
			change(&o)
			if _, err := New(o); err == nil || !strings.Contains(err.Error(), name) {
				t.Errorf("%s %q: %v", name, blank, err)
			}
		}
	}
}

// W9: what is signed badly is neither decrypted nor parsed.
func TestBadSignatureEndsIt(t *testing.T) {
	w, opened, parsed := counted(t)
	raw, now := seal(t, key, message("text", `{"text":"hi"}`, "")), vectorTime()
	good := sign(raw, now)
	if _, err := w.Read(good, raw, now); err != nil || *opened != 1 || *parsed != 1 {
		t.Fatalf("a good one: %v, %d, %d", err, *opened, *parsed)
	}
	bad := map[string]func(h http.Header){
		"empty":           func(h http.Header) { h.Set(headerSignature, "") },
		"upper case":      func(h http.Header) { h.Set(headerSignature, strings.ToUpper(h.Get(headerSignature))) },
		"cut":             func(h http.Header) { h.Set(headerSignature, h.Get(headerSignature)[:63]) },
		"two signatures":  func(h http.Header) { h.Add(headerSignature, h.Get(headerSignature)) },
		"two times":       func(h http.Header) { h.Add(headerTime, h.Get(headerTime)) },
		"two nonces":      func(h http.Header) { h.Add(headerNonce, h.Get(headerNonce)) },
		"no nonce":        func(h http.Header) { h.Del(headerNonce) },
		"no time":         func(h http.Header) { h.Del(headerTime) },
		"another nonce":   func(h http.Header) { h.Set(headerNonce, "n0nc") },
		"another key":     func(h http.Header) { h.Set(headerSignature, Sign(h.Get(headerTime), h.Get(headerNonce), "k", raw)) },
		"HMAC-like words": func(h http.Header) { h.Set(headerSignature, base64.StdEncoding.EncodeToString([]byte(key))) },
	}
	for name, change := range bad {
		h := good.Clone()
		change(h)
		if _, err := w.Read(h, raw, now); !errors.Is(err, im.ErrSignature) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if *opened != 1 || *parsed != 1 {
		t.Errorf("%d decrypted, %d parsed", *opened, *parsed)
	}
	// A new member beside the ciphertext does no harm where it is signed.
	more := bytes.Replace(raw, []byte(`{`), []byte(`{"new":[1],`), 1)
	if _, err := w.Read(sign(more, now), more, now); err != nil {
		t.Errorf("another member: %v", err)
	}
	// Without a signature a message is decrypted, to know that it is no check, and refused.
	if _, err := w.Read(http.Header{}, raw, now); !errors.Is(err, im.ErrSignature) {
		t.Errorf("unsigned: %v", err)
	}
}

// No JSON parser sees what a stranger wrote.
func TestStrangersReachNoParser(t *testing.T) {
	w, opened, parsed := counted(t)
	nested := []byte(`{"encrypt":` + strings.Repeat("[", 1<<20))
	bodies := [][]byte{
		nested, []byte(`{"a":` + strings.Repeat(`{"a":`, 1<<18)), []byte(strings.Repeat("[", 1<<20)),
		[]byte(`{"encrypt":["a"]}`), []byte(`{"encrypt":"AQEBAQEBAQE=","event":{}}`), []byte(`{"type":"url_verification","token":"` + token + `","challenge":"x"}`),
		[]byte(`{"encrypt":"` + strings.Repeat("A", maxUnsigned) + `"}`), nil, []byte("{}"), []byte("null"),
	}
	for _, raw := range bodies {
		for _, h := range []http.Header{{}, {headerSignature: {"x"}, headerTime: {"1789200001"}, headerNonce: {"n"}}} {
			if _, err := w.Read(h, raw, vectorTime()); !errors.Is(err, im.ErrSignature) {
				t.Errorf("%.40s: %v", raw, err)
			}
		}
	}
	if *parsed != 0 || *opened > 0 {
		t.Errorf("%d decrypted, %d parsed", *opened, *parsed)
	}
}

// W14, and item 7 of the facts: all that an unsigned body can do is to be echoed.
func TestChallenge(t *testing.T) {
	check := func(plain string) (im.Event, error) {
		return newWebhook(t).Read(http.Header{}, seal(t, key, []byte(plain)), vectorTime())
	}
	e, err := check(`{"type":"url_verification","token":"` + token + `","challenge":"a\"b<\\c\n","event":{"type":"message"},"x":1}`)
	var echo map[string]string
	if err != nil || e.Kind != im.KindChallenge || len(e.Messages) != 0 || json.Unmarshal(e.Body, &echo) != nil ||
		len(echo) != 1 || echo["challenge"] != "a\"b<\\c\n" {
		t.Errorf("%v, %+v, %s", err, e, e.Body)
	}
	for name, plain := range map[string]string{
		"another token":                    `{"type":"url_verification","token":"x","challenge":"c"}`,
		"blank token":                      `{"type":"url_verification","token":"","challenge":"c"}`,
		"no token":                         `{"type":"url_verification","challenge":"c"}`,
		"an event":                         string(message("text", `{"text":"hi"}`, "")),
		"an event that says it is a check": strings.Replace(string(message("text", `{"text":"hi"}`, "")), `{"schema"`, `{"type":"url_verification","token":"`+token+`","schema"`, 1),
		"twice a type":                     `{"type":"url_verification","type":"x","token":"` + token + `","challenge":"c"}`,
		"no JSON":                          "hello world",
		"a number":                         `{"type":"url_verification","token":"` + token + `","challenge":1}`,
		"invalid UTF-8":                    "{\"type\":\"url_verification\",\"token\":\"" + token + "\",\"challenge\":\"\xff\"}",
	} {
		if e, err := check(plain); !errors.Is(err, im.ErrSignature) || len(e.Body) > 0 {
			t.Errorf("%s: %v, %s", name, err, e.Body)
		}
	}
	// Signed, it is the same; with another key it is nothing.
	raw := seal(t, key, []byte(`{"type":"url_verification","token":"`+token+`","challenge":"c"}`))
	if e, err := newWebhook(t).Read(sign(raw, vectorTime()), raw, vectorTime()); err != nil || string(e.Body) != `{"challenge":"c"}` {
		t.Errorf("signed: %v, %s", err, e.Body)
	}
	raw = seal(t, "another key", []byte(`{"type":"url_verification","token":"`+token+`","challenge":"c"}`))
	if _, err := newWebhook(t).Read(http.Header{}, raw, vectorTime()); !errors.Is(err, im.ErrSignature) {
		t.Errorf("another key: %v", err)
	}
}

// W11: each byte of a body counts, in each of its bits that change it.
func TestFlippedBytes(t *testing.T) {
	raw, now := seal(t, key, message("text", `{"text":"hi"}`, "")), vectorTime()
	w, h := newWebhook(t), sign(raw, now)
	for i := range raw {
		for _, flip := range []byte{1, 0x20, 0x80} {
			changed := bytes.Clone(raw)
			changed[i] ^= flip
			if _, err := w.Read(h, changed, now); !errors.Is(err, im.ErrSignature) {
				t.Fatalf("byte %d: %v", i, err)
			}
			// Nor does it become a check without the signature.
			if _, err := w.Read(http.Header{}, changed, now); !errors.Is(err, im.ErrSignature) {
				t.Fatalf("byte %d, unsigned: %v", i, err)
			}
		}
	}
}

// W12: whatever is decrypted, the answer is one and nothing panics.
func TestBadCiphertexts(t *testing.T) {
	w, now, seed := newWebhook(t), vectorTime(), rand.Uint64()
	read := func(raw []byte) {
		t.Helper()
		for _, h := range []http.Header{{}, sign(raw, now)} {
			_, err := w.Read(h, raw, now)
			// Of 256 random blocks one has good padding, and is no JSON then.
			if !errors.Is(err, im.ErrSignature) && (len(h) == 0 || !errors.Is(err, im.ErrMalformed)) {
				t.Fatalf("seed %d, %s: %v", seed, raw, err)
			}
		}
	}
	for _, n := range []int{0, 1, 15, 16, 17, 31, 33, 47, 49} {
		read(body(make([]byte, n)))
	}
	for _, text := range []string{"***", "AQEB", "AQEBAQEBAQEBAQEBAQEBAQ", "AQEBAQEBAQEBAQEBAQEBAR==", "A\nA", `A\nA`, "=", "", "密"} {
		read([]byte(`{"encrypt":"` + text + `"}`))
	}
	random := rand.New(rand.NewPCG(seed, 1))
	for range 10_000 {
		blob := make([]byte, 16*(2+random.IntN(8)))
		for i := range blob {
			blob[i] = byte(random.Uint32())
		}
		read(body(blob))
	}
}

// Every length of padding is taken, and no other bytes are.
func TestUnpad(t *testing.T) {
	for n := 1; n <= 16; n++ {
		block := bytes.Repeat([]byte{0}, 16)
		for i := 16 - n; i < 16; i++ {
			block[i] = byte(n)
		}
		if plain, err := unpad(block); err != nil || len(plain) != 16-n {
			t.Errorf("%d: %v, %d bytes", n, err, len(plain))
		}
		for i := 16 - n; i < 16; i++ {
			wrong := bytes.Clone(block)
			wrong[i] ^= 0x40
			if _, err := unpad(wrong); err == nil {
				t.Errorf("%d: byte %d is wrong and taken", n, i)
			}
		}
	}
	for _, last := range []byte{0, 17, 32, 255} {
		if _, err := unpad(bytes.Repeat([]byte{last}, 32)); err == nil {
			t.Errorf("padding of %d is taken", last)
		}
	}
}
