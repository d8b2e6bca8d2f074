package workers

import (
	"context"
	"slices"
	"strings"
	"testing"

	"moltbot/contracts"
	"moltbot/workers/mailbox"
	"moltbot/workers/model"
)

// shelf are models by name, the first of which is the default.
type shelf struct {
	names []string
	completer
}

func (s shelf) Choose(m contracts.Message) (model.Choice, error) {
	name := m.Model
	if name == "" {
		name = s.names[0]
	}
	if !slices.Contains(s.names, name) {
		return model.Choice{}, &contracts.Error{Code: contracts.CodeModelUnknown, Message: "no such model"}
	}
	return model.Choice{Completer: s.completer, Name: name, Listed: name, Model: name, Text: m.Text}, nil
}

func (s shelf) Names() []string { return slices.Clone(s.names) }

// commanded runs one message as a command and gives what came of it.
func (p *plant) commanded(tn *turn, note string, m contracts.Message) (contracts.Result, mailbox.Outcome) {
	p.t.Helper()
	task := p.task(m)
	task.Note = note
	o, err := tn.Run(p.t.Context(), task)
	must(p.t, err)
	r := p.open(m, o)
	if r.Code != "" || r.Reply == "" || r.Model != "" || r.Cached || r.Usage != (contracts.Usage{}) || r.SessionID != m.SessionID {
		p.t.Errorf("%s: %+v", m.Text, r)
	}
	if o.Turn != nil || o.Memory != nil || !o.Unstopped {
		p.t.Errorf("%s leaves something in the conversation, or can be stopped", m.Text)
	}
	return r, o
}

func TestCommands(t *testing.T) {
	p := newPlant(t)
	tn := p.turn(func(context.Context, model.Request) (model.Answer, error) {
		t.Error("a model was asked")
		return said("no"), nil
	})
	tn.models = shelf{[]string{"main", "fast", "slow"}, nil}
	n := 0
	run := func(note, text string, change ...func(*contracts.Message)) (contracts.Result, mailbox.Outcome) {
		n++
		m := p.message("s", n, text, "")
		for _, f := range change {
			f(&m)
		}
		return p.commanded(tn, note, m)
	}
	noted := func(o mailbox.Outcome) string {
		if o.Note == nil {
			return "-"
		}
		return *o.Note
	}
	route := func(m *contracts.Message) { m.Route = "/zh/support" }
	few := func(m *contracts.Message) { m.Allow = contracts.ModelNames{"main", "fa*"} }

	for text, want := range map[string]string{"/help": "this list", " /HELP ": "this list", "/帮助": "本列表", "帮助": "本列表"} {
		if r, o := run("model=fast", text); !strings.Contains(r.Reply, want) || o.Reset || o.Note != nil {
			t.Errorf("%s: %q, %+v", text, r.Reply, o)
		}
	}
	if r, _ := run("", "/help", route); !strings.Contains(r.Reply, "本列表") {
		t.Errorf("by route: %q", r.Reply)
	}
	if r, o := run("model=fast", "/new"); !o.Reset || o.Note != nil || !strings.Contains(r.Reply, "forgotten") {
		t.Errorf("%q, %+v", r.Reply, o)
	}
	if r, o := run("", "新会话"); !o.Reset || !strings.Contains(r.Reply, "已清除") {
		t.Errorf("%q, %+v", r.Reply, o)
	}
	for note, c := range map[string][3]string{
		"":                     {"Nothing to stop.", "没有需要停止的内容。", "-"},
		"stopped=1":            {"Stopped.", "已停止。", ""},
		"stopped=3 model=fast": {"Stopped 3 messages.", "已停止 3 条消息。", "model=fast"},
		"stopped=x later=1":    {"Nothing to stop.", "没有需要停止的内容。", ""},
	} {
		for i, text := range []string{"/stop", "停止"} {
			if r, o := run(note, text); r.Reply != c[i] || noted(o) != c[2] || o.Reset {
				t.Errorf("%s with %q: %q, note %q", text, note, r.Reply, noted(o))
			}
		}
	}

	if r, o := run("model=fast", "/model"); o.Note != nil || !strings.Contains(r.Reply, "- fast (chosen)") ||
		!strings.Contains(r.Reply, "- main (default)") || !strings.Contains(r.Reply, "- slow\n") {
		t.Errorf("%q", r.Reply)
	}
	if r, _ := run("", "/模型", few); strings.Contains(r.Reply, "slow") || !strings.Contains(r.Reply, "main（默认）") && !strings.Contains(r.Reply, "main (默认)") {
		t.Errorf("%q", r.Reply)
	}
	if r, o := run("stopped=2", "/model slow"); noted(o) != "model=slow stopped=2" || !strings.Contains(r.Reply, "slow") {
		t.Errorf("%q, note %q", r.Reply, noted(o))
	}
	for _, text := range []string{"/model default", "/模型 默认"} {
		if _, o := run("model=slow", text); noted(o) != "" {
			t.Errorf("%s: note %q", text, noted(o))
		}
	}
	for _, f := range []func(*contracts.Message){few, func(m *contracts.Message) { m.Text = "/model none" }} {
		if r, o := run("model=fast", "/model slow", f); o.Note != nil || strings.Contains(r.Reply, "slow") || !strings.Contains(r.Reply, "no such model") {
			t.Errorf("%q, note %q", r.Reply, noted(o))
		}
	}
	tn.models = model.Only{}
	if r, _ := run("", "/model"); !strings.Contains(r.Reply, "no model") {
		t.Errorf("%q", r.Reply)
	}
}

