package ingress_test

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"moltbot/contracts"
	"moltbot/ingress"
)

// conversationOf is the name of a session of the API.
func (r *rig) conversationOf(user, session string) string {
	return r.namer.Conversation(contracts.Scope{Channel: contracts.ChannelAPI, Caller: user, Session: session})
}

// keep lets the store know a session.
func (r *rig) keep(user, session string, texts ...string) {
	c := r.conversationOf(user, session)
	d := contracts.SessionDetail{
		Session: contracts.SessionItem{ID: session, Channel: contracts.ChannelAPI, Conversation: c, Rounds: len(texts), ExpiresIn: 60},
		Turns:   []contracts.SessionTurn{},
	}
	for _, text := range texts {
		d.Turns = append(d.Turns, contracts.SessionTurn{ID: "id", User: text, Assistant: "re: " + text, At: time.UnixMilli(1).UTC()})
	}
	r.store.mu.Lock()
	defer r.store.mu.Unlock()
	r.store.sessions[c] = d
}

func TestListSessions(t *testing.T) {
	r := newRig(t)
	r.keep("ann", "s1", "hi")
	res := r.get("/api/sessions?limit=7&cursor=abc")
	var page contracts.SessionPage
	if err := json.Unmarshal([]byte(res.body), &page); err != nil || res.status != http.StatusOK {
		t.Fatalf("%d %s", res.status, res.body)
	}
	if len(page.Sessions) != 1 || page.Sessions[0].ID != "s1" || page.Sessions[0].Conversation != "" || page.Next != "next" {
		t.Errorf("%+v", page)
	}
	r.get("/api/sessions", "Authorization: Bearer "+bob)
	if got := strings.Join(r.store.lists, ", "); got != `api:ann "abc" 7, api:bob "" 20` {
		t.Errorf("asked for %s", got)
	}
	for _, bad := range []string{"limit=0", "limit=101", "limit=x", "cursor=" + strings.Repeat("x", 200)} {
		problem(t, r.get("/api/sessions?"+bad), contracts.CodeBadRequest)
	}
	problem(t, r.get("/api/sessions", "Authorization:"), contracts.CodeUnauthorized)
	problem(t, r.get("/api/sessions", "Authorization: Bearer "+guest), contracts.CodeForbidden)
	r.store.failing(true)
	problem(t, r.get("/api/sessions"), contracts.CodeStoreDown)
}

func TestShowAndExportSession(t *testing.T) {
	r := newRig(t)
	r.keep("ann", "s1", "hello", "again")
	before := r.namer.NewID(r.conversationOf("ann", "s1"), "ann", r.clock.now(), r.namer.Digest("x")).String()
	res := r.get("/api/sessions/s1?limit=5&before=" + before)
	var d contracts.SessionDetail
	if err := json.Unmarshal([]byte(res.body), &d); err != nil || res.status != http.StatusOK {
		t.Fatalf("%d %s", res.status, res.body)
	}
	if d.Session.ID != "s1" || d.Session.Conversation != "" || len(d.Turns) != 2 || d.Turns[1].User != "again" {
		t.Errorf("%+v", d)
	}
	if span := r.store.reads[0]; span.Limit != 5 || span.Before != before {
		t.Errorf("asked for %+v", span)
	}
	for _, path := range []string{"/api/sessions/s1/export", "/api/sessions/s1?format=export"} {
		res := r.get(path)
		var x contracts.SessionExport
		if err := json.Unmarshal([]byte(res.body), &x); err != nil || res.status != http.StatusOK {
			t.Fatalf("%d %s", res.status, res.body)
		}
		if x.Version != 1 || !x.ExportedAt.Equal(r.clock.now()) || len(x.Turns) != 2 || x.Session.ID != "s1" ||
			res.header.Get("Content-Disposition") != `attachment; filename="session-s1.json"` || res.header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %v %+v", path, res.header, x)
		}
	}
	if span := r.store.reads[len(r.store.reads)-1]; span != (contracts.SessionSpan{}) {
		t.Errorf("an export asked for %+v", span)
	}
	for _, bad := range []string{"/api/sessions/s1?format=xml", "/api/sessions/s1?limit=0", "/api/sessions/s1?before=x", "/api/sessions/a%20b", "/api/sessions/a%20b/export"} {
		problem(t, r.get(bad), contracts.CodeBadRequest)
	}
}

// Another caller's session is answered as one that does not exist: the same look
// at the store, the same words.
func TestAnothersSession(t *testing.T) {
	r := newRig(t)
	r.keep("ann", "s1", "secret of ann")
	for _, tail := range []string{"", "/export", "?format=export"} {
		before := len(r.store.reads)
		another := r.get("/api/sessions/s1"+tail, "Authorization: Bearer "+bob)
		looks := len(r.store.reads) - before
		unknown := r.get("/api/sessions/s2"+tail, "Authorization: Bearer "+bob)
		if also := len(r.store.reads) - before - looks; looks != 1 || also != 1 {
			t.Errorf("%q: %d and %d looks", tail, looks, also)
		}
		a, b := problem(t, another, contracts.CodeNotFound), problem(t, unknown, contracts.CodeNotFound)
		a.RequestID, b.RequestID = "", ""
		if a != b || len(another.body) != len(unknown.body) {
			t.Errorf("%q: %+v, unknown %+v", tail, a, b)
		}
	}
	if res := r.call(http.MethodDelete, "/api/sessions/s1", "", "Authorization: Bearer "+bob); res.status != http.StatusNoContent {
		t.Errorf("%d %s", res.status, res.body)
	}
	if res := r.get("/api/sessions/s1"); res.status != http.StatusOK {
		t.Errorf("bob erased ann's: %d", res.status)
	}
	if res := r.call(http.MethodDelete, "/api/sessions/s1", ""); res.status != http.StatusNoContent {
		t.Errorf("%d %s", res.status, res.body)
	}
	problem(t, r.get("/api/sessions/s1"), contracts.CodeNotFound)
}

