package ingress_test

import (
	"strings"
	"testing"

	"moltbot/contracts"
	"moltbot/ingress"
)

func TestModels(t *testing.T) {
	tables, with := withModels(t)
	r := newRig(t, with)
	const all = `{"object":"list","data":[{"id":"any","object":"model","created":1700000000,"owned_by":"other"},` +
		`{"id":"fast","object":"model","created":1700000000,"owned_by":"acme"},{"id":"slow","object":"model","created":1700000000,"owned_by":"acme"}]}`
	if res := r.get("/v1/models"); res.status != 200 || strings.TrimSpace(res.body) != all {
		t.Errorf("%d %s", res.status, res.body)
	}
	few := "Authorization: Bearer " + poor
	if res := r.get("/v1/models", few); strings.Count(res.body, `"id"`) != 1 || !strings.Contains(res.body, `"id":"fast"`) {
		t.Errorf("of a caller with few models: %s", res.body)
	}
	for path, want := range map[string]string{
		"/v1/models/fast": `{"id":"fast","object":"model","created":1700000000,"owned_by":"acme"}`,
		// A name may hold a slash, written either way.
		"/v1/models/any/vendor/x": `{"id":"any/vendor/x","object":"model","created":1700000000,"owned_by":"other"}`,
		"/v1/models/any%2Fx":      `{"id":"any/x","object":"model","created":1700000000,"owned_by":"other"}`,
	} {
		if res := r.get(path); res.status != 200 || strings.TrimSpace(res.body) != want {
			t.Errorf("%s: %d %s", path, res.status, res.body)
		}
	}
	if res := r.get("/v1/models/any/x1", few); res.status != 200 {
		t.Errorf("a name that begins as it may: %d %s", res.status, res.body)
	}
	for path, with := range map[string]string{"/v1/models/": "", "/v1/models/none": "", "/v1/models/slow": few, "/v1/models/any/y": few} {
		if f := refused(t, r.get(path, strings.Split(with, "\n")...), 404, "model_not_found"); f.Param == nil || *f.Param != "model" {
			t.Errorf("%s: %+v", path, f)
		}
	}
	refused(t, r.get("/v1/models", "Authorization:"), 401, "invalid_api_key")

	tables.router = nil
	for _, res := range []response{r.get("/v1/models"), r.get("/v1/models/fast"), r.complete(ask(user("x")))} {
		if refused(t, res, 503, "queue_unavailable"); res.header.Get("Retry-After") == "" {
			t.Errorf("%v", res.header)
		}
	}
	problem(t, r.post(say("hi", `"model":"fast"`)), contracts.CodeQueueDown)
}

// On /api/chat, too, a model is only for those who may name it.
func TestExplicitModel(t *testing.T) {
	r := newOpenAIRig(t)
	w := r.work(answered)
	problem(t, r.post(say("hi", `"model":"none"`)), contracts.CodeModelUnknown)
	problem(t, r.post(say("hi", `"model":"slow"`), "Authorization: Bearer "+poor), contracts.CodeModelUnknown)
	if n := r.stored(); n != 0 {
		t.Errorf("%d messages got in", n)
	}
	if res := r.post(say("hi", `"model":"fast"`), "Authorization: Bearer "+poor); res.status != 200 {
		t.Errorf("%d %s", res.status, res.body)
	}
	if m := await(t, "the message", w.taken); m.Model != "fast" || m.Prompt != "" || m.Flags != 0 {
		t.Errorf("%+v", m)
	}
}

