package dead

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"moltbot/contracts"
	"moltbot/workers/workerstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const canary = "CANARY-what-the-user-said"

type rig struct {
	*testing.T
	nats    *workerstest.NATS
	js      jetstream.JetStream
	letters *Letters
	namer   *contracts.Namer
	now     time.Time
	n       int
}

func newRig(t *testing.T) *rig {
	n := workerstest.StartNATS(t)
	js, err := jetstream.New(n.Connect(t))
	workerstest.Must(t, err)
	workerstest.MakeStreams(t, js, workerstest.Queue{})
	r := &rig{T: t, nats: n, js: js, namer: workerstest.Namer(t), now: time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)}
	r.letters, err = New(Options{JS: js, Sealer: workerstest.Sealer{}, Now: func() time.Time { return r.now }})
	workerstest.Must(t, err)
	return r
}

// id makes the id of another message of a chat.
func (r *rig) id(chat string) contracts.ID {
	r.n++
	c := r.namer.Conversation(contracts.Scope{Channel: contracts.ChannelFeishu, App: "default", Session: chat})
	return r.namer.NewID(c, "feishu:ann", r.now.Add(time.Duration(r.n)*time.Second), r.namer.Digest("test", fmt.Sprint(r.n)))
}

func origin() *contracts.Origin {
	return &contracts.Origin{App: "default", MessageID: "om_1", At: time.Date(2026, 11, 20, 9, 0, 0, 0, time.UTC), Chat: "oc_1", Sender: "ou_1"}
}

// chat is a dead letter of CHAT.
func (r *rig) chat(id contracts.ID, code contracts.Code) contracts.Dead {
	m := contracts.Message{
		ID: id.String(), Conversation: id.Conversation, Channel: contracts.ChannelFeishu, RequestID: "req", ReplyTo: contracts.SubjectReply("gone"),
		Accepted: r.now.Add(-3 * time.Hour), Caller: "feishu:ann", SessionID: "oc_1", Text: canary, Origin: origin(),
		Flags: contracts.FlagStream | contracts.FlagShown | contracts.FlagFresh,
	}
	data, err := contracts.EncodeMessage(m, workerstest.Sealer{})
	workerstest.Must(r, err)
	return r.dead(id, code, contracts.StreamChat, contracts.SubjectChat(id.Conversation), data)
}

// send is a dead letter of SEND.
func (r *rig) send(id contracts.ID, code contracts.Code) contracts.Dead {
	a := contracts.Answer{ID: id.Run().String(), Caller: "feishu:ann", Accepted: r.now, Text: canary, Origin: origin(),
		Result: contracts.Result{ID: id.Run().String(), Reply: canary, At: r.now}}
	data, err := workerstest.Sealer{}.Seal(contracts.EncodeAnswer(a), contracts.KindSend, id.Conversation, id.String())
	workerstest.Must(r, err)
	out, err := contracts.EncodeOutgoing(contracts.Outgoing{ID: id.String(), Conversation: id.Conversation, Channel: contracts.ChannelFeishu, Data: data})
	workerstest.Must(r, err)
	return r.dead(id, code, contracts.StreamSend, contracts.SubjectSend(contracts.ChannelFeishu, id.Conversation), out)
}

func (r *rig) dead(id contracts.ID, code contracts.Code, stream, subject string, data []byte) contracts.Dead {
	detail, err := workerstest.Sealer{}.Seal([]byte("the reason of "+id.String()), contracts.KindDead, id.Conversation, id.String())
	workerstest.Must(r, err)
	return contracts.Dead{
		ID: id.String(), Conversation: id.Conversation, Code: code, Detail: detail, Attempts: 5, Stream: stream, Sequence: 7,
		Subject: subject, At: r.now, Original: data,
	}
}

// bury stores a letter and gives its sequence.
func (r *rig) bury(role string, d contracts.Dead) uint64 {
	r.Helper()
	data, err := contracts.EncodeDead(d)
	workerstest.Must(r, err)
	return r.raw(role, data)
}

