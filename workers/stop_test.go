package workers

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"moltbot/contracts"
	"moltbot/workers/model"
	"moltbot/workers/workerstest"
)

// stop sends a command to stop as ingress does. Without word, ingress dies
// between storing it and saying so.
func (p *plant) stop(m contracts.Message, word bool) {
	p.t.Helper()
	life, err := p.store.Life(context.Background())
	must(p.t, err)
	b, err := contracts.EncodeMessage(m, workerstest.Sealer{})
	must(p.t, err)
	ack, err := p.js.Publish(context.Background(), contracts.SubjectChat(m.Conversation), b, jetstream.WithMsgID(m.ID))
	must(p.t, err)
	if !word {
		return
	}
	_, err = p.store.Stop(context.Background(), m.Conversation, ack.Sequence, life)
	must(p.t, err)
	id, err := contracts.ParseID(m.ID)
	must(p.t, err)
	must(p.t, p.nc.Publish(contracts.SubjectCancel(m.Conversation), contracts.EncodeStop(id, ack.Sequence, life)))
}

// soon is longer than a stop takes, because the machine may be busy, and shorter
// than all that would end the run otherwise.
const soon = 3 * time.Second

// pair starts two workers over the same queue.
func (p *plant) pair(c completer, change ...func(*Options)) {
	for i := range 2 {
		o := p.options(c)
		o.Node = "node" + strconv.Itoa(i)
		for _, f := range change {
			f(&o)
		}
		p.start(o)
	}
}

// turnsOf opens a conversation's context.
func (p *plant) turnsOf(conversation string) []contracts.Turn {
	p.t.Helper()
	sealed, err := p.rdb.LRange(context.Background(), contracts.KeySession(conversation), 0, -1).Result()
	must(p.t, err)
	var b [][]byte
	for _, s := range sealed {
		b = append(b, []byte(s))
	}
	turns, bad := p.store.OpenTurns(conversation, b)
	if bad > 0 {
		p.t.Errorf("%d turns do not open", bad)
	}
	return turns
}

// results collects as many results as there are messages, by text.
func (p *plant) results(got chan contracts.Reply, of map[string]string) map[string]contracts.Result {
	p.t.Helper()
	all := map[string]contracts.Result{}
	for len(all) < len(of) {
		r := p.result(workerstest.Await(p.t, "a reply", got))
		all[of[r.ID]] = r
	}
	return all
}

// The answer that is made and what waits behind it are stopped, what was sent
// after the command is answered. With the word of it, and with nobody to say it.
func TestStopCommand(t *testing.T) {
	for name, word := range map[string]bool{"said": true, "not said": false} {
		t.Run(name, func(t *testing.T) {
			p := newPlant(t)
			entered := make(chan struct{}, 10)
			p.pair(func(ctx context.Context, r model.Request) (model.Answer, error) {
				if text := r.Messages[len(r.Messages)-1].Text; text != "first" {
					return said("re: " + text), nil
				}
				r.OnDelta("so far ")
				entered <- struct{}{}
				<-ctx.Done()
				return model.Answer{}, ctx.Err()
			})
			inbox, got := p.inbox("one")
			texts := map[string]string{}
			var conversation string
			send := func(n int, text string) {
				m := p.message("s", n, text, inbox)
				texts[m.ID], conversation = text, m.Conversation
				switch text {
				case "first":
					m.Flags = contracts.FlagStream
					p.publish(m)
					workerstest.Await(t, "it runs", entered)
				case "/stop":
					p.stop(m, word)
				default:
					p.publish(m)
				}
			}
			began := time.Now()
			for n, text := range []string{"first", "second", "/stop", "third"} {
				send(n+1, text)
			}
			all := p.results(got, texts)
			if took := time.Since(began); took > soon {
				t.Errorf("it took %s", took)
			}
			if a, b := all["first"], all["second"]; a.Code != contracts.CodeStopped || b.Code != contracts.CodeStopped || a.Detail != "stopped by the user" {
				t.Errorf("%+v, %+v", a, b)
			}
			if all["/stop"].Reply != "Stopped 2 messages." || all["third"].Reply != "re: third" {
				t.Errorf("%+v, %+v", all["/stop"], all["third"])
			}
			turns := p.turnsOf(conversation)
			if len(turns) != 3 || turns[0].Assistant != "so far " || turns[0].User != "first" || !turns[0].Stopped || turns[0].Tokens == 0 ||
				turns[1].User != "second" || turns[1].Assistant != "" || !turns[1].Stopped || turns[2].Assistant != "re: third" || turns[2].Stopped {
				t.Errorf("turns %+v", turns)
			}
		})
	}
}

