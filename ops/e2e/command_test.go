package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"moltbot/contracts"
	"moltbot/workers/model/modeltest"
)

// commanded is a system of three workers whose models do what a message says: one
// that begins with "stall" stops in the middle of its answer, "fail" is refused,
// and "slow" takes a second.
type commanded struct {
	*system
	model *modeltest.Server
	file  string
	c     *client
}

func buildCommanded(t *testing.T) *commanded {
	m := modeltest.New(modeltest.Options{
		Key: "test-key", Reply: func(r modeltest.Request) string { return r.Model + " says " + r.LastUser() },
		Behave: func(r modeltest.Request) modeltest.Behavior {
			switch kind, _, _ := strings.Cut(r.LastUser(), " "); kind {
			case "stall":
				return modeltest.Behavior{Kind: modeltest.Stall}
			case "fail":
				return modeltest.Behavior{Kind: modeltest.Status, Status: http.StatusServiceUnavailable}
			case "slow":
				return modeltest.Behavior{Latency: time.Second}
			case "random":
				return modeltest.Behavior{Latency: rand.N(60 * time.Millisecond)}
			}
			return modeltest.Behavior{}
		},
	})
	t.Cleanup(m.Close)
	s := &commanded{model: m, file: filepath.Join(t.TempDir(), "models.yaml")}
	if err := os.WriteFile(s.file, []byte(s.table("main", "fast")), 0o600); err != nil {
		t.Fatal(err)
	}
	s.system = build(t, shape{workers: 3, settings: fmt.Sprintf("model: {file: %q}\ncache: {enabled: false}\n"+
		"queue: {ack_wait: 3s, beat: 1s, lease: 1500ms, busy_delay: 200ms, retry_base: 30s, retry_max: 1m, retry_for: 30m}\n", s.file)})
	s.c = s.client()
	return s
}

// table is a model file; the first name is the default.
func (s *commanded) table(names ...string) string {
	text := fmt.Sprintf("providers:\n  one: {endpoint: %q, api_key: test-key, timeout: 20s, first_token_timeout: 10s, idle_timeout: 10s}\nmodels:\n", s.model.URL)
	for _, name := range names {
		text += fmt.Sprintf("  %s: {provider: one, model: %s-1}\n", name, name)
	}
	return text + fmt.Sprintf("model_routing: {default: %s}\n", names[0])
}

// say sends one message and gives its answer.
func (s *commanded) say(session, text string) response {
	s.t.Helper()
	r, err := s.c.chat(context.Background(), session, text, "", 40)
	if err != nil {
		s.t.Fatal(err)
	}
	return r
}

// send stores a message, and gives its id.
func (s *commanded) send(session, text string) string {
	s.t.Helper()
	r, err := s.c.chat(context.Background(), session, text, "", 0)
	if err != nil || r.reply.ID == "" {
		s.t.Fatalf("%s: %+v, %v", text, r, err)
	}
	return r.reply.ID
}

// end waits for what became of a message: its answer, or the code it ended with.
func (s *commanded) end(id string) string {
	ctx, cancel := context.WithTimeout(context.Background(), 40*time.Second)
	defer cancel()
	for ctx.Err() == nil {
		r, err := s.c.do(ctx, http.MethodGet, "/api/chat/"+id+"?wait=10", "", nil)
		switch {
		case err != nil || r.status == http.StatusAccepted:
		case r.status == http.StatusOK:
			return r.reply.Reply
		default:
			return string(r.problem.Code)
		}
		wait(ctx, 10*time.Millisecond)
	}
	return "nothing within 40s"
}

func (s *commanded) ends(id, what, want string) {
	s.t.Helper()
	if got := s.end(id); got != want {
		s.t.Errorf("%s ends as %q, want %q", what, got, want)
	}
}

// TestCommands: what users tell the bot works whichever of three workers has their conversation.
func TestCommands(t *testing.T) {
	t.Parallel() // it waits more than it works
	s := buildCommanded(t)
	t.Run("stop", func(t *testing.T) { s.stopsWhatRuns(t) })
	t.Run("stop between retries", func(t *testing.T) { s.stopsBetweenRetries(t) })
	t.Run("new", func(t *testing.T) { s.beginsAnew(t) })
	t.Run("model", func(t *testing.T) { s.choosesModels(t) })
	t.Run("any moment", func(t *testing.T) { s.stopsAtAnyMoment(t) })
	t.Run("stop and kill", func(t *testing.T) { s.stopsWithKills(t) })
	if t.Failed() {
		s.dump()
	}
}