// A token that is limited to models does not reach others by naming none.
func TestRoutedModel(t *testing.T) {
	router, err := contracts.NewRouter(contracts.ModelTable{
		Default: "slow", Models: map[string]contracts.ModelEntry{
			"fast": {Provider: "acme", Model: "acme-1", Fallback: []string{"slow"}}, "slow": {Provider: "acme", Model: "acme-2"},
		},
		Routes: []contracts.ModelRoute{{Pattern: "^/slow/", Model: "slow"}, {Pattern: "^/zh/", Model: "fast"}},
	}, 1)
	if err != nil {
		t.Fatal(err)
	}
	table, with := withModels(t)
	table.router = router
	r := newRig(t, with)
	w := r.work(answered)
	few := "Authorization: Bearer " + poor
	for name, c := range map[string]struct{ path, text string }{
		"the default":              {"/api/chat", "hi"},
		"by its path":              {"/api/chat/slow/x", "hi"},
		"by its path, not text":    {"/api/chat/slow/x", "/zh/ hi"},
		"by its text":              {"/api/chat", "/slow/ hi"},
		"nothing behind the route": {"/api/chat", "/zh/"},
		"unknown route":            {"/api/chat/en/", "hi"},
	} {
		p := problem(t, r.call("POST", c.path, say(c.text), few), contracts.CodeModelUnknown)
		if !strings.Contains(p.Detail, `"slow"`) {
			t.Errorf("%s: %s", name, p.Detail)
		}
	}
	problem(t, r.call("POST", "/api/chat", say("hi", `"stream":true`), few), contracts.CodeModelUnknown)
	if n := r.stored(); n != 0 {
		t.Errorf("%d messages got in", n)
	}
	for path, text := range map[string]string{"/api/chat/zh/x": "hi", "/api/chat": "/zh/ hi"} {
		if res := r.call("POST", path, say(text), few); res.status != 200 {
			t.Errorf("%s, %s: %d %s", path, text, res.status, res.body)
		}
		if m := await(t, "the message", w.taken); m.Model != "" {
			t.Errorf("%+v", m)
		}
	}
	if res := r.post(say("hi")); res.status != 200 { // a token without a limit
		t.Errorf("%d %s", res.status, res.body)
	}
	table.router = nil
	problem(t, r.post(say("hi"), few), contracts.CodeQueueDown)
	for _, res := range []response{r.complete(`{"messages":[`+user("hi")+`]}`, few), r.complete(`{"model":"","messages":[`+user("hi")+`]}`, few)} {
		if f := refused(t, res, 400, ""); f.Param == nil || *f.Param != "model" { // there a model must be named
			t.Errorf("%+v", f)
		}
	}
}

func TestRoutes(t *testing.T) {
	r := newRig(t)
	w := r.work(answered)
	for path, want := range map[string]string{
		"": "", "/zh": "/zh", "/zh/": "/zh/", "/zh/support": "/zh/support", "//zh//support": "/zh/support", "/zh/./a": "/zh/a",
		"/%7Ah/a%2Fb": "/zh/a/b", "/世界": "/世界", "/%252e%252e/a": "/%2e%2e/a", "/a..b": "/a..b", "/" + strings.Repeat("x", 255): "/" + strings.Repeat("x", 255),
	} {
		res := r.call("POST", "/api/chat"+path, say("hi", `"cache":false`))
		if res.status != 200 {
			t.Errorf("%s: %d %s", path, res.status, res.body)
			continue
		}
		if m := await(t, "the message", w.taken); m.Route != want || m.Flags != contracts.FlagFresh {
			t.Errorf("%s: route %q, flags %v", path, m.Route, m.Flags)
		}
	}
	n := r.stored()
	for _, path := range []string{"/../x", "/a/..", "/a/%2e%2e/b", "/%2E%2E", "/a%2f..%2fb", "/a%00", "/a%0Ab", "/%ff", "/" + strings.Repeat("x", 256)} {
		problem(t, r.call("POST", "/api/chat"+path, say("hi")), contracts.CodeBadRequest)
	}
	problem(t, r.call("POST", "/api/chat/", say("hi")), contracts.CodeNotFound)
	if r.stored() != n {
		t.Error("a message with a bad route got in")
	}
	first := r.call("POST", "/api/chat/zh", say("hi"), "Idempotency-Key: k")
	if again := r.call("POST", "/api/chat/zh", say("hi"), "Idempotency-Key: k"); again.body != first.body {
		t.Errorf("%s\n%s", first.body, again.body)
	}
	problem(t, r.call("POST", "/api/chat/en", say("hi"), "Idempotency-Key: k"), contracts.CodeKeyReused)
	problem(t, r.post(say("hi", `"cache":false`), "Idempotency-Key: k"), contracts.CodeKeyReused)
	if res := r.get("/api/chat/" + first.chat(t).ID); res.status != 200 {
		t.Errorf("by its id: %d %s", res.status, res.body)
	}
}

var _ ingress.Models = (*tables)(nil)
