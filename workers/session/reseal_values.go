package session

import (
	"context"
	"errors"
	"strings"

	"github.com/redis/go-redis/v9"

	"moltbot/contracts"
)

// place is where a value lies and what it is bound to.
type place struct {
	key  string
	kind contracts.Kind
	// conversation and id belong to the associated data. A record brings its own
	// id, so id stays empty there.
	conversation, id string
	record           bool // the sealed bytes lie within a contracts.Sealed
	shape            shape
}

type shape int

const (
	shapeNone shape = iota // nothing sealed lies there
	shapeValue
	shapeList
	shapeFields // id is the same for all, conversation is the field's name
)

// placeOf reads a Redis key. The outbox is left out on purpose: its entries are
// taken away by value, once they are stored in SEND, and live for moments.
func placeOf(key string) place {
	name, rest, _ := strings.Cut(key, ":")
	tag, ok := strings.CutPrefix(rest, "{")
	tag, _, closed := strings.Cut(tag, "}")
	if !ok || !closed {
		return place{}
	}
	p := place{key: key, conversation: tag, record: true, shape: shapeValue}
	switch name {
	case "session":
		p.kind, p.shape = contracts.KindTurn, shapeList
	case "summary":
		p.kind = contracts.KindSummary
	case "about":
		p.kind = contracts.KindAbout
	case "result":
		p.kind = contracts.KindResult
	case "cache":
		p.kind, p.record = contracts.KindCache, false
	case "usage-names":
		return place{key: key, kind: contracts.KindName, id: tag, shape: shapeFields}
	default:
		return place{}
	}
	return p
}

// sealedPart gives the sealed bytes of a value and the id they are bound to.
func (p place) sealedPart(value []byte) (sealed []byte, id string, ok bool) {
	if !p.record {
		return value, p.id, true
	}
	r, err := contracts.DecodeSealed(value)
	return r.Data, r.ID, err == nil
}

// again seals a value anew. ok is false for one that does not open.
func (s *pass) again(p place, value []byte) (out []byte, ok bool) {
	sealed, id, ok := p.sealedPart(value)
	if !ok {
		return nil, false
	}
	plain, err := s.o.Sealer.Open(sealed, p.kind, p.conversation, id)
	if err != nil {
		return nil, false
	}
	if out, err = s.o.Sealer.Seal(plain, p.kind, p.conversation, id); err != nil {
		return nil, false
	}
	if p.record {
		out = contracts.EncodeSealed(contracts.Sealed{ID: id, Data: out})
	}
	return out, true
}

// stale reports whether another key than the primary one sealed a value, of which
// head is the beginning. What is of no known form is counted and left alone.
func (s *pass) stale(p place, head []byte) bool {
	sealed, _, ok := p.sealedPart(head)
	if !ok {
		s.state.Bad++
		return false
	}
	return !s.o.Keys.Current(sealed)
}

// batch looks at some keys and seals anew what another key sealed. Single values
// are told by their heads, so that most of them need not be fetched.
func (s *pass) batch(ctx context.Context, keys []string) error {
	if err := s.spend(ctx, len(keys)); err != nil {
		return err
	}
	var values, others []place
	for _, key := range keys {
		switch p := placeOf(key); p.shape {
		case shapeValue:
			values = append(values, p)
		case shapeList, shapeFields:
			others = append(others, p)
		}
	}
	heads, err := s.heads(ctx, values)
	if err != nil {
		return err
	}
	for i, p := range values {
		if heads[i] != "" && s.stale(p, []byte(heads[i])) {
			others = append(others, p)
		}
	}
	for _, p := range others {
		if err := s.place(ctx, p); err != nil {
			return err
		}
	}
	s.state.Keys += int64(len(keys))
	return nil
}

func (s *pass) heads(ctx context.Context, values []place) ([]string, error) {
	answers := make([]*redis.StringCmd, len(values))
	if len(values) == 0 {
		return nil, nil
	}
	_, err := s.o.Redis.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		for i, p := range values {
			answers[i] = pipe.GetRange(ctx, p.key, 0, resealHead-1)
		}
		return nil
	})
	if err != nil && !foreign(err) {
		return nil, storeError("read values", err)
	}
	heads := make([]string, len(values))
	for i, a := range answers {
		if e := a.Err(); e != nil {
			if !foreign(e) {
				return nil, storeError("read values", e)
			}
			s.state.Bad++ // something else lies under our key
		}
		heads[i] = a.Val()
	}
	return heads, nil
}

