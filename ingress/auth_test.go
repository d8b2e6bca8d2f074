package ingress_test

import (
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"moltbot/contracts"
	"moltbot/ingress"
)

func TestAuthentication(t *testing.T) {
	r := newRig(t)
	inBody := say("hi", `"timeout":0`, `"token":"`+ann+`"`)
	for name, c := range map[string]struct {
		body string
		with []string
		code contracts.Code // empty: accepted
	}{
		"bearer":                    {say("hi", `"timeout":0`), nil, ""},
		"bearer in lower case":      {say("hi", `"timeout":0`), []string{"Authorization: bearer " + ann}, ""},
		"in the body":               {inBody, []string{"Authorization:"}, ""},
		"bad bearer, good body":     {inBody, []string{"Authorization: Bearer x"}, contracts.CodeUnauthorized},
		"other scheme, good body":   {inBody, []string{"Authorization: Basic " + ann}, contracts.CodeUnauthorized},
		"bare token":                {say("hi"), []string{"Authorization: " + ann}, contracts.CodeUnauthorized},
		"good bearer, bad body":     {say("hi", `"timeout":0`, `"token":"x"`), nil, ""},
		"none":                      {say("hi"), []string{"Authorization:"}, contracts.CodeUnauthorized},
		"bad body":                  {say("hi", `"token":"x"`), []string{"Authorization:"}, contracts.CodeUnauthorized},
		"cookie":                    {say("hi"), []string{"Authorization:", "Cookie: token=" + ann}, contracts.CodeUnauthorized},
		"without the scope":         {say("hi"), []string{"Authorization: Bearer " + guest}, contracts.CodeForbidden},
		"without the scope in body": {say("hi", `"token":"`+guest+`"`), []string{"Authorization:"}, contracts.CodeForbidden},
	} {
		t.Run(name, func(t *testing.T) {
			res := r.post(c.body, c.with...)
			if c.code == "" {
				if res.status != 202 {
					t.Errorf("%d %s", res.status, res.body)
				}
				return
			}
			problem(t, res, c.code)
			if strings.Contains(res.body, "CANARY") {
				t.Errorf("the token comes back: %s", res.body)
			}
		})
	}
	req := r.request(t.Context(), http.MethodPost, "/api/chat", say("hi"))
	req.Header["Authorization"] = []string{"Bearer " + ann, "Bearer " + ann}
	if res, err := r.do(req); err != nil {
		t.Error(err)
	} else {
		problem(t, res, contracts.CodeUnauthorized)
	}
	for _, path := range []string{"/api/chat?token=" + ann, "/api/chat?access_token=" + ann} {
		problem(t, r.call(http.MethodPost, path, say("hi"), "Authorization:"), contracts.CodeUnauthorized)
		problem(t, r.get(strings.Replace(path, "?", "/x?", 1), "Authorization:"), contracts.CodeUnauthorized)
	}
	problem(t, r.get("/api/chat/x", "Authorization: Bearer "+guest), contracts.CodeForbidden)
	if n := r.stored(); n != 4 {
		t.Errorf("%d messages stored, want the 4 that were accepted", n)
	}
}

// Even at the most talkative level no token, key or text is in the log; the rig
// looks for the canary when it ends.
func TestSecretsStayOutOfTheLog(t *testing.T) {
	r := newRig(t, func(o *ingress.Options) { o.Log = o.Log.Level(zerolog.TraceLevel) })
	w := r.work(answered)
	r.post(say("text-CANARY"), "Idempotency-Key: key-CANARY")
	m := await(t, "message", w.taken)
	r.post(`{"message":"hi","CANARY":1}`)
	r.get("/api/chat/CANARY?token=CANARY", "Authorization: Bearer CANARY")
	r.get("/CANARY?CANARY=CANARY", "User-Agent: CANARY", "Cookie: CANARY", "Referer: CANARY")
	r.raw("CANARY\r\n\r\n")
	log := r.logs.String()
	for _, want := range []string{`"message_id":"` + m.ID + `"`, `"user_id":"api:ann"`, `"route":"/api/chat/:id"`, `"status":404`, `"request_id":"` + m.RequestID + `"`} {
		if !strings.Contains(log, want) {
			t.Errorf("%s is not in the log:\n%s", want, log)
		}
	}
}

func TestRateOfACaller(t *testing.T) {
	r := newRig(t, func(o *ingress.Options) { o.Rate = contracts.Rate{PerSecond: 0.5, Burst: 3} })
	send := func(with ...string) response { return r.post(say("hi", `"timeout":0`), with...) }
	for range 3 {
		if res := send(); res.status != 202 {
			t.Fatalf("%d %s", res.status, res.body)
		}
	}
	for range 3 { // being refused costs nothing
		res := send("X-Forwarded-For: 9.9.9.9", "X-Real-Ip: 9.9.9.9", "Forwarded: for=9.9.9.9")
		problem(t, res, contracts.CodeRateLimited)
		if got := res.header.Get("Retry-After"); got != "2" {
			t.Errorf("Retry-After %q, want 2", got)
		}
	}
	problem(t, r.get("/api/chat/x"), contracts.CodeRateLimited)
	problem(t, r.call(http.MethodDelete, "/api/sessions/x", ""), contracts.CodeRateLimited)
	if res := send("Authorization: Bearer " + bob); res.status != 202 {
		t.Errorf("another caller: %d %s", res.status, res.body)
	}
	r.clock.move(1999 * time.Millisecond)
	if res := send(); res.status != 429 || res.header.Get("Retry-After") != "1" {
		t.Errorf("a millisecond early: %d %v", res.status, res.header)
	}
	r.clock.move(time.Millisecond)
	if res := send(); res.status != 202 {
		t.Errorf("in time: %d %s", res.status, res.body)
	}
	problem(t, send(), contracts.CodeRateLimited)
}

// Who guesses tokens is slowed down by his address, whatever he says it is; who
// has a token calls from there all the same.
func TestGuessing(t *testing.T) {
	_, proxies, _ := net.ParseCIDR("127.0.0.0/8")
	for name, c := range map[string]struct {
		trusted []*net.IPNet
		limited bool
	}{"nobody trusted": {nil, true}, "behind a proxy": {[]*net.IPNet{proxies}, false}} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, func(o *ingress.Options) { o.Rate, o.TrustedProxy = contracts.Rate{PerSecond: 1, Burst: 2}, c.trusted })
			guess := func(from string) response {
				return r.post(say("hi"), "Authorization: Bearer guess", "X-Forwarded-For: "+from)
			}
			problem(t, guess("1.1.1.1"), contracts.CodeUnauthorized)
			problem(t, guess("1.1.1.1"), contracts.CodeUnauthorized)
			problem(t, guess("1.1.1.1"), contracts.CodeRateLimited)
			if res := guess("2.2.2.2"); (res.status == 429) != c.limited {
				t.Errorf("from another address: %d %s", res.status, res.body)
			}
			// What a client puts in front of the proxy's own entry does not count.
			problem(t, guess("3.3.3.3, 1.1.1.1"), contracts.CodeRateLimited)
			if res := r.post(say("hi", `"timeout":0`)); res.status != 202 {
				t.Errorf("with a token: %d %s", res.status, res.body)
			}
		})
	}
}
