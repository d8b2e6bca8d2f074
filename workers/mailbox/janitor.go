package mailbox

import (
	"context"
	_ "embed"
	"errors"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"moltbot/contracts"
)

//go:embed lua/mark.lua
var markLua string

// JanitorOptions of a Janitor; all are required.
type JanitorOptions struct {
	Conn     *nats.Conn
	Redis    redis.UniversalClient
	Log      zerolog.Logger
	Node     string
	Stream   string
	Consumer string
	Every    time.Duration // how often it looks, such as 250ms
	// MaxFinished is how many finished messages may lie in the stream before
	// the workers delete theirs one by one.
	MaxFinished uint64
}

// Janitor removes finished messages: it purges the stream up to the consumer's
// ack floor. That costs one disk write for any number of messages, where a work
// queue pays one for each (ops/docs/adr/0001). Every worker process has one and
// needs its View; one of them at a time purges.
type Janitor struct {
	o    JanitorOptions
	mark *redis.Script
	view atomic.Pointer[View]

	urged chan struct{} // holds one: somebody wants a purge

	// Used by one goroutine.
	turn     bool      // it was our turn at the last look
	consumer time.Time // when the consumer of the last look was made
	moving   bool      // the floor moved since the look before
}

// followers is how much less often a janitor looks while another one purges;
// peeks is how often the floor alone is read between two looks, under load.
const (
	followers = 8
	peeks     = 5
)

// NewJanitor gives a janitor with an empty view.
func NewJanitor(o JanitorOptions) *Janitor {
	j := &Janitor{o: o, mark: redis.NewScript(markLua), urged: make(chan struct{}, 1)}
	j.view.Store(&View{})
	return j
}

// Urge asks for a purge soon: finished messages are about to make a conversation
// look full. It does not wait.
func (j *Janitor) Urge() {
	select {
	case j.urged <- struct{}{}:
	default: // somebody asked already
	}
}

// wanted reports whether Urge was called since the last time.
func (j *Janitor) wanted() bool {
	select {
	case <-j.urged:
		return true
	default:
		return false
	}
}

// View is the latest look at the stream.
func (j *Janitor) View() View { return *j.view.Load() }

