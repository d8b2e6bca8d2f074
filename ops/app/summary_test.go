package app

import (
	"context"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"moltbot/contracts"
	"moltbot/ops/config"
	"moltbot/scheduler"
	"moltbot/workers/model"
	"moltbot/workers/model/modeltest"
)

// asked counts what is asked.
type asked struct{ n int }

func (c *asked) Summarize(context.Context, string, string) error {
	c.n++
	return nil
}

var fact = regexp.MustCompile(`FACT-\w+`)

// A fact from the third of many turns is in the last prompt; each call that
// summarized is counted, and no text of it is found in the clear.
func TestASummaryKeepsAFact(t *testing.T) {
	const turns = 200
	upstream := modeltest.New(modeltest.Options{Reply: func(r modeltest.Request) string {
		if text, ok := modeltest.Summary(r, fact); ok {
			return text
		}
		return "noted"
	}})
	t.Cleanup(upstream.Close)
	c := settings(t)
	c.HTTP.RateLimit = "off"
	c.Model.Catalog = config.Catalog{
		Default:   "main",
		Providers: map[string]config.Provider{"one": openAIAt(upstream.URL)},
		Models:    map[string]config.Entry{"main": {Provider: "one", Model: "m-1", MaxTokens: 99}, "cheap": {Provider: "one", Model: "c-1", MaxTokens: 99}},
	}
	c.Session.Summary.Model = "cheap"
	must(t, c.Validate())
	a, lines, err := up(t, c)
	must(t, err)
	r := run(t, a)
	await(t, "ready", r.Ready())
	token, err := a.Token("alice", 1, "chat")
	must(t, err)
	say := func(text string) {
		t.Helper()
		if status, body := ask(t, a, token, map[string]any{"message": text, "session_id": "s"}); status != http.StatusOK {
			t.Fatalf("%s: %d %s", text, status, body)
		}
	}
	folded := func() bool {
		lists := a.rdb.Keys(t.Context(), "session:*").Val()
		return len(lists) == 1 && a.rdb.LLen(t.Context(), lists[0]).Val() < 15
	}
	for n := 1; n <= turns; n++ {
		if n == 3 {
			say("this is important: FACT-" + canary)
			continue
		}
		if n == turns/2 {
			eventually(t, "half of them are summarized", folded)
		}
		say(fmt.Sprintf("message %d", n))
	}
	eventually(t, "all are summarized", folded)
	say("what do you know?")
	prompts := 0
	var last modeltest.Request
	for _, q := range upstream.Requests() {
		if q.Model == "m-1" {
			prompts++
			last = q
		}
	}
	told := slices.ContainsFunc(last.Messages, func(m modeltest.Message) bool { return strings.Contains(m.Content, "FACT-"+canary) })
	if prompts != turns+1 || !told || len(last.Messages) > 2+2*15 {
		t.Errorf("%d prompts, the last %+v", prompts, last.Messages)
	}
	inTheClear(t, a, lines)
	calls, summarized := map[string]int64{}, 0
	defer func() { t.Logf("counted %v; %d calls for summaries", calls, summarized) }()
	eventually(t, "every call is counted", func() bool {
		rows, err := a.usageReport(t.Context(), contracts.Day(a.started), contracts.Day(time.Now()))
		must(t, err)
		clear(calls)
		summarized = 0
		for _, q := range upstream.Requests() {
			if q.Model == "c-1" {
				summarized++
			}
		}
		for _, row := range rows.Rows {
			calls[row.Caller+" "+row.Model] += row.Calls
		}
		return calls[callerSummary+" cheap"] == int64(summarized) && calls["api:alice main"] == turns+1
	})
	r.stop(t)
}

// inTheClear looks for the canary in all of Redis and in the log.
func inTheClear(t *testing.T, a *App, lines *book) {
	t.Helper()
	seen := 0
	for _, key := range a.rdb.Keys(t.Context(), "*").Val() {
		text := key
		switch a.rdb.Type(t.Context(), key).Val() {
		case "string":
			text += a.rdb.Get(t.Context(), key).Val()
		case "list":
			text += strings.Join(a.rdb.LRange(t.Context(), key, 0, -1).Val(), " ")
		case "hash":
			text += fmt.Sprint(a.rdb.HGetAll(t.Context(), key).Val())
		}
		if strings.HasPrefix(key, "summary:") {
			seen++
		}
		if strings.Contains(text, canary) {
			t.Errorf("the fact stands in the clear under %s", key)
		}
	}
	if seen != 1 {
		t.Errorf("%d summaries in Redis", seen)
	}
	if strings.Contains(lines.String(), canary) {
		t.Error("the fact stands in the log")
	}
}

// chosen is a model for writers.
type chosen struct {
	answer model.Answer
	err    error
	asked  *model.Request
	name   string
}

func (c *chosen) Choose(m contracts.Message) (model.Choice, error) {
	c.name = m.Model
	return model.Choice{Completer: c, Model: "as-provider"}, nil
}

func (c *chosen) Names() []string { return nil }

func (c *chosen) Complete(_ context.Context, r model.Request) (model.Answer, error) {
	c.asked = &r
	return c.answer, c.err
}

func TestWriter(t *testing.T) {
	down := &contracts.Error{Code: contracts.CodeModelFailed, Retryable: true}
	for name, tt := range map[string]struct {
		c         chosen
		model     string
		want      string
		retryable bool
	}{
		"answered":       {chosen{answer: model.Answer{Text: "sum", Model: "m", Version: "one/m"}}, "", "sum", false},
		"down":           {chosen{err: down}, "", "", true},
		"apology":        {chosen{answer: model.Answer{Text: "sorry", Apology: true}}, "", "", true},
		"demo":           {chosen{answer: model.Answer{Text: "This is the demo", Version: "demo/demo"}}, "", "", true},
		"demo as wanted": {chosen{answer: model.Answer{Text: "This is the demo", Version: "demo/demo"}}, "demo", "This is the demo", false},
	} {
		t.Run(name, func(t *testing.T) {
			w, err := writer{&tt.c, tt.model}.Write(t.Context(), scheduler.Assignment{Conversation: "c", MaxTokens: 7, Temperature: .25})
			if w.Text != tt.want || (err != nil) != (tt.want == "") || contracts.Retryable(err) != tt.retryable {
				t.Errorf("%+v, %v", w, err)
			}
			r := tt.c.asked
			if tt.c.name != tt.model || r.Caller != callerSummary || r.Model != "as-provider" || r.Params.MaxTokens != 7 || *r.Params.Temperature != .25 || !r.Fresh {
				t.Errorf("asked %+v", r)
			}
		})
	}
}

// Where only the demo would summarize, nobody is asked, unless the demo is named.
func TestTheDemoSummarizesOnlyWhenNamed(t *testing.T) {
	for name, want := range map[string]int{"": 0, "demo": 1} {
		c := settings(t)
		c.Session.Summary.Model = name
		background := &asked{}
		a, _, err := up(t, c)
		must(t, err)
		must(t, a.summarized(background, a.models.chain.(*answerer)).Summarize(t.Context(), "c", "i"))
		if background.n != want {
			t.Errorf("model %q: asked %d times", name, background.n)
		}
		must(t, a.close())
	}
	c := settings(t)
	c.Session.Summary.Enabled = false
	a := &App{o: Options{Config: c}}
	if a.summarized(&asked{}, nil) != nil {
		t.Error("summaries although they are off")
	}
}
