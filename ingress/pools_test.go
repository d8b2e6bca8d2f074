package ingress_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"

	"moltbot/contracts"
	"moltbot/ingress"
)

func noWorkers(context.Context) (contracts.AdminWorkers, error) {
	return contracts.AdminWorkers{}, errors.New("nobody asks")
}

func noResize(context.Context, contracts.Pool, contracts.PoolRequest, string) (contracts.PoolReply, error) {
	return contracts.PoolReply{}, errors.New("nobody asks")
}

// asked is one call of Resize.
type asked struct {
	pool contracts.Pool
	r    contracts.PoolRequest
	by   string
}

func TestAdminPools(t *testing.T) {
	r := newBareRig(t)
	const token = "admin-token-CANARY-0123456789abcdef"
	l := listen(t)
	resized := make(chan asked, 10)
	r.run(func(o *ingress.Options) {
		o.Admin = &ingress.Admin{
			Listener: l, Token: token,
			Status: func(context.Context) (s contracts.AdminStatus, err error) { return s, nil },
			Mint:   func(contracts.TokenRequest) (m contracts.TokenReply, err error) { return m, nil },
			Workers: func(context.Context) (contracts.AdminWorkers, error) {
				return contracts.AdminWorkers{
					Workers: []contracts.WorkerStatus{{Node: "n7", Pools: map[contracts.Pool]contracts.PoolStatus{contracts.PoolChat: {Slots: 3}}}},
					Wanted:  map[contracts.Pool]int{contracts.PoolChat: 3},
				}, nil
			},
			Resize: func(_ context.Context, p contracts.Pool, q contracts.PoolRequest, by string) (contracts.PoolReply, error) {
				resized <- asked{p, q, by}
				if q.Slots != nil && *q.Slots == 99 {
					return contracts.PoolReply{}, &contracts.Error{Code: contracts.CodeBadRequest, Message: "99 do not fit", Err: errors.New("secret-7")}
				}
				return contracts.PoolReply{Pool: p, Slots: q.Slots, Note: "noted"}, nil
			},
		}
	})
	r.base = "http://" + l.Addr().String()
	const good = "Authorization: Bearer " + token

	for _, with := range []string{"Authorization:", "Authorization: Bearer " + ann, good + "x"} {
		problem(t, r.get("/admin/workers", with), contracts.CodeUnauthorized)
		problem(t, r.call(http.MethodPut, "/admin/pools/chat", `{"slots":4}`, with), contracts.CodeUnauthorized)
	}
	for _, body := range []string{
		``, `{}`, `[]`, `{"slots":-1}`, `{"slots":100001}`, `{"slots":1.5}`, `{"slots":"4"}`, `{"slots":4,"default":true}`, `{"default":false}`,
		`{"slots":4,"slots":5}`, `{"slots":4,"more":1}`, `{"slots":null}`, `{"slots":4}x`,
	} {
		problem(t, r.call(http.MethodPut, "/admin/pools/chat", body, good), contracts.CodeBadRequest)
	}
	problem(t, r.call(http.MethodPut, "/admin/pools/chats", `{"slots":4}`, good), contracts.CodeNotFound)
	problem(t, r.get("/admin/pools/chat", good), contracts.CodeMethod)
	if len(resized) != 0 {
		t.Errorf("a refused request changed something: %+v", await(t, "it", resized))
	}

	res := r.call(http.MethodPut, "/admin/pools/chat", `{"slots":99}`, good)
	if p := problem(t, res, contracts.CodeBadRequest); p.Detail != "99 do not fit" || strings.Contains(res.body, "secret-7") {
		t.Errorf("%s", res.body)
	}
	await(t, "resize", resized)
	var reply contracts.PoolReply
	res = r.call(http.MethodPut, "/admin/pools/chat", `{"slots":0}`, good)
	if json.Unmarshal([]byte(res.body), &reply) != nil || res.status != 200 || reply.Slots == nil || *reply.Slots != 0 || reply.Note != "noted" {
		t.Errorf("%d %s", res.status, res.body)
	}
	if a := await(t, "resize", resized); a.pool != contracts.PoolChat || *a.r.Slots != 0 || a.by != "operator" {
		t.Errorf("%+v", a)
	}
	res = r.call(http.MethodPut, "/admin/pools/deliver", `{"default":true}`, "Authorization: Bearer "+guest)
	if res.status != 200 || !strings.Contains(res.body, `"slots":null`) {
		t.Errorf("%d %s", res.status, res.body)
	}
	if a := await(t, "resize", resized); a.pool != contracts.PoolDeliver || !a.r.Default || !strings.HasPrefix(a.by, "api:") {
		t.Errorf("%+v", a)
	}
	var w contracts.AdminWorkers
	res = r.get("/admin/workers", good)
	if json.Unmarshal([]byte(res.body), &w) != nil || len(w.Workers) != 1 || w.Workers[0].Node != "n7" || w.Wanted[contracts.PoolChat] != 3 {
		t.Errorf("%d %s", res.status, res.body)
	}
}