// soon is how long a stop may take. The promise is a second; the small test leaves
// room for what else the machine does.
func soon() time.Duration { return size(3*time.Second, time.Second) }

// stopsWhatRuns during a long answer that somebody reads, with another message behind it.
func (s *commanded) stopsWhatRuns(t *testing.T) {
	events := s.readAlong(s.base, "POST", "/api/chat", `{"message":"stall 1","stream":true,"session_id":"stop"}`)
	v := &view{}
	v.until(t, events, "the first half", func() bool { return v.text != "" })
	behind := s.send("stop", "behind")
	began := time.Now()
	stop := s.send("stop", "/stop")
	after := s.send("stop", "after")
	eventually(t, soon(), "the provider sees its client leave", func() bool { return s.model.Open("stall 1") == 0 })
	gone := time.Since(began)
	var last event
	for e := range events {
		last = e
	}
	took := time.Since(began)
	var p contracts.Problem
	if err := json.Unmarshal([]byte(last.data), &p); err != nil || last.name != "error" || p.Code != contracts.CodeStopped {
		t.Errorf("the stream ends with %+v, %v", last, err)
	}
	if took > soon() {
		t.Errorf("the client was told after %s", took)
	}
	t.Logf("the provider's connection was closed after %s, the client was told after %s", gone, took)
	s.ends(behind, "what waits", string(contracts.CodeStopped))
	s.ends(stop, "the command", "Stopped 2 messages.")
	s.ends(after, "what comes after", "main-1 says after")
	if r := s.say("stop", "/停止"); r.reply.Reply != "没有需要停止的内容。" || r.reply.Model != "" || r.reply.Cached {
		t.Errorf("%+v", r)
	}
}

func (s *commanded) stopsBetweenRetries(t *testing.T) {
	failed := s.send("retry", "fail 1")
	id, err := contracts.ParseID(failed)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, 10*time.Second, "it waits to be tried again", func() bool {
		return s.rdb.Get(context.Background(), contracts.KeyLease(id.Conversation)).Val() == contracts.LeaseHeld
	})
	began := time.Now()
	stop := s.send("retry", "/stop")
	s.ends(failed, "what is tried again", string(contracts.CodeStopped))
	s.ends(stop, "the command", "Stopped.")
	if took := time.Since(began); took > soon() {
		t.Errorf("it took %s", took)
	}
	s.ends(s.send("retry", "after"), "what comes after", "main-1 says after")
}

// beginsAnew while an answer is made: what comes after knows nothing of it.
func (s *commanded) beginsAnew(t *testing.T) {
	s.say("new", "old secret")
	flying := s.send("new", "slow flying")
	fresh := s.send("new", "/new")
	first := s.send("new", "first of the new")
	s.ends(flying, "what flies", "main-1 says slow flying")
	if got := s.end(fresh); !strings.Contains(got, "new conversation") {
		t.Errorf("the command ends as %q", got)
	}
	s.ends(first, "the first", "main-1 says first of the new")
	s.say("new", "second of the new")
	want := map[string]int{"slow flying": 3, "first of the new": 1, "second of the new": 3}
	for _, r := range s.model.Requests() {
		talk := 0
		for _, m := range r.Messages {
			if m.Role != "system" {
				talk++
			}
		}
		if n, ok := want[r.LastUser()]; ok && talk != n {
			t.Errorf("%s: %d messages, want %d: %+v", r.LastUser(), talk, n, r.Messages)
		}
	}
}

