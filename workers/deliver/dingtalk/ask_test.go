package dingtalk

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"

	"moltbot/contracts"
	"moltbot/workers/deliver"
	"moltbot/workers/deliver/call"
	"moltbot/workers/deliver/delivertest"
)

const png = "\x89PNG\r\n\x1a\n"

func TestImages(t *testing.T) {
	var from atomic.Value
	files := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("x-acs-dingtalk-access-token") != "" {
			t.Error("the file server was given the token")
		}
		from.Load().(http.HandlerFunc)(w, r)
	}))
	defer files.Close()
	for name, tc := range map[string]struct {
		step    http.HandlerFunc
		kind    string
		verdict deliver.Verdict
	}{
		"png":       {page(200, png), "image/png", ""},
		"html":      {page(200, "<html>"), "", deliver.VerdictFinal},
		"too large": {page(200, png+strings.Repeat("x", maxImage)), "", deliver.VerdictFinal},
		"gone":      {page(404, ""), "", deliver.VerdictFinal},
		"500":       {page(500, ""), "", deliver.VerdictRetry},
		"redirect":  {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/other", http.StatusFound) }, "", deliver.VerdictRetry},
		"reset":     {delivertest.Reset, "", deliver.VerdictRetry},
	} {
		t.Run(name, func(t *testing.T) {
			from.Store(tc.step)
			p := newPlatform(t)
			p.on(pathDownload, says(200, `{"downloadUrl":"`+files.URL+`/f?sig=`+session+`"}`))
			_, kind, err := (Apps{"default": p.client(Options{})}).Image(t.Context(), contracts.Image{App: "default", Key: "code=="})
			if kind != tc.kind || (tc.kind == "") != (err != nil) {
				t.Fatal(kind, err)
			}
			if err != nil && failure(t, err).Verdict != tc.verdict {
				t.Error(err)
			}
			if got := p.last().body; got["downloadCode"] != "code==" || got["robotCode"] != robot || len(got) != 2 {
				t.Error(got)
			}
		})
	}
}

// Where a file lies is not fixed, but it is never inside.
func TestFilesLieOutside(t *testing.T) {
	for _, url := range []string{
		"https://127.0.0.1/x", "https://169.254.169.254/latest", "https://[::1]/", "file:///etc/passwd", "", "//x", "https://user@x.example/", "https://rebound.example/",
	} {
		p := newPlatform(t)
		p.on(pathDownload, says(200, `{"downloadUrl":"`+url+`"}`))
		c := p.client(Options{Resolver: resolver(t, netip.MustParseAddr("10.0.0.1"))})
		_, _, err := c.Image(t.Context(), contracts.Image{Key: "k"})
		if f := failure(t, err); f.Detail != "address_refused" {
			t.Errorf("%q: %v", url, f)
		}
	}
	c := &Client{o: Options{Endpoint: "https://api.dingtalk.com"}}
	if _, err := c.download(t.Context(), "http://8.8.8.8/"); err == nil || failure(t, err).Detail != "address_refused" {
		t.Error("plain HTTP", err)
	}
}

func TestSigns(t *testing.T) {
	for sign, want := range map[string]string{SignReaction: pathReact, SignText: sessionPath, "off": ""} {
		p := newPlatform(t)
		if err := (Apps{"default": p.client(Options{Sign: sign})}).Received(t.Context(), p.inGroup().Origin); err != nil || p.calls() != want {
			t.Fatal(sign, err, p.calls())
		}
		if sign == SignReaction {
			got := p.last().body
			if got["openMsgId"] != "msg1" || got["openConversationId"] != "cidGroup==" || got["robotCode"] != robot || got["emotionType"] != 2. {
				t.Error(got)
			}
		}
	}
}

func TestCheckAndTell(t *testing.T) {
	p := newPlatform(t)
	c := p.client(Options{})
	if name, err := c.Check(t.Context()); name != robot || err != nil {
		t.Error(name, err)
	}
	for to, path := range map[string]string{"cidX==": pathGroup, "staff1": pathUser} {
		if _, err := c.Tell(t.Context(), to, "hello"); err != nil || p.last().path != path || p.last().body["msgKey"] != "sampleText" {
			t.Error(to, err, p.last())
		}
	}
	bad := newPlatform(t)
	bad.on(pathToken, says(400, `{"code":"invalidClientIdOrSecret"}`))
	if _, err := bad.client(Options{}).Check(t.Context()); err == nil {
		t.Error("wrong credentials are good")
	}
}

func TestNewWantsAll(t *testing.T) {
	for _, o := range []Options{{}, {ClientID: "a", ClientSecret: "b", RobotCode: "c"}, {ClientID: "a", RobotCode: "c", Endpoint: "https://x"}} {
		if _, err := New(o); err == nil {
			t.Error("it is enough")
		}
	}
}

func FuzzAnswers(f *testing.F) {
	for _, s := range []string{`{"errcode":0}`, `{"errcode":"0"}`, `{"errcode":300001}`, `{"errcode":1e400}`, `{"code":"x","processQueryKey":"y"}`, `<html>{"status":1111}`, ``, `[]`, `{"invalidStaffIdList":5}`} {
		f.Add(200, s)
		f.Add(403, s)
	}
	f.Fuzz(func(t *testing.T, status int, body string) {
		r := call.Reply{Status: status, Header: http.Header{}, Body: []byte(body)}
		for _, err := range []error{judgeHook(&r), judgeAPI(&r, &sent{})} {
			if err == nil {
				if status != http.StatusOK {
					t.Errorf("status %d is a success", status)
				}
				continue
			}
			if v := failure(t, err).Verdict; v != deliver.VerdictRetry && v != deliver.VerdictFinal && v != deliver.VerdictUncertain {
				t.Errorf("verdict %q", v)
			}
		}
	})
}
