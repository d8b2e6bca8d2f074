package e2e

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"moltbot/contracts"
	"moltbot/ops/apidoc"
)

// TestSessionsAreAsDescribed uses every route of sessions, tasks and keys, also
// wrongly, and compares what it sends and gets with the API's description.
func TestSessionsAreAsDescribed(t *testing.T) {
	t.Parallel() // it waits more than it works
	a := startAlone(t)
	compared := describe(t, http.DefaultTransport)
	var operator struct{ URL, Token string }
	b, err := os.ReadFile(filepath.Join(a.data, "admin.json"))
	if err == nil {
		err = json.Unmarshal(b, &operator)
	}
	if err != nil {
		t.Fatal(err)
	}
	call := func(method, url, token, body string) (int, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		if body != "" {
			req.Header.Set("Content-Type", "application/json")
		}
		if token != "" {
			req.Header.Set("Authorization", "Bearer "+token)
		}
		res, err := compared.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = res.Body.Close() }()
		text, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res.StatusCode, string(text)
	}
	for _, text := range []string{"one", "two", "/help", "/model", "/model scripted", "/stop"} {
		if status, body := call("POST", a.base+"/api/chat", a.token, `{"message":"`+text+`","session_id":"s"}`); status != 200 {
			t.Fatalf("%s: %d %s", text, status, body)
		}
	}
	api, admin := a.base+"/api/sessions", operator.URL+"/admin"
	_, text := call("GET", api+"/s?limit=1", a.token, "")
	var d contracts.SessionDetail
	if err := json.Unmarshal([]byte(text), &d); err != nil || len(d.Turns) != 1 || d.Before == "" || d.Session.LastActivity.Before(d.Session.Began) {
		t.Fatalf("%v %s", err, text)
	}
	for _, c := range []struct {
		method, url, token, body string
		status                   int
	}{
		{"GET", api, a.token, "", 200}, {"GET", api + "?limit=1", a.token, "", 200}, {"GET", api + "?cursor=x", a.token, "", 400}, {"GET", api, "", "", 401},
		{"GET", api + "/s", a.token, "", 200}, {"GET", api + "/s?before=" + d.Before, a.token, "", 200}, {"GET", api + "/s?before=x", a.token, "", 400},
		{"GET", api + "/s?format=export", a.token, "", 200}, {"GET", api + "/s/export", a.token, "", 200}, {"GET", api + "/s?format=xml", a.token, "", 400},
		{"GET", api + "/s", a.few, "", 404}, {"GET", api + "/s/export", a.few, "", 404}, {"GET", api + "/none", a.token, "", 404}, {"GET", api + "/s", "wrong", "", 401},
		{"GET", admin + "/sessions?caller=tester", operator.Token, "", 200}, {"GET", admin + "/sessions", operator.Token, "", 400}, {"GET", admin + "/sessions?caller=x", a.token, "", 401},
		{"GET", admin + "/sessions/s?caller=tester", operator.Token, "", 200}, {"GET", admin + "/sessions/s?caller=x", operator.Token, "", 404}, {"GET", admin + "/sessions/s", operator.Token, "", 400},
		{"GET", admin + "/tasks", operator.Token, "", 200}, {"GET", admin + "/tasks?queue=x", operator.Token, "", 400},
		{"POST", admin + "/tasks", operator.Token, `{"id":"none","action":"run"}`, 404}, {"POST", admin + "/tasks", operator.Token, `{"id":"none","action":"x"}`, 400},
		{"GET", admin + "/keys", operator.Token, "", 200}, {"POST", admin + "/keys/reseal", operator.Token, "", 200},
		{"DELETE", api + "/s", "", "", 401}, {"DELETE", api + "/s", a.token, "", 204}, {"DELETE", api + "/s", a.token, "", 204},
		{"DELETE", admin + "/sessions/s?caller=tester", operator.Token, "", 204}, {"DELETE", admin + "/sessions/s", operator.Token, "", 400}, {"GET", api + "/s", a.token, "", 404},
	} {
		if status, body := call(c.method, c.url, c.token, c.body); status != c.status {
			t.Errorf("%s %s: %d %s, want %d", c.method, c.url, status, body, c.status)
		}
	}
	compared.everyOperation(t, "/api/sessions", "/admin/sessions", "/admin/tasks", "/admin/keys")
}

// everyOperation fails where an operation below one of the paths was never compared.
func (d *described) everyOperation(t *testing.T, below ...string) {
	t.Helper()
	text, err := apidoc.Document()
	if err != nil {
		t.Fatal(err)
	}
	doc, err := openapi3.NewLoader().LoadFromData(text)
	if err != nil {
		t.Fatal(err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			for _, prefix := range below {
				if strings.HasPrefix(path, prefix) && !d.saw(op.OperationID) {
					t.Errorf("%s %s was not compared", method, path)
				}
			}
		}
	}
}

func (d *described) saw(operation string) bool {
	for exchange := range d.seen {
		if strings.HasPrefix(exchange, operation+" ") {
			return true
		}
	}
	return false
}
