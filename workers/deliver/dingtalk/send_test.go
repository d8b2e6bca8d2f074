package dingtalk

import (
	"encoding/json"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"moltbot/contracts"
	"moltbot/workers/deliver"
	"moltbot/workers/deliver/delivertest"
)

func TestBySession(t *testing.T) {
	p := newPlatform(t)
	a := p.inGroup()
	a.Text = "**done** & \"q\""
	if _, err := send(t, p.client(Options{}), a); err != nil {
		t.Fatal(err)
	}
	got := p.last()
	if p.calls() != sessionPath || got.query != "session="+session {
		t.Errorf("%s ? %s", p.calls(), got.query)
	}
	md, _ := got.body["markdown"].(map[string]any)
	if got.body["msgtype"] != "markdown" || md["title"] == "" || md["text"] == "" || len(got.body) != 2 {
		t.Errorf("%s", got.raw)
	}
	if got.header.Get("Connection") != "close" {
		t.Error("the connection is not for this call alone")
	}
	if p.tokens != 0 {
		t.Error("a token was asked for")
	}
}

func TestByRobot(t *testing.T) {
	for name, tc := range map[string]struct {
		answer *contracts.Answer
		path   string
		want   map[string]any
	}{
		"group": {
			func() *contracts.Answer {
				a := direct()
				a.Origin.Direct = false
				a.Origin.Chat = "cidGroup=="
				return a
			}(), pathGroup,
			map[string]any{"robotCode": robot, "openConversationId": "cidGroup==", "msgKey": "sampleMarkdown"},
		},
		"user": {direct(), pathUser, map[string]any{"robotCode": robot, "userIds": []any{"staff1"}, "msgKey": "sampleMarkdown"}},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlatform(t)
			id, err := send(t, p.client(Options{}), tc.answer)
			if err != nil || id != "pqk" || p.calls() != tc.path {
				t.Fatal(id, err, p.calls())
			}
			got := p.last().body
			var param titled
			if err := json.Unmarshal([]byte(got["msgParam"].(string)), &param); err != nil || param.Text == "" || param.Title == "" {
				t.Errorf("msgParam is no JSON in a string: %v", got["msgParam"])
			}
			delete(got, "msgParam")
			if !reflect.DeepEqual(got, tc.want) {
				t.Errorf("%v, want %v", got, tc.want)
			}
		})
	}
}

// A session webhook that is of no use (expired, told elsewhere, not there) sent
// nothing, so that the robot may.
func TestFromSessionToRobot(t *testing.T) {
	var inner atomic.Int64
	inside := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { inner.Add(1) }))
	defer inside.Close()
	for name, step := range map[string]http.HandlerFunc{
		"expired":          says(200, `{"errcode":300001,"errmsg":"session 不存在"}`),
		"robot off":        says(200, `{"errcode":400102}`),
		"no such token":    says(200, `{"errcode":300005}`),
		"expired, as text": says(200, `{"errcode":"300001"}`),
		"redirect":         func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, inside.URL, http.StatusFound) },
		"redirect, as POST": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, inside.URL, http.StatusTemporaryRedirect)
		},
		"not there": page(404, "<html>"),
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlatform(t)
			p.on(sessionPath, step)
			if id, err := send(t, p.client(Options{}), p.inGroup()); err != nil || id != "pqk" {
				t.Fatal(id, err)
			}
			if p.calls() != sessionPath+" "+pathGroup {
				t.Error(p.calls())
			}
		})
	}
	if inner.Load() != 0 {
		t.Error("a redirect was followed")
	}
}

func TestTheSessionEnds(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	for left, want := range map[time.Duration]string{
		61 * time.Second: sessionPath, 60 * time.Second: pathGroup, -time.Hour: pathGroup,
	} {
		p := newPlatform(t)
		a := p.inGroup()
		a.Origin.WebhookUntil = now.Add(left)
		if _, err := send(t, p.client(Options{Now: func() time.Time { return now }}), a); err != nil || p.calls() != want {
			t.Errorf("%s before its end: %s (%v), want %s", left, p.calls(), err, want)
		}
	}
}