// Other words with a slash, and whatever a client wrote as messages of its own,
// are for the model.
func TestNoCommands(t *testing.T) {
	p := newPlant(t)
	asked := 0
	tn := p.turn(func(context.Context, model.Request) (model.Answer, error) {
		asked++
		return said("well"), nil
	})
	prompted := p.message("s", 1, "/new", "")
	own, err := contracts.EncodePrompt([]contracts.PromptMessage{{Role: contracts.RoleUser, Text: "/new"}})
	must(t, err)
	prompted.Prompt = own
	for _, m := range []contracts.Message{prompted, p.message("s", 2, "/other", ""), p.message("s", 3, "/new car", ""), p.message("s", 4, "stop", "")} {
		o, err := tn.Run(t.Context(), p.task(m))
		must(t, err)
		if o.Reset || o.Unstopped || p.open(m, o).Reply != "well" {
			t.Errorf("%s is a command", m.Text)
		}
	}
	if asked != 4 {
		t.Errorf("asked %d times", asked)
	}
}

// The chosen model answers what names none; without it, or where it is not
// allowed, the table does. One that is gone is chosen no longer.
func TestChosenModel(t *testing.T) {
	p := newPlant(t)
	answerer := func(_ context.Context, r model.Request) (model.Answer, error) {
		return model.Answer{Text: "by " + r.Model, Model: r.Model}, nil
	}
	tn := p.turn(answerer)
	tn.models = shelf{[]string{"main", "fast", "slow"}, answerer}
	for name, c := range map[string]struct {
		note, explicit string
		allow          contracts.ModelNames
		want, kept     string
	}{
		"none chosen":         {want: "main", kept: "-"},
		"chosen":              {note: "model=fast", want: "fast", kept: "-"},
		"explicit":            {note: "model=fast", explicit: "slow", want: "slow", kept: "-"},
		"gone":                {note: "stopped=1 model=old", want: "main", kept: "stopped=1"},
		"explicit, gone":      {note: "model=old", explicit: "slow", want: "slow", kept: "-"},
		"not allowed":         {note: "model=slow", allow: contracts.ModelNames{"main"}, want: "main", kept: "-"},
		"allowed, default no": {note: "model=fast", allow: contracts.ModelNames{"fast"}, want: "fast", kept: "-"},
		"nothing allowed":     {note: "model=slow", allow: contracts.ModelNames{"fast"}, want: "", kept: "-"},
		"explicit, forbidden": {explicit: "slow", allow: contracts.ModelNames{"fast"}, want: "", kept: "-"},
	} {
		t.Run(name, func(t *testing.T) {
			m := p.message("s", 1, "hi", "")
			m.Model, m.Allow = c.explicit, c.allow
			task := p.task(m)
			task.Note = c.note
			o, err := tn.Run(t.Context(), task)
			if c.want == "" {
				if e := contracts.Public(err); e == nil || e.Code != contracts.CodeModelUnknown || e.Retryable {
					t.Errorf("%v", err)
				}
				return
			}
			must(t, err)
			kept := "-"
			if o.Note != nil {
				kept = *o.Note
			}
			if r := p.open(m, o); r.Reply != "by "+c.want || kept != c.kept {
				t.Errorf("%q, note %q", r.Reply, kept)
			}
		})
	}
}

func FuzzNote(f *testing.F) {
	f.Add("model=fast stopped=2")
	f.Fuzz(func(t *testing.T, s string) {
		n := readNote(s)
		if n.stopped < 0 || strings.ContainsAny(n.model, " \n") || readNote(n.String()) != n {
			t.Errorf("%q is read as %+v", s, n)
		}
	})
}