// A command that was sent before the stop counts: it is no answer of a model.
func TestStopStopsNoCommands(t *testing.T) {
	p := newPlant(t)
	entered := make(chan struct{}, 1)
	p.pair(func(ctx context.Context, r model.Request) (model.Answer, error) {
		if text := r.Messages[len(r.Messages)-1].Text; text != "first" {
			return said("re: " + text), nil
		}
		r.OnDelta("so far ")
		entered <- struct{}{}
		<-ctx.Done()
		return model.Answer{}, ctx.Err()
	})
	inbox, got := p.inbox("one")
	first, fresh := p.message("s", 1, "first", inbox), p.message("s", 2, "/new", inbox)
	one, two, third := p.message("s", 3, "/stop", inbox), p.message("s", 4, "停止", inbox), p.message("s", 5, "third", inbox)
	first.Flags = contracts.FlagStream
	p.publish(first)
	workerstest.Await(t, "it runs", entered)
	p.publish(fresh)
	p.stop(one, false) // what comes before the word of it waits
	p.stop(two, true)
	p.publish(third)
	all := p.results(got, map[string]string{first.ID: "first", fresh.ID: "new", one.ID: "one", two.ID: "two", third.ID: "third"})
	if all["first"].Code != contracts.CodeStopped || !strings.Contains(all["new"].Reply, "new conversation") ||
		all["one"].Reply != "Stopped." || all["two"].Reply != "没有需要停止的内容。" {
		t.Errorf("%+v", all)
	}
	if turns := p.turnsOf(first.Conversation); len(turns) != 1 || turns[0].User != "third" {
		t.Errorf("turns %+v", turns)
	}
}

// A message that waits to be tried again is stopped at once.
func TestStopBetweenRetries(t *testing.T) {
	for name, word := range map[string]bool{"said": true, "not said": false} {
		t.Run(name, func(t *testing.T) {
			p := newPlant(t)
			failed := make(chan struct{}, 10)
			p.pair(func(context.Context, model.Request) (model.Answer, error) {
				failed <- struct{}{}
				return model.Answer{}, &contracts.Error{Code: contracts.CodeModelFailed, Message: "busy", Retryable: true}
			}, func(o *Options) { o.Mailbox.RetryBase, o.Mailbox.RetryMax = time.Hour, time.Hour })
			inbox, got := p.inbox("one")
			first, stop := p.message("s", 1, "first", inbox), p.message("s", 2, "/停止", inbox)
			p.publish(first)
			workerstest.Await(t, "it fails", failed)
			workerstest.Eventually(t, "it waits", func() bool {
				return p.rdb.Get(t.Context(), contracts.KeyLease(first.Conversation)).Val() == contracts.LeaseHeld
			})
			began := time.Now()
			p.stop(stop, word)
			all := p.results(got, map[string]string{first.ID: "first", stop.ID: "stop"})
			if took := time.Since(began); took > soon {
				t.Errorf("it took %s", took)
			}
			if all["first"].Code != contracts.CodeStopped || all["stop"].Reply != "已停止。" || len(failed) != 0 {
				t.Errorf("%+v, %d further runs", all, len(failed))
			}
		})
	}
}

// The answer is ready and shown when the stop comes: it is kept as a stopped turn.
func TestStopAfterTheAnswer(t *testing.T) {
	p := newPlant(t)
	inbox, got := p.inbox("one")
	first, stop := p.message("s", 1, "first", inbox), p.message("s", 2, "/stop", inbox)
	first.Flags = contracts.FlagStream
	p.pair(func(_ context.Context, r model.Request) (model.Answer, error) {
		r.OnDelta("all of it")
		p.stop(stop, true)
		return said("all of it"), nil
	})
	p.publish(first)
	all := p.results(got, map[string]string{first.ID: "first", stop.ID: "stop"})
	if all["first"].Code != contracts.CodeStopped || all["stop"].Reply != "Stopped." {
		t.Errorf("%+v", all)
	}
	if turns := p.turnsOf(first.Conversation); len(turns) != 1 || turns[0].Assistant != "all of it" || !turns[0].Stopped {
		t.Errorf("turns %+v", turns)
	}
}

