package dingtalk

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"moltbot/contracts"
	"moltbot/workers/deliver"
	"moltbot/workers/deliver/delivertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	clientID     = "dingmadeup"
	clientSecret = "made-up-client-secret"
	robot        = "dingrobot"
)

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}

type request struct {
	path, query, raw string
	body             map[string]any
	header           http.Header
}

// platform plays both hosts of DingTalk. What has no step in a script succeeds.
type platform struct {
	*httptest.Server
	t   testing.TB
	log bytes.Buffer

	mu     sync.Mutex
	script map[string][]http.HandlerFunc // by path
	got    []request
	tokens int
	valid  string
}

func newPlatform(t testing.TB) *platform {
	p := &platform{t: t, script: map[string][]http.HandlerFunc{}}
	p.Server = httptest.NewServer(http.HandlerFunc(p.serve))
	t.Cleanup(p.Close)
	return p
}

func (p *platform) on(path string, steps ...http.HandlerFunc) {
	p.script[path] = append(p.script[path], steps...)
}

func (p *platform) client(o Options) *Client {
	o.ClientID, o.ClientSecret, o.RobotCode, o.Endpoint = clientID, clientSecret, robot, p.URL
	if o.Origins == nil {
		o.Origins = []string{p.URL}
	}
	if o.Resolver == nil {
		o.Allow = loopback
	}
	if o.Refused == nil {
		o.Refused = prometheus.NewCounter(prometheus.CounterOpts{Name: "refused"})
	}
	o.Log = zerolog.New(&p.log)
	c, err := New(o)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(c.Close)
	return c
}

func (p *platform) serve(w http.ResponseWriter, r *http.Request) {
	raw, err := io.ReadAll(r.Body)
	if err != nil {
		p.t.Error(err)
	}
	got := request{path: r.URL.Path, query: r.URL.RawQuery, raw: string(raw), header: r.Header.Clone()}
	if len(raw) > 0 {
		if err := json.Unmarshal(raw, &got.body); err != nil {
			p.t.Errorf("%s: %v", raw, err)
		}
	}
	p.mu.Lock()
	if got.path == pathToken {
		p.tokens++
		p.valid = fmt.Sprintf("at-%d", p.tokens)
	}
	p.got = append(p.got, got)
	var next http.HandlerFunc
	if steps := p.script[got.path]; len(steps) > 0 {
		next, p.script[got.path] = steps[0], steps[1:]
	}
	valid := p.valid
	p.mu.Unlock()
	if next != nil {
		next(w, r)
		return
	}
	p.succeed(w, got, valid)
}

func (p *platform) succeed(w http.ResponseWriter, got request, valid string) {
	token := got.header.Get("x-acs-dingtalk-access-token")
	switch {
	case got.path == pathToken:
		if want := `{"appKey":"` + clientID + `","appSecret":"` + clientSecret + `"}`; got.raw != want {
			p.t.Errorf("a token was asked for with %s", got.raw)
		}
		answer(w, 200, `{"accessToken":"`+valid+`","expireIn":7200}`)
	case got.path == sessionPath:
		if token != "" {
			p.t.Error("a session webhook was given the token")
		}
		answer(w, 200, `{"errcode":0,"errmsg":"ok"}`)
	case token != valid:
		answer(w, 401, `{"code":"InvalidAuthentication","message":"secret content","requestid":"x"}`)
	default:
		answer(w, 200, `{"processQueryKey":"pqk","invalidStaffIdList":[],"flowControlledStaffIdList":[]}`)
	}
}

func answer(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body)
}

func says(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { answer(w, status, body) }
}

func page(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// calls are the paths that were called, without those for tokens.
func (p *platform) calls() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []string
	for _, r := range p.got {
		if r.path != pathToken {
			all = append(all, r.path)
		}
	}
	return strings.Join(all, " ")
}

func (p *platform) last() request {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.got[len(p.got)-1]
}

const session = "s3ssion"

// inGroup is an answer to a message of a group, with a session webhook.
func (p *platform) inGroup() *contracts.Answer {
	return &contracts.Answer{ID: "m1", Text: "**done**", Origin: &contracts.Origin{
		App: "default", MessageID: "msg1", Chat: "cidGroup==", Sender: "staff1",
		Webhook: p.URL + sessionPath + "?session=" + session, WebhookUntil: time.Now().Add(time.Hour),
	}}
}

// direct is one to a user, without.
func direct() *contracts.Answer {
	return &contracts.Answer{ID: "m1", Text: "**done**", Origin: &contracts.Origin{
		App: "default", MessageID: "msg1", Chat: "cidDirect", Direct: true, Sender: "staff1",
	}}
}

func send(t testing.TB, c *Client, a *contracts.Answer) (string, error) {
	t.Helper()
	return delivertest.Send(t, &Sender{Apps: Apps{"default": c}}, a)
}

func failure(t testing.TB, err error) *deliver.Failure {
	t.Helper()
	f := delivertest.Failure(t, err)
	clean(t, err.Error())
	return f
}

func clean(t testing.TB, text string) {
	t.Helper()
	for _, secret := range []string{clientSecret, "at-1", "secret content", session, "://"} {
		if strings.Contains(text, secret) {
			t.Errorf("%q is in %s", secret, text)
		}
	}
}
