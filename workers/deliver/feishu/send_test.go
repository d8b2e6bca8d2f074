package feishu

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"moltbot/contracts"
	"moltbot/workers/deliver"
	"moltbot/workers/deliver/delivertest"
)

func TestAReplyOnTheWire(t *testing.T) {
	p := newPlatform(t)
	a := message1()
	a.Text = `**done** <b> & "q"`
	id, err := send(t, p.client(Options{}), a)
	if err != nil || id != "om_sent" {
		t.Fatal(id, err)
	}
	got := p.requests()[0]
	if got.method != "POST" || got.url != "/open-apis/im/v1/messages/"+a.Origin.MessageID+"/reply" {
		t.Errorf("%s %s", got.method, got.url)
	}
	if strings.Contains(got.raw, `\u003c`) {
		t.Errorf("escaped more than needed: %s", got.raw)
	}
	uuid, _ := got.body["uuid"].(string)
	if len(uuid) != 50 || strings.Trim(uuid, "abcdefghijklmnopqrstuvwxyz0123456789") != "" {
		t.Errorf("uuid %q", uuid)
	}
	if _, has := got.body["reply_in_thread"]; has || got.body["msg_type"] != "post" {
		t.Errorf("%v", got.body)
	}
	if content, _ := got.body["content"].(string); !strings.HasPrefix(content, `{"zh_cn":{"content":[[{"tag":"md","text":"`) {
		t.Errorf("content is no JSON in a string: %v", got.body["content"])
	}
}

func TestInAThread(t *testing.T) {
	p := newPlatform(t)
	a := message1()
	a.Origin.Thread = "omt_1"
	if _, err := send(t, p.client(Options{}), a); err != nil || p.requests()[0].body["reply_in_thread"] != true {
		t.Fatal(err, p.requests())
	}
}

// What one form is refused for, the next one does without; the uuid stays.
func TestFormsThatAreNotTaken(t *testing.T) {
	for name, tc := range map[string]struct {
		codes []int64
		want  []string // reply/create, thread, type
	}{
		"recalled":                 {[]int64{230011}, []string{"reply thread post", "create post"}},
		"deleted":                  {[]int64{230110}, []string{"reply thread post", "create post"}},
		"topic gone":               {[]int64{230019}, []string{"reply thread post", "reply post"}},
		"no topics":                {[]int64{230071}, []string{"reply thread post", "reply post"}},
		"no topics for this":       {[]int64{230072}, []string{"reply thread post", "reply post"}},
		"content":                  {[]int64{230099}, []string{"reply thread post", "reply thread text"}},
		"too long":                 {[]int64{230025}, []string{"reply thread post", "reply thread text"}},
		"all of it":                {[]int64{230071, 230099, 230011}, []string{"reply thread post", "reply post", "reply text", "create text"}},
		"the last form is refused": {[]int64{230099, 230099}, []string{"reply thread post", "reply thread text"}},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlatform(t)
			for _, code := range tc.codes {
				p.script = append(p.script, says(400, code))
			}
			a := message1()
			a.Origin.Thread = "omt_1"
			_, err := send(t, p.client(Options{}), a)
			if refused := len(tc.codes) == len(tc.want); refused != (err != nil) {
				t.Error(err)
			}
			var forms []string
			for _, r := range p.requests() {
				forms = append(forms, formOf(r, a.Origin))
				if r.body["uuid"] != p.requests()[0].body["uuid"] {
					t.Error("another uuid")
				}
			}
			if strings.Join(forms, ", ") != strings.Join(tc.want, ", ") {
				t.Errorf("%q, want %q", forms, tc.want)
			}
		})
	}
}

func formOf(r request, o *contracts.Origin) string {
	form := "reply"
	if r.url == "/open-apis/im/v1/messages?receive_id_type=chat_id" && r.body["receive_id"] == o.Chat {
		form = "create"
	}
	if r.body["reply_in_thread"] == true {
		form += " thread"
	}
	return form + " " + r.body["msg_type"].(string)
}

