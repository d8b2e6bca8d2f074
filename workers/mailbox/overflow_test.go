package mailbox_test

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/redis/go-redis/v9"

	"moltbot/contracts"
	"moltbot/workers/dead"
	"moltbot/workers/mailbox"
	"moltbot/workers/workerstest"
)

// Callbacks whose URL is down do not close their conversation: what has no room
// becomes a dead letter, once, and can be replayed when there is room. Answers to
// a chat wait for theirs.
func TestCallbacksOverflow(t *testing.T) {
	workerstest.EachRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := newStage(t, rdb, workerstest.Queue{})
		st, err := s.js.Stream(t.Context(), contracts.StreamSend)
		must(t, err)
		room := st.CachedInfo().Config
		room.MaxMsgsPerSubject, room.DiscardNewPerSubject, room.Discard = 1, true, jetstream.DiscardNew
		_, err = s.js.UpdateStream(t.Context(), room)
		must(t, err)
		channel := contracts.ChannelCallback
		m := s.box(func(_ context.Context, task mailbox.Task) (mailbox.Outcome, error) {
			o := answer(task)
			o.Out, _ = contracts.EncodeOutgoing(contracts.Outgoing{ID: task.ID, Conversation: task.Conversation, Channel: channel, Data: []byte("out")})
			return o, nil
		})
		c := s.conversation("c")
		var second string
		for n := 1; n <= 3; n++ {
			if id := s.publish(c, n); n == 2 {
				second = id
			}
			if h, err := m.Handle(t.Context(), t.Context(), s.next()); err != nil || h != mailbox.HandledDone {
				t.Fatalf("message %d ends as %s, %v", n, h, err)
			}
		}
		all := workerstest.Contents(t, s.js, contracts.StreamDead)
		if len(all) != 2 || len(workerstest.Contents(t, s.js, contracts.StreamSend)) != 1 || rdb.LLen(t.Context(), contracts.ChatKeys(c).Out).Val() != 0 {
			t.Fatalf("%d dead letters", len(all))
		}
		d, err := contracts.DecodeDead(all[0].Data)
		must(t, err)
		if d.ID != second || d.Code != contracts.CodeUndelivered || d.Stream != contracts.StreamSend || all[0].Subject != contracts.SubjectDead("deliver") {
			t.Errorf("dead letter %+v on %s", d, all[0].Subject)
		}
		letters, err := dead.New(dead.Options{JS: s.js, Sealer: workerstest.Sealer{}})
		must(t, err)
		got, err := letters.List(t.Context(), contracts.DeadFilter{Since: time.Now().Add(-time.Hour), Limit: 10})
		must(t, err)
		for _, l := range got.Letters {
			if l.Trouble != "" {
				t.Errorf("%+v", l)
			}
		}
		channel = contracts.ChannelFeishu
		s.publish(c, 4)
		if h, err := m.Handle(t.Context(), t.Context(), s.next()); err != nil || h != mailbox.HandledDone {
			t.Fatalf("with room it ends as %s, %v", h, err)
		}
		s.publish(c, 5)
		if h, err := m.Handle(t.Context(), t.Context(), s.next()); err != nil || h != mailbox.HandledHeld {
			t.Fatalf("the answer to a chat ends as %s, %v", h, err)
		}
	})
}