// Run looks and purges until ctx ends. Failures are passing by nature: it logs
// them and looks again.
func (j *Janitor) Run(ctx context.Context) error {
	tick := time.NewTicker(j.o.Every / peeks)
	defer tick.Stop()
	connects := j.o.Conn.Stats().Reconnects
	for n := 0; ; n++ {
		now := j.o.Conn.Stats().Reconnects
		var err error
		switch {
		// A new connection may lead to another store: look at once.
		// Who is urged without having the turn has an old view of what was purged.
		case j.turn && n%peeks == 0, n%(followers*peeks) == 0, now != connects, len(j.urged) > 0 && (j.turn || n%peeks == 0):
			connects = now
			err = j.Look(ctx)
		case j.moving || n%peeks == 0:
			err = j.Peek(ctx)
		}
		if err != nil && ctx.Err() == nil {
			j.o.Log.Debug().Err(err).Msg("janitor could not look at the stream")
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// Look renews the view and, when it is this process' turn, purges.
func (j *Janitor) Look(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	js, err := jetstream.New(j.o.Conn)
	if err != nil {
		return err
	}
	connects := j.o.Conn.Stats().Reconnects
	known, err := j.known(ctx)
	if err != nil {
		return err
	}
	stream, err := js.Stream(ctx, j.o.Stream)
	if err != nil {
		return queueError("look up stream", err)
	}
	consumer, err := stream.Consumer(ctx, j.o.Consumer)
	if err != nil {
		return queueError("look up consumer", err)
	}
	s, c := stream.CachedInfo(), consumer.CachedInfo()
	rewound, err := j.remember(ctx, s, known)
	if err != nil {
		return err
	}
	waiting := c.NumPending + uint64(max(0, c.NumAckPending))
	v := View{
		Created: s.Created, Rewound: rewound, FirstSeq: s.State.FirstSeq, Crowded: s.State.Msgs > waiting+j.o.MaxFinished,
		Connects: connects,
	}
	if j.o.Conn.Stats().Reconnects == connects {
		v.Floor = c.AckFloor.Stream
	}
	j.consumer, j.moving = c.Created, v.Floor != j.View().Floor
	j.view.Store(&v)
	urgent := j.wanted()
	j.turn = j.myTurn(ctx)
	// Only who has the turn heeds it: with many processes everybody is urged at once.
	if !j.turn || !j.due(s.State, c, urgent) {
		return nil
	}
	// A floor read before a reconnect may be that of a store which is not there
	// any more (restored, recreated): look again instead of purging by it.
	if j.o.Conn.Stats().Reconnects != connects {
		return nil
	}
	if err := stream.Purge(ctx, jetstream.WithPurgeSequence(c.AckFloor.Stream+1)); err != nil {
		return queueError("purge", err)
	}
	return nil
}

// Peek reads the floor alone, of the same consumer over the same connection as
// at the last look.
func (j *Janitor) Peek(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	v := j.View()
	if j.o.Conn.Stats().Reconnects != v.Connects {
		return nil
	}
	js, err := jetstream.New(j.o.Conn)
	if err != nil {
		return err
	}
	consumer, err := js.Consumer(ctx, j.o.Stream, j.o.Consumer)
	if err != nil {
		return queueError("look up consumer", err)
	}
	c := consumer.CachedInfo()
	if !c.Created.Equal(j.consumer) || j.o.Conn.Stats().Reconnects != v.Connects || c.AckFloor.Stream < v.Floor {
		return nil
	}
	j.moving = c.AckFloor.Stream != v.Floor
	v.Floor = c.AckFloor.Stream
	j.view.Store(&v)
	return nil
}

// due reports whether a purge is worth its price: it makes the broker forget
// which deliveries are due again, so that one which was just given back comes
// only after the ack wait. With nothing pending there is none, and none while a
// worker waits for deliveries, because it would have got them; otherwise the
// finished messages have to be many, in the stream or in one conversation.
func (j *Janitor) due(s jetstream.StreamState, c *jetstream.ConsumerInfo, urgent bool) bool {
	floor := c.AckFloor.Stream
	if s.Msgs == 0 || floor < s.FirstSeq || floor > s.LastSeq {
		return false
	}
	return urgent || c.NumAckPending == 0 || c.NumWaiting > 0 || 2*(floor-s.FirstSeq+1) >= j.o.MaxFinished
}

// markTTL outlives every box, and so every sequence that is remembered.
const markTTL = 48 * time.Hour

// known is the last sequence that any janitor has seen so far.
func (j *Janitor) known(ctx context.Context) (string, error) {
	last, err := j.o.Redis.HGet(ctx, j.markKey(), "last").Result()
	if errors.Is(err, redis.Nil) || j.foreign(ctx, j.markKey(), err) {
		return "0", nil
	}
	return last, storeError("read the stream's mark", err)
}

// remember tells the others what was seen, and gives how often the stream went
// back in time. A sequence of before says nothing about the stream of after.
func (j *Janitor) remember(ctx context.Context, s *jetstream.StreamInfo, known string) (int64, error) {
	n, err := j.mark.Run(ctx, j.o.Redis, []string{j.markKey()},
		s.Created.UnixNano(), s.State.LastSeq, known, jitter(markTTL)).Int64()
	return n, storeError("set the stream's mark", err)
}

// foreign takes away a value of another type, which would end all purges.
func (j *Janitor) foreign(ctx context.Context, key string, err error) bool {
	if err == nil || !strings.Contains(err.Error(), "WRONGTYPE") {
		return false
	}
	j.o.Log.Error().Str("key", key).Msg("a value of a foreign type lay under a key of the stream and was taken away")
	return j.o.Redis.Del(ctx, key).Err() == nil
}

func (j *Janitor) markKey() string { return contracts.KeyMark(j.o.Stream) }

// myTurn takes or keeps the janitor's lease. Two janitors at once do no harm,
// so a failing Redis only means that nobody purges for the moment.
func (j *Janitor) myTurn(ctx context.Context) bool {
	key, ttl := contracts.KeyJanitor(j.o.Stream), 4*j.o.Every
	holder, err := j.o.Redis.Get(ctx, key).Result()
	switch {
	case errors.Is(err, redis.Nil):
		ok, err := j.o.Redis.SetNX(ctx, key, j.o.Node, ttl).Result()
		return err == nil && ok
	case err != nil || holder != j.o.Node:
		j.foreign(ctx, key, err)
		return false
	}
	return j.o.Redis.PExpire(ctx, key, ttl).Err() == nil
}
