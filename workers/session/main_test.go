package session_test

import (
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"moltbot/contracts"
	"moltbot/workers/session"
	"moltbot/workers/workerstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var must = workerstest.Must

// each runs f with a Store over each kind of Redis.
func each(t *testing.T, f func(t *testing.T, s *session.Store, rdb redis.UniversalClient)) {
	t.Helper()
	workerstest.EachRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		f(t, session.New(session.Options{Redis: rdb, Sealer: workerstest.Sealer{}, ResultTTL: time.Minute, BoxTTL: time.Hour}), rdb)
	})
}

// id names the n-th message of a conversation.
func id(t *testing.T, name string, n int) contracts.ID {
	t.Helper()
	namer := workerstest.Namer(t)
	c := namer.Conversation(contracts.Scope{Channel: contracts.ChannelAPI, Session: name})
	return namer.NewID(c, "test", time.UnixMilli(int64(n)), namer.Digest("test", name))
}
