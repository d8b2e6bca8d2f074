package ingress_test

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"moltbot/contracts"
	"moltbot/ingress"
)

// modelDesk stands for the table of models.
type modelDesk struct {
	asked    chan contracts.ModelRequest
	reloaded chan string
}

func (modelDesk) ShowModels(context.Context) (contracts.AdminModel, error) {
	return contracts.AdminModel{Revision: 12, Table: &contracts.ModelTable{Default: "fast"}}, nil
}

func (d modelDesk) ChangeModels(_ context.Context, r contracts.ModelRequest, by string) (contracts.ModelReply, error) {
	d.asked <- r
	if r.Default == "none" {
		return contracts.ModelReply{}, &contracts.Error{Code: contracts.CodeBadRequest, Message: `there is no model "none"`}
	}
	return contracts.ModelReply{Revision: 13, Default: by}, nil
}

func (d modelDesk) ReloadModels(_ context.Context, by string) (contracts.ModelReply, error) {
	d.reloaded <- by
	return contracts.ModelReply{Revision: 14}, nil
}

func TestAdminModels(t *testing.T) {
	r := newBareRig(t)
	const token = "admin-token-CANARY-0123456789abcdef"
	l, desk := listen(t), modelDesk{make(chan contracts.ModelRequest, 9), make(chan string, 9)}
	r.run(func(o *ingress.Options) {
		o.Admin = &ingress.Admin{
			Listener: l, Token: token, Workers: noWorkers, Resize: noResize, Models: desk,
			Status: func(context.Context) (s contracts.AdminStatus, err error) { return s, nil },
			Mint:   func(contracts.TokenRequest) (m contracts.TokenReply, err error) { return m, nil },
		}
	})
	r.base = "http://" + l.Addr().String()
	const good, typed = "Authorization: Bearer " + token, "Content-Type: application/json"

	for _, with := range []string{"Authorization:", "Authorization: Bearer " + ann} {
		problem(t, r.get("/admin/model", with), contracts.CodeUnauthorized)
		problem(t, r.call(http.MethodPut, "/admin/model", `{"default":"fast"}`, with), contracts.CodeUnauthorized)
		problem(t, r.call(http.MethodPost, "/admin/model/reload", ``, with), contracts.CodeUnauthorized)
	}
	res := r.get("/admin/model", good)
	var shown contracts.AdminModel
	if err := json.Unmarshal([]byte(res.body), &shown); err != nil || shown.Revision != 12 || res.header.Get("ETag") != `"12"` {
		t.Errorf("%d %v %s", res.status, res.header, res.body)
	}

	put := func(body string, with ...string) response {
		return r.call(http.MethodPut, "/admin/model", body, append([]string{good, typed}, with...)...)
	}
	for _, bad := range []string{
		`{}`, `{"default":4}`, `{"default":"a","porridge":1}`, `[]`, ``, `{"routes":{}}`, `{"table":{"models":{"x":{"size":1}}}}`,
	} {
		problem(t, put(bad), contracts.CodeBadRequest)
	}
	problem(t, put(`{"default":"a"}`, "If-Match: x"), contracts.CodeBadRequest)
	problem(t, put(`{"default":"a","revision":3}`, `If-Match: "4"`), contracts.CodeBadRequest)
	if len(desk.asked) > 0 {
		t.Error("a bad request went through")
	}
	problem(t, put(`{"default":"none"}`), contracts.CodeBadRequest)
	<-desk.asked

	if res := put(`{"default":"slow","routes":[{"pattern":"^/zh/","model":"qwen"}]}`, `If-Match: "12"`); res.status != 200 || !strings.Contains(res.body, `"default":"operator"`) {
		t.Errorf("%d %s", res.status, res.body)
	}
	if q := <-desk.asked; q.Default != "slow" || len(*q.Routes) != 1 || (*q.Routes)[0].Model != "qwen" || *q.Revision != 12 {
		t.Errorf("asked %+v", q)
	}
	// No routes at all is a wish as well; a table may be larger than a message.
	put(`{"routes":[]}`)
	if q := <-desk.asked; q.Routes == nil || len(*q.Routes) != 0 || q.Revision != nil {
		t.Errorf("asked %+v", q)
	}
	large := `{"table":{"default":"x","models":{"x":{"provider":"p","model":"` + strings.Repeat("m", 200_000) + `"}}}}`
	if res := put(large); res.status != 200 {
		t.Errorf("%d %s", res.status, res.body)
	}
	if q := <-desk.asked; len(q.Table.Models["x"].Model) != 200_000 {
		t.Error("the table was cut")
	}
	problem(t, put(strings.Repeat(" ", contracts.MaxTable)+large), contracts.CodeTooLarge)
	if res := r.call(http.MethodPost, "/admin/model/reload", ``, good); res.status != 200 || <-desk.reloaded != "operator" {
		t.Errorf("%d %s", res.status, res.body)
	}
}
