package workerstest_test

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"moltbot/contracts"
	"moltbot/workers/workerstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestKeysExpireByTheClock(t *testing.T) {
	workerstest.EachRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		workerstest.Must(t, rdb.Set(t.Context(), "k", "v", 50*time.Millisecond).Err())
		workerstest.Eventually(t, "the key is gone", func() bool {
			return rdb.Exists(t.Context(), "k").Val() == 0
		})
	})
}

func TestKilledRedisKeepsWhatItAcknowledged(t *testing.T) {
	r := workerstest.StartRedis(t)
	rdb := r.Client(t)
	workerstest.Must(t, rdb.Set(t.Context(), "k", "v", 0).Err())
	r.Kill()
	if err := rdb.Ping(t.Context()).Err(); err == nil {
		t.Fatal("a killed Redis answers")
	}
	r.Start(t)
	if v := rdb.Get(t.Context(), "k").Val(); v != "v" {
		t.Fatalf("after the restart k = %q", v)
	}
}

func TestRestoreRollsTheStreamBack(t *testing.T) {
	n := workerstest.StartNATS(t)
	nc := n.Connect(t)
	js, err := jetstream.New(nc)
	workerstest.Must(t, err)
	workerstest.MakeStreams(t, js, workerstest.Queue{})
	subject := contracts.SubjectChat("00000000000000000000000000")
	_, err = js.Publish(t.Context(), subject, []byte("before"))
	workerstest.Must(t, err)
	saved := n.Copy(t)
	workerstest.Eventually(t, "reconnected", nc.IsConnected)
	workerstest.Eventually(t, "published", func() bool {
		_, err := js.Publish(t.Context(), subject, []byte("after"))
		return err == nil
	})
	n.Restore(t, saved)
	workerstest.Eventually(t, "only the first message is left", func() bool {
		s, err := js.Stream(t.Context(), contracts.StreamChat)
		return err == nil && s.CachedInfo().State.Msgs == 1
	})
	if got := workerstest.Contents(t, js, contracts.StreamChat); len(got) != 1 || string(got[0].Data) != "before" {
		t.Fatalf("the stream holds %d messages", len(got))
	}
}

func TestSealerRefusesAnotherPlace(t *testing.T) {
	var s workerstest.Sealer
	sealed, err := s.Seal([]byte("text"), contracts.KindTurn, "c", "id")
	workerstest.Must(t, err)
	if plain, err := s.Open(sealed, contracts.KindTurn, "c", "id"); err != nil || string(plain) != "text" {
		t.Fatalf("open = %q, %v", plain, err)
	}
	if _, err := s.Open(sealed, contracts.KindTurn, "c", "other"); err == nil {
		t.Fatal("opened in another place")
	}
}