// choosesModels, of which one is taken away.
func (s *commanded) choosesModels(t *testing.T) {
	if r := s.say("model", "/model"); !strings.Contains(r.reply.Reply, "- fast\n- main (default)\n") {
		t.Errorf("%+v", r)
	}
	if r := s.say("model", "/model fast"); !strings.Contains(r.reply.Reply, "fast") {
		t.Errorf("%+v", r)
	}
	s.say("model", "/new") // the choice stays
	if r := s.say("model", "hi"); r.reply.Reply != "fast-1 says hi" {
		t.Errorf("%+v", r)
	}
	if r := s.say("other", "hi"); r.reply.Reply != "main-1 says hi" {
		t.Errorf("%+v", r)
	}
	few := *s.c
	few.token = strings.TrimSpace(s.run("token", "-u", "few", "-d", "1", "--models", "fast"))
	ask := func(text string) response {
		t.Helper()
		r, err := few.chat(t.Context(), "model", text, "", 40)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	if r := ask("hi"); r.problem.Code != contracts.CodeModelUnknown {
		t.Errorf("%+v", r)
	}
	if r := ask("/model main"); r.status != http.StatusOK || !strings.Contains(r.reply.Reply, "no such model") {
		t.Errorf("%+v", r)
	}
	ask("/model fast")
	if r := ask("hi"); r.reply.Reply != "fast-1 says hi" {
		t.Errorf("%+v", r)
	}

	s.write(s.file+".new", s.table("main", "other"))
	if err := os.Rename(s.file+".new", s.file); err != nil {
		t.Fatal(err)
	}
	eventually(t, 10*time.Second, "the table is another", func() bool {
		followed := true
		for range 6 { // whichever worker answers
			followed = followed && strings.Contains(s.say("look", "/model").reply.Reply, "- other")
		}
		return followed
	})
	for range 2 {
		if r := s.say("model", "and now"); r.reply.Reply != "main-1 says and now" {
			t.Errorf("%+v", r)
		}
	}
	dropped := 0
	for _, w := range s.workers {
		dropped += w.lines("the model that was chosen for this session is gone")
	}
	if dropped != 1 {
		t.Errorf("it was said %d times that the choice is gone", dropped)
	}
}

// stopsAtAnyMoment: every message ends once, as answered or stopped, and in order.
func (s *commanded) stopsAtAnyMoment(t *testing.T) {
	ends := map[string]int{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	limit := make(chan struct{}, 10)
	for round := range 100 {
		limit <- struct{}{}
		wg.Go(func() {
			defer func() { <-limit }()
			session := fmt.Sprintf("any-%d", round)
			texts := []string{"random a", "random b", "/stop", "random c"}
			var ids []string
			for _, text := range texts {
				id, err := s.c.accept(t.Context(), session, text, session+strings.ReplaceAll(text, " ", "-"))
				if err != nil {
					t.Error(err)
					return
				}
				ids = append(ids, id)
				wait(t.Context(), rand.N(30*time.Millisecond))
			}
			for i, id := range ids {
				end := s.end(id)
				if again := s.end(id); again != end {
					t.Errorf("%s ends as %q and as %q", texts[i], end, again)
				}
				switch {
				case i < 2 && end == string(contracts.CodeStopped), end == "main-1 says "+texts[i]:
				case i == 2 && strings.HasPrefix(end, "Stopped"), i == 2 && end == "Nothing to stop.":
				default:
					t.Errorf("%s ends as %q", texts[i], end)
				}
				mu.Lock()
				ends[texts[i]+": "+end]++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	t.Log(ends)
	for _, want := range []string{"random a: stopped", "random a: main-1 says random a"} {
		if ends[want] == 0 {
			t.Errorf("%q was not seen", want)
		}
	}
}

// stopsWithKills: the workers are killed as the stop comes.
func (s *commanded) stopsWithKills(t *testing.T) {
	running := s.send("kill", "stall kill")
	eventually(t, 10*time.Second, "it runs", func() bool { return s.model.Open("stall kill") > 0 })
	behind := s.send("kill", "behind the kill")
	killed := make(chan struct{})
	go func() {
		defer close(killed)
		for _, w := range s.workers {
			w.crash()
		}
	}()
	stop := s.send("kill", "/stop")
	after := s.send("kill", "after the kill")
	<-killed
	s.ends(running, "what ran", string(contracts.CodeStopped))
	s.ends(behind, "what waits", string(contracts.CodeStopped))
	s.ends(stop, "the command", "Stopped 2 messages.")
	s.ends(after, "what comes after", "main-1 says after the kill")
	if calls := len(s.calls("behind the kill")); calls != 0 {
		t.Errorf("what waits was run %d times", calls)
	}
}

// calls are the requests of the model whose newest message is text.
func (s *commanded) calls(text string) (all []modeltest.Request) {
	for _, r := range s.model.Requests() {
		if r.LastUser() == text {
			all = append(all, r)
		}
	}
	return all
}
