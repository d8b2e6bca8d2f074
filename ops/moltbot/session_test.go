package main

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"moltbot/contracts"
)

// Callers see and erase their own sessions, operators those of anybody; nothing of
// what was said is in the log, and who looked is.
func TestSessions(t *testing.T) {
	dir := t.TempDir()
	r := up(t, dir)
	token := strings.TrimSpace(must(t, "token", "-u", "eve", "-d", "1", "--data-dir", dir))
	other := strings.TrimSpace(must(t, "token", "-u", "mallory", "-d", "1", "--data-dir", dir))
	if status, _, p := said(t, r, token, `{"message":"`+canary+` \u001b[31m","session_id":"s1"}`); status != http.StatusOK {
		t.Fatalf("%d %+v", status, p)
	}
	base := strings.TrimSuffix(curlLine.FindStringSubmatch(r.out.String())[1], "/api/chat") + "/api/sessions"
	call := func(method, path, token string) (int, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, base+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Close = true
		req.Header.Set("Authorization", "Bearer "+token)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = res.Body.Close() }() // read only
		b, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res.StatusCode, string(b)
	}
	var page contracts.SessionPage
	eventually(t, "the session is listed", func() bool {
		_, body := call(http.MethodGet, "", token)
		return json.Unmarshal([]byte(body), &page) == nil && len(page.Sessions) == 1
	})
	if it := page.Sessions[0]; it.ID != "s1" || it.Rounds != 1 || it.ExpiresIn < 1500 || it.Began.IsZero() {
		t.Errorf("%+v", it)
	}
	if status, body := call(http.MethodGet, "/s1/export", token); status != http.StatusOK || !strings.Contains(body, canary) || !strings.Contains(body, `"version": 1`) {
		t.Errorf("export: %d %s", status, body)
	}
	for _, path := range []string{"/s1", "/s1/export", "/nothing"} {
		if status, body := call(http.MethodGet, path, other); status != http.StatusNotFound || strings.Contains(body, canary) {
			t.Errorf("%s of another: %d %s", path, status, body)
		}
	}
	if status, body := call(http.MethodGet, "", other); status != http.StatusOK || !strings.Contains(body, `"sessions":[]`) {
		t.Errorf("another's list: %d %s", status, body)
	}

	listed := must(t, "session", "list", "--caller", "eve", "--data-dir", dir)
	contains(t, listed, "s1", "expires in")
	if strings.Contains(listed, canary) {
		t.Errorf("the list shows text: %s", listed)
	}
	if err := json.Unmarshal([]byte(must(t, "session", "list", "--caller", "api:eve", "--json", "--data-dir", dir)), &page); err != nil || len(page.Sessions) != 1 {
		t.Fatalf("%+v, %v", page, err)
	}
	name := page.Sessions[0].Conversation
	shown := must(t, "session", "show", "s1", "--caller", "eve", "--data-dir", dir)
	contains(t, shown, canary, "rounds: 1", "bot:")
	if strings.Contains(shown, "\x1b") {
		t.Error("what a user wrote reaches the operator's terminal as it is")
	}
	contains(t, must(t, "session", "show", name, "--json", "--data-dir", dir), canary)
	contains(t, fails(t, exitFailure, "session", "show", "s2", "--caller", "eve", "--data-dir", dir), "no such session")
	contains(t, fails(t, exitFailure, "session", "show", "s1", "--data-dir", dir), "--caller")
	contains(t, must(t, "session", "erase", "s1", "--caller", "eve", "--data-dir", dir), "nothing is kept")
	if status, _ := call(http.MethodGet, "/s1", token); status != http.StatusNotFound {
		t.Errorf("after the erase: %d", status)
	}
	if status, _ := call(http.MethodDelete, "/s1", token); status != http.StatusNoContent {
		t.Errorf("erased again: %d", status)
	}
	r.stop(t)
	contains(t, r.log.String(), "operator used sessions", `"action":"session list"`, `"action":"session show"`, `"action":"session erase"`, name)
	if strings.Contains(r.log.String(), canary) {
		t.Error("the log quotes a message")
	}
}
