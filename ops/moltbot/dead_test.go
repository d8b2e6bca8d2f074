package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"moltbot/contracts"
	"moltbot/ops/app"
)

// desk stands for the process of a data directory.
type desk struct {
	dir     string
	mu      sync.Mutex
	asked   []string
	answers []any // one for each request; a Problem is an error
}

func newDesk(t *testing.T, answers ...any) *desk {
	t.Helper()
	d := &desk{dir: t.TempDir(), answers: answers}
	s := httptest.NewServer(d)
	t.Cleanup(s.Close)
	b, err := json.Marshal(app.AdminAccess{URL: s.URL, Token: "token"})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(d.dir, app.AdminFile), b, 0o600); err != nil {
		t.Fatal(err)
	}
	return d
}

func (d *desk) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	defer d.mu.Unlock()
	body, _ := io.ReadAll(r.Body)
	d.asked = append(d.asked, strings.TrimSpace(r.Method+" "+r.URL.RequestURI()+" "+string(body)))
	if len(d.answers) == 0 {
		w.WriteHeader(http.StatusTeapot)
		return
	}
	if p, is := d.answers[0].(contracts.Problem); is {
		w.WriteHeader(p.Status)
	}
	_ = json.NewEncoder(w).Encode(d.answers[0])
	d.answers = d.answers[1:]
}

func (d *desk) was(t *testing.T, want ...string) {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	if !slices.Equal(d.asked, want) {
		t.Errorf("asked\n%s\nwant\n%s", strings.Join(d.asked, "\n"), strings.Join(want, "\n"))
	}
}

func TestDeadList(t *testing.T) {
	d := newDesk(t, contracts.AdminDead{
		Letters: []contracts.DeadLetter{
			{Sequence: 9, ID: "c.1.d.t", Role: "deliver", Code: contracts.CodeUndelivered, Channel: contracts.ChannelFeishu, Attempts: 3, At: time.Now().Add(-3 * time.Hour), Bytes: 512},
			{Sequence: 4, Role: "workers\x1b[2J", At: time.Now().Add(-5 * 24 * time.Hour), Bytes: 7, Trouble: "its bytes are not a message of ours"},
		},
		Counts: []contracts.DeadCount{{Role: "deliver", Code: contracts.CodeUndelivered, Count: 12}, {Role: "workers", Count: 1}}, Total: 13, Next: 4,
	})
	code, out, errOut := call(t, "dead", "list", "--role", "deliver", "--code", "undelivered", "--limit", "2", "--cursor", "10", "--data-dir", d.dir)
	want := "    12  deliver  undelivered\n" +
		"     1  workers  -\n" +
		"SEQUENCE  AGE  ROLE         CODE         CHANNEL  ATTEMPTS  BYTES  MESSAGE  REPLAY\n" +
		"9         3h   deliver      undelivered  feishu   3         512    c.1.d.t  yes\n" +
		"4         5d   workers\uFFFD[2J  -            -        0         7      -        no: its bytes are not a message of ours\n"
	if code != exitOK || out != want || errOut != "more with --cursor 4\n" {
		t.Errorf("exit status %d, %q\n%s\nwant\n%s", code, errOut, out, want)
	}
	d.was(t, "GET /admin/dead?code=undelivered&cursor=10&limit=2&role=deliver")

	d = newDesk(t, contracts.AdminDead{}, contracts.AdminDead{Letters: []contracts.DeadLetter{}, Counts: []contracts.DeadCount{}, Total: 1})
	if out := must(t, "dead", "list", "--data-dir", d.dir); out != "there are no dead letters\n" {
		t.Error(out)
	}
	var page contracts.AdminDead
	if err := json.Unmarshal([]byte(must(t, "dead", "list", "--since", "24h", "--json", "--data-dir", d.dir)), &page); err != nil || page.Total != 1 {
		t.Errorf("%+v, %v", page, err)
	}
	contains(t, fails(t, exitFailure, "dead", "list", "--data-dir", t.TempDir()), "no process seems to run")
}

func TestDeadShow(t *testing.T) {
	at := time.Date(2026, 11, 20, 8, 0, 0, 0, time.UTC)
	detail := contracts.DeadDetail{
		Letter: contracts.DeadLetter{Sequence: 9, ID: "c.1.d.t", Conversation: "c", Role: "workers", Code: contracts.CodeStale, Channel: contracts.ChannelFeishu, Attempts: 1, At: at},
		Reason: "too_old: it waited 3h", ReplayID: "c.1.d.t#r1",
	}
	d := newDesk(t, detail)
	want := "sequence      9\nmessage       c.1.d.t\nconversation  c\ngiven up      2026-11-20 08:00:00 by workers, after 1 attempts\n" +
		"code          too_old\nchannel       feishu\nreason        too_old: it waited 3h\nreplay        becomes c.1.d.t#r1\n"
	if out := must(t, "dead", "show", "c.1.d.t#r1", "--data-dir", d.dir); out != want {
		t.Errorf("%s\nwant\n%s", out, want)
	}
	d.was(t, "GET /admin/dead/c.1.d.t%23r1")

	detail.Body = &contracts.DeadBody{Caller: "feishu:ann", Accepted: at, Text: "hello\n\x1b]0;title\x07", Chat: "oc_1"}
	d = newDesk(t, detail)
	contains(t, must(t, "dead", "show", "9", "--body", "--data-dir", d.dir), "caller        feishu:ann\n", "chat          oc_1\n", "\nhello\n\uFFFD]0;title\uFFFD\n")
	d.was(t, "GET /admin/dead/9?body=true")
}