// A made-up message id costs no look at the store.
func TestMadeUpMessageIDs(t *testing.T) {
	r := newRig(t)
	looks := 0
	r.store.onResult = func(context.Context) { looks++ }
	id := r.namer.NewID(r.conversationOf("ann", "s"), "bob", r.clock.now(), r.namer.Digest("x")).String()
	for _, made := range []string{"x", id, strings.Repeat("0", 26) + ".abc.0000000000000000.0000000000000000"} {
		problem(t, r.get("/api/chat/"+made), contracts.CodeNotFound)
	}
	if looks != 0 {
		t.Errorf("%d looks", looks)
	}
}

// operators runs an ingress with an admin API that knows whose a conversation is,
// and gives what asks it.
func operators(t *testing.T) (*rig, func(method, path string, with ...string) response) {
	t.Helper()
	r := newBareRig(t)
	const token = "admin-token-CANARY-0123456789abcdef"
	l := listen(t)
	r.run(func(o *ingress.Options) {
		o.Admin = &ingress.Admin{
			Listener: l, Token: token, Workers: noWorkers, Resize: noResize,
			Status: func(context.Context) (contracts.AdminStatus, error) { return contracts.AdminStatus{}, nil },
			Mint:   func(contracts.TokenRequest) (contracts.TokenReply, error) { return contracts.TokenReply{}, nil },
			Owner: func(_ context.Context, conversation string) (contracts.About, bool, error) {
				return contracts.About{Caller: "api:ann"}, conversation == r.conversationOf("ann", "s1"), nil
			},
		}
	})
	r.base = "http://" + l.Addr().String()
	return r, func(method, path string, with ...string) response {
		t.Helper()
		return r.call(method, path, "", append([]string{"Authorization: Bearer " + token}, with...)...)
	}
}

// Operators see a caller's sessions; each use is logged with who and what, and
// without what was said.
func TestOperatorsUseSessions(t *testing.T) {
	r, ask := operators(t)
	r.keep("ann", "s1", "TEXT-CANARY")
	c := r.conversationOf("ann", "s1")
	if res := ask(http.MethodGet, "/admin/sessions?caller=ann&limit=3"); res.status != 200 || !strings.Contains(res.body, c) {
		t.Errorf("list: %d %s", res.status, res.body)
	}
	for _, path := range []string{"/admin/sessions/s1?caller=ann", "/admin/sessions/s1?caller=api:ann", "/admin/sessions/" + c} {
		if res := ask(http.MethodGet, path); res.status != 200 || !strings.Contains(res.body, "TEXT-CANARY") {
			t.Errorf("%s: %d %s", path, res.status, res.body)
		}
	}
	problem(t, ask(http.MethodGet, "/admin/sessions/s1?caller=bob"), contracts.CodeNotFound)
	problem(t, ask(http.MethodGet, "/admin/sessions/"+r.conversationOf("bob", "s1")), contracts.CodeNotFound)
	for _, bad := range []string{"", "?caller=" + strings.Repeat("x", 200), "?caller=ann&limit=x", "/s1", "/a%20b?caller=ann", "/s1?caller=" + strings.Repeat("x", 200)} {
		problem(t, ask(http.MethodGet, "/admin/sessions"+bad), contracts.CodeBadRequest)
	}
	// A token with the scope is as good; one without is not.
	if res := ask(http.MethodGet, "/admin/sessions/s1?caller=ann", "Authorization: Bearer "+guest); res.status != 200 {
		t.Errorf("scope admin: %d", res.status)
	}
	problem(t, ask(http.MethodGet, "/admin/sessions/s1?caller=ann", "Authorization: Bearer "+ann), contracts.CodeUnauthorized)
	for _, path := range []string{"/admin/sessions/" + c, "/admin/sessions/s1?caller=ann"} {
		if res := ask(http.MethodDelete, path); res.status != http.StatusNoContent {
			t.Errorf("erase: %d %s", res.status, res.body)
		}
	}
	if got := strings.Join(r.store.erased, ", "); got != "api:ann "+c+", api:ann "+c {
		t.Errorf("erased %s", got)
	}
	log := r.logs.String()
	for _, want := range []string{
		`"user_id":"operator","action":"session list","caller":"api:ann"`, `"action":"session show","caller":"api:ann","conversation":"` + c,
		`"user_id":"api:guest","action":"session show"`, `"action":"session erase","caller":"api:ann","conversation":"` + c,
	} {
		if !strings.Contains(log, want) {
			t.Errorf("not logged: %s\n%s", want, log)
		}
	}
}