func TestVerdicts(t *testing.T) {
	const blockedPage = `<html><script>{"status": 1111,"url":"x"}</script>`
	denied := func(code string) string { return `{"code":"` + code + `","message":"secret content","requestid":"R"}` }
	for name, tc := range map[string]struct {
		hook, robot http.HandlerFunc // one of them
		verdict     deliver.Verdict
		detail      string
		wait        time.Duration
	}{
		"hook: too fast":             {hook: says(200, `{"errcode":130101}`), verdict: deliver.VerdictRetry, detail: "130101", wait: floodPause},
		"hook: too fast, in words":   {hook: says(200, `{"errcode":410100}`), verdict: deliver.VerdictRetry, detail: "410100", wait: floodPause},
		"hook: dissolved":            {hook: says(200, `{"errcode":400013}`), verdict: deliver.VerdictFinal, detail: "400013"},
		"hook: bad JSON":             {hook: says(200, `{"errcode":40035}`), verdict: deliver.VerdictFinal, detail: "40035"},
		"hook: unknown":              {hook: says(200, `{"errcode":4711}`), verdict: deliver.VerdictRetry, detail: "4711"},
		"robot: a number by 200":     {robot: says(200, `{"code":4711,"message":"secret content"}`), verdict: deliver.VerdictRetry, detail: "4711"},
		"robot: an old code by 200":  {robot: says(200, `{"errcode":40014,"errmsg":"secret content"}`), verdict: deliver.VerdictRetry, detail: "40014"},
		"robot: a strange code, 200": {robot: says(200, `{"code":"secret content"}`), verdict: deliver.VerdictRetry, detail: "unnamed"},
		"hook: rate":                 {hook: says(200, `{"errcode":90018}`), verdict: deliver.VerdictRetry, detail: "90018", wait: time.Second},
		"hook: quota":                {hook: says(200, `{"errcode":90020}`), verdict: deliver.VerdictFinal, detail: "90020"},
		"hook: content":              {hook: says(200, `{"errcode":310000}`), verdict: deliver.VerdictFinal, detail: "310000"},
		"hook: busy":                 {hook: says(200, `{"errcode":-1,"errmsg":"secret content"}`), verdict: deliver.VerdictRetry, detail: "-1"},
		"hook: time-out inside":      {hook: says(200, `{"errcode":15}`), verdict: deliver.VerdictUncertain, detail: "15"},
		"hook: 500":                  {hook: page(500, ""), verdict: deliver.VerdictUncertain, detail: "500"},
		"hook: 504":                  {hook: page(504, ""), verdict: deliver.VerdictUncertain, detail: "504"},
		"hook: 429":                  {hook: page(429, ""), verdict: deliver.VerdictRetry, detail: "429"},
		"hook: html by 200":          {hook: page(200, "<html>secret content"), verdict: deliver.VerdictUncertain, detail: "200"},
		"hook: no code":              {hook: says(200, `{}`), verdict: deliver.VerdictUncertain, detail: "200"},
		"hook: 0 denied by 500":      {hook: says(500, `{"errcode":0}`), verdict: deliver.VerdictUncertain, detail: "500"},
		"hook: blocked":              {hook: page(200, blockedPage), verdict: deliver.VerdictRetry, detail: "blocked", wait: 5 * time.Minute},
		"hook: reset":                {hook: delivertest.Reset, verdict: deliver.VerdictUncertain, detail: "no_answer"},
		"robot: rate":                {robot: says(403, denied("Forbidden.AccessDenied.QpsLimitForAppkeyAndApi")), verdict: deliver.VerdictRetry, detail: "Forbidden.AccessDenied.QpsLimitForAppkeyAndApi", wait: time.Second},
		"robot: rate of the API":     {robot: says(403, denied("Forbidden.AccessDenied.QpsLimitForApi")), verdict: deliver.VerdictRetry, detail: "Forbidden.AccessDenied.QpsLimitForApi", wait: time.Second},
		"robot: quota":               {robot: says(403, denied("Forbidden.AccessDenied.ApiCountLimitForOrg")), verdict: deliver.VerdictFinal, detail: "Forbidden.AccessDenied.ApiCountLimitForOrg"},
		"robot: permission":          {robot: says(403, denied("Forbidden.AccessDenied.AccessTokenPermissionDenied")), verdict: deliver.VerdictFinal, detail: "Forbidden.AccessDenied.AccessTokenPermissionDenied"},
		"robot: too fast":            {robot: says(400, denied("send.too.fast")), verdict: deliver.VerdictRetry, detail: "send.too.fast", wait: floodPause},
		"robot: parameter":           {robot: says(400, denied("invalidParameter.msgParam.invalid")), verdict: deliver.VerdictFinal, detail: "invalidParameter.msgParam.invalid"},
		"robot: no robot":            {robot: says(400, denied("robot.oto.notExist")), verdict: deliver.VerdictFinal, detail: "robot.oto.notExist"},
		"robot: no such user":        {robot: says(400, denied("staffId.notExisted")), verdict: deliver.VerdictFinal, detail: "staffId.notExisted"},
		"robot: system error":        {robot: says(500, denied("system.error")), verdict: deliver.VerdictUncertain, detail: "system.error"},
		"robot: 504":                 {robot: page(504, ""), verdict: deliver.VerdictUncertain, detail: "504"},
		"robot: 429":                 {robot: page(429, ""), verdict: deliver.VerdictRetry, detail: "429"},
		"robot: 408":                 {robot: page(408, ""), verdict: deliver.VerdictRetry, detail: "408"},
		"robot: 302":                 {robot: page(302, ""), verdict: deliver.VerdictRetry, detail: "302"},
		"robot: blocked":             {robot: page(403, blockedPage), verdict: deliver.VerdictRetry, detail: "blocked", wait: 5 * time.Minute},
		"robot: html by 200":         {robot: page(200, "<html>"), verdict: deliver.VerdictUncertain, detail: "200"},
		"robot: a code by 200":       {robot: says(200, denied("some.error")), verdict: deliver.VerdictRetry, detail: "some.error"},
		"robot: another shape":       {robot: says(200, `{"processQueryKey":{}}`), verdict: deliver.VerdictUncertain, detail: "200"},
		"robot: a code with content": {robot: says(400, denied("secret content")), verdict: deliver.VerdictFinal, detail: "400"},
		"robot: not to this user":    {robot: says(200, `{"processQueryKey":"x","flowControlledStaffIdList":["staff1"]}`), verdict: deliver.VerdictRetry, detail: "flow_controlled", wait: floodPause},
		"robot: unknown user":        {robot: says(200, `{"processQueryKey":"x","invalidStaffIdList":["staff1"]}`), verdict: deliver.VerdictFinal, detail: "no_receiver"},
		"robot: reset":               {robot: delivertest.Reset, verdict: deliver.VerdictUncertain, detail: "no_answer"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlatform(t)
			a := direct()
			if tc.hook != nil {
				a = p.inGroup()
				p.on(sessionPath, tc.hook)
			} else {
				p.on(pathUser, tc.robot)
			}
			_, err := send(t, p.client(Options{}), a)
			f := failure(t, err)
			if f.Verdict != tc.verdict || f.Detail != tc.detail || f.Wait != tc.wait {
				t.Errorf("%s %q %s, want %s %q %s", f.Verdict, f.Detail, f.Wait, tc.verdict, tc.detail, tc.wait)
			}
			if strings.Contains(p.calls(), " ") {
				t.Errorf("more than one call: %s", p.calls())
			}
		})
	}
}

