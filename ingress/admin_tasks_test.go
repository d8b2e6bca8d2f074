package ingress_test

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"moltbot/contracts"
	"moltbot/ingress"
)

// taskDesk stands for the tasks.
type taskDesk struct {
	listed  chan contracts.TaskFilter
	changed chan contracts.TaskRequest
}

func (d taskDesk) ListTasks(_ context.Context, f contracts.TaskFilter) (contracts.AdminTasks, error) {
	d.listed <- f
	return contracts.AdminTasks{Tasks: []contracts.Task{{ID: "sum:c:m.1#r2:1", State: contracts.TaskRetry}}}, nil
}

func (d taskDesk) ChangeTask(_ context.Context, r contracts.TaskRequest) (contracts.TaskReply, error) {
	d.changed <- r
	if r.ID == "none" {
		return contracts.TaskReply{}, &contracts.Error{Code: contracts.CodeNotFound, Message: "there is no such task"}
	}
	return contracts.TaskReply{ID: r.ID, Queue: r.Queue, Action: r.Action, Was: contracts.TaskRetry}, nil
}

func TestAdminTasks(t *testing.T) {
	r := newBareRig(t)
	const token = "admin-token-CANARY-0123456789abcdef"
	l, desk := listen(t), taskDesk{make(chan contracts.TaskFilter, 9), make(chan contracts.TaskRequest, 9)}
	r.run(func(o *ingress.Options) {
		o.Admin = &ingress.Admin{
			Listener: l, Token: token, Workers: noWorkers, Resize: noResize, Tasks: desk,
			Status: func(context.Context) (s contracts.AdminStatus, err error) { return s, nil },
			Mint:   func(contracts.TokenRequest) (m contracts.TokenReply, err error) { return m, nil },
		}
	})
	r.base = "http://" + l.Addr().String()
	const good, typed = "Authorization: Bearer " + token, "Content-Type: application/json"

	if res := r.get("/admin/tasks", good); res.status != http.StatusOK || !strings.Contains(res.body, `"id":"sum:c:m.1#r2:1"`) {
		t.Errorf("list: %d %s", res.status, res.body)
	}
	if f := <-desk.listed; f != (contracts.TaskFilter{Limit: 100}) {
		t.Errorf("filter %+v", f)
	}
	r.get("/admin/tasks?queue=nightly&state=archived&limit=7", good)
	if f := <-desk.listed; f != (contracts.TaskFilter{Queue: contracts.QueueNightly, State: contracts.TaskArchived, Limit: 7}) {
		t.Errorf("filter %+v", f)
	}
	for _, query := range []string{"queue=default", "state=lost", "limit=0", "limit=1001", "limit=x"} {
		problem(t, r.get("/admin/tasks?"+query, good), contracts.CodeBadRequest)
	}
	res := r.call(http.MethodPost, "/admin/tasks", `{"id":"sum:c:m:1","queue":"chores","action":"run"}`, good, typed)
	if res.status != http.StatusOK || !strings.Contains(res.body, `"was":"retry"`) {
		t.Errorf("run: %d %s", res.status, res.body)
	}
	if got := <-desk.changed; got != (contracts.TaskRequest{ID: "sum:c:m:1", Queue: contracts.QueueChores, Action: contracts.TaskActRun}) {
		t.Errorf("request %+v", got)
	}
	for _, body := range []string{
		`{"action":"run"}`, `{"id":"x"}`, `{"id":"x","action":"dance"}`, `{"id":"x","action":"run","queue":"default"}`,
		`{"id":"` + strings.Repeat("x", 513) + `","action":"run"}`, `{`,
	} {
		problem(t, r.call(http.MethodPost, "/admin/tasks", body, good, typed), contracts.CodeBadRequest)
	}
	problem(t, r.call(http.MethodPost, "/admin/tasks", `{"id":"none","action":"delete"}`, good, typed), contracts.CodeNotFound)
	problem(t, r.get("/admin/tasks", "Authorization: Bearer "+ann), contracts.CodeUnauthorized)
	if len(desk.listed) > 0 || len(desk.changed) != 1 {
		t.Errorf("a bad request went through")
	}
}