func TestVerdicts(t *testing.T) {
	html := func(status int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			w.WriteHeader(status)
			_, _ = io.WriteString(w, "<html>secret content</html>")
		}
	}
	raw := func(status int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { answer(w, status, body) }
	}
	limited := func(reset string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("x-ogw-ratelimit-reset", reset)
			answer(w, 429, `{"code":99991400}`)
		}
	}
	for name, tc := range map[string]struct {
		step    http.HandlerFunc
		verdict deliver.Verdict
		detail  string
		wait    time.Duration
	}{
		"rate":                     {limited("7"), deliver.VerdictRetry, "99991400", 7 * time.Second},
		"absurd rate":              {limited("86400"), deliver.VerdictRetry, "99991400", 5 * time.Minute},
		"rate without a number":    {limited("soon"), deliver.VerdictRetry, "99991400", time.Second},
		"rate NaN":                 {limited("NaN"), deliver.VerdictRetry, "99991400", time.Second},
		"rate of the chat":         {says(400, 230020), deliver.VerdictRetry, "230020", time.Second},
		"rate with 200":            {says(200, 11232), deliver.VerdictRetry, "11232", time.Second},
		"service limit":            {says(400, 11233), deliver.VerdictRetry, "11233", time.Second},
		"not in the group, by 200": {says(200, 230002), deliver.VerdictFinal, "230002", 0},
		"not in the group":         {says(400, 230002), deliver.VerdictFinal, "230002", 0},
		"sensitive":                {says(400, 230022), deliver.VerdictFinal, "230022", 0},
		"switched off":             {says(400, 99991662), deliver.VerdictFinal, "99991662", 0},
		"scope":                    {says(400, 99991672), deliver.VerdictFinal, "99991672", 0},
		"quota":                    {says(400, 99991403), deliver.VerdictFinal, "99991403", 0},
		"other app's id":           {says(400, 99992354), deliver.VerdictFinal, "99992354", 0},
		"unknown code by 400":      {says(400, 4711), deliver.VerdictFinal, "4711", 0},
		"unknown code by 200":      {says(200, 4711), deliver.VerdictRetry, "4711", 0},
		"unknown code by 500":      {says(500, 4711), deliver.VerdictUncertain, "4711", 0},
		"429 by another code":      {says(429, 4711), deliver.VerdictRetry, "4711", time.Second},
		"408 by another code":      {says(408, 4711), deliver.VerdictRetry, "4711", time.Second},
		"500":                      {html(500), deliver.VerdictUncertain, "500", 0},
		"502":                      {html(502), deliver.VerdictUncertain, "502", 0},
		"504, which the SDK eats":  {html(504), deliver.VerdictUncertain, "504", 0},
		"html by 200":              {html(200), deliver.VerdictUncertain, "200", 0},
		"html by 403":              {html(403), deliver.VerdictFinal, "403", 0},
		"html by 429":              {html(429), deliver.VerdictRetry, "429", 0},
		"elsewhere":                {html(302), deliver.VerdictRetry, "302", 0},
		"no code":                  {raw(200, `{"msg":"ok"}`), deliver.VerdictUncertain, "200", 0},
		"code of another type":     {raw(200, `{"code":"0"}`), deliver.VerdictUncertain, "200", 0},
		"an array":                 {raw(200, `[]`), deliver.VerdictUncertain, "200", 0},
		"cut":                      {raw(200, `{"code":0`), deliver.VerdictUncertain, "200", 0},
		"success denied by 500":    {raw(500, `{"code":0}`), deliver.VerdictUncertain, "500", 0},
		"reset after receiving":    {delivertest.Reset, deliver.VerdictUncertain, "no_answer", 0},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlatform(t, tc.step)
			_, err := send(t, p.client(Options{}), message1())
			f := failure(t, err)
			if f.Verdict != tc.verdict || f.Detail != tc.detail || f.Wait != tc.wait {
				t.Errorf("%s %q %s, want %s %q %s", f.Verdict, f.Detail, f.Wait, tc.verdict, tc.detail, tc.wait)
			}
			if n := len(p.requests()); n != 1 {
				t.Errorf("%d calls", n)
			}
		})
	}
}