func TestNobodyThere(t *testing.T) {
	p := newPlatform(t)
	c, a := p.client(Options{}), p.inGroup()
	p.Close()
	_, err := send(t, c, a)
	if f := failure(t, err); f.Verdict != deliver.VerdictRetry || f.Detail != "no_connection" {
		t.Error(f)
	}
}

// Without a handshake nothing was sent, so it may be tried again; and never without
// TLS instead.
func TestACertificateThatIsNotTrusted(t *testing.T) {
	p := newPlatform(t)
	var served atomic.Int64
	stranger := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { served.Add(1) }))
	stranger.Config.ErrorLog = log.New(io.Discard, "", 0)
	stranger.StartTLS()
	defer stranger.Close()
	a := p.inGroup()
	a.Origin.Webhook = stranger.URL + sessionPath + "?session=" + session
	_, err := send(t, p.client(Options{Origins: []string{stranger.URL}}), a)
	if f := failure(t, err); f.Verdict != deliver.VerdictRetry || f.Detail != "no_connection" || served.Load() != 0 {
		t.Error(f)
	}
}

func TestAHangEnds(t *testing.T) {
	done := make(chan struct{})
	p := newPlatform(t)
	p.on(sessionPath, func(http.ResponseWriter, *http.Request) { <-done })
	t.Cleanup(func() { close(done) })
	_, err := send(t, p.client(Options{Timeout: 50 * time.Millisecond}), p.inGroup())
	if f := failure(t, err); f.Verdict != deliver.VerdictUncertain || f.Detail != "no_answer" {
		t.Error(f)
	}
}

