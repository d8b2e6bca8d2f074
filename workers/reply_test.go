package workers

import (
	"strconv"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"moltbot/contracts"
	"moltbot/workers/mailbox"
	"moltbot/workers/workerstest"
)

func (p *plant) parked(m contracts.Message, text string) []byte {
	p.t.Helper()
	b, err := p.store.SealResult(m.Conversation, contracts.Result{ID: m.ID, SessionID: m.SessionID, Reply: text})
	must(p.t, err)
	return b
}

func TestReplyReachesWhoWaits(t *testing.T) {
	p := newPlant(t)
	r := newReplies(p.nc, zerolog.Nop())
	first, got := p.inbox("one")
	second, also := p.inbox("two")
	m := p.message("s", 1, "hello", first)
	// The first inbox attached as well: it is asked once.
	r.send(m, mailbox.Outcome{Result: p.parked(m, "answer"), Waiters: []string{second, first}})
	for _, c := range []chan contracts.Reply{got, also} {
		if res := p.result(workerstest.Await(t, "the reply", c)); res.Reply != "answer" || res.ID != m.ID {
			t.Errorf("got %+v", res)
		}
	}
	if n := len(got) + len(also); n != 0 {
		t.Errorf("%d replies too many", n)
	}
}

// A result that does not fit into a message travels as a pointer.
func TestOversizedResultIsAPointer(t *testing.T) {
	p := newPlant(t)
	inbox, got := p.inbox("one")
	m := p.message("s", 1, "hello", inbox)
	newReplies(p.nc, zerolog.Nop()).send(m, mailbox.Outcome{Result: p.parked(m, strings.Repeat("x", contracts.MaxReply))})
	if r := workerstest.Await(t, "the reply", got); r.ID != m.ID || len(r.Data) != 0 {
		t.Errorf("got %d bytes for %s", len(r.Data), r.ID)
	}
}

// Nobody listens, or it is no inbox of ours: nothing happens, and nothing waits.
func TestReplyToNobody(t *testing.T) {
	p := newPlant(t)
	r := newReplies(p.nc, zerolog.Nop())
	foreign, err := p.nc.SubscribeSync("somewhere.else")
	must(t, err)
	must(t, p.nc.Flush())
	for _, to := range []string{contracts.SubjectReply("gone"), "somewhere.else", "chat.reply.*", "chat.reply.>", ""} {
		m := p.message("s", 1, "hello", to)
		r.send(m, mailbox.Outcome{Result: p.parked(m, "answer")})
	}
	r.send(p.message("s", 1, "hello", contracts.SubjectReply("gone")), mailbox.Outcome{Result: []byte("garbage")})
	must(t, p.nc.Flush())
	if n, _, err := foreign.Pending(); err != nil || n != 0 {
		t.Errorf("%d replies went to a foreign subject, %v", n, err)
	}
}

func TestAttach(t *testing.T) {
	p := newPlant(t)
	r := newReplies(p.nc, zerolog.Nop())
	sub, err := r.listen()
	must(t, err)
	defer func() { must(t, sub.Unsubscribe()) }()
	m := p.message("s", 1, "hello", "")
	id, err := contracts.ParseID(m.ID)
	must(t, err)
	ask := func(body []byte) { must(t, p.nc.Publish(contracts.SubjectAttach(id), body)) }
	inbox := func(n int) string { return contracts.SubjectReply("n" + strconv.Itoa(n)) }

	ask(contracts.EncodeAttach(contracts.Attach{ReplyTo: inbox(0)})) // nothing runs yet
	p.seen(sub, 1)
	r.begin(m.ID, &running{})
	ask(contracts.EncodeAttach(contracts.Attach{ReplyTo: inbox(1)}))
	ask(contracts.EncodeAttach(contracts.Attach{ReplyTo: inbox(1)}))
	ask(contracts.EncodeAttach(contracts.Attach{ReplyTo: "chat.in.00000000000000000000000000"}))
	ask(contracts.EncodeAttach(contracts.Attach{ReplyTo: "somewhere.else"}))
	ask([]byte("garbage"))
	for n := range 2 * maxAttached {
		ask(contracts.EncodeAttach(contracts.Attach{ReplyTo: inbox(n)}))
	}
	p.seen(sub, 6+2*maxAttached)
	got := r.end(m.ID)
	if len(got) != maxAttached || got[0] != inbox(1) {
		t.Errorf("attached: %v", got)
	}
	for _, s := range got {
		if !contracts.IsReplySubject(s) {
			t.Errorf("%q was let in", s)
		}
	}
	ask(contracts.EncodeAttach(contracts.Attach{ReplyTo: inbox(2)}))
	p.seen(sub, 7+2*maxAttached)
	if len(r.runs) != 0 {
		t.Errorf("left behind: %v", r.runs)
	}
}

// seen waits until the handler of a subscription has had n messages.
func (p *plant) seen(sub *nats.Subscription, n int) {
	p.t.Helper()
	workerstest.Eventually(p.t, "the attach requests are heard", func() bool {
		got, err := sub.Delivered()
		pending, _, _ := sub.Pending()
		return err == nil && got >= int64(n) && pending == 0
	})
}

// A reply for an ingress in this process does not go over NATS; others do.
func TestReplyInThisProcess(t *testing.T) {
	p := newPlant(t)
	r := newReplies(p.nc, zerolog.Nop())
	mine, overNATS := p.inbox("mine")
	other, got := p.inbox("other")
	var here []contracts.Reply
	r.here = func(subject string, reply contracts.Reply) bool {
		if subject != mine {
			return false
		}
		here = append(here, reply)
		return true
	}
	m := p.message("s", 1, "hello", mine)
	r.send(m, mailbox.Outcome{Result: p.parked(m, "answer"), Waiters: []string{other}})
	if res := p.result(workerstest.Await(t, "the reply", got)); res.Reply != "answer" {
		t.Errorf("got %+v", res)
	}
	if len(here) != 1 || p.result(here[0]).Reply != "answer" {
		t.Errorf("handed over: %+v", here)
	}
	must(t, p.nc.Flush())
	if len(overNATS) != 0 {
		t.Error("it went over NATS as well")
	}
}