// Feishu has it already and says that it is being sent: once, or for ever. Nobody
// knows then; the same uuid is tried again while it holds (Repeatable).
func TestStillBeingSent(t *testing.T) {
	still := says(400, 230049)
	for want, script := range map[string][]http.HandlerFunc{"om_sent": {still}, "": {still, still, still}} {
		p := newPlatform(t, script...)
		id, err := send(t, p.client(Options{Settle: time.Millisecond}), message1())
		if id != want || (err == nil) != (want != "") {
			t.Errorf("%q, %v, want %q", id, err, want)
		}
		if err != nil {
			if f := failure(t, err); f.Verdict != deliver.VerdictUncertain || f.Detail != "230049" || len(p.requests()) != 3 {
				t.Error(f)
			}
		}
		for _, r := range p.requests() {
			if r.body["uuid"] != p.requests()[0].body["uuid"] {
				t.Error("another uuid")
			}
		}
	}
	p := newPlatform(t, still)
	s := &Sender{Apps: Apps{"default": p.client(Options{Settle: time.Hour})}}
	ctx, stop := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer stop()
	_, err := s.Send(ctx, message1(), s.Parts(message1())[0])
	if f := failure(t, err); f.Verdict != deliver.VerdictUncertain {
		t.Error(f)
	}
}

// One that is being sent for minutes holds up its chat no longer.
func TestBeingSentForTooLong(t *testing.T) {
	still := says(400, 230049)
	now := time.Unix(1_800_000_000, 0)
	for since, hold := range map[time.Duration]bool{patience - time.Second: false, patience: true} {
		p := newPlatform(t, still, still, still)
		s := &Sender{Apps: Apps{"default": p.client(Options{Settle: time.Millisecond, Now: func() time.Time { return now }})}}
		part := s.Parts(message1())[0]
		part.Since = now.Add(-since)
		_, err := s.Send(t.Context(), message1(), part)
		if f := failure(t, err); f.Verdict != deliver.VerdictUncertain || f.Hold != hold {
			t.Errorf("%s: %+v", since, f)
		}
	}
}

// The code was 0, so it is out, whatever else the answer says.
func TestASuccessOfAnotherShape(t *testing.T) {
	for _, body := range []string{`{"code":0}`, `{"code":0,"data":[]}`, `{"code":0,"data":{"message_id":7}}`, `{"code":0,"error":5,"msg":{}}`} {
		p := newPlatform(t, func(w http.ResponseWriter, _ *http.Request) { answer(w, 200, body) })
		if _, err := send(t, p.client(Options{}), message1()); err != nil {
			t.Errorf("%s: %v", body, err)
		}
	}
}

func TestNobodyThere(t *testing.T) {
	p := newPlatform(t)
	c := p.client(Options{})
	p.Close()
	_, err := send(t, c, message1())
	if f := failure(t, err); f.Verdict != deliver.VerdictRetry {
		t.Error(f)
	}
}

// A token that cannot be had says nothing of the message: it was never sent.
func TestATokenThatCannotBeHad(t *testing.T) {
	for name, tc := range map[string]struct {
		step    http.HandlerFunc
		verdict deliver.Verdict
	}{
		"wrong secret": {says(200, 10014), deliver.VerdictFinal},
		"500":          {says(500, 1), deliver.VerdictRetry},
		"reset":        {delivertest.Reset, deliver.VerdictRetry},
		"no token": {func(w http.ResponseWriter, _ *http.Request) { answer(w, 200, `{"code":0,"expire":7200}`) },
			deliver.VerdictRetry},
		"no life": {func(w http.ResponseWriter, _ *http.Request) {
			answer(w, 200, `{"code":0,"tenant_access_token":"t-1","expire":0}`)
		}, deliver.VerdictRetry},
	} {
		t.Run(name, func(t *testing.T) {
			s := httptest.NewServer(tc.step)
			defer s.Close()
			p := &platform{t: t, Server: s}
			_, err := send(t, p.client(Options{}), message1())
			if f := failure(t, err); f.Verdict != tc.verdict {
				t.Error(f)
			}
		})
	}
}

func TestAHangEnds(t *testing.T) {
	done := make(chan struct{})
	p := newPlatform(t, func(http.ResponseWriter, *http.Request) { <-done })
	t.Cleanup(func() { close(done) })
	_, err := send(t, p.client(Options{Timeout: 50 * time.Millisecond}), message1())
	if f := failure(t, err); f.Verdict != deliver.VerdictUncertain || f.Detail != "no_answer" {
		t.Error(f)
	}
}

