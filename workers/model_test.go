package workers

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"moltbot/contracts"
	"moltbot/workers/model"
	"moltbot/workers/prompt"
	"moltbot/workers/workerstest"
)

// modelRounds is the window of the prompts of TestConversationModel.
const modelRounds = 3

// conversation is what one is to its user, in a few lines: turns, of which the
// oldest become a summary. The name of a turn without an answer ends with "!".
type conversation struct {
	summary string
	turns   []string
	keep    int
}

func (c *conversation) add(name string) {
	c.turns = append(c.turns, name)
	c.turns = c.turns[max(0, len(c.turns)-c.keep):]
}

func (c *conversation) forget() { c.summary, c.turns = "", nil }

func (c *conversation) fold(n int) {
	for _, name := range c.turns[:n] {
		c.summary += name + " "
	}
	c.turns = c.turns[n:]
}

// prompt is what the model must be told before a new message.
func (c *conversation) prompt() string {
	seen := c.turns[max(0, len(c.turns)-modelRounds-stoppedKept):]
	answered := slices.DeleteFunc(slices.Clone(seen), func(t string) bool { return strings.HasSuffix(t, "!") })
	return c.summary + "|" + strings.Join(answered[max(0, len(answered)-modelRounds):], " ")
}

func (c *conversation) String() string { return c.summary + "|" + strings.Join(c.turns, " ") }

// explorer drives one conversation over two workers by chance, and says what it
// should be by then.
type explorer struct {
	*plant
	rand    *rand.Rand
	want    conversation
	name    string // of the conversation
	workers []*Workers
	inbox   string
	replies chan contracts.Reply
	n       int
	log     []string

	foreign bool // turns or box are of a foreign type until the next message

	during func(context.Context) // in the next run
	told   string                // to the model, last
}

// complete is the model. There is one conversation, so it runs alone.
func (e *explorer) complete(ctx context.Context, r model.Request) (model.Answer, error) {
	var summary string
	var before []string
	for _, m := range r.Messages[:len(r.Messages)-1] {
		if _, text, ok := strings.Cut(m.Text, "{"); ok {
			summary, _, _ = strings.Cut(text, "}")
		} else if m.Role == model.RoleUser {
			before = append(before, m.Text)
		}
	}
	e.told = summary + "|" + strings.Join(before, " ")
	e.during(ctx)
	if ctx.Err() != nil {
		return model.Answer{}, ctx.Err()
	}
	return said("re"), nil
}

func (e *explorer) next(text string) contracts.Message {
	e.n++
	if text == "" {
		text = fmt.Sprint("m", e.n)
	}
	return e.message("s", e.n, text, e.inbox)
}

// ask sends a message and waits for what comes of it.
func (e *explorer) ask(m contracts.Message) contracts.Result {
	e.publish(m)
	return e.await(m)
}

func (e *explorer) await(m contracts.Message) contracts.Result {
	e.t.Helper()
	for {
		r := e.result(workerstest.Await(e.t, "a reply to "+m.Text+" after "+strings.Join(e.log, ", "), e.replies))
		if r.ID == m.ID {
			return r
		}
	}
}

// floor waits until the workers know that everything up to seq is finished: without
// its done keys it would be looked at again, and answered again.
func (e *explorer) floor(seq uint64) {
	e.t.Helper()
	workerstest.Eventually(e.t, "the workers know what is finished", func() bool {
		return !slices.ContainsFunc(e.workers, func(w *Workers) bool { return w.janitor.View().Floor < seq })
	})
}

func (e *explorer) last() uint64 {
	s, err := e.js.Stream(context.Background(), contracts.StreamChat)
	must(e.t, err)
	return s.CachedInfo().State.LastSeq
}

// event is what may befall a conversation at any moment. It says what becomes of
// the turn of a message that runs: "" as usual, "-" none, "!" one without an answer.
type event struct {
	name string
	do   func(e *explorer, running bool) string
}

// foldEvent is where the fold is among the happenings.
const foldEvent = 2