// Whatever the moment, every message ends exactly once, answered or stopped,
// what comes after a stop is answered, and turns keep their order.
func TestStopAtAnyMoment(t *testing.T) {
	const rounds = 100
	p := newPlant(t)
	p.pair(func(ctx context.Context, r model.Request) (model.Answer, error) {
		r.OnDelta("re: ")
		wait := time.NewTimer(rand.N(4 * time.Millisecond))
		defer wait.Stop()
		select {
		case <-ctx.Done():
			return model.Answer{}, ctx.Err()
		case <-wait.C:
		}
		return said("re: " + r.Messages[len(r.Messages)-1].Text), nil
	})
	inbox, got := p.inbox("one")
	var mu sync.Mutex
	replies := map[string][]contracts.Result{}
	var wg sync.WaitGroup
	limit := make(chan struct{}, 6)
	texts := map[string]string{} // by id
	for round := range rounds {
		var sent []contracts.Message
		for n, text := range []string{"a", "b", "/stop", "c"} {
			m := p.message(fmt.Sprint("s", round), n+1, text, inbox)
			m.Flags = contracts.FlagStream
			texts[m.ID] = text
			sent = append(sent, m)
		}
		limit <- struct{}{}
		wg.Go(func() {
			defer func() { <-limit }()
			for _, m := range sent {
				wait := time.NewTimer(rand.N(4 * time.Millisecond))
				<-wait.C
				if m.Text == "/stop" {
					p.stop(m, rand.N(4) > 0)
				} else {
					p.publish(m)
				}
			}
		})
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for seen := 0; seen < 4*rounds; {
			r := p.result(<-got)
			mu.Lock()
			if len(replies[r.ID]) == 0 {
				seen++
			}
			replies[r.ID] = append(replies[r.ID], r)
			mu.Unlock()
		}
	}()
	wg.Wait()
	workerstest.Await(t, "all replies", done)
	ends := map[string]int{}
	for id, all := range replies {
		for _, r := range all {
			if r.Reply != all[0].Reply || r.Code != all[0].Code {
				t.Errorf("%s ended as %+v and as %+v", texts[id], all[0], r)
			}
		}
		r, text := all[0], texts[id]
		switch {
		case r.Code == contracts.CodeStopped && (text == "a" || text == "b"):
		case r.Code == "" && text != "/stop" && r.Reply == "re: "+text:
		case text == "/stop" && strings.Contains("Stopped. Stopped 2 messages. Nothing to stop.", r.Reply):
		default:
			t.Errorf("%s ended as %+v", text, r)
		}
		ends[text+" "+string(r.Code)]++
	}
	for round := range rounds {
		all := ""
		for _, turn := range p.turnsOf(p.message(fmt.Sprint("s", round), 1, "", "").Conversation) {
			if turn.Stopped != (replies[turn.ID][0].Code == contracts.CodeStopped) || turn.Assistant == "" && !turn.Stopped {
				t.Errorf("round %d: turn %+v behind %q", round, turn, all)
			}
			all += turn.User
		}
		if all != "abc" {
			t.Errorf("round %d: the turns are of %q", round, all)
		}
	}
	if ends["a stopped"] == 0 || ends["a "] == 0 || ends["b stopped"] == 0 {
		t.Errorf("not every end was seen: %v", ends)
	}
	t.Log(ends)
}

// Nothing of before reaches a model after the command for a new session, although
// an answer is in flight when it comes and two workers remember contexts.
func TestNewWhileAnAnswerIsMade(t *testing.T) {
	p := newPlant(t)
	entered, open := make(chan struct{}, 1), make(chan struct{})
	var mu sync.Mutex
	prompts := map[string]string{}
	p.pair(func(_ context.Context, r model.Request) (model.Answer, error) {
		var all []string
		for _, m := range r.Messages {
			all = append(all, m.Text)
		}
		text := all[len(all)-1]
		mu.Lock()
		prompts[text] = strings.Join(all, "|")
		mu.Unlock()
		if text == "flying" {
			entered <- struct{}{}
			<-open
		}
		return said("re " + text), nil
	})
	inbox, got := p.inbox("one")
	texts := map[string]string{}
	send := func(n int, text string) contracts.Message {
		m := p.message("s", n, text, inbox)
		texts[m.ID] = text
		p.publish(m)
		return m
	}
	send(1, "old")
	p.results(got, texts)
	texts = map[string]string{}
	send(2, "flying")
	workerstest.Await(t, "it runs", entered)
	for n, text := range []string{"/new", "fresh", "fresher"} {
		send(n+3, text)
	}
	close(open)
	all := p.results(got, texts)
	if all["flying"].Reply != "re flying" || !strings.Contains(all["/new"].Reply, "new conversation") {
		t.Errorf("%+v", all)
	}
	for text, want := range map[string]string{
		"flying": "old|re old|flying", "fresh": "fresh", "fresher": "fresh|re fresh|fresher",
	} {
		if prompts[text] != want {
			t.Errorf("the prompt of %s is %q", text, prompts[text])
		}
	}
}
