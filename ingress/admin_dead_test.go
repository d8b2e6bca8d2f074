package ingress_test

import (
	"context"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"moltbot/contracts"
	"moltbot/ingress"
)

// deadDesk stands for the dead letters.
type deadDesk struct {
	listed  chan contracts.DeadFilter
	shown   chan string
	changed chan contracts.DeadChange
}

func (d deadDesk) List(_ context.Context, f contracts.DeadFilter) (contracts.AdminDead, error) {
	d.listed <- f
	return contracts.AdminDead{Letters: []contracts.DeadLetter{{Sequence: 7, ID: "m#r1"}}, Next: 7}, nil
}

func (d deadDesk) Show(_ context.Context, letter string, body bool) (contracts.DeadDetail, error) {
	d.shown <- letter
	detail := contracts.DeadDetail{Letter: contracts.DeadLetter{Sequence: 7, ID: "m.1"}, Reason: "CANARY-reason"}
	if body {
		detail.Body = &contracts.DeadBody{Text: "CANARY-text"}
	}
	return detail, nil
}

func (d deadDesk) Change(_ context.Context, c contracts.DeadChange) (contracts.DeadReply, error) {
	d.changed <- c
	if c.Letter == "none" {
		return contracts.DeadReply{}, &contracts.Error{Code: contracts.CodeNotFound, Message: "there is no such dead letter"}
	}
	return contracts.DeadReply{Action: c.Action, Done: []contracts.DeadDone{{Sequence: 7, ID: "m.1", ReplayID: "m.1#r1"}}}, nil
}

func TestAdminDead(t *testing.T) {
	r := newBareRig(t)
	const token = "admin-token-CANARY-0123456789abcdef"
	l, desk := listen(t), deadDesk{make(chan contracts.DeadFilter, 9), make(chan string, 9), make(chan contracts.DeadChange, 9)}
	r.run(func(o *ingress.Options) {
		o.Admin = &ingress.Admin{
			Listener: l, Token: token, Workers: noWorkers, Resize: noResize, Dead: desk,
			Status: func(context.Context) (s contracts.AdminStatus, err error) { return s, nil },
			Mint:   func(contracts.TokenRequest) (m contracts.TokenReply, err error) { return m, nil },
		}
	})
	r.base = "http://" + l.Addr().String()
	const good, typed = "Authorization: Bearer " + token, "Content-Type: application/json"
	conversation := strings.Repeat("a", 26)

	if res := r.get("/admin/dead", good); res.status != http.StatusOK || !strings.Contains(res.body, `"next":7`) {
		t.Errorf("list: %d %s", res.status, res.body)
	}
	if f := <-desk.listed; f != (contracts.DeadFilter{Limit: 50}) {
		t.Errorf("filter %+v", f)
	}
	r.get("/admin/dead?role=deliver&code=undelivered&channel=feishu&conversation="+conversation+"&since=2026-11-20T08:00:00Z&limit=7&cursor=9", good)
	if f := <-desk.listed; f != (contracts.DeadFilter{
		Role: "deliver", Code: contracts.CodeUndelivered, Channel: contracts.ChannelFeishu, Conversation: conversation, Limit: 7, Until: 9,
		Since: time.Date(2026, 11, 20, 8, 0, 0, 0, time.UTC),
	}) {
		t.Errorf("filter %+v", f)
	}
	for _, query := range []string{"code=lost", "channel=fax", "conversation=x", "since=today", "limit=0", "limit=501", "cursor=0", "cursor=-1", "role=" + strings.Repeat("x", 129)} {
		problem(t, r.get("/admin/dead?"+query, good), contracts.CodeBadRequest)
	}

	if res := r.get("/admin/dead/c.1.d.t%23r1", good); res.status != http.StatusOK || strings.Contains(res.body, "CANARY-text") || <-desk.shown != "c.1.d.t#r1" {
		t.Errorf("show: %d %s", res.status, res.body)
	}
	if res := r.get("/admin/dead/7?body=true", good); !strings.Contains(res.body, "CANARY-text") || <-desk.shown != "7" {
		t.Errorf("show the body: %d %s", res.status, res.body)
	}
	problem(t, r.get("/admin/dead/7?body=yes", good), contracts.CodeBadRequest)
	problem(t, r.get("/admin/dead/"+strings.Repeat("7", 129), good), contracts.CodeBadRequest)

	since := time.Date(2026, 11, 20, 8, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		method, path, body string
		want               contracts.DeadChange
	}{
		{http.MethodPost, "/admin/dead/7/replay", "", contracts.DeadChange{Action: "replay", Letter: "7"}},
		{http.MethodDelete, "/admin/dead/7", "", contracts.DeadChange{Action: "drop", Letter: "7"}},
		{http.MethodPost, "/admin/dead/replay", `{"code":"too_old","since":"2026-11-20T08:00:00Z","after":3,"until":8}`,
			contracts.DeadChange{Action: "replay", Filter: contracts.DeadFilter{Code: contracts.CodeStale, Since: since, After: 3, Until: 8}}},
		{http.MethodPost, "/admin/dead/drop", `{"role":"workers"}`, contracts.DeadChange{Action: "drop", Filter: contracts.DeadFilter{Role: "workers"}}},
	} {
		if res := r.call(c.method, c.path, c.body, good, typed); res.status != http.StatusOK || !strings.Contains(res.body, `"replay_id":"m.1#r1"`) {
			t.Errorf("%s %s: %d %s", c.method, c.path, res.status, res.body)
			continue
		}
		if got := <-desk.changed; !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v, want %+v", c.path, got, c.want)
		}
	}
	for _, body := range []string{`{"code":"lost"}`, `{"limit":"x"}`, `{`, `{"channel":"fax"}`, `{"colour":1}`} {
		problem(t, r.call(http.MethodPost, "/admin/dead/drop", body, good, typed), contracts.CodeBadRequest)
	}
	problem(t, r.call(http.MethodDelete, "/admin/dead/none", "", good), contracts.CodeNotFound)
	<-desk.changed
	for _, path := range []string{"/admin/dead", "/admin/dead/7"} {
		problem(t, r.get(path, "Authorization: Bearer "+ann), contracts.CodeUnauthorized)
	}
	if len(desk.listed) > 0 || len(desk.changed) > 0 || len(desk.shown) > 0 {
		t.Error("a bad request went through")
	}
	log := r.logs.String()
	for _, want := range []string{`"action":"show"`, `"action":"show body"`, `"action":"replay"`, `"action":"drop"`, `"user_id":"operator"`, `"sequence":7`} {
		if !strings.Contains(log, want) {
			t.Errorf("the log lacks %s", want)
		}
	}
	if strings.Contains(log, "CANARY-") {
		t.Error("the log has what was said, or the token")
	}
}
