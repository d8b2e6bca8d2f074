package contracts

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Types of a CallbackEvent.
const (
	EventCompleted = "chat.completed" // data is a ChatReply
	EventFailed    = "chat.failed"    // data is a Problem
)

// CallbackEvent is what a callback URL is sent, in the shape of Standard Webhooks.
type CallbackEvent struct {
	Type      string    `json:"type"`
	Timestamp time.Time `json:"timestamp"` // when the message was finished
	// Data is what GET /api/chat/{id} answers, without the log of deliveries.
	Data any `json:"data"`
}

// NewCallbackEvent tells what became of a message.
func NewCallbackEvent(a *Answer) CallbackEvent {
	r := &a.Result
	if r.Code == "" {
		return CallbackEvent{Type: EventCompleted, Timestamp: r.At.UTC(), Data: NewChatReply(r)}
	}
	p := NewProblem(r.Code, r.Detail)
	p.RequestID, p.ID = a.RequestID, a.ID
	return CallbackEvent{Type: EventFailed, Timestamp: r.At.UTC(), Data: p}
}

// NewChatReply is the answer to a message that has one.
func NewChatReply(r *Result) ChatReply {
	return ChatReply{
		ID: r.ID, SessionID: r.SessionID, Status: StatusDone, Reply: r.Reply, Model: r.Model,
		ModelVersion: r.ModelVersion, ModelTable: r.Table, FinishReason: r.Finish, Usage: &r.Usage, AnsweredAt: &r.At, Cached: r.Cached,
	}
}

// NewProblem describes a failure to a client.
func NewProblem(code Code, detail string) Problem {
	status := code.Status()
	return Problem{Type: "about:blank", Title: http.StatusText(status), Status: status, Detail: detail, Code: code}
}

// CallbackID names a message to Standard Webhooks, which join it to other fields
// with dots and so want none in it.
func CallbackID(id string) string { return strings.NewReplacer(".", "_", "#", "-").Replace(id) }

// everyCaller stands for each of them in a rule.
const everyCaller = "*"

// CallbackHosts says which hosts each caller's callback_url may name. The zero value
// allows none.
type CallbackHosts struct{ rules []callbackRule }

// callbackRule allows an origin, or the origins of all hosts below a domain.
type callbackRule struct {
	user   string
	scheme string
	below  bool   // host is a domain: what it names itself is not meant
	host   string // with its port, unless the scheme implies it
}

// ParseCallbackHosts reads rules like alice=hooks.example.com:8443, *=*.example.com
// and bob=http://10.0.0.7; without http:// only https is meant.
func ParseCallbackHosts(rules []string) (CallbackHosts, error) {
	var hosts CallbackHosts
	var errs []error
	for _, text := range rules {
		rule, err := parseCallbackRule(text)
		if err != nil {
			errs = append(errs, fmt.Errorf("%.80q: %w", text, err))
		}
		hosts.rules = append(hosts.rules, rule)
	}
	return hosts, errors.Join(errs...)
}

func parseCallbackRule(text string) (callbackRule, error) {
	user, host, found := strings.Cut(text, "=")
	if !found || user == "" {
		return callbackRule{}, errors.New("is not like user=host or *=host")
	}
	rule := callbackRule{user: user, scheme: "https"}
	if scheme, rest, given := strings.Cut(host, "://"); given {
		rule.scheme, host = scheme, rest
	}
	host, rule.below = strings.CutPrefix(host, "*.")
	u, err := ParseOutbound(rule.scheme + "://" + host)
	switch {
	case err != nil:
		return rule, err
	case u.Host != host:
		return rule, errors.New("has something behind the host")
	case rule.below && !strings.Contains(host, "."):
		return rule, errors.New("means the hosts of everybody")
	}
	_, rule.host, _ = strings.Cut(OutboundOrigin(u), "://")
	return rule, nil
}

// None reports whether nobody may name any host.
func (h CallbackHosts) None() bool { return len(h.rules) == 0 }

// Allow reports whether user's callback_url may be u, which is of ParseOutbound.
func (h CallbackHosts) Allow(user string, u *url.URL) bool {
	_, host, _ := strings.Cut(OutboundOrigin(u), "://")
	return slices.ContainsFunc(h.rules, func(r callbackRule) bool {
		if r.user != everyCaller && r.user != user || r.scheme != u.Scheme {
			return false
		}
		return r.below && strings.HasSuffix(host, "."+r.host) || !r.below && host == r.host
	})
}

// firstGeneration is that of a caller whose callback secret was never changed.
const firstGeneration = 1

// CallbackGenerations says which callback secret each caller has, by number.
type CallbackGenerations map[string]int

// ParseCallbackGenerations reads entries like alice=2.
func ParseCallbackGenerations(entries []string) (CallbackGenerations, error) {
	all := CallbackGenerations{}
	var errs []error
	for _, text := range entries {
		user, number, _ := strings.Cut(text, "=")
		n, err := strconv.Atoi(number)
		if _, twice := all[user]; err != nil || user == "" || n < firstGeneration || twice {
			errs = append(errs, fmt.Errorf("%.80q is not like user=2, or a user is named twice", text))
		}
		all[user] = n
	}
	return all, errors.Join(errs...)
}

// Of is the number of user's secret.
func (g CallbackGenerations) Of(user string) int {
	if n, ok := g[user]; ok {
		return n
	}
	return firstGeneration
}

// CallbackSecretRequest is the body of POST /admin/callback.
type CallbackSecretRequest struct {
	User string `json:"user"`
	Next bool   `json:"next,omitempty"` // the one that is to follow
}

// CallbackSecretReply is its answer.
type CallbackSecretReply struct {
	User       string `json:"user"`
	Generation int    `json:"generation"`
	Secret     string `json:"secret"` // whsec_…
}
