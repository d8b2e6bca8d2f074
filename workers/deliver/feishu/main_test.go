package feishu

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"moltbot/contracts"
	"moltbot/workers/deliver"
	"moltbot/workers/deliver/delivertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	appID     = "cli_a0b1c2d3e4f5a6b7"
	appSecret = "made-up-app-secret"
)

// request is what the platform got.
type request struct {
	method, url string
	body        map[string]any
	raw         string
}

// platform plays Feishu: it checks what every call must have, and answers the calls
// behind the token by script, then with success.
type platform struct {
	*httptest.Server
	t testing.TB

	mu     sync.Mutex
	script []http.HandlerFunc
	got    []request
	tokens int    // that were asked for
	valid  string // the one that is taken
}

func newPlatform(t testing.TB, script ...http.HandlerFunc) *platform {
	p := &platform{t: t, script: script}
	p.Server = httptest.NewServer(http.HandlerFunc(p.serve))
	t.Cleanup(p.Close)
	return p
}

func (p *platform) client(o Options) *Client {
	o.AppID, o.AppSecret, o.Endpoint = appID, appSecret, p.URL
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
	if ct := r.Header.Get("Content-Type"); r.Method == http.MethodPost && ct != "application/json; charset=utf-8" {
		p.t.Errorf("%s has content type %q", r.URL.Path, ct)
	}
	if r.URL.Path == "/open-apis/auth/v3/tenant_access_token/internal" {
		p.giveToken(w, r, string(raw))
		return
	}
	p.mu.Lock()
	valid := r.Header.Get("Authorization") == "Bearer "+p.valid
	if !valid {
		p.mu.Unlock()
		answer(w, http.StatusBadRequest, `{"code":99991663,"msg":"Invalid access token"}`)
		return
	}
	got := request{method: r.Method, url: r.URL.RequestURI(), raw: string(raw)}
	if len(raw) > 0 {
		if err := json.Unmarshal(raw, &got.body); err != nil {
			p.t.Errorf("%s: %v", raw, err)
		}
	}
	p.got = append(p.got, got)
	var next http.HandlerFunc
	if len(p.script) > 0 {
		next, p.script = p.script[0], p.script[1:]
	}
	p.mu.Unlock()
	if next != nil {
		next(w, r)
		return
	}
	answer(w, 200, `{"code":0,"msg":"success","data":{"message_id":"om_sent","chat_id":"oc_x"}}`)
}

func (p *platform) giveToken(w http.ResponseWriter, r *http.Request, body string) {
	if want := `{"app_id":"` + appID + `","app_secret":"` + appSecret + `"}`; body != want || r.Method != http.MethodPost {
		p.t.Errorf("a token was asked for with %s %s", r.Method, body)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tokens++
	p.valid = fmt.Sprintf("t-%d", p.tokens)
	answer(w, 200, `{"code":0,"msg":"ok","tenant_access_token":"`+p.valid+`","expire":7200}`)
}

func (p *platform) asked() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.tokens
}

func (p *platform) requests() []request {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.got
}

func answer(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body)
}

// says is a script's step with a code.
func says(status int, code int64) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Tt-Logid", "20261120LOG")
		answer(w, status, fmt.Sprintf(`{"code":%d,"msg":"a text that quotes secret content"}`, code))
	}
}

func message1() *contracts.Answer {
	return &contracts.Answer{ID: "m1", Text: "**done**", Origin: &contracts.Origin{
		App: "default", MessageID: "om_bbbb0002bbbb0002bbbb0002bbbb0002", Chat: "oc_66666666666666666666666666ffffff", Sender: "ou_1",
	}}
}

func send(t testing.TB, c *Client, a *contracts.Answer) (string, error) {
	t.Helper()
	return delivertest.Send(t, &Sender{Apps: Apps{"default": c}}, a)
}

func failure(t testing.TB, err error) *deliver.Failure {
	t.Helper()
	f := delivertest.Failure(t, err)
	for _, secret := range []string{appSecret, "t-1", "secret content", "om_bbbb", "://"} {
		if strings.Contains(err.Error(), secret) {
			t.Errorf("the error holds %q: %v", secret, err)
		}
	}
	return f
}