func (r *rig) raw(role string, data []byte) uint64 {
	r.Helper()
	ack, err := r.js.Publish(r.Context(), contracts.SubjectDead(role), data)
	workerstest.Must(r, err)
	return ack.Sequence
}

func (r *rig) change(action string, sequence uint64) (contracts.DeadReply, error) {
	return r.letters.Change(r.Context(), contracts.DeadChange{Action: action, Letter: fmt.Sprint(sequence)})
}

func (r *rig) contents(stream string) []*jetstream.RawStreamMsg {
	return workerstest.Contents(r, r.js, stream)
}

func code(t *testing.T, err error, want contracts.Code) string {
	t.Helper()
	var e *contracts.Error
	if !errors.As(err, &e) || e.Code != want {
		t.Fatalf("%v, want the code %s", err, want)
	}
	return e.Message
}

func TestReplayOfAMessage(t *testing.T) {
	r := newRig(t)
	id := r.id("a")
	seq := r.bury("workers", r.chat(id, contracts.CodeDead))
	r.bury("workers", r.chat(r.id("b"), contracts.CodeStale))
	reply, err := r.change(contracts.DeadActReplay, seq)
	workerstest.Must(t, err)
	if len(reply.Done) != 1 || reply.Done[0] != (contracts.DeadDone{Sequence: seq, ID: id.String(), ReplayID: id.String() + "#r1"}) {
		t.Errorf("%+v", reply)
	}
	chat := r.contents(contracts.StreamChat)
	if len(chat) != 1 || len(r.contents(contracts.StreamDead)) != 1 {
		t.Fatalf("%d messages, %d dead letters", len(chat), len(r.contents(contracts.StreamDead)))
	}
	if got := chat[0].Header.Get(jetstream.MsgIDHeader); got != id.String()+"#r1" || chat[0].Subject != contracts.SubjectChat(id.Conversation) {
		t.Errorf("id %q on %s", got, chat[0].Subject)
	}
	l, err := contracts.DecodeLetter(chat[0].Data)
	workerstest.Must(t, err)
	m, err := l.Open(workerstest.Sealer{})
	workerstest.Must(t, err)
	if m.Text != canary || m.ReplyTo != "" || !m.Accepted.Equal(r.now) || !m.Origin.At.Equal(origin().At) || m.Flags != contracts.FlagFresh || m.Caller != "feishu:ann" {
		t.Errorf("replayed %+v", m)
	}
	_, err = r.change(contracts.DeadActReplay, seq)
	code(t, err, contracts.CodeNotFound)
}

func TestReplayOfAnAnswer(t *testing.T) {
	r := newRig(t)
	id := r.id("a")
	seq := r.bury("deliver", r.send(id, contracts.CodeUncertain))
	reply, err := r.change(contracts.DeadActReplay, seq)
	workerstest.Must(t, err)
	send := r.contents(contracts.StreamSend)
	if len(send) != 1 || len(r.contents(contracts.StreamDead)) != 0 || reply.Done[0].ReplayID != id.String()+"#r100" {
		t.Fatalf("%d messages in SEND, %+v", len(send), reply)
	}
	o, err := contracts.DecodeOutgoing(send[0].Data)
	workerstest.Must(t, err)
	plain, err := workerstest.Sealer{}.Open(o.Data, contracts.KindSend, o.Conversation, o.ID)
	workerstest.Must(t, err)
	a, err := contracts.DecodeAnswer(plain)
	workerstest.Must(t, err)
	if o.ID != id.String()+"#r100" || a.ID != id.String() || a.Text != canary || send[0].Subject != contracts.SubjectSend(contracts.ChannelFeishu, id.Conversation) {
		t.Errorf("%+v holds %+v on %s", o, a, send[0].Subject)
	}
}

