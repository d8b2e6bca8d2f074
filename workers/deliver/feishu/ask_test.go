package feishu

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"strings"
	"testing"

	larkcore "github.com/larksuite/oapi-sdk-go/v3/core"

	"moltbot/contracts"
	"moltbot/workers/deliver"
	"moltbot/workers/deliver/call"
	"moltbot/workers/deliver/delivertest"
)

// What the official SDK for Node sends is what ours sends. The vectors were
// recorded from it.
func TestVectors(t *testing.T) {
	p := newPlatform(t)
	c, ctx := p.client(Options{Emoji: "Typing", Sign: SignReaction}), context.Background()
	const om = "om_bbbb0002bbbb0002bbbb0002bbbb0002"
	do := map[string]func() error{
		"POST /open-apis/im/v1/messages/" + om + "/reply": func() error {
			_, err := c.post(ctx, pathReply, larkcore.PathParams{"message_id": om}, message{Type: "text", Content: asText("收到"), UUID: "2f0c0a1e-idempotency-1"})
			return err
		},
		"POST /open-apis/im/v1/messages?receive_id_type=chat_id": func() error {
			_, err := c.send(ctx, &contracts.Origin{Chat: "oc_66666666666666666666666666ffffff"}, form{post: true}, message{Type: "post", Content: asPost("**done**"), UUID: "u-2"}, "")
			return err
		},
		"POST /open-apis/im/v1/messages/" + om + "/reactions": func() error {
			return c.Received(ctx, &contracts.Origin{MessageID: om})
		},
		"GET /open-apis/im/v1/messages/" + om + "/resources/img_v3_0001_made-up-key?type=image": func() error {
			_, _, _ = c.Image(ctx, contracts.Image{MessageID: om, Key: "img_v3_0001_made-up-key"})
			return nil
		},
	}
	seen := 0
	for _, want := range vectors(t) {
		act := do[want.Method+" "+want.URL]
		if act == nil {
			continue // the token, which the stand-in checks, and what we have no use for
		}
		seen++
		if err := act(); err != nil {
			t.Fatal(want.URL, err)
		}
		all := p.requests()
		got := all[len(all)-1]
		var body map[string]any
		if want.Method == http.MethodPost {
			if err := json.Unmarshal([]byte(want.Body), &body); err != nil {
				t.Fatal(err)
			}
		}
		if got.method != want.Method || got.url != want.URL || !reflect.DeepEqual(got.body, body) {
			t.Errorf("%s %s %v, want %s %s %v", got.method, got.url, got.body, want.Method, want.URL, body)
		}
	}
	if seen != 5 {
		t.Errorf("%d vectors were compared, want 5: the reply is there twice", seen)
	}
}

type vector struct{ Method, URL, Body string }

func vectors(t *testing.T) []vector {
	b, err := os.ReadFile("testdata/feishu-outbound-requests.json")
	if err != nil {
		t.Fatal(err)
	}
	var all struct{ Requests []vector }
	if err := json.Unmarshal(b, &all); err != nil || len(all.Requests) == 0 {
		t.Fatal(err)
	}
	return all.Requests
}

func bytesOf(status int, kind, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", kind)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

func TestImages(t *testing.T) {
	const png = "\x89PNG\r\n\x1a\n"
	for name, tc := range map[string]struct {
		step    http.HandlerFunc
		kind    string
		verdict deliver.Verdict
	}{
		"png that says octets": {bytesOf(200, "application/octet-stream", png+"x"), "image/png", ""},
		"jpeg":                 {bytesOf(200, "image/png", "\xff\xd8\xff\xe0"), "image/jpeg", ""},
		"gif":                  {bytesOf(200, "", "GIF89a"), "image/gif", ""},
		"webp":                 {bytesOf(200, "", "RIFF\x00\x00\x00\x00WEBPVP8 "), "image/webp", ""},
		"svg":                  {bytesOf(200, "image/png", "<svg onload=x>"), "", deliver.VerdictFinal},
		"html":                 {bytesOf(200, "text/html", "<html>"), "", deliver.VerdictFinal},
		"nothing":              {bytesOf(200, "image/png", ""), "", deliver.VerdictFinal},
		"too large":            {bytesOf(200, "image/png", png+strings.Repeat("x", maxImage)), "", deliver.VerdictFinal},
		"not in this message":  {says(400, 234003), "", deliver.VerdictFinal},
		"unauthorised":         {says(401, 234002), "", deliver.VerdictFinal},
		"500":                  {bytesOf(500, "text/html", ""), "", deliver.VerdictRetry},
		"reset":                {delivertest.Reset, "", deliver.VerdictRetry},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlatform(t, tc.step)
			apps := Apps{"default": p.client(Options{})}
			_, kind, err := apps.Image(t.Context(), contracts.Image{App: "default", MessageID: "om_1", Key: "../../x?y"})
			if kind != tc.kind || (tc.kind == "") != (err != nil) {
				t.Fatal(kind, err)
			}
			if err != nil && failure(t, err).Verdict != tc.verdict {
				t.Error(err)
			}
			if url := p.requests()[0].url; url != "/open-apis/im/v1/messages/om_1/resources/..%2F..%2Fx%3Fy?type=image" {
				t.Errorf("a key went into the path: %s", url)
			}
		})
	}
	if _, _, err := (Apps{}).Image(t.Context(), contracts.Image{App: "left"}); err == nil {
		t.Error("an image of no application")
	}
}

