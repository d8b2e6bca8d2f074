package workers

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"moltbot/contracts"
	"moltbot/workers/mailbox"
	"moltbot/workers/model"
	"moltbot/workers/prompt"
)

// answering gives a turn whose model answers "well", and what it was asked last.
func (p *plant) answering(o prompt.Options) (*turn, *model.Request) {
	p.t.Helper()
	asked := new(model.Request)
	tn := p.turn(func(_ context.Context, r model.Request) (model.Answer, error) {
		*asked = r
		return said("well"), nil
	})
	builder, err := prompt.New(o)
	must(p.t, err)
	tn.prompt = builder
	return tn, asked
}

// turnOf runs a message and gives the turn that is kept of it.
func (p *plant) turnOf(tn *turn, m contracts.Message, before ...contracts.Turn) contracts.Turn {
	p.t.Helper()
	task := p.task(m)
	for _, t := range before {
		sealed, err := p.store.SealTurn(m.Conversation, t)
		must(p.t, err)
		task.Context = append(task.Context, sealed)
	}
	o, err := tn.Run(p.t.Context(), task)
	must(p.t, err)
	turns, bad := p.store.OpenTurns(m.Conversation, [][]byte{o.Turn})
	if bad != 0 {
		p.t.Fatal("the turn does not open")
	}
	return turns[0]
}

func TestTurnWithImagesIsCountedWithThem(t *testing.T) {
	p := newPlant(t)
	tn, _ := p.answering(prompt.Options{})
	m := p.message("s", 1, "what is it?", "")
	without := p.turnOf(tn, m).Tokens
	encoded, err := contracts.EncodePrompt([]contracts.PromptMessage{{Role: contracts.RoleUser, Parts: []contracts.PromptPart{
		{Text: "what is it?"}, {Image: "https://example.org/a.png", Detail: "low"}, {Image: "https://example.org/b.png"},
	}}})
	must(t, err)
	m.Prompt = encoded
	if with := p.turnOf(tn, m).Tokens; with != without+85+765 {
		t.Errorf("%d tokens with two images, %d without", with, without)
	}
}

func TestSystemPromptOfARoute(t *testing.T) {
	p := newPlant(t)
	tn, asked := p.answering(prompt.Options{System: "default", Systems: []prompt.System{{Pattern: "^/zh/", Text: "中文"}}})
	for _, c := range []struct{ text, route, system, kept string }{
		{"hello", "", "default", "hello"}, {"hello", "/zh/support", "中文", "hello"}, {"/zh/ hello", "", "中文", "hello"}, {"/de/ hello", "", "default", "/de/ hello"},
	} {
		m := p.message("s", 1, c.text, "")
		m.Route = c.route
		turn := p.turnOf(tn, m)
		if got := asked.Messages; got[0].Text != c.system || got[1].Text != c.kept || turn.User != c.kept {
			t.Errorf("%q by %q: asked %+v, kept %q", c.text, c.route, got, turn.User)
		}
	}
	m := p.message("s", 1, "x", "")
	encoded, err := contracts.EncodePrompt([]contracts.PromptMessage{{Role: contracts.RoleUser, Text: "/zh/ x"}})
	must(t, err)
	m.Text, m.Prompt = "/zh/ x", encoded
	if turn := p.turnOf(tn, m); asked.Messages[0].Text != "default" || turn.User != "/zh/ x" {
		t.Errorf("a client's own messages: %+v, kept %q", asked.Messages, turn.User)
	}
}

func TestStoppedTurnIsToldAsOne(t *testing.T) {
	p := newPlant(t)
	tn, asked := p.answering(prompt.Options{})
	p.turnOf(tn, p.message("s", 3, "and?", ""),
		contracts.Turn{ID: p.message("s", 1, "", "").ID, User: "count", Assistant: "one, two", Stopped: true},
		contracts.Turn{ID: p.message("s", 2, "", "").ID, User: "again", Stopped: true})
	if got := asked.Messages; len(got) != 3 || !strings.HasPrefix(got[1].Text, "one, two\n[") || !strings.Contains(got[1].Text, "stopped") {
		t.Errorf("asked %+v", got)
	}
}

func TestLongMessageIsKeptWhole(t *testing.T) {
	p := newPlant(t)
	tn, asked := p.answering(prompt.Options{MessageTokens: 64})
	text := strings.Repeat("words ", 500)
	turn := p.turnOf(tn, p.message("s", 1, text, ""))
	if got := asked.Messages[0].Text; len(got) > 500 || !strings.Contains(got, "shortened") || turn.User != text {
		t.Errorf("asked %q, kept %d bytes", got, len(turn.User))
	}
}

// The limits of the context hold for what is remembered of it, too.
func TestMemoryIsNoLongerThanTheContext(t *testing.T) {
	p := newPlant(t)
	tn, asked := p.answering(prompt.Options{})
	task := p.task(p.message("s", 9, "new", ""))
	h := &history{}
	for n := range 5 {
		h.turns = append(h.turns, contracts.Turn{User: fmt.Sprint("u", n), Assistant: "a"})
	}
	task.Memory, task.Known = h, 2
	o, err := tn.Run(t.Context(), task)
	must(t, err)
	if got := asked.Messages; len(got) != 5 || got[0].Text != "u3" || len(h.turns) != 5 {
		t.Errorf("asked %+v", got)
	}
	if next := o.Memory.(*history); len(next.turns) != 3 {
		t.Errorf("remembered %+v", next)
	}
}

// Turns without an answer take no room of a prompt, and do not keep what fell out
// of the window from being summarized.
func TestStoppedTurnsDoNotHoldUpSummaries(t *testing.T) {
	p := newPlant(t)
	tn, _ := p.answering(prompt.Options{Rounds: 3})
	tn.window = 3
	var before history
	for n := range 3 {
		before.turns = append(before.turns, contracts.Turn{ID: fmt.Sprint(n), User: "u", Assistant: "a", Stopped: n == 1})
	}
	before.turns[1].Assistant = ""
	h, _ := tn.remember(before, contracts.Turn{ID: "3", User: "u", Assistant: "a"})
	if h.fallen.kept != 3 || h.fallen.upto != "0" {
		t.Errorf("%+v", h.fallen)
	}
}

// Of one stop no more messages become turns than the window has room for beside
// what was said.
func TestAStoppedQueueDoesNotDriveOutTheConversation(t *testing.T) {
	p := newPlant(t)
	tn, _ := p.answering(prompt.Options{})
	note, kept := "model=x", 0
	for n := range 9 {
		m := p.message("s", n+1, "waits", "")
		if n == 8 {
			m.Flags = contracts.FlagUnkept
			note = ""
		}
		task := p.task(m)
		task.Note = note
		o := tn.Fail(task, &contracts.Error{Code: contracts.CodeStopped, Message: "x", Err: mailbox.ErrStopped})
		note = *o.Note
		if o.Turn != nil {
			kept++
		}
	}
	if kept != stoppedKept || note != "stopped=1" {
		t.Errorf("%d turns, note %q", kept, note)
	}
}
