package ingress_test

import (
	"net/http"
	"strings"
	"testing"

	"moltbot/contracts"
)

// Two requests with one key: one message, two answers.
func TestSameKeyAtTheSameTime(t *testing.T) {
	r := newRig(t)
	open := make(chan struct{})
	w := r.work(held(t, open))
	first := r.later(http.MethodPost, "/api/chat", say("hi"), "Idempotency-Key: k")
	m := await(t, "message", w.taken)
	second := r.later(http.MethodPost, "/api/chat", say("hi"), "Idempotency-Key: k")
	if id := await(t, "attach", w.asked); id != m.ID {
		t.Errorf("attached to %s, want %s", id, m.ID)
	}
	close(open)
	a, b := await(t, "first", first), await(t, "second", second)
	if a.status != 200 || b.status != 200 || a.body != b.body {
		t.Errorf("%d %s\n%d %s", a.status, a.body, b.status, b.body)
	}
	if third := r.post(say("hi", `"timeout":0`), "Idempotency-Key: k"); third.status != 200 || third.body != a.body {
		t.Errorf("afterwards: %d %s", third.status, third.body)
	}
	if n := r.stored(); n != 1 {
		t.Errorf("%d messages stored", n)
	}
}

func TestKeyWithAnotherBody(t *testing.T) {
	r := newRig(t)
	r.work(answered)
	if res := r.post(say("hi"), "Idempotency-Key: k"); res.status != 200 {
		t.Fatalf("%d %s", res.status, res.body)
	}
	for _, body := range []string{say("ho"), say("hi", `"session_id":"s"`), say("hi", `"model":"m"`)} {
		problem(t, r.post(body, "Idempotency-Key: k"), contracts.CodeKeyReused)
	}
	// How long one waits and where the token is belong to the request, not to the message.
	if res := r.post(say("hi", `"timeout":5`, `"token":"`+ann+`"`), "Idempotency-Key: k", "Authorization:"); res.status != 200 {
		t.Errorf("%d %s", res.status, res.body)
	}
	if n := r.stored(); n != 1 {
		t.Errorf("%d messages stored", n)
	}
}

func TestKeyBelongsToItsCaller(t *testing.T) {
	r := newRig(t)
	r.work(answered)
	a := r.post(say("hi"), "Idempotency-Key: k").chat(t)
	b := r.post(say("ho"), "Idempotency-Key: k", "Authorization: Bearer "+bob)
	if b.status != 200 || b.chat(t).ID == a.ID || b.chat(t).SessionID == a.SessionID || b.chat(t).Reply != "you said ho" {
		t.Errorf("%d %s", b.status, b.body)
	}
	// And knowing the key opens nothing.
	problem(t, r.post(say("hi"), "Idempotency-Key: k", "Authorization:"), contracts.CodeUnauthorized)
	problem(t, r.post(say("hi"), "Idempotency-Key: k", "Authorization: Bearer x"), contracts.CodeUnauthorized)
	problem(t, r.post(say("hi"), "Idempotency-Key: k", "Authorization: Bearer "+guest), contracts.CodeForbidden)
}

func TestBadKeys(t *testing.T) {
	r := newRig(t)
	for name, with := range map[string][]string{
		"256 characters": {"Idempotency-Key: " + strings.Repeat("k", 256)}, "two": {"Idempotency-Key: a", "Idempotency-Key: a"},
		"a space": {"Idempotency-Key: a b"}, "not ASCII": {"Idempotency-Key: ü"},
	} {
		t.Run(name, func(t *testing.T) {
			if p := problem(t, r.post(say("hi"), with...), contracts.CodeBadRequest); !strings.Contains(p.Detail, "Idempotency-Key") {
				t.Error(p.Detail)
			}
		})
	}
	if res := r.post(say("hi", `"timeout":0`), "Idempotency-Key: "+strings.Repeat("k", 255)); res.status != 202 {
		t.Errorf("255 characters: %d %s", res.status, res.body)
	}
	if n := r.stored(); n != 1 {
		t.Errorf("%d messages stored", n)
	}
}

func TestStoreDown(t *testing.T) {
	r := newRig(t)
	r.work(answered)
	r.store.failing(true)
	res := r.post(say("hi"), "Idempotency-Key: k")
	problem(t, res, contracts.CodeStoreDown)
	if res.header.Get("Retry-After") != "1" || strings.Contains(res.body, "10.1.2.3") {
		t.Errorf("%v %s", res.header, res.body)
	}
	if !strings.Contains(r.logs.String(), "10.1.2.3") {
		t.Error("the operator does not learn the cause")
	}
	if n := strings.Count(r.logs.String(), `"request failed"`); n != 1 {
		t.Errorf("logged %d times", n)
	}
	unkeyed := r.post(say("hi"))
	if unkeyed.status != 200 {
		t.Fatalf("unkeyed: %d %s", unkeyed.status, unkeyed.body)
	}
	problem(t, r.get("/api/chat/"+unkeyed.chat(t).ID), contracts.CodeStoreDown)
	r.store.failing(false)
	if res := r.post(say("hi"), "Idempotency-Key: k"); res.status != 200 {
		t.Errorf("afterwards: %d %s", res.status, res.body)
	}
}
