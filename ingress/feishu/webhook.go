// Package feishu reads the events and card clicks of Feishu and Lark, and proves
// that a callback comes from there. It stores nothing and calls nobody.
package feishu

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"moltbot/ingress/im"
)

// maxUnsigned is the largest body that may do without a signature: the check of
// the callback's URL, which has some hundred bytes.
const maxUnsigned = 4 << 10

// Options of a Webhook. All but Identity's optional fields are required.
type Options struct {
	Identity          Identity
	EncryptKey        string
	VerificationToken string
}

// Webhook is the callback of one application.
type Webhook struct {
	identity Identity
	key      string
	cipher   decrypter
	read     func(plain []byte, who Identity) (im.Event, error)
	open     func(d decrypter, text []byte) ([]byte, error)
}

var _ im.Webhook = (*Webhook)(nil)

// New refuses what anybody could sign with.
func New(o Options) (*Webhook, error) {
	need := map[string]string{"app id": o.Identity.AppID, "Encrypt Key": o.EncryptKey, "Verification Token": o.VerificationToken}
	for name, value := range need {
		if strings.TrimSpace(value) == "" {
			return nil, fmt.Errorf("feishu callback: the %s is empty", name)
		}
	}
	o.Identity.Token = o.VerificationToken
	d, err := newDecrypter(o.EncryptKey)
	if err != nil {
		return nil, fmt.Errorf("feishu callback: %w", err)
	}
	return &Webhook{identity: o.Identity, key: o.EncryptKey, cipher: d, read: ReadEvent, open: decrypter.open}, nil
}

// Headers of a callback.
const (
	headerTime      = "X-Lark-Request-Timestamp"
	headerNonce     = "X-Lark-Request-Nonce"
	headerSignature = "X-Lark-Signature"
)

// Check refuses a header that cannot belong to a good signature. Without one the
// body decides, because the check of the URL is not signed.
func (w *Webhook) Check(h http.Header, now time.Time) error {
	if !signed(h) {
		return nil
	}
	for _, name := range []string{headerTime, headerNonce, headerSignature} {
		if len(h.Values(name)) != 1 {
			return im.ErrSignature
		}
	}
	return fresh(h.Get(headerTime), now)
}

func signed(h http.Header) bool { return len(h.Values(headerSignature)) > 0 }

// A callback is taken as long as a repeated one is recognized (done keys are kept
// for 24 hours). The platform repeats one for up to 7 hours, and nobody knows
// whether it signs it anew.
const (
	maxAge    = 24 * time.Hour
	maxFuture = 5 * time.Minute
)

func fresh(text string, now time.Time) error {
	at, err := im.Time(text) // seconds; milliseconds do no harm
	if err != nil || now.Sub(at) > maxAge || at.Sub(now) > maxFuture {
		return im.ErrSignature
	}
	return nil
}

// Read looks at the signature of the raw bytes first, and only then decrypts and
// parses. Any bad signature, ciphertext or token gives the same error.
func (w *Webhook) Read(h http.Header, body []byte, now time.Time) (im.Event, error) {
	if err := w.Check(h, now); err != nil {
		return im.Event{}, err
	}
	if signedAsOld(h) {
		return w.oldCard(h, body)
	}
	genuine := signed(h)
	if genuine && !w.verify(h, body) || !genuine && len(body) > maxUnsigned {
		return im.Event{}, im.ErrSignature
	}
	text, ok := ciphertext(body, genuine)
	if !ok {
		return im.Event{}, im.ErrSignature
	}
	plain, err := w.open(w.cipher, text)
	if err != nil {
		return im.Event{}, im.ErrSignature
	}
	e, err := w.read(plain, w.identity)
	if !genuine && (err != nil || e.Kind != im.KindChallenge) {
		return im.Event{}, im.ErrSignature
	}
	return e, err
}

func (w *Webhook) verify(h http.Header, body []byte) bool {
	want := Sign(h.Get(headerTime), h.Get(headerNonce), w.key, body)
	return subtle.ConstantTimeCompare([]byte(want), []byte(h.Get(headerSignature))) == 1
}

// Sign is the signature of the raw bytes of a callback.
func Sign(timestamp, nonce, key string, body []byte) string {
	d := sha256.New()
	d.Write([]byte(timestamp + nonce + key))
	d.Write(body)
	return hex.EncodeToString(d.Sum(nil))
}

var errCipher = errors.New("feishu: it does not decrypt")
