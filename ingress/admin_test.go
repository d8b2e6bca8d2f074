package ingress_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"moltbot/contracts"
	"moltbot/ingress"
)

func TestAdmin(t *testing.T) {
	r := newBareRig(t)
	const token = "admin-token-CANARY-0123456789abcdef"
	l := listen(t)
	minted := make(chan contracts.TokenRequest, 10)
	r.run(func(o *ingress.Options) {
		o.Admin = &ingress.Admin{
			Listener: l, Token: token,
			Status: func(context.Context) (contracts.AdminStatus, error) {
				return contracts.AdminStatus{Node: "n1", Slots: 7}, nil
			},
			Mint: func(q contracts.TokenRequest) (contracts.TokenReply, error) {
				minted <- q
				if q.User == "" {
					return contracts.TokenReply{}, errors.New("signing key k-7 is broken")
				}
				return contracts.TokenReply{Token: "made", User: q.User, Scopes: q.Scopes, Expires: r.clock.now().Add(time.Hour)}, nil
			},
			Workers: noWorkers, Resize: noResize,
		}
	})
	public := r.base
	r.base = "http://" + l.Addr().String()
	const good = "Authorization: Bearer " + token

	for name, with := range map[string]string{
		"none": "Authorization:", "wrong": "Authorization: Bearer x", "empty": "Authorization: Bearer  ", "a user's": "Authorization: Bearer " + ann,
		"other scheme": "Authorization: Basic " + token, "longer": good + "x",
	} {
		for _, path := range []string{"/admin/status", "/admin/nothing", "/"} {
			if res := r.get(path, with); res.status != 401 {
				t.Errorf("%s token, %s: %d %s", name, path, res.status, res.body)
			} else {
				problem(t, res, contracts.CodeUnauthorized)
			}
		}
		problem(t, r.call(http.MethodPost, "/admin/token", `{"user":"x"}`, with), contracts.CodeUnauthorized)
	}
	for host, code := range map[string]contracts.Code{
		"evil.example": contracts.CodeForbidden, "evil.example:80": contracts.CodeForbidden, "127.0.0.1.evil.example": contracts.CodeForbidden,
		"10.0.0.1": contracts.CodeForbidden, "localhost": "", "localhost:99": "", "[::1]:99": "", "127.0.0.1": "",
	} {
		req := r.request(t.Context(), http.MethodGet, "/admin/status", "", good)
		req.Host = host
		res, err := r.do(req)
		if err != nil {
			t.Fatal(err)
		}
		if code != "" {
			problem(t, res, code)
		} else if res.status != 200 {
			t.Errorf("host %s: %d %s", host, res.status, res.body)
		}
	}
	if len(minted) != 0 {
		t.Error("a token was made for a stranger")
	}

	if res := r.get("/admin/status", "Authorization: Bearer "+guest); res.status != 200 {
		t.Errorf("a token with the scope admin: %d %s", res.status, res.body)
	}
	var s contracts.AdminStatus
	if res := r.get("/admin/status", good); json.Unmarshal([]byte(res.body), &s) != nil || s.Node != "n1" || s.Slots != 7 {
		t.Errorf("%d %s", res.status, res.body)
	}
	var made contracts.TokenReply
	res := r.call(http.MethodPost, "/admin/token", `{"user":"carl","days":3,"scopes":["chat"]}`, good)
	if json.Unmarshal([]byte(res.body), &made) != nil || res.status != 200 || made.Token != "made" {
		t.Errorf("%d %s", res.status, res.body)
	}
	if q := await(t, "mint", minted); q.User != "carl" || q.Days != 3 || len(q.Scopes) != 1 {
		t.Errorf("%+v", q)
	}
	res = r.call(http.MethodPost, "/admin/token", `{"days":3}`, good)
	problem(t, res, contracts.CodeBadRequest)
	if strings.Contains(res.body, "k-7") {
		t.Errorf("internals: %s", res.body)
	}
	if p := problem(t, r.call(http.MethodPost, "/admin/token", `{"scopes":"chat"}`, good), contracts.CodeBadRequest); !strings.Contains(p.Detail, "/scopes") || !strings.Contains(p.Detail, "list") {
		t.Error(p.Detail)
	}
	problem(t, r.call(http.MethodPost, "/admin/token", `{"user":"x","admin":true}`, good), contracts.CodeBadRequest)
	problem(t, r.get("/admin/nothing", good), contracts.CodeNotFound)
	problem(t, r.get("/api/chat/x", good), contracts.CodeNotFound)

	r.base = public
	for _, path := range []string{"/admin/status", "/admin/token"} {
		problem(t, r.get(path, good), contracts.CodeNotFound)
	}
}
