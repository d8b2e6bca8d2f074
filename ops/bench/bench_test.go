package bench

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"moltbot/ops/bench/report"
)

func TestOptionsHaveDefaults(t *testing.T) {
	o, err := Options{}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	if fmt.Sprintf("%v %v %v %s %d %s", o.Scenarios, o.Callers, o.Durability, o.Loop, o.Runs, o.Duration) != "[floor chat] [64] [os] both 1 10s" || o.Executable == "" {
		t.Errorf("%v %v %v %v %v %v", o.Scenarios, o.Callers, o.Durability, o.Loop, o.Runs, o.Duration)
	}
	o, err = Options{Against: "http://localhost:8000"}.withDefaults()
	if err != nil || fmt.Sprint(o.Scenarios) != "[against]" {
		t.Errorf("%v, %v", o.Scenarios, err)
	}
}

func TestOptionsRefuseAllMistakesAtOnce(t *testing.T) {
	_, err := Options{
		Scenarios: []string{"chat", "nonsense", "against"}, Callers: []int{0}, Durability: []string{"none"}, Loop: "sideways", Rate: -1,
		MaxInFlight: -1, Slots: -1, Runs: -1, Duration: -1, Warmup: -1, Requests: -1, ModelTime: -1,
	}.withDefaults()
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{
		`"nonsense"`, `"against"`, "callers (0)", `durability "none"`, `loop "sideways"`, "rate (-1)", "max in flight", "slots", "runs",
		"duration (-1ns)", "warm-up", "requests", "model time",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error lacks %q: %v", want, err)
		}
	}
	if _, err := (Options{Loop: loopOpen}).withDefaults(); err == nil || !strings.Contains(err.Error(), "needs a rate") {
		t.Errorf("error %v", err)
	}
}

func TestAgainstRefusesOtherMachines(t *testing.T) {
	for address, refusal := range map[string]string{
		"http://127.0.0.1:80":          "",
		"http://localhost:8000/v1":     "",
		"https://[::1]:8443":           "",
		"http://[::ffff:127.0.0.1]:80": "",
		"https://api.openai.com":       "another machine",
		"http://10.0.0.1":              "another machine",
		"http://127.0.0.1.example.com": "another machine",
		"http://me:s3cret@127.0.0.1":   "no credentials",
		"http://127.0.0.1/?key=s3cret": "no credentials",
		"ftp://127.0.0.1":              "must be like",
		"127.0.0.1:8000":               "must be like",
	} {
		_, err := Options{Against: address}.withDefaults()
		if refusal == "" && err != nil || refusal != "" && (err == nil || !strings.Contains(err.Error(), refusal)) {
			t.Errorf("%s: %v, want %q", address, err, refusal)
		}
		if err != nil && strings.Contains(err.Error(), "s3cret") {
			t.Errorf("the error quotes the secret: %v", err)
		}
	}
	if _, err := (Options{Against: "http://10.0.0.1", LoadThatHost: true}).withDefaults(); err != nil {
		t.Error(err)
	}
}

func TestTurnsTakeTurns(t *testing.T) {
	o, err := Options{
		Scenarios: []string{Floor, Chat, Idle, Scale}, Callers: []int{64, 256}, Durability: []string{"os", "fsync"}, Runs: 2,
		Against: "http://127.0.0.1:1",
	}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	count := map[report.Key]int{}
	var order []string
	for _, x := range o.turns() {
		count[x.Key]++
		order = append(order, fmt.Sprintf("%s %s %d %d", x.Scenario, x.Durability, x.Callers, x.run))
	}
	for k, n := range count {
		if n != 2 {
			t.Errorf("%+v: %d times", k, n)
		}
	}
	// floor and chat: 2 durabilities x 2 callers; idle: 2; scale: 3 x 2; against: 2
	if len(count) != 8+2+6+2 {
		t.Errorf("%d kinds of turns", len(count))
	}
	if order[0] != "floor os 64 1" || order[1] != "chat os 64 1" {
		t.Errorf("order: %v", order)
	}
}

