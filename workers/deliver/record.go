package deliver

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"moltbot/contracts"
)

//go:embed lua/open.lua
var openLua string

//go:embed lua/begin.lua
var beginLua string

//go:embed lua/finish.lua
var finishLua string

// state is what is known of a part. A part of which nothing is known was never
// sent, or provably did not arrive.
type state string

const (
	stateUnsent    state = ""
	stateSending   state = "sending" // a call was begun, and nobody knows how it ended
	stateSent      state = "sent"
	stateUncertain state = "uncertain" // given up: it may have arrived
	stateFailed    state = "failed"
)

// progress is a part in the record.
type progress struct {
	state state
	first time.Time // of the first try that may have arrived, by the clock of Redis
}

// records are the delivery records in Redis. Every change is one script, which
// looks at the fence of the conversation first: who lost it changes nothing.
type records struct {
	rdb     redis.UniversalClient
	keys    func(conversation string) contracts.BoxKeys
	keepFor time.Duration
	scripts struct{ open, begin, finish *redis.Script }
}

func newRecords(o *Options) *records {
	r := &records{rdb: o.Redis, keys: o.Keys, keepFor: o.KeepFor}
	r.scripts.open, r.scripts.begin = redis.NewScript(openLua), redis.NewScript(beginLua)
	r.scripts.finish = redis.NewScript(finishLua)
	return r
}

// claim is the right of one run to change one record.
type claim struct {
	keys []string
	run  int64
	id   string // of the outgoing message: a replayed one has its own
	made string
}

// claimOf names the record of an answer: that of the first delivery of it.
func (r *records) claimOf(id contracts.ID, run int64, a *contracts.Answer) claim {
	own := id.String()
	id.Replay = 0
	c := claim{keys: []string{contracts.KeyDelivery(id.Conversation, id.String()), r.keys(id.Conversation).Box}, run: run, id: own}
	if a != nil {
		c.made = strconv.FormatInt(a.Result.At.UnixNano(), 36) + "." + strconv.FormatInt(a.Result.Run, 36)
	}
	return c
}

// opened is the record as a run finds it.
type opened struct {
	now, since time.Time // by the clock of Redis; since is the first run
	parts      map[int]progress
}

// errFenced says that another run has the conversation now.
var errFenced = errors.New("another run has the conversation")

var errAnswer = errors.New("unexpected answer of a Redis script")

func (r *records) open(ctx context.Context, c claim) (o opened, err error) {
	v, err := r.call(ctx, r.scripts.open, c, c.run, c.id, c.made, r.ttl())
	if err != nil {
		return o, err
	}
	if len(v) != 4 {
		return o, storeError("open delivery record", errAnswer)
	}
	now, ok := v[1].(int64)
	since, ok2 := v[2].(int64)
	parts, ok3 := v[3].([]any)
	if !ok || !ok2 || !ok3 {
		return o, storeError("open delivery record", errAnswer)
	}
	o = opened{now: time.UnixMilli(now), since: time.UnixMilli(since), parts: make(map[int]progress, len(parts)/2)}
	for i := 0; i+1 < len(parts); i += 2 {
		name, _ := parts[i].(string)
		value, _ := parts[i+1].(string)
		n, err := strconv.Atoi(strings.TrimPrefix(name, "p"))
		if p, ok := parseProgress(value); ok && err == nil {
			o.parts[n] = p
		} else {
			return o, storeError("open delivery record", errAnswer)
		}
	}
	return o, nil
}

func parseProgress(s string) (progress, bool) {
	f := strings.SplitN(s, " ", 3)
	if len(f) < 2 {
		return progress{}, false
	}
	at, err := strconv.ParseInt(f[1], 10, 64)
	return progress{state(f[0]), time.UnixMilli(at)}, err == nil
}

// begin says that a part is about to be sent, and gives when it was first.
func (r *records) begin(ctx context.Context, c claim, part int) (first time.Time, err error) {
	v, err := r.call(ctx, r.scripts.begin, c, c.run, part, r.ttl())
	if err != nil {
		return first, err
	}
	if len(v) == 2 {
		if at, ok := v[1].(int64); ok {
			return time.UnixMilli(at), nil
		}
	}
	return first, storeError("begin part", errAnswer)
}

// tried is what became of a try.
type tried struct {
	part    int // 0: none, only the status is new
	state   state
	receipt string
	outcome string // one of the Delivery constants
	detail  string
	status  string // of the whole answer; empty: as it is
}

func (r *records) finish(ctx context.Context, c claim, t tried) error {
	_, err := r.call(ctx, r.scripts.finish, c, c.run, t.part, string(t.state), word(t.receipt, 128), t.status, t.outcome, word(t.detail, 64), r.ttl())
	return err
}

func (r *records) call(ctx context.Context, s *redis.Script, c claim, args ...any) ([]any, error) {
	v, err := s.Run(ctx, r.rdb, c.keys, args...).Slice()
	switch {
	case err != nil:
		return nil, storeError("write delivery record", err)
	case len(v) > 0 && v[0] == "fenced":
		return nil, errFenced
	case len(v) == 0 || v[0] != "ok":
		return nil, storeError("write delivery record", errAnswer)
	}
	return v, nil
}

// ttl spreads the time to live by ±10 %, so that records written together do not
// expire together. In milliseconds.
func (r *records) ttl() int64 {
	return max(1, time.Duration(float64(r.keepFor)*(0.9+0.2*rand.Float64())).Milliseconds())
}

// word makes a platform's name of something one word of the record.
func word(s string, most int) string {
	s = strings.Map(func(c rune) rune {
		if c <= ' ' || c >= 0x7f {
			return '_'
		}
		return c
	}, s)
	return s[:min(len(s), most)]
}

// storeError marks a failure of Redis: not the message's fault, and it may pass.
func storeError(step string, err error) error {
	return &contracts.Error{
		Code: contracts.CodeStoreDown, Message: "the delivery record is not available",
		Retryable: true, Err: fmt.Errorf("redis: %s: %w", step, err),
	}
}

// Records reads what became of replies.
type Records struct{ rdb redis.UniversalClient }

// NewRecords gives a reader over rdb.
func NewRecords(rdb redis.UniversalClient) *Records { return &Records{rdb} }

// Delivery tells what became of the reply to a message. Without a record ok is
// false: nothing was tried yet, or it is too long ago.
func (r *Records) Delivery(ctx context.Context, id contracts.ID) (d contracts.Delivery, ok bool, err error) {
	id.Replay = 0
	v, err := r.rdb.HMGet(ctx, contracts.KeyDelivery(id.Conversation, id.String()), "status", "log").Result()
	if err != nil {
		return d, false, storeError("read delivery record", err)
	}
	if len(v) != 2 || v[0] == nil {
		return d, false, nil
	}
	d.Status, _ = v[0].(string)
	log, _ := v[1].(string)
	for line := range strings.Lines(log) {
		if a, ok := parseAttempt(strings.TrimSuffix(line, "\n")); ok {
			d.Attempts = append(d.Attempts, a)
		}
	}
	return d, true, nil
}

func parseAttempt(line string) (a contracts.DeliveryAttempt, ok bool) {
	f := strings.SplitN(line, " ", 4)
	if len(f) != 4 {
		return a, false
	}
	at, err := strconv.ParseInt(f[0], 10, 64)
	part, err2 := strconv.Atoi(f[1])
	return contracts.DeliveryAttempt{At: time.UnixMilli(at).UTC(), Part: part, Outcome: f[2], Detail: f[3]}, err == nil && err2 == nil
}