func TestWhoTheBotIs(t *testing.T) {
	step := func(w http.ResponseWriter, _ *http.Request) {
		answer(w, 200, `{"code":0,"msg":"ok","bot":{"activate_status":2,"app_name":"Molty","open_id":"ou_bot","ip_white_list":[]}}`)
	}
	p := newPlatform(t, step, step, func(w http.ResponseWriter, _ *http.Request) { answer(w, 200, `{"code":0,"bot":{}}`) })
	c := p.client(Options{})
	if id, err := c.BotOpenID(t.Context()); id != "ou_bot" || err != nil {
		t.Error(id, err)
	}
	if name, err := c.Check(t.Context()); name != "Molty" || err != nil {
		t.Error(name, err)
	}
	if _, err := c.Check(t.Context()); err == nil {
		t.Error("an application without a bot is good")
	}
	if got := p.requests()[0]; got.method != "GET" || got.url != "/open-apis/bot/v3/info" {
		t.Error(got)
	}
}

func TestSigns(t *testing.T) {
	o := message1().Origin
	for sign, want := range map[string]string{
		SignReaction: `{"reaction_type":{"emoji_type":"OnIt"}}`, SignText: `"msg_type":"text"`, "off": "",
	} {
		p := newPlatform(t)
		if err := (Apps{"default": p.client(Options{Sign: sign})}).Received(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		got := ""
		for _, r := range p.requests() {
			got += r.raw
		}
		if !strings.Contains(got, want) || (want == "") != (got == "") {
			t.Errorf("%s: %q", sign, got)
		}
	}
}

func TestTell(t *testing.T) {
	for to, kind := range map[string]string{
		"oc_1": "chat_id", "ou_1": "open_id", "on_1": "union_id", "a@b.example": "email", "e3f1": "user_id",
	} {
		p := newPlatform(t)
		if id, err := p.client(Options{}).Tell(t.Context(), to, "hello"); err != nil || id != "om_sent" {
			t.Fatal(id, err)
		}
		if got := p.requests()[0]; got.url != "/open-apis/im/v1/messages?receive_id_type="+kind || got.body["receive_id"] != to {
			t.Errorf("%s: %v", to, got)
		}
	}
}

// Whatever an answer holds, it is judged, and what it holds is not repeated.
func FuzzJudge(f *testing.F) {
	for _, s := range []string{`{"code":0}`, `{"code":99991400}`, `{"code":-1}`, `{"code":1e3}`, `{"code":9223372036854775808}`, `<html>`, ``, `[{"code":0}]`} {
		f.Add(200, s)
		f.Add(400, s)
	}
	f.Fuzz(func(t *testing.T, status int, body string) {
		r := call.Reply{Status: status, Header: http.Header{"Content-Type": {"application/json"}}, Body: []byte(body)}
		for _, g := range []guard{{}, {binary: true}} {
			err := g.judge(&r)
			if err == nil {
				var said struct {
					Code json.Number `json:"code"`
				}
				if json.Unmarshal([]byte(body), &said) != nil || said.Code != "0" && said.Code != "-0" {
					t.Errorf("a success: %d %q", status, body)
				}
				continue
			}
			if v := failure(t, err).Verdict; v != deliver.VerdictRetry && v != deliver.VerdictFinal && v != deliver.VerdictUncertain {
				t.Errorf("verdict %q", v)
			}
		}
	})
}

func TestNewWantsAll(t *testing.T) {
	s := httptest.NewServer(nil)
	defer s.Close()
	for _, o := range []Options{{}, {AppID: "a", AppSecret: "b"}, {AppID: "a", Endpoint: s.URL}} {
		if _, err := New(o); err == nil {
			t.Errorf("%+v is enough", o)
		}
	}
}