// The answer of a message that is run again, and an answer that is sent again, are
// two, though both go through SEND under ids of the same message.
func TestRunAndSendingHaveDifferentIDs(t *testing.T) {
	r := newRig(t)
	id := r.id("a")
	seen := map[string]bool{id.String(): true}
	for _, d := range []contracts.Dead{r.chat(id, contracts.CodeDead), r.send(id, contracts.CodeUndelivered)} {
		for range 3 {
			reply, err := r.change(contracts.DeadActReplay, r.bury("x", d))
			workerstest.Must(t, err)
			next, err := contracts.ParseID(reply.Done[0].ReplayID)
			workerstest.Must(t, err)
			if seen[next.String()] {
				t.Errorf("%s is used twice", next)
			}
			seen[next.String()] = true
			if next.Resent() != (d.Stream == contracts.StreamSend) {
				t.Errorf("%s: resent %v", next, next.Resent())
			}
			if d.Stream == contracts.StreamChat {
				d = r.chat(next, contracts.CodeDead)
			} else {
				d = r.send(next, contracts.CodeUndelivered)
			}
		}
	}
}

var errCrash = errors.New("crash")

// A crash between the message's storage and the letter's removal: the next replay
// stores nothing new.
func TestCrashBetweenStoreAndRemoval(t *testing.T) {
	r := newRig(t)
	for stream, d := range map[string]contracts.Dead{
		contracts.StreamChat: r.chat(r.id("a"), contracts.CodeDead), contracts.StreamSend: r.send(r.id("b"), contracts.CodeUndelivered),
	} {
		seq := r.bury("workers", d)
		r.letters.remove = func(context.Context, uint64) error { return errCrash }
		if _, err := r.change(contracts.DeadActReplay, seq); !errors.Is(err, errCrash) {
			t.Fatal(err)
		}
		r.letters.remove = r.letters.delete
		reply, err := r.change(contracts.DeadActReplay, seq)
		workerstest.Must(t, err)
		if !reply.Done[0].Known || len(r.contents(stream)) != 1 || len(r.contents(contracts.StreamDead)) != 0 {
			t.Errorf("%s: %+v, %d messages", stream, reply, len(r.contents(stream)))
		}
	}
}

// Without the broker's word that the message is stored, the letter stays.
func TestLetterStaysWithoutAck(t *testing.T) {
	r := newRig(t)
	seq := r.bury("workers", r.chat(r.id("a"), contracts.CodeDead))
	workerstest.Must(t, r.js.DeleteStream(t.Context(), contracts.StreamChat))
	r.letters.o.Timeout = 300 * time.Millisecond
	_, err := r.change(contracts.DeadActReplay, seq)
	code(t, err, contracts.CodeQueueDown)
	if len(r.contents(contracts.StreamDead)) != 1 {
		t.Error("the letter is gone")
	}
}

func TestFullConversation(t *testing.T) {
	r := newRig(t)
	id := r.id("a")
	workerstest.Must(t, r.js.DeleteStream(t.Context(), contracts.StreamChat))
	c := workerstest.ChatStream(workerstest.Queue{MaxPerSubject: 1})
	_, err := r.js.CreateStream(t.Context(), c)
	workerstest.Must(t, err)
	_, err = r.js.Publish(t.Context(), contracts.SubjectChat(id.Conversation), nil)
	workerstest.Must(t, err)
	seq := r.bury("workers", r.chat(id, contracts.CodeDead))
	_, err = r.change(contracts.DeadActReplay, seq)
	if text := code(t, err, contracts.CodeConflict); !strings.Contains(text, "full") {
		t.Error(text)
	}
	if len(r.contents(contracts.StreamDead)) != 1 {
		t.Error("the letter is gone")
	}
}

