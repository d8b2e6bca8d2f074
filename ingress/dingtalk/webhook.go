// Package dingtalk reads the messages that DingTalk's robots get, and checks that a
// callback was signed with the robot's secret. The signature does not cover the
// body, so nothing in it is trusted. It stores nothing and calls nobody.
package dingtalk

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"moltbot/ingress/im"
)

// window is how far the signature's time may be from ours (the platform's rule).
const window = time.Hour

// Options of a Webhook.
type Options struct {
	Identity     Identity
	ClientSecret string // required
}

// Webhook is the callback of one robot.
type Webhook struct {
	identity Identity
	secret   []byte
}

var _ im.Webhook = (*Webhook)(nil)

// New refuses an empty secret, with which anybody could sign.
func New(o Options) (*Webhook, error) {
	if strings.TrimSpace(o.ClientSecret) == "" {
		return nil, errors.New("dingtalk callback: the client secret is empty")
	}
	return &Webhook{identity: o.Identity, secret: []byte(o.ClientSecret)}, nil
}

// Headers of a callback.
const (
	headerTime = "Timestamp"
	headerSign = "Sign"
)

// Check decides whether the platform made the call. It needs no body.
func (w *Webhook) Check(h http.Header, now time.Time) error {
	at, sign := h.Values(headerTime), h.Values(headerSign)
	if len(at) != 1 || len(sign) != 1 {
		return im.ErrSignature
	}
	ms, err := strconv.ParseInt(at[0], 10, 64)
	if err != nil || strconv.FormatInt(ms, 10) != at[0] {
		return im.ErrSignature
	}
	if now.Sub(time.UnixMilli(ms)).Abs() > window || !hmac.Equal([]byte(sign[0]), []byte(Sign(at[0], w.secret))) {
		return im.ErrSignature
	}
	return nil
}

// Read reads the message. It checks the header again, which costs little.
func (w *Webhook) Read(h http.Header, body []byte, now time.Time) (im.Event, error) {
	if err := w.Check(h, now); err != nil {
		return im.Event{}, err
	}
	return ReadMessage(body, w.identity)
}

// Sign is the signature of a callback at timestamp, in milliseconds.
func Sign(timestamp string, secret []byte) string {
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(timestamp + "\n"))
	mac.Write(secret)
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}
