// Package callback sends finished answers to the URLs that clients named, signed as
// Standard Webhooks are. It follows no redirect and believes nothing that a receiver
// writes but its status.
package callback

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"moltbot/contracts"
	"moltbot/workers/deliver"
	"moltbot/workers/deliver/egress"
)

// Options of a Sender. What has no default is required.
type Options struct {
	// Client makes the calls; see egress.New.
	Client *http.Client
	// Secrets gives the keys that a caller's callbacks are signed with, each.
	Secrets func(caller string) [][]byte
	// Hosts may have changed since the URL was taken.
	Hosts    contracts.CallbackHosts
	RetryFor time.Duration // default 24h
	Agent    string        // User-Agent; default moltbot
	// Now is the clock. Default: time.Now.
	Now func() time.Time
	// Spread varies a wait, so that what failed together is not tried together
	// again. Default: up to a fifth longer.
	Spread func(time.Duration) time.Duration
}

// Sender is the deliver.Sender of callback URLs.
type Sender struct{ o Options }

// New checks o.
func New(o Options) (*Sender, error) {
	if o.Client == nil || o.Secrets == nil {
		return nil, errors.New("callback options: Client and Secrets are required")
	}
	if o.RetryFor == 0 {
		o.RetryFor = 24 * time.Hour
	}
	if o.Agent == "" {
		o.Agent = "moltbot"
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Spread == nil {
		o.Spread = spread
	}
	return &Sender{o}, nil
}

// Parts is one: the event.
func (s *Sender) Parts(a *contracts.Answer) []deliver.Part {
	body, _ := json.Marshal(contracts.NewCallbackEvent(a)) // cannot fail: texts, numbers and times
	return []deliver.Part{{Number: 1, Of: 1, Text: string(body)}}
}

// Repeatable is always true: receivers know a repeat by its webhook-id.
func (s *Sender) Repeatable(*contracts.Answer, time.Duration) bool { return true }

// Send makes one call. Only a status of 2xx is success.
func (s *Sender) Send(ctx context.Context, a *contracts.Answer, p deliver.Part) (receipt string, err error) {
	u, err := s.target(a)
	if err != nil {
		return "", &deliver.Failure{Verdict: deliver.VerdictFinal, Detail: "refused_url", Err: err}
	}
	req, err := s.request(ctx, a, u, p.Text)
	if err != nil {
		return "", &deliver.Failure{Verdict: deliver.VerdictFinal, Detail: "request", Err: err}
	}
	resp, err := s.o.Client.Do(req)
	if err != nil {
		return "", s.broken(ctx, a, p, egress.Plain(err))
	}
	defer func() { _ = resp.Body.Close() }() // what it says is not for us
	if n := resp.ContentLength; n >= 0 && n <= drained {
		_, _ = io.Copy(io.Discard, resp.Body) // so that the connection can be used again
	}
	if resp.StatusCode >= http.StatusOK && resp.StatusCode < http.StatusMultipleChoices {
		return "", nil
	}
	return "", s.declined(a, p, resp)
}

// drained is the longest answer that is read to its end.
const drained = 4 << 10

// target checks the URL again: the operator may have taken its host off the list.
func (s *Sender) target(a *contracts.Answer) (*url.URL, error) {
	u, err := contracts.ParseOutbound(a.Callback)
	if err != nil {
		return nil, fmt.Errorf("check the callback URL: %w", err)
	}
	if !s.o.Hosts.Allow(User(a.Caller), u) {
		return nil, errors.New("check the callback URL: its host is not in callback.hosts for this caller")
	}
	return u, nil
}

// User is whom a caller's token speaks for.
func User(caller string) string {
	return strings.TrimPrefix(caller, string(contracts.ChannelAPI)+":")
}

func (s *Sender) request(ctx context.Context, a *contracts.Answer, u *url.URL, body string) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), strings.NewReader(body))
	if err != nil {
		return nil, errors.New("make the request: the URL cannot be called") // the cause quotes it
	}
	now, id := s.o.Now(), contracts.CallbackID(a.ID)
	signatures, err := s.sign(User(a.Caller), id, now, []byte(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", s.o.Agent)
	req.Header.Set(standardwebhooks.HeaderWebhookID, id)
	req.Header.Set(standardwebhooks.HeaderWebhookTimestamp, strconv.FormatInt(now.Unix(), 10))
	req.Header.Set(standardwebhooks.HeaderWebhookSignature, signatures)
	return req, nil
}

// sign gives one signature for each secret, so that a receiver may change from one
// to the next whenever it likes.
func (s *Sender) sign(user, id string, at time.Time, body []byte) (string, error) {
	var all []string
	for _, secret := range s.o.Secrets(user) {
		if len(secret) < leastSecret {
			return "", errors.New("sign the event: the secret is too short") // HMAC takes an empty one without a word
		}
		w, err := standardwebhooks.NewWebhookRaw(secret)
		if err != nil {
			return "", fmt.Errorf("sign the event: %w", err)
		}
		signature, err := w.Sign(id, at, body)
		if err != nil {
			return "", fmt.Errorf("sign the event: %w", err)
		}
		all = append(all, signature)
	}
	if len(all) == 0 {
		return "", errors.New("sign the event: there is no secret")
	}
	return strings.Join(all, " "), nil
}

// leastSecret is what Standard Webhooks ask for, in bytes.
const leastSecret = 24