func TestAHugeAnswerIsNotRead(t *testing.T) {
	var wrote atomic.Int64
	ended := make(chan struct{})
	p := newPlatform(t, func(w http.ResponseWriter, _ *http.Request) {
		defer close(ended)
		w.Header().Set("Content-Type", "application/json")
		chunk := []byte(strings.Repeat(" ", 64<<10))
		for range (1 << 30) / len(chunk) {
			n, err := w.Write(chunk)
			wrote.Add(int64(n))
			if err != nil {
				return
			}
		}
	})
	_, err := send(t, p.client(Options{}), message1())
	if f := failure(t, err); f.Verdict != deliver.VerdictUncertain {
		t.Error(f)
	}
	<-ended
	if wrote.Load() > 64<<20 {
		t.Errorf("%d bytes were taken", wrote.Load())
	}
}

// Many calls whose token is refused at once fetch one anew once.
func TestOneRefreshForAll(t *testing.T) {
	const calls = 50
	var all sync.WaitGroup
	all.Add(calls)
	refused := func(w http.ResponseWriter, r *http.Request) {
		all.Done()
		all.Wait() // each of them has the old token
		says(400, 99991663)(w, r)
	}
	p := newPlatform(t)
	for range calls {
		p.script = append(p.script, refused)
	}
	c := p.client(Options{})
	var wg sync.WaitGroup
	for range calls {
		wg.Go(func() {
			if _, err := send(t, c, message1()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := p.asked(); n != 2 {
		t.Errorf("%d tokens were asked for, want 2", n)
	}
}

func TestARefreshIsNoLoop(t *testing.T) {
	for _, code := range []int64{99991663, 99991664, 99991665, 99991671} {
		p := newPlatform(t, says(400, code), says(400, code), says(400, code))
		_, err := send(t, p.client(Options{}), message1())
		if f := failure(t, err); f.Verdict != deliver.VerdictRetry {
			t.Error(f)
		}
		if p.asked() != 2 || len(p.requests()) != 2 {
			t.Errorf("code %d: %d tokens, %d calls, want 2 and 2", code, p.asked(), len(p.requests()))
		}
	}
}

func TestATokenIsUsedUntilShortlyBeforeItsEnd(t *testing.T) {
	var now atomic.Int64
	p := newPlatform(t)
	c := p.client(Options{Now: func() time.Time { return time.Unix(now.Load(), 0) }})
	for _, step := range []struct {
		at   time.Duration
		want int
	}{{0, 1}, {7200*time.Second - tokenEarly - time.Second, 1}, {7200*time.Second - tokenEarly, 2}} {
		now.Store(int64(step.at.Seconds()))
		if _, err := send(t, c, message1()); err != nil || p.asked() != step.want {
			t.Errorf("at %s: %d tokens (%v), want %d", step.at, p.asked(), err, step.want)
		}
	}
}

func TestRepeatable(t *testing.T) {
	s := &Sender{}
	if !s.Repeatable(nil, 54*time.Minute) || s.Repeatable(nil, 55*time.Minute) {
		t.Error("the limit is not 55 minutes")
	}
}

func TestAnApplicationThatIsGone(t *testing.T) {
	a := message1()
	a.Origin.App = "left"
	s := &Sender{Apps: Apps{}}
	_, err := s.Send(context.Background(), a, s.Parts(a)[0])
	if f := failure(t, err); f.Verdict != deliver.VerdictFinal {
		t.Error(f)
	}
}

// What the model writes pings nobody, in no form.
func TestNobodyIsPinged(t *testing.T) {
	p := newPlatform(t, says(400, 230099))
	a := message1()
	a.Text = "<at user_id=\"all\">all</at> &lt;at id=all&gt; `<at user_id=\"ou_1\">` \\<at id=all> <AT user_id=all></AT>\n\n    <at user_id=\"all\"></at>\n\n@all"
	if _, err := send(t, p.client(Options{}), a); err != nil {
		t.Fatal(err)
	}
	for _, r := range p.requests() {
		content, _ := r.body["content"].(string)
		var plain any
		if err := json.Unmarshal([]byte(content), &plain); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(strings.ToLower(fmt.Sprint(plain)), "<at") {
			t.Errorf("%s: %v", r.body["msg_type"], plain)
		}
	}
	if n := len(p.requests()); n != 2 {
		t.Errorf("%d requests", n)
	}
}