func TestShow(t *testing.T) {
	r := newRig(t)
	id := r.id("a")
	seq := r.bury("workers", r.chat(id, contracts.CodeDead))
	for _, name := range []string{fmt.Sprint(seq), id.String()} {
		d, err := r.letters.Show(t.Context(), name, false)
		workerstest.Must(t, err)
		if d.Reason != "the reason of "+id.String() || d.Body != nil || d.ReplayID != id.String()+"#r1" || d.Letter.Channel != contracts.ChannelFeishu {
			t.Errorf("%s: %+v", name, d)
		}
	}
	d, err := r.letters.Show(t.Context(), fmt.Sprint(seq), true)
	workerstest.Must(t, err)
	if b := d.Body; b == nil || b.Text != canary || b.Chat != "oc_1" || b.Caller != "feishu:ann" {
		t.Errorf("body %+v", b)
	}
	again := r.bury("deliver", r.send(id, contracts.CodeUndelivered))
	if d, err = r.letters.Show(t.Context(), fmt.Sprint(again), true); err != nil || d.Body.Text != canary {
		t.Errorf("%+v, %v", d.Body, err)
	}
	_, err = r.letters.Show(t.Context(), id.String(), false)
	code(t, err, contracts.CodeConflict)
	for _, name := range []string{"0", "99", "18446744073709551615", "", "nobody", "-1"} {
		_, err = r.letters.Show(t.Context(), name, false)
		code(t, err, contracts.CodeNotFound)
	}
}

// Whoever holds no key sees that there is a letter, and why it stays closed.
type keyless struct{ workerstest.Sealer }

func (keyless) Open([]byte, contracts.Kind, string, string) ([]byte, error) {
	return nil, fmt.Errorf("open: %w", contracts.ErrNoKey)
}

func TestWithoutTheKey(t *testing.T) {
	r := newRig(t)
	r.letters.o.Sealer = keyless{}
	for stream, d := range map[string]contracts.Dead{
		contracts.StreamChat: r.chat(r.id("a"), contracts.CodeDead), contracts.StreamSend: r.send(r.id("b"), contracts.CodeUndelivered),
	} {
		seq := r.bury("workers", d)
		shown, err := r.letters.Show(t.Context(), fmt.Sprint(seq), false)
		if err != nil || !strings.Contains(shown.Reason, "does not hold the key") {
			t.Errorf("%+v, %v", shown, err)
		}
		_, err = r.letters.Show(t.Context(), fmt.Sprint(seq), true)
		code(t, err, contracts.CodeConflict)
		_, err = r.change(contracts.DeadActReplay, seq)
		if text := code(t, err, contracts.CodeConflict); !strings.Contains(text, "does not hold the key") {
			t.Error(text)
		}
		if len(r.contents(stream)) != 0 {
			t.Error("it was replayed")
		}
	}
}

// What cannot be put back says why, and can be dropped.
func TestWhatCannotBeReplayed(t *testing.T) {
	r := newRig(t)
	good := r.chat(r.id("a"), contracts.CodeDead)
	change := func(f func(*contracts.Dead)) []byte {
		d := good
		f(&d)
		b, err := contracts.EncodeDead(d)
		workerstest.Must(t, err)
		return b
	}
	full := good.ID + "#r99"
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"not a letter": {[]byte("\x00 hello"), "not a message of ours"},
		"empty":        {nil, "not a message of ours"},
		"its version":  {[]byte(`{"v":99}`), "after an upgrade"},
		"no stream":    {change(func(d *contracts.Dead) { d.Stream = "KV_config" }), "no stream"},
		"raw":          {change(func(d *contracts.Dead) { d.Original = []byte("raw bytes") }), "not a message of ours"},
		"version of the message": {change(func(d *contracts.Dead) {
			d.Original = bytes.Replace(d.Original, []byte("5 "), []byte("99 "), 1)
		}), "after an upgrade"},
		"other subject": {change(func(d *contracts.Dead) { d.Subject = contracts.SubjectChat(r.id("b").Conversation) }), "contradicts"},
		"other id":      {change(func(d *contracts.Dead) { d.ID = r.id("a").String() }), "contradicts"},
		"other bytes": {change(func(d *contracts.Dead) {
			d.Original = bytes.Replace(d.Original, []byte(canary), []byte("CANARY-what-the-uses-said"), 1)
		}), "changed"},
		"too often": {change(func(d *contracts.Dead) {
			d.ID, d.Original = full, bytes.Replace(d.Original, []byte(good.ID), []byte(full), 1)
		}), "too often"},
	} {
		seq := r.raw("workers", c.data)
		_, err := r.change(contracts.DeadActReplay, seq)
		if text := code(t, err, contracts.CodeConflict); !strings.Contains(text, c.want) || strings.Contains(text, canary) {
			t.Errorf("%s: %q, want %q", name, text, c.want)
		}
		if _, err := r.letters.Show(t.Context(), fmt.Sprint(seq), false); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := r.change(contracts.DeadActDrop, seq); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(r.contents(contracts.StreamDead)) != 0 || len(r.contents(contracts.StreamChat)) != 0 {
		t.Error("something is left, or was replayed")
	}
}