func TestAHugeAnswerIsNotRead(t *testing.T) {
	p := newPlatform(t)
	var wrote atomic.Int64
	ended := make(chan struct{})
	p.on(sessionPath, func(w http.ResponseWriter, _ *http.Request) {
		defer close(ended)
		chunk := []byte(strings.Repeat(" ", 64<<10))
		for range (1 << 30) / len(chunk) {
			n, err := w.Write(chunk)
			wrote.Add(int64(n))
			if err != nil {
				return
			}
		}
	})
	_, err := send(t, p.client(Options{}), p.inGroup())
	if f := failure(t, err); f.Verdict != deliver.VerdictUncertain {
		t.Error(f)
	}
	<-ended
	if wrote.Load() > 64<<20 {
		t.Errorf("%d bytes were taken", wrote.Load())
	}
}

func TestOneRefreshForAll(t *testing.T) {
	const calls = 50
	var all sync.WaitGroup
	all.Add(calls)
	p := newPlatform(t)
	for range calls {
		p.on(pathUser, func(w http.ResponseWriter, _ *http.Request) {
			all.Done()
			all.Wait() // each of them has the old token
			answer(w, 401, `{"code":"InvalidAuthentication"}`)
		})
	}
	c := p.client(Options{})
	var wg sync.WaitGroup
	for range calls {
		wg.Go(func() {
			if _, err := send(t, c, direct()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if p.tokens != 2 {
		t.Errorf("%d tokens were asked for, want 2", p.tokens)
	}
}

func TestARefreshIsNoLoop(t *testing.T) {
	p := newPlatform(t)
	p.on(pathUser, page(401, ""), page(401, ""), page(401, ""))
	_, err := send(t, p.client(Options{}), direct())
	if f := failure(t, err); f.Verdict != deliver.VerdictRetry || p.tokens != 2 || p.calls() != pathUser+" "+pathUser {
		t.Error(f, p.tokens, p.calls())
	}
}

// A token that cannot be had says nothing of the message: it was never sent.
func TestATokenThatCannotBeHad(t *testing.T) {
	for name, tc := range map[string]struct {
		step    http.HandlerFunc
		verdict deliver.Verdict
	}{
		"wrong secret": {says(400, `{"code":"invalidClientIdOrSecret","message":"x"}`), deliver.VerdictFinal},
		"500":          {page(500, ""), deliver.VerdictRetry},
		"reset":        {delivertest.Reset, deliver.VerdictRetry},
		"no token":     {says(200, `{"expireIn":7200}`), deliver.VerdictRetry},
	} {
		p := newPlatform(t)
		p.on(pathToken, tc.step)
		_, err := send(t, p.client(Options{}), direct())
		if f := failure(t, err); f.Verdict != tc.verdict || p.calls() != "" {
			t.Errorf("%s: %v, calls %q", name, f, p.calls())
		}
	}
}

func TestNobodyToSendTo(t *testing.T) {
	outsider, nowhere := direct(), direct()
	outsider.Origin.Sender = ""
	nowhere.Origin.Direct, nowhere.Origin.Chat = false, ""
	gone := direct()
	gone.Origin.App = "left"
	for _, a := range []*contracts.Answer{outsider, nowhere, gone} {
		p := newPlatform(t)
		_, err := send(t, p.client(Options{}), a)
		if f := failure(t, err); f.Verdict != deliver.VerdictFinal || p.calls() != "" {
			t.Error(f, p.calls())
		}
	}
}

func TestRepeatableAsConfigured(t *testing.T) {
	p := newPlatform(t)
	for _, resend := range []bool{false, true} {
		s := &Sender{Apps: Apps{"default": p.client(Options{Resend: resend})}}
		if s.Repeatable(direct(), time.Hour) != resend {
			t.Errorf("resend %v is not heard", resend)
		}
	}
}

// Every part fits the robot, however much its text grows in JSON.
func TestPartsFitTheRobot(t *testing.T) {
	for _, text := range []string{
		strings.Repeat("a \"word\" \\ and\n", 1500), strings.Repeat("\"", 16_000), strings.Repeat("字", 6_000), strings.Repeat("<&>\t", 4000),
	} {
		a := direct()
		a.Text = text
		s := &Sender{}
		parts, again := s.Parts(a), s.Parts(a)
		if !reflect.DeepEqual(parts, again) {
			t.Error("the same answer was cut otherwise")
		}
		for _, p := range parts {
			if _, err := markdown(p.Text).param(); err != nil {
				t.Errorf("part %d of %d: %v", p.Number, p.Of, err)
			}
		}
	}
}
