// Package session keeps what is remembered of a conversation between messages:
// sealed turns, sealed results, and the records of idempotency keys. It decides
// nothing about order; the mailbox writes turns and results in its commit.
package session

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

//go:embed lua/claim.lua
var claimLua string

// Options of a Store.
type Options struct {
	Redis  redis.UniversalClient // required
	Sealer contracts.Sealer      // required
	// Namer names callers' lists of sessions; nil: there are none.
	Namer Namer

	ResultTTL time.Duration // of a result and an idempotency record; default 1h
	BoxTTL    time.Duration // default 24h
	DoneTTL   time.Duration // of a done marker; default 24h
	// SessionTTL is how long a session lives after its last turn; default 30m.
	SessionTTL time.Duration
	KeepTurns  int // most turns of a session; default 200
	KeepBytes  int // most bytes of them; default 1 MiB
}

// Store reads and writes sessions. It is safe for concurrent use.
type Store struct {
	o                    Options
	claim, abandon, stop *redis.Script
	scripts              scripts
	fold                 folder
}

// scripts are those of sessions as their callers see them.
type scripts struct{ about, index, unlist, read, trail, erase *redis.Script }

// New gives a Store over o.
func New(o Options) *Store {
	if o.ResultTTL == 0 {
		o.ResultTTL = time.Hour
	}
	if o.BoxTTL == 0 {
		o.BoxTTL = 24 * time.Hour
	}
	if o.DoneTTL == 0 {
		o.DoneTTL = 24 * time.Hour
	}
	if o.SessionTTL == 0 {
		o.SessionTTL = 30 * time.Minute
	}
	if o.KeepTurns == 0 {
		o.KeepTurns = 200
	}
	if o.KeepBytes == 0 {
		o.KeepBytes = 1 << 20
	}
	return &Store{
		o: o, claim: redis.NewScript(claimLua), abandon: redis.NewScript(abandonLua),
		stop: redis.NewScript(stopLua),
		scripts: scripts{
			about: redis.NewScript(aboutLua), index: redis.NewScript(indexLua), unlist: redis.NewScript(unlistLua),
			read: redis.NewScript(readLua), trail: redis.NewScript(trailLua), erase: redis.NewScript(eraseLua),
		},
		fold: newFolder(),
	}
}

// SealTurn gives a turn as it is appended to the session.
func (s *Store) SealTurn(conversation string, t contracts.Turn) ([]byte, error) {
	return s.seal(contracts.EncodeTurn(t), contracts.KindTurn, conversation, t.ID)
}

// OpenTurns opens what begin brought, oldest first. A turn that does not open
// (moved here from another session, cut, of another version) is left out and
// counted: one bad record must not silence a conversation.
func (s *Store) OpenTurns(conversation string, sealed [][]byte) (turns []contracts.Turn, bad int) {
	turns = make([]contracts.Turn, 0, len(sealed))
	for _, b := range sealed {
		t, err := s.openTurn(conversation, b)
		if err != nil {
			bad++
			continue
		}
		turns = append(turns, t)
	}
	return turns, bad
}

func (s *Store) openTurn(conversation string, b []byte) (contracts.Turn, error) {
	record, err := contracts.DecodeSealed(b)
	if err != nil {
		return contracts.Turn{}, err
	}
	plain, err := s.o.Sealer.Open(record.Data, contracts.KindTurn, conversation, record.ID)
	if err != nil {
		return contracts.Turn{}, fmt.Errorf("open turn: %w", err)
	}
	return contracts.DecodeTurn(plain)
}

// SealResult gives a result as it is parked and sent.
func (s *Store) SealResult(conversation string, r contracts.Result) ([]byte, error) {
	return s.seal(contracts.EncodeResult(r), contracts.KindResult, conversation, r.ID)
}

// OpenResult opens what SealResult gave. It fails for a result of another message.
func (s *Store) OpenResult(id contracts.ID, sealed []byte) (contracts.Result, error) {
	record, err := contracts.DecodeSealed(sealed)
	if err != nil {
		return contracts.Result{}, err
	}
	if record.ID != id.String() {
		return contracts.Result{}, errors.New("open result: it belongs to another message")
	}
	return s.OpenReply(id, record.Data)
}

// OpenReply opens the sealed part alone, as a contracts.Reply carries it.
func (s *Store) OpenReply(id contracts.ID, data []byte) (contracts.Result, error) {
	plain, err := s.o.Sealer.Open(data, contracts.KindResult, id.Conversation, id.String())
	if err != nil {
		return contracts.Result{}, fmt.Errorf("open result: %w", err)
	}
	return contracts.DecodeResult(plain)
}

func (s *Store) seal(plain []byte, kind contracts.Kind, conversation, id string) ([]byte, error) {
	sealed, err := s.o.Sealer.Seal(plain, kind, conversation, id)
	if err != nil {
		return nil, fmt.Errorf("seal %s: %w", kind, err)
	}
	return contracts.EncodeSealed(contracts.Sealed{ID: id, Data: sealed}), nil
}

// Result gives the parked result of a message. found is false when there is
// none; done says whether the message is finished all the same.
func (s *Store) Result(ctx context.Context, id contracts.ID) (r contracts.Result, found, done bool, err error) {
	text := id.String()
	v, err := s.o.Redis.MGet(ctx, contracts.KeyResult(id.Conversation, text), contracts.KeyDone(id.Conversation, text)).Result()
	if err != nil {
		return r, false, false, storeError("read result", err)
	}
	done = v[1] != nil
	sealed, ok := v[0].(string)
	if !ok {
		return r, false, done, nil
	}
	r, err = s.OpenResult(id, []byte(sealed))
	return r, err == nil, done, err
}

// Claim records the first acceptance of an idempotency key, by its digest. It
// gives the time of the first acceptance and whether body is the body of then.
func (s *Store) Claim(ctx context.Context, digest, body string, now time.Time) (first time.Time, same, fresh bool, err error) {
	record := strconv.FormatInt(now.UnixMilli(), 10) + " " + body
	v, err := s.claim.Run(ctx, s.o.Redis, []string{contracts.KeyIdempotency(digest)}, record, jitter(s.o.ResultTTL)).Slice()
	if err != nil {
		return first, false, false, storeError("claim idempotency key", err)
	}
	if len(v) != 2 {
		return first, false, false, storeError("claim idempotency key", errors.New("unexpected answer"))
	}
	n, _ := v[0].(int64)
	stored, _ := v[1].(string)
	at, known, ok := strings.Cut(stored, " ")
	ms, err := strconv.ParseInt(at, 10, 64)
	if !ok || err != nil {
		return first, false, false, storeError("claim idempotency key", errors.New("the stored record cannot be read"))
	}
	return time.UnixMilli(ms).UTC(), known == body, n == 1, nil
}

func storeError(step string, err error) error {
	if err == nil {
		return nil
	}
	return &contracts.Error{
		Code: contracts.CodeStoreDown, Message: "the conversation store is not available",
		RetryAfter: time.Second, Retryable: true, Err: fmt.Errorf("redis: %s: %w", step, err),
	}
}

// jitter spreads a time to live by ±10 %, in milliseconds.
func jitter(d time.Duration) int64 {
	return max(1, time.Duration(float64(d)*(0.9+0.2*rand.Float64())).Milliseconds())
}