func TestChatAnswersAreJudged(t *testing.T) {
	c := &chatTarget{sessions: 1000, token: "t0ken"}
	var q fasthttp.Request
	c.Init(&q)
	c.Prepare(&q, 1007)
	if string(q.Body()) != `{"message":"this is message number 1007 of the bench","session_id":"bench-7"}` ||
		string(q.Header.Peek("Authorization")) != "Bearer t0ken" || string(q.Header.RequestURI()) != "/api/chat" {
		t.Errorf("%s\n%s", q.Header.String(), q.Body())
	}
	for answer, fault := range map[string]string{
		`{"reply":"You wrote: \"this is message number 1007 of the bench\". It is"}`:                                                       "",
		`{"reply":"You wrote: \"this is message number 7 of the bench\", your previous one \"this is message number 1007 of the bench\""}`: faultOther,
		`{"status":"pending"}`: faultOther,
		"":                     faultEmpty,
	} {
		var r fasthttp.Response
		r.SetBodyString(answer)
		if got := c.Judge(&r, 1007); got != fault {
			t.Errorf("%s: %q, want %q", answer, got, fault)
		}
	}
}

func TestCompletionsAreAsked(t *testing.T) {
	c := &completionTarget{}
	c.login("t0ken")
	var q fasthttp.Request
	c.Init(&q)
	c.Prepare(&q, 7)
	if string(q.Body()) != `{"model":"demo","messages":[{"role":"user","content":"this is message number 7 of the bench"}]}` ||
		string(q.Header.Peek("Authorization")) != "Bearer t0ken" || string(q.Header.RequestURI()) != "/v1/chat/completions" {
		t.Errorf("%s\n%s", q.Header.String(), q.Body())
	}
}

func TestForeignAnswersAreJudged(t *testing.T) {
	c := &openAITarget{host: "h", path: "/v1/chat/completions", model: "m", key: "s3cret"}
	var q fasthttp.Request
	c.Init(&q)
	c.Prepare(&q, 5)
	if string(q.Body()) != `{"model":"m","messages":[{"role":"user","content":"this is message number 5 of the bench"}]}` ||
		string(q.Header.Peek("Authorization")) != "Bearer s3cret" {
		t.Errorf("%s\n%s", q.Header.String(), q.Body())
	}
	for answer, good := range map[string]bool{
		`{"choices":[{"message":{"content":"hello"}}]}`: true,
		`{"choices":[{"message":{"content":""}}]}`:      false,
		`{"choices":[]}`: false,
		`not json`:       false,
	} {
		var r fasthttp.Response
		r.SetBodyString(answer)
		if got := c.Judge(&r, 5); (got == "") != good {
			t.Errorf("%s: %q", answer, got)
		}
	}
}

func TestTooFewFilesAreToldBefore(t *testing.T) {
	if err := enoughFiles(1); err != nil {
		t.Error(err)
	}
	if err := enoughFiles(1 << 40); err == nil || !strings.Contains(err.Error(), "ulimit") {
		t.Errorf("error %v", err)
	}
}

func TestProgressLine(t *testing.T) {
	p := newProgress(nil, 3)
	defer p.stop()
	p.turn(2, turn{report.Key{Scenario: Scale, Durability: "os", Workers: 4}, 1})
	if got := p.line(time.Now()); got != "2/3 scale os 4 workers  starting" {
		t.Errorf("%q", got)
	}
	live := p.phase(loopClosed, time.Second, 9*time.Second)
	live.Done.Add(500)
	live.Failed.Add(3)
	if got := p.line(p.began.Add(500 * time.Millisecond)); !strings.HasSuffix(got, "of 10 s  1000 req/s  3 errors") || !strings.Contains(got, "closed loop") {
		t.Errorf("%q", got)
	}
}

// screen is what a terminal would show.
type screen struct {
	mu    sync.Mutex
	text  bytes.Buffer
	first chan struct{}
	once  sync.Once
}

func (s *screen) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.once.Do(func() { close(s.first) })
	return s.text.Write(b)
}

func TestProgressCleansUp(t *testing.T) {
	s := &screen{first: make(chan struct{})}
	p := newProgress(s, 1)
	p.turn(1, turn{report.Key{Scenario: Chat}, 1})
	<-s.first
	p.stop()
	if text := s.text.String(); !strings.Contains(text, "1/1 chat") || !strings.HasSuffix(text, "\r\x1b[K") {
		t.Errorf("%q", text)
	}
}