// Many letters take several requests, the oldest first. One that dies again while
// they are replayed is not replayed again.
func TestReplayOfMany(t *testing.T) {
	r := newRig(t)
	var ids []string
	for range 130 {
		id := r.id("a")
		ids = append(ids, id.String()+"#r1")
		r.bury("workers", r.chat(id, contracts.CodeDead))
		r.bury("workers", r.chat(r.id("b"), contracts.CodeStale))
	}
	r.raw("workers", []byte("hostile"))
	want := contracts.DeadChange{Action: contracts.DeadActReplay, Filter: contracts.DeadFilter{Code: contracts.CodeDead}}
	rounds := 0
	for more := true; more; rounds++ {
		reply, err := r.letters.Change(t.Context(), want)
		workerstest.Must(t, err)
		if rounds == 0 {
			again, err := contracts.ParseID(ids[0])
			workerstest.Must(t, err)
			r.bury("workers", r.chat(again, contracts.CodeDead))
		}
		more, want.Filter.After, want.Filter.Until = reply.More, reply.After, reply.Until
	}
	var got []string
	for _, m := range r.contents(contracts.StreamChat) {
		got = append(got, m.Header.Get(jetstream.MsgIDHeader))
	}
	if strings.Join(got, " ") != strings.Join(ids, " ") || rounds != 2 {
		t.Errorf("%d replayed in %d requests", len(got), rounds)
	}
	reply, err := r.letters.Change(t.Context(), contracts.DeadChange{Action: contracts.DeadActReplay})
	workerstest.Must(t, err)
	if len(reply.Done) != 100 || !reply.More {
		t.Errorf("%d done, more %v", len(reply.Done), reply.More)
	}
	reply, err = r.letters.Change(t.Context(), contracts.DeadChange{Action: contracts.DeadActReplay, Filter: contracts.DeadFilter{After: reply.After, Until: reply.Until}})
	workerstest.Must(t, err)
	if len(reply.Done) != 31 || len(reply.Refused) != 1 || reply.More {
		t.Errorf("%+v", reply)
	}
}

// What is stored under the same id twice is one message after the broker's window,
// too: the id is the same, and the mailbox knows it. See the done key.
func TestReplayedIDIsAlwaysTheSame(t *testing.T) {
	r := newRig(t)
	d := r.chat(r.id("a"), contracts.CodeDead)
	a, err := r.change(contracts.DeadActReplay, r.bury("workers", d))
	workerstest.Must(t, err)
	b, err := r.change(contracts.DeadActReplay, r.bury("workers", d)) // a second copy of the letter
	workerstest.Must(t, err)
	if a.Done[0].ReplayID != b.Done[0].ReplayID || !b.Done[0].Known || len(r.contents(contracts.StreamChat)) != 1 {
		t.Errorf("%+v, %+v", a, b)
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte("{\"v\":5,\"stream\":\"CHAT\"}\n5 x"))
	f.Add([]byte(`{"v":5,"stream":"SEND","original":"e30="}`))
	f.Add([]byte("{\"v\":5,\"at\":\"9999-12-31T23:59:59Z\",\"code\":\"\xff\"}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		l := read(&jetstream.RawStreamMsg{Subject: "chat.dead.workers", Sequence: 1, Data: data, Header: nats.Header{}})
		if len(l.ID) > longText+3 || len(l.Code) > 3*longCode || l.Trouble == "" && l.chat == nil && l.send == nil {
			t.Errorf("%+v", l.DeadLetter)
		}
		if l.Trouble == "" && l.next.String() == l.ID {
			t.Error("a replay has the id of its letter")
		}
	})
}