func happenings() []event {
	ctx := context.Background()
	plain := func(f func(e *explorer, running bool)) func(*explorer, bool) string {
		return func(e *explorer, running bool) string { f(e, running); return "" }
	}
	return []event{
		{"nothing", plain(func(*explorer, bool) {})},
		{"erase", func(e *explorer, _ bool) string {
			must(e.t, e.store.Erase(ctx, "test", e.name))
			e.want.forget()
			return "-"
		}},
		{"fold", plain(func(e *explorer, _ bool) {
			if len(e.want.turns) == 0 || e.foreign {
				return
			}
			n := 1 + e.rand.IntN(len(e.want.turns))
			e.foldUpto(n)
			e.want.fold(n)
		})},
		{"expire", plain(func(e *explorer, _ bool) {
			must(e.t, e.rdb.Del(ctx, contracts.KeySession(e.name), contracts.KeySummary(e.name)).Err())
			e.want.forget()
		})},
		{"foreign session", plain(func(e *explorer, _ bool) {
			must(e.t, e.rdb.Set(ctx, contracts.KeySession(e.name), "x", time.Minute).Err())
			e.want.turns, e.foreign = nil, true
		})},
		{"foreign summary", plain(func(e *explorer, running bool) {
			if running || e.foreign || len(e.want.turns) == 0 {
				return // it is found when it is read
			}
			must(e.t, e.rdb.HDel(ctx, contracts.KeyBox(e.name), "version").Err())
			must(e.t, e.rdb.Del(ctx, contracts.KeySummary(e.name)).Err())
			must(e.t, e.rdb.LPush(ctx, contracts.KeySummary(e.name), "x").Err())
			e.want.summary = ""
		})},
		{"foreign box", plain(func(e *explorer, _ bool) {
			must(e.t, e.rdb.Set(ctx, contracts.KeyBox(e.name), "x", time.Minute).Err())
			e.foreign = true
		})},
		{"emptied", plain(func(e *explorer, running bool) {
			seq := e.last()
			if running {
				seq--
			}
			e.floor(seq)
			must(e.t, e.rdb.FlushAll(ctx).Err())
			e.want.forget()
		})},
		{"stream made anew", plain(func(e *explorer, running bool) {
			if running {
				return // the message would be lost with it
			}
			e.floor(e.last())
			must(e.t, e.js.DeleteStream(ctx, contracts.StreamChat))
			s, err := e.js.CreateStream(ctx, workerstest.ChatStream(workerstest.Queue{}))
			must(e.t, err)
			_, err = e.consumer(ctx)
			must(e.t, err)
			workerstest.Eventually(e.t, "the workers know the new stream", func() bool {
				return !slices.ContainsFunc(e.workers, func(w *Workers) bool { return !w.janitor.View().Created.Equal(s.CachedInfo().Created) })
			})
		})},
	}
}

func (e *explorer) foldUpto(n int) {
	e.t.Helper()
	turns := e.turnsOf(e.name)
	if len(turns) < n {
		e.t.Fatalf("%d turns, want %s; after %v", len(turns), &e.want, e.log)
	}
	folded, err := e.store.Fold(context.Background(), e.name, turns[n-1].ID, 1,
		func(_ context.Context, old contracts.Summary, turns []contracts.Turn) (contracts.Summary, error) {
			text := strings.TrimSuffix(strings.TrimPrefix(old.Text, "{"), "}")
			for _, t := range turns {
				text += named(t) + " "
			}
			return contracts.Summary{Text: "{" + text + "}"}, nil
		})
	if err != nil || folded != contracts.FoldedAll {
		e.t.Fatalf("fold: %q, %v; after %v", folded, err, e.log)
	}
}

func named(t contracts.Turn) string {
	if t.Stopped {
		return t.User + "!"
	}
	return t.User
}

// stored is the conversation as it lies in Redis.
func (e *explorer) stored() string {
	e.t.Helper()
	c := conversation{}
	if b, err := e.rdb.Get(context.Background(), contracts.KeySummary(e.name)).Bytes(); err == nil {
		s, err := e.store.OpenSummary(e.name, b)
		must(e.t, err)
		c.summary = strings.Trim(s.Text, "{}")
	}
	for _, t := range e.turnsOf(e.name) {
		c.turns = append(c.turns, named(t))
	}
	return c.String()
}

