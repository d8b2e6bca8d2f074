package session_test

import (
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"moltbot/contracts"
	"moltbot/workers/session"
	"moltbot/workers/workerstest"
)

func sealTurn(t *testing.T, s *session.Store, i contracts.ID, text string) []byte {
	t.Helper()
	b, err := s.SealTurn(i.Conversation, contracts.Turn{ID: i.String(), User: text, Assistant: "re: " + text, Tokens: 7})
	must(t, err)
	return b
}

// One bad record does not silence a conversation.
func TestOpenTurnsLeavesOutWhatDoesNotOpen(t *testing.T) {
	s := session.New(session.Options{Sealer: workerstest.Sealer{}})
	mine, other := id(t, "mine", 1), id(t, "other", 2)
	good := sealTurn(t, s, mine, "first")
	plain := contracts.EncodeTurn(contracts.Turn{ID: mine.String()})
	future := append([]byte{9}, plain[1:]...)
	sealed, err := (workerstest.Sealer{}).Seal(future, contracts.KindTurn, mine.Conversation, mine.String())
	must(t, err)
	renamed := append([]byte("2 "+id(t, "mine", 3).String()+" "), good[len("1 ")+len(mine.String())+1:]...)
	turns, bad := s.OpenTurns(mine.Conversation, [][]byte{
		good,
		sealTurn(t, s, other, "moved here from another session"),
		good[:len(good)-1], // cut
		{},
		[]byte("garbage"),
		contracts.EncodeSealed(contracts.Sealed{ID: mine.String(), Data: sealed}), // a version we do not know, inside
		append([]byte("9"), good[1:]...),                                          // and outside
		renamed,                                                                   // under another message's name
		sealTurn(t, s, id(t, "mine", 4), "last"),
	})
	if bad != 7 || len(turns) != 2 || turns[0].User != "first" || turns[1].User != "last" || turns[1].Tokens != 7 {
		t.Errorf("%d bad, turns %+v", bad, turns)
	}
}

func TestResult(t *testing.T) {
	each(t, func(t *testing.T, s *session.Store, rdb redis.UniversalClient) {
		i := id(t, "c", 1)
		look := func(wantFound, wantDone bool) contracts.Result {
			t.Helper()
			r, found, done, err := s.Result(t.Context(), i)
			must(t, err)
			if found != wantFound || done != wantDone {
				t.Errorf("found %v, done %v", found, done)
			}
			return r
		}
		look(false, false)
		sealed, err := s.SealResult(i.Conversation, contracts.Result{ID: i.String(), Reply: "text"})
		must(t, err)
		must(t, rdb.Set(t.Context(), contracts.KeyDone(i.Conversation, i.String()), "t", time.Minute).Err())
		must(t, rdb.Set(t.Context(), contracts.KeyResult(i.Conversation, i.String()), sealed, 50*time.Millisecond).Err())
		if r := look(true, true); r.Reply != "text" {
			t.Errorf("result %+v", r)
		}
		workerstest.Eventually(t, "the result expires", func() bool {
			_, found, _, err := s.Result(t.Context(), i)
			return err == nil && !found
		})
		look(false, true)
	})
}

// What lies under a message's key must be that message's.
func TestResultOfAnother(t *testing.T) {
	each(t, func(t *testing.T, s *session.Store, rdb redis.UniversalClient) {
		i, other := id(t, "c", 1), id(t, "c", 2)
		sealed, err := s.SealResult(other.Conversation, contracts.Result{ID: other.String(), Reply: "secret"})
		must(t, err)
		must(t, rdb.Set(t.Context(), contracts.KeyResult(i.Conversation, i.String()), sealed, time.Minute).Err())
		if r, found, _, err := s.Result(t.Context(), i); err == nil || found || r.Reply != "" {
			t.Errorf("another's result: %+v, found %v, %v", r, found, err)
		}
		record, err := contracts.DecodeSealed(sealed)
		must(t, err)
		renamed := contracts.EncodeSealed(contracts.Sealed{ID: i.String(), Data: record.Data})
		if _, err := s.OpenResult(i, renamed); err == nil {
			t.Error("a renamed result opens")
		}
		if _, err := s.OpenReply(i, record.Data); err == nil {
			t.Error("another's reply opens")
		}
		if r, err := s.OpenReply(other, record.Data); err != nil || r.Reply != "secret" {
			t.Errorf("its own reply: %+v, %v", r, err)
		}
	})
}