// place seals what lies under one key, as often as others change it meanwhile.
func (s *pass) place(ctx context.Context, p place) error {
	run := map[shape]func(context.Context, place) (int, error){
		shapeValue: s.single, shapeList: s.entries, shapeFields: s.fields,
	}[p.shape]
	bad, left := s.state.Bad, 0
	for range resealTries {
		var err error
		s.state.Bad = bad // the last look counts
		if left, err = run(ctx, p); err != nil {
			if !foreign(err) {
				return err
			}
			s.state.Bad++ // something else lies under our key
			return nil
		}
		if left == 0 {
			return nil
		}
	}
	s.state.Left += int64(left)
	return nil
}

// swap has Redis exchange what one of the scripts is told, and reports how much
// of it others had changed.
func (s *pass) swap(ctx context.Context, script *redis.Script, key string, args []any, n int) (left int, err error) {
	if n == 0 {
		return 0, nil
	}
	if err := s.spend(ctx, n); err != nil {
		return 0, err
	}
	done, err := script.Run(ctx, s.o.Redis, []string{key}, args...).Int()
	if err != nil {
		return 0, storeError("seal anew", err)
	}
	s.state.Sealed += int64(done)
	return n - done, nil
}

func (s *pass) single(ctx context.Context, p place) (left int, err error) {
	value, err := s.o.Redis.Get(ctx, p.key).Bytes()
	if errors.Is(err, redis.Nil) {
		return 0, nil // its time was over
	}
	if err != nil {
		return 0, storeError("read value", err)
	}
	sealed, _, ok := p.sealedPart(value)
	if ok && s.o.Keys.Current(sealed) {
		return 0, nil
	}
	fresh, ok := s.again(p, value)
	if !ok {
		s.state.Bad++
		return 0, nil
	}
	return s.swap(ctx, s.value, p.key, []any{value, fresh}, 1)
}

// entries goes from the newest entry to the oldest. A commit appends, which
// is sealed with the primary key, and trims, which moves what was not yet looked
// at only to where it is yet to be looked at.
func (s *pass) entries(ctx context.Context, p place) (left int, err error) {
	n, err := s.o.Redis.LLen(ctx, p.key).Result()
	if err != nil {
		return 0, storeError("read list", err)
	}
	for start := (n - 1) / resealChunk * resealChunk; n > 0 && start >= 0; start -= resealChunk {
		chunk, err := s.o.Redis.LRange(ctx, p.key, start, start+resealChunk-1).Result()
		if err != nil {
			return left, storeError("read list", err)
		}
		var args []any
		for i, e := range chunk {
			if fresh, ok := s.fresh(p, e); ok {
				args = append(args, start+int64(i), e, fresh)
			}
		}
		missed, err := s.swap(ctx, s.list, p.key, args, len(args)/3)
		if err != nil {
			return left, err
		}
		left += missed
	}
	return left, nil
}

func (s *pass) fields(ctx context.Context, p place) (left int, err error) {
	var cursor uint64
	for {
		pairs, next, err := s.o.Redis.HScan(ctx, p.key, cursor, "*", resealChunk).Result()
		if err != nil {
			return left, storeError("read hash", err)
		}
		var args []any
		for i := 0; i+1 < len(pairs); i += 2 {
			at := p
			at.conversation = pairs[i]
			if fresh, ok := s.fresh(at, pairs[i+1]); ok {
				args = append(args, pairs[i], pairs[i+1], fresh)
			}
		}
		missed, err := s.swap(ctx, s.field, p.key, args, len(args)/3)
		if err != nil {
			return left, err
		}
		if left += missed; next == 0 {
			return left, nil
		}
		cursor = next
	}
}

// fresh seals an entry anew if another key sealed it.
func (s *pass) fresh(p place, value string) (fresh []byte, ok bool) {
	b := []byte(value)
	if !s.stale(p, b) {
		return nil, false
	}
	if fresh, ok = s.again(p, b); !ok {
		s.state.Bad++
	}
	return fresh, ok
}

// foreign reports whether something else than what we put there lies under our
// key. Any other refusal, out of memory for one, may not pass for a look.
func foreign(err error) bool {
	var answer redis.Error
	return errors.As(err, &answer) && strings.Contains(answer.Error(), "WRONGTYPE")
}
