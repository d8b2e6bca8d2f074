package workers

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"moltbot/contracts"
	"moltbot/workers/model"
	"moltbot/workers/workerstest"
)

// sent is one piece as it went out.
type sent struct {
	at      time.Duration
	inboxes string
	offset  int
	text    string
}

// recorded gives pieces that are not sent but noted.
func recorded(inboxes ...string) (*pieces, func() []sent) {
	began := time.Now()
	var all []sent
	p := &pieces{inboxes: inboxes, send: func(inboxes []string, d contracts.Delta) {
		all = append(all, sent{time.Since(began), strings.Join(inboxes, " "), d.Offset, d.Text})
	}}
	return p, func() []sent {
		p.mu.Lock()
		defer p.mu.Unlock()
		return slices.Clone(all)
	}
}

func after(d time.Duration) { <-time.After(d) }

// The first piece goes out at once, what follows at most every 30 ms, and the
// last words without another one behind them.
func TestPiecesAreCollected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, out := recorded("a")
		p.add("one ")
		p.add("two ")
		after(10 * time.Millisecond)
		p.add("three ")
		after(90 * time.Millisecond)
		p.add("four ")
		after(pieceEvery - time.Millisecond)
		p.add("five ")
		after(time.Second)
		p.add("six ")
		p.add("seven")
		p.end()
		p.add("after the end")
		after(time.Second)
		ms := time.Millisecond
		want := []sent{
			{0, "a", 0, "one "}, {30 * ms, "a", 4, "two three "}, {100 * ms, "a", 14, "four "}, {130 * ms, "a", 19, "five "},
			{1129 * ms, "a", 24, "six "}, {1129 * ms, "a", 28, "seven"},
		}
		if got := out(); !slices.Equal(got, want) {
			t.Errorf("sent\n%v, want\n%v", got, want)
		}
	})
}

// Who comes late gets the answer so far and then what follows, with nothing
// missing and nothing twice; those who were there before get nothing again.
func TestPiecesForLatecomers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, out := recorded()
		p.add("one ")
		p.add("two ")
		if p.wasShown() {
			t.Error("shown to nobody")
		}
		p.attach("a")
		if !p.wasShown() {
			t.Error("not shown")
		}
		p.add("three ")
		p.attach("b")
		p.attach("b")
		after(time.Second)
		p.end()
		p.attach("c")
		want := []sent{{0, "a", 0, "one two "}, {0, "a", 8, "three "}, {0, "b", 0, "one two three "}, {0, "b", 0, "one two three "}}
		if got := out(); !slices.Equal(got, want) {
			t.Errorf("sent\n%v, want\n%v", got, want)
		}
	})
}

// A piece is never larger than a Delta may be, and no character is cut.
func TestPiecesAreCut(t *testing.T) {
	text := strings.Repeat("x", contracts.MaxDelta-1) + strings.Repeat("好", contracts.MaxDelta/2) + "!"
	p, out := recorded("a")
	p.add(text)
	p.end()
	whole := ""
	for _, s := range out() {
		if s.offset != len(whole) || len(s.text) > contracts.MaxDelta || !utf8.ValidString(s.text) {
			t.Errorf("%d bytes at %d, valid %v", len(s.text), s.offset, utf8.ValidString(s.text))
		}
		whole += s.text
	}
	if whole != text || len(out()) != 3 {
		t.Errorf("%d pieces with %d bytes of %d", len(out()), len(whole), len(text))
	}
	if n := cut([]byte(strings.Repeat("\x80", contracts.MaxDelta+1))); n != contracts.MaxDelta {
		t.Errorf("what is no text is cut at %d", n)
	}
}

// heard is what came to an inbox: a piece, or the reply.
type heard struct {
	contracts.Delta
	reply *contracts.Reply
}

// readsAlong is an inbox that tells pieces and replies in their order.
func (p *plant) readsAlong(node string) (subject string, all chan heard) {
	p.t.Helper()
	all = make(chan heard, 1000)
	subject = contracts.SubjectReply(node)
	_, err := p.nc.Subscribe(subject, func(m *nats.Msg) {
		if s, err := contracts.SealedDelta(m.Data); err == nil {
			d, err := contracts.OpenDelta(s, workerstest.Sealer{})
			if err != nil {
				p.t.Error(err)
			}
			all <- heard{Delta: d}
			return
		}
		r, err := contracts.DecodeReply(m.Data)
		if err != nil {
			p.t.Error(err)
		}
		all <- heard{reply: &r}
	})
	must(p.t, err)
	must(p.t, p.nc.Flush())
	return subject, all
}