func reply(action string, sequences ...uint64) contracts.DeadReply {
	r := contracts.DeadReply{Action: action, Done: []contracts.DeadDone{}, Refused: []contracts.DeadRefused{}}
	for _, s := range sequences {
		d := contracts.DeadDone{Sequence: s, ID: "m"}
		if action == contracts.DeadActReplay {
			d.ReplayID = "m#r1"
		}
		r.Done = append(r.Done, d)
	}
	return r
}

func TestDeadReplay(t *testing.T) {
	known := reply("replay", 8)
	known.Done[0].Known = true
	d := newDesk(t, reply("replay", 7), known)
	if out := must(t, "dead", "replay", "7", "8", "--data-dir", d.dir); out != "7 is replayed as m#r1\n8 is replayed as m#r1 (an earlier replay had stored it)\n" {
		t.Error(out)
	}
	d.was(t, "POST /admin/dead/7/replay", "POST /admin/dead/8/replay")

	first, second := reply("replay", 7, 8), reply("replay", 11)
	first.More, first.After, first.Until = true, 8, 20
	second.Refused = []contracts.DeadRefused{{Sequence: 12, ID: "x", Reason: "it is too large for the queue"}}
	d = newDesk(t, first, second)
	code, out, errOut := call(t, "dead", "replay", "--all", "--code", "too_old", "--data-dir", d.dir)
	if code != exitFailure || !strings.HasSuffix(out, "11 is replayed as m#r1\n12 stays: it is too large for the queue\n3 done, 1 stay\n") || !strings.Contains(errOut, "1 of 4 dead letters stay") {
		t.Errorf("exit status %d, %q\n%s", code, errOut, out)
	}
	d.was(t, `POST /admin/dead/replay {"code":"too_old"}`, `POST /admin/dead/replay {"code":"too_old","after":8,"until":20}`)

	d = newDesk(t, reply("replay", 7), contracts.Problem{Status: 409, Code: contracts.CodeConflict, Detail: "the dead letter stays: it was changed"})
	code, out, errOut = call(t, "dead", "replay", "7", "8", "9", "--data-dir", d.dir)
	if code != exitFailure || out != "7 is replayed as m#r1\n" || !strings.Contains(errOut, "8: the dead letter stays: it was changed") {
		t.Errorf("exit status %d, %q\n%s", code, errOut, out)
	}
	for _, line := range []string{"dead replay", "dead replay 7 --all", "dead replay 7 --code too_old", "dead drop", "dead show", "dead"} {
		fails(t, exitUsage, strings.Fields(line)...)
	}
	// A process that does not move on is not asked for ever.
	still := reply("replay")
	still.More = true
	d = newDesk(t, still, still)
	if code, _, errOut := call(t, "dead", "replay", "--all", "--data-dir", d.dir); code != exitFailure || !strings.Contains(errOut, "no headway") {
		t.Errorf("exit status %d, %q", code, errOut)
	}
}

func TestDeadDropAsks(t *testing.T) {
	for answer, want := range map[string]int{"yes\n": exitOK, "Y\n": exitOK, "no\n": exitFailure, "": exitFailure, "\n": exitFailure} {
		d := newDesk(t, reply("drop", 7))
		var out, errOut strings.Builder
		code := runOn(t.Context(), []string{"dead", "drop", "7", "--data-dir", d.dir}, &console{out: &out, err: &errOut, in: strings.NewReader(answer)})
		if code != want || !strings.HasPrefix(errOut.String(), "drop 7 for good? [yes/no] ") {
			t.Errorf("%q: exit status %d, %s", answer, code, errOut.String())
		}
		if want == exitOK {
			d.was(t, "DELETE /admin/dead/7")
		} else {
			d.was(t)
		}
	}
	d := newDesk(t, reply("drop", 7, 9))
	if out := must(t, "dead", "drop", "--all", "--yes", "--data-dir", d.dir); out != "7 is dropped\n9 is dropped\n2 done, 0 stay\n" {
		t.Error(out)
	}
	d.was(t, "POST /admin/dead/drop {}")
}
