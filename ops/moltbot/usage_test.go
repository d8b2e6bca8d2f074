package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"moltbot/contracts"
)

// said sends a message with a token of its own and gives the reply.
func said(t *testing.T, r *running, token, body string) (status int, reply contracts.ChatReply, problem contracts.Problem) {
	t.Helper()
	base := curlLine.FindStringSubmatch(r.out.String())[1]
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, base, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Close = true
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+token)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }() // read only
	var into any = &reply
	if res.StatusCode >= http.StatusBadRequest {
		into = &problem
	}
	if err := json.NewDecoder(res.Body).Decode(into); err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, reply, problem
}

// eventually looks again and again for what gives no signal of its own.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	limit := time.NewTimer(20 * time.Second)
	defer limit.Stop()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-limit.C:
			t.Fatalf("not in time: %s", what)
		case <-tick.C:
		}
	}
}

// From the question to the bill: an answer, the same one from the cache, what the
// operator sees of it, a purge, and a budget that is used up.
func TestUsageAndCache(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("MOLTBOT_CACHE_DEMO", "true")
	r := up(t, dir)
	token := strings.TrimSpace(must(t, "token", "-u", "eve", "-d", "1", "--data-dir", dir))
	ask := func(session string) contracts.ChatReply {
		t.Helper()
		status, reply, _ := said(t, r, token, `{"message":"`+canary+`","session_id":"`+session+`"}`)
		if status != http.StatusOK || reply.Usage == nil {
			t.Fatalf("status %d, %+v", status, reply)
		}
		return reply
	}
	first := ask("a")
	again := ask("b")
	if first.Cached || !again.Cached || again.Reply != first.Reply || *again.Usage != *first.Usage {
		t.Errorf("first %+v, again %+v", first, again)
	}
	contains(t, must(t, "cache", "purge", "--data-dir", dir), "all cached answers are forgotten")
	asked := 0
	eventually(t, "the purge is followed", func() bool { asked++; return !ask(fmt.Sprint("c-", asked)).Cached })
	contains(t, must(t, "cache", "purge", "--model", "demo", "--data-dir", dir), "the cached answers of demo are forgotten")
	contains(t, fails(t, exitFailure, "cache", "purge", "--model", "a b", "--data-dir", dir), "nothing was purged")
	var u contracts.AdminUsage
	eventually(t, "the usage is written", func() bool {
		u = contracts.AdminUsage{}
		if err := json.Unmarshal([]byte(must(t, "usage", "--json", "--data-dir", dir)), &u); err != nil {
			t.Fatal(err)
		}
		return u.Total.Calls >= 2 && u.Total.Cached >= 1
	})
	if len(u.Rows) != 1 || u.Rows[0].Caller != "api:eve" || u.Rows[0].Model != "demo" || u.Rows[0].PromptTokens != u.Rows[0].Calls*int64(first.Usage.PromptTokens) {
		t.Errorf("%+v", u)
	}
	contains(t, must(t, "usage", "--data-dir", dir), "caller", "api:eve", "total")
	contains(t, must(t, "usage", "--from", "2026-01-01", "--to", "2026-01-02", "--data-dir", dir), "total")
	contains(t, fails(t, exitFailure, "usage", "--day", "tomorrow", "--data-dir", dir), "is not a day like")

	small := strings.TrimSpace(must(t, "token", "-u", "eve", "-d", "1", "--budget", "1", "--data-dir", dir))
	status, _, problem := said(t, r, small, `{"message":"more"}`)
	if status != http.StatusTooManyRequests || problem.Code != contracts.CodeBudget || !strings.Contains(problem.Detail, "budget of 1 tokens") {
		t.Errorf("%d %+v", status, problem)
	}
	r.stop(t)
	contains(t, r.log.String(), `"cached":true`, `"prompt_tokens":`, "cached answers purged")
	if strings.Contains(r.log.String(), canary) {
		t.Error("the log quotes a message")
	}
}