// The whole role: pieces of two tries of a message, a reader who comes late, and
// behind the last piece the reply.
func TestStreamOfTwoTries(t *testing.T) {
	p := newPlant(t)
	entered, goOn := make(chan func(string), 2), make(chan error)
	p.start(p.options(completer(func(_ context.Context, r model.Request) (model.Answer, error) {
		entered <- r.OnDelta
		return said("good answer"), <-goOn
	})))
	inbox, got := p.readsAlong("one")
	late, also := p.readsAlong("two")
	m := p.message("s", 1, "text", inbox)
	m.Flags = contracts.FlagStream
	p.publish(m)
	onDelta := workerstest.Await(t, "the first try", entered)
	onDelta("bad")
	first := workerstest.Await(t, "a piece", got)
	if first.Text != "bad" || first.Offset != 0 || first.Attempt != 1 || first.ID != m.ID || first.Run == 0 {
		t.Errorf("%+v", first)
	}
	goOn <- &contracts.Error{Code: contracts.CodeModelTimeout, Retryable: true}
	onDelta = workerstest.Await(t, "the second try", entered)
	onDelta("good ")
	second := workerstest.Await(t, "a piece", got)
	if second.Text != "good " || second.Offset != 0 || second.Attempt != 2 || second.Run <= first.Run {
		t.Errorf("%+v after %+v", second, first)
	}
	id, err := contracts.ParseID(m.ID)
	must(t, err)
	must(t, p.nc.Publish(contracts.SubjectAttach(id), contracts.EncodeAttach(contracts.Attach{ReplyTo: late, Deltas: true})))
	if d := workerstest.Await(t, "the answer so far", also); d.Text != "good " || d.Offset != 0 || d.Run != second.Run {
		t.Errorf("%+v", d)
	}
	onDelta("ans")
	onDelta("wer") // is held back, and goes out with the end
	goOn <- nil
	for _, c := range []chan heard{got, also} {
		text := "good "
		r := workerstest.Await(t, "a piece", c)
		for ; r.reply == nil; r = workerstest.Await(t, "a piece or the reply", c) {
			if r.Offset != len(text) {
				t.Errorf("%+v behind %q", r.Delta, text)
			}
			text += r.Text
		}
		if text != "good answer" {
			t.Errorf("before the reply came %q", text)
		}
		if res := p.result(*r.reply); res.Reply != "good answer" || res.Run != second.Run {
			t.Errorf("%+v", res)
		}
	}
}

// An ingress in the same process is handed the pieces as they are.
func TestPiecesStayHere(t *testing.T) {
	p := newPlant(t)
	r := newReplies(p.nc, zerolog.Nop())
	var here []contracts.Delta
	mine := contracts.SubjectReply("here")
	r.hereDelta = func(subject string, d contracts.Delta) bool {
		if subject == mine {
			here = append(here, d)
		}
		return subject == mine
	}
	r.sendDelta([]string{mine}, contracts.Delta{ID: p.message("s", 1, "", "").ID, Text: "x"}) // nothing is sealed: it has no sealer
	r.sealer = workerstest.Sealer{}
	there, got := p.readsAlong("there")
	r.sendDelta([]string{mine, there}, contracts.Delta{ID: p.message("s", 1, "", "").ID, Text: "y"})
	if d := workerstest.Await(t, "the piece", got); d.Text != "y" || len(here) != 2 || here[1].Text != "y" {
		t.Errorf("there %+v, here %+v", d, here)
	}
}

// A message that nobody reads along costs nothing, and the model is not asked for pieces.
func TestNobodyReadsAlong(t *testing.T) {
	p := newPlant(t)
	tn := p.turn(func(_ context.Context, r model.Request) (model.Answer, error) {
		if r.OnDelta != nil {
			t.Error("pieces are wanted")
		}
		return said("well"), nil
	})
	_, err := tn.Run(t.Context(), p.task(p.message("s", 1, "text", contracts.SubjectReply("n"))))
	must(t, err)
}

// What was shown and cannot be taken back is not made again.
func TestShownIsFinal(t *testing.T) {
	passing := &contracts.Error{Code: contracts.CodeModelTimeout, Message: "slow", Retryable: true, RetryAfter: time.Second}
	odd := errors.New("odd")
	for name, c := range map[string]struct {
		flags contracts.Flags
		piece string
		err   error
		code  contracts.Code // empty: the error stays as it is
	}{
		"shown":          {contracts.FlagStream | contracts.FlagShown, "x", passing, contracts.CodeModelTimeout},
		"shown, no code": {contracts.FlagStream | contracts.FlagShown, "x", odd, contracts.CodeModelAnswer},
		"nothing shown":  {contracts.FlagStream | contracts.FlagShown, "", passing, ""},
		"can be reset":   {contracts.FlagStream, "x", passing, ""},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlant(t)
			tn := p.turn(func(_ context.Context, r model.Request) (model.Answer, error) {
				r.OnDelta(c.piece)
				return model.Answer{}, c.err
			})
			tn.replies.sealer = workerstest.Sealer{}
			m := p.message("s", 1, "text", contracts.SubjectReply("n"))
			m.Flags = c.flags
			_, err := tn.Run(t.Context(), p.task(m))
			if c.code == "" {
				if !errors.Is(err, c.err) || contracts.Retryable(err) != contracts.Retryable(c.err) {
					t.Errorf("%v", err)
				}
				return
			}
			if contracts.Retryable(err) || contracts.Public(err).Code != c.code || !errors.Is(err, c.err) {
				t.Errorf("%v", err)
			}
		})
	}
}

// Nothing of a run is left to be sent when it returns: the reply comes next.
func TestRunSendsAllItsPieces(t *testing.T) {
	p := newPlant(t)
	m := p.message("s", 1, "text", contracts.SubjectReply("n"))
	m.Flags = contracts.FlagStream
	task := p.task(m)
	tn := p.turn(func(_ context.Context, r model.Request) (model.Answer, error) {
		r.OnDelta("one ")
		r.OnDelta("two")
		return said("one two"), nil
	})
	text := ""
	tn.replies.hereDelta = func(_ string, d contracts.Delta) bool {
		text += d.Text
		return true
	}
	synctest.Test(t, func(t *testing.T) { // so that no time passes
		_, err := tn.Run(t.Context(), task)
		must(t, err)
	})
	if text != "one two" {
		t.Errorf("sent %q", text)
	}
}