// say sends a message, lets v happen while it runs, and compares.
func (e *explorer) say(v event) {
	e.t.Helper()
	m, becomes, told := e.next(""), "", e.want.prompt()
	e.foreign = false
	e.during = func(context.Context) { becomes = v.do(e, true) }
	e.log = append(e.log, m.Text+" with "+v.name)
	r := e.ask(m)
	if r.Reply != "re" {
		e.t.Errorf("%+v; after %v", r, e.log)
	}
	e.foreign = false
	if becomes != "-" {
		e.want.add(m.Text)
	}
	e.compare(told)
}

func (e *explorer) compare(told string) {
	e.t.Helper()
	if told != e.told {
		e.t.Errorf("the model was told %q, want %q", e.told, told)
	}
	if got := e.stored(); got != e.want.String() {
		e.t.Errorf("stored %q, want %q", got, &e.want)
	}
	if e.t.Failed() {
		e.t.Fatalf("after %v", e.log[max(0, len(e.log)-8):])
	}
}

// stopAll stops a message that runs, and some that wait.
func (e *explorer) stopAll() {
	e.t.Helper()
	all := []contracts.Message{e.next("")}
	for range e.rand.IntN(stoppedKept) {
		all = append(all, e.next(""))
	}
	stop, word := e.next("/stop"), e.rand.IntN(2) == 0
	e.log = append(e.log, fmt.Sprintf("%s and %d more stopped", all[0].Text, len(all)-1))
	told := e.want.prompt()
	e.foreign = false
	e.during = func(ctx context.Context) {
		for _, m := range all[1:] {
			e.publish(m)
		}
		e.stop(stop, word)
		workerstest.Await(e.t, "the stop", ctx.Done())
	}
	e.publish(all[0])
	for _, m := range all {
		if r := e.await(m); r.Code != contracts.CodeStopped {
			e.t.Errorf("%s: %+v; after %v", m.Text, r, e.log)
		}
		e.want.add(m.Text + "!")
	}
	if r := e.await(stop); !strings.HasPrefix(r.Reply, "Stopped") {
		e.t.Errorf("%+v; after %v", r, e.log)
	}
	e.compare(told)
}

// By chance everything happens to a conversation that may, between messages and
// while one runs, on two workers that remember contexts. What the model is told and
// what is stored is at each step what a few lines of Go say.
func TestConversationModel(t *testing.T) {
	workerstest.EachRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		seed := rand.Uint64()
		t.Logf("seed %d", seed)
		e := &explorer{plant: remembering(t, rdb), rand: rand.New(rand.NewPCG(seed, 0))}
		e.name = e.message("s", 0, "", "").Conversation
		e.want.keep = 2 + e.rand.IntN(8) // fewer than are remembered, or more
		e.inbox, e.replies = e.plant.inbox("one")
		b, err := prompt.New(prompt.Options{Rounds: modelRounds, Tokens: 8192})
		must(t, err)
		for n := range 2 {
			o := e.options(completer(e.complete))
			o.Node, o.Prompt, o.PurgeEvery = fmt.Sprint("node", n), b, 5*time.Millisecond
			o.Mailbox.Window, o.Mailbox.KeepTurns = modelRounds, e.want.keep
			w, _, _ := e.start(o)
			e.workers = append(e.workers, w)
		}
		all := happenings()
		for began := time.Now(); e.n < 200 && time.Since(began) < 2*time.Second; {
			v := all[e.rand.IntN(len(all))]
			if e.rand.IntN(4) == 0 {
				v = all[foldEvent]
			}
			switch e.rand.IntN(9) {
			case 0:
				e.stopAll()
			case 1:
				e.log = append(e.log, "/new")
				e.ask(e.next("/new"))
				e.want.forget()
				e.foreign = false
			case 2, 3:
				e.log = append(e.log, v.name)
				v.do(e, false)
			case 4, 5, 6:
				e.say(v)
			default:
				e.say(all[0])
			}
		}
		t.Logf("%d messages", e.n)
	})
}
