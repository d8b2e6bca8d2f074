package session_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"moltbot/contracts"
	"moltbot/workers/session"
	"moltbot/workers/workerstest"
)

// rotating is a sealer whose keys rotate: the prefix is Tink's, and the rest
// holds only under the key that the prefix names. Every seal gives other bytes.
type rotating struct {
	mu      sync.Mutex
	primary uint32
	known   map[uint32]bool
	nonce   atomic.Uint64
	opened  func(kind contracts.Kind, conversation string) // called between a look and the swap
}

func newRotating(primary uint32, others ...uint32) *rotating {
	r := &rotating{primary: primary, known: map[uint32]bool{primary: true}}
	for _, k := range others {
		r.known[k] = true
	}
	return r
}

func (r *rotating) Primary() uint32 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.primary
}

func (r *rotating) promote(key uint32) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.primary, r.known[key] = key, true
}

func (r *rotating) drop(key uint32) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.known, key)
}

func keyOf(sealed []byte) uint32 {
	if len(sealed) < 13 || sealed[0] != 1 {
		return 0
	}
	return binary.BigEndian.Uint32(sealed[1:])
}

func (r *rotating) Current(sealed []byte) bool { return keyOf(sealed) == r.Primary() }

func (r *rotating) Seal(plain []byte, kind contracts.Kind, conversation, id string) ([]byte, error) {
	key := r.Primary()
	b := binary.BigEndian.AppendUint32([]byte{1}, key)
	b = binary.BigEndian.AppendUint64(b, r.nonce.Add(1))
	s, err := (workerstest.Sealer{}).Seal(plain, kind, conversation, fmt.Sprint(id, key))
	return append(b, s...), err
}

func (r *rotating) Open(sealed []byte, kind contracts.Kind, conversation, id string) ([]byte, error) {
	key := keyOf(sealed)
	r.mu.Lock()
	known := r.known[key]
	r.mu.Unlock()
	if r.opened != nil {
		r.opened(kind, conversation)
	}
	if !known {
		return nil, errors.New("no such key")
	}
	return (workerstest.Sealer{}).Open(sealed[13:], kind, conversation, fmt.Sprint(id, key))
}

func resealer(rdb redis.UniversalClient, k *rotating) *session.Resealer {
	return session.NewResealer(session.ResealerOptions{Redis: rdb, Sealer: k, Keys: k, Node: "n1", Rate: 1_000_000})
}

// planted is what lies in Redis before a pass, and reads all of it.
type planted struct {
	t    *testing.T
	rdb  redis.UniversalClient
	keys *rotating
	s    *session.Store
	ids  []contracts.ID
}

func plant(t *testing.T, rdb redis.UniversalClient, k *rotating, conversations, turns int) *planted {
	t.Helper()
	p := &planted{t: t, rdb: rdb, keys: k, s: session.New(session.Options{Redis: rdb, Sealer: k})}
	ctx := t.Context()
	raw := func(kind contracts.Kind, c, id, text string) []byte {
		b, err := k.Seal([]byte(text), kind, c, id)
		must(t, err)
		return b
	}
	record := func(kind contracts.Kind, c, id, text string) []byte {
		return contracts.EncodeSealed(contracts.Sealed{ID: id, Data: raw(kind, c, id, text)})
	}
	for n := range conversations {
		i := id(t, fmt.Sprint("c", n), n)
		c := i.Conversation
		p.ids = append(p.ids, i)
		for m := range turns {
			must(t, rdb.RPush(ctx, contracts.KeySession(c), sealTurn(t, p.s, i, fmt.Sprint("turn ", m))).Err())
		}
		must(t, rdb.PExpire(ctx, contracts.KeySession(c), time.Hour).Err())
		sealed, err := p.s.SealResult(c, contracts.Result{ID: i.String(), Reply: "result"})
		must(t, err)
		must(t, rdb.Set(ctx, contracts.KeyResult(c, i.String()), sealed, 2*time.Hour).Err())
		must(t, rdb.Set(ctx, contracts.KeySummary(c), record(contracts.KindSummary, c, i.String(), "summary"), 3*time.Hour).Err())
		must(t, rdb.Set(ctx, contracts.KeyAbout(c), record(contracts.KindAbout, c, "about", "about"), 0).Err())
	}
	must(t, rdb.Set(ctx, contracts.KeyCache("dig"), raw(contracts.KindCache, "dig", "", "cached"), time.Minute).Err())
	must(t, rdb.HSet(ctx, contracts.KeyUsageNames("2026-11-20"), "who", raw(contracts.KindName, "who", "2026-11-20", "ann")).Err())
	must(t, rdb.Set(ctx, contracts.KeyIdempotency("x"), "1 body", time.Minute).Err())
	return p
}

// check reads everything by what the keys open now.
func (p *planted) check(turns int) {
	p.t.Helper()
	ctx := p.t.Context()
	for _, i := range p.ids {
		c := i.Conversation
		var all [][]byte
		for _, e := range p.rdb.LRange(ctx, contracts.KeySession(c), 0, -1).Val() {
			all = append(all, []byte(e))
		}
		got, bad := p.s.OpenTurns(c, all)
		if bad != 0 || len(got) != turns {
			p.t.Fatalf("%d turns, %d do not open", len(got), bad)
		}
		for m, turn := range got {
			if turn.User != fmt.Sprint("turn ", m) {
				p.t.Errorf("turn %d is %q", m, turn.User)
			}
		}
		if r, found, _, err := p.s.Result(ctx, i); err != nil || !found || r.Reply != "result" {
			p.t.Errorf("result %+v, %v", r, err)
		}
		for key, kind := range map[string]contracts.Kind{contracts.KeySummary(c): contracts.KindSummary, contracts.KeyAbout(c): contracts.KindAbout} {
			r, err := contracts.DecodeSealed([]byte(p.rdb.Get(ctx, key).Val()))
			must(p.t, err)
			if b, err := p.keys.Open(r.Data, kind, c, r.ID); err != nil || string(b) != string(kind) {
				p.t.Errorf("%s: %q, %v", kind, b, err)
			}
		}
	}
	if b, err := p.keys.Open([]byte(p.rdb.Get(ctx, contracts.KeyCache("dig")).Val()), contracts.KindCache, "dig", ""); err != nil || string(b) != "cached" {
		p.t.Errorf("cache: %q, %v", b, err)
	}
	name := []byte(p.rdb.HGet(ctx, contracts.KeyUsageNames("2026-11-20"), "who").Val())
	if b, err := p.keys.Open(name, contracts.KindName, "who", "2026-11-20"); err != nil || string(b) != "ann" {
		p.t.Errorf("name: %q, %v", b, err)
	}
}

// After a pass nothing needs the old key any more, and everything lives as long
// as it did.
func TestReseal(t *testing.T) {
	workerstest.EachRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		const turns = 70 // more than two steps of a list
		k := newRotating(1)
		p := plant(t, rdb, k, 5, turns)
		k.promote(2)
		done, err := resealer(rdb, k).Run(t.Context())
		must(t, err)
		if want := int64(5*(turns+3) + 2); done.Sealed != want || done.Left != 0 || done.Bad != 0 || !done.Covers(2) || done.Covers(1) {
			t.Errorf("%+v, want %d values", done, want)
		}
		k.drop(1)
		p.check(turns)
		c := p.ids[0].Conversation
		for key, want := range map[string]time.Duration{
			contracts.KeySession(c): time.Hour, contracts.KeyResult(c, p.ids[0].String()): 2 * time.Hour,
			contracts.KeySummary(c): 3 * time.Hour, contracts.KeyCache("dig"): time.Minute,
		} {
			if ttl := rdb.PTTL(t.Context(), key).Val(); ttl > want || ttl < want-time.Minute+time.Second {
				t.Errorf("%s lives for %s, want %s", key, ttl, want)
			}
		}
		if ttl := rdb.PTTL(t.Context(), contracts.KeyAbout(c)).Val(); ttl > 0 {
			t.Errorf("what had no time to live has %s", ttl)
		}
		state, err := resealer(rdb, k).State(t.Context())
		must(t, err)
		if !state.Covers(2) || state.Keys == 0 || state.Total == 0 {
			t.Errorf("record %+v", state)
		}
		again, err := resealer(rdb, k).Run(t.Context())
		must(t, err)
		if again.Sealed != 0 {
			t.Errorf("a second pass sealed %d values", again.Sealed)
		}
	})
}

// What cannot be opened, or is not ours, stays as it is and is counted.
func TestResealLeavesWhatItCannotOpen(t *testing.T) {
	workerstest.EachRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		ctx, k := t.Context(), newRotating(1)
		p := plant(t, rdb, k, 1, 3)
		c := p.ids[0].Conversation
		foreign := map[string]string{
			contracts.KeySummary("moved"): rdb.Get(ctx, contracts.KeySummary(c)).Val(), contracts.KeyAbout("text"): "garbage", contracts.KeyCache("short"): "x",
		}
		for key, v := range foreign {
			must(t, rdb.Set(ctx, key, v, 0).Err())
		}
		must(t, rdb.RPush(ctx, contracts.KeySession(c), "garbage").Err())
		must(t, rdb.Set(ctx, contracts.KeySession("string"), "x", 0).Err())
		must(t, rdb.RPush(ctx, contracts.KeyResult("list", "x"), "x").Err())
		k.promote(2)
		done, err := resealer(rdb, k).Run(ctx)
		must(t, err)
		if done.Bad != 6 || done.Sealed != 8 || !done.Covers(2) {
			t.Errorf("%+v", done)
		}
		for key, v := range foreign {
			if got := rdb.Get(ctx, key).Val(); got != v {
				t.Errorf("%s was changed", key)
			}
		}
	})
}

// A commit lands between the look at a value and its swap: the commit stays.
func TestResealLosesToCommits(t *testing.T) {
	workerstest.EachRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		const keep = 40
		ctx, k := t.Context(), newRotating(1)
		p := plant(t, rdb, k, 1, keep)
		k.promote(2)
		c, i := p.ids[0].Conversation, p.ids[0]
		commits := map[contracts.Kind]int{}
		k.opened = func(kind contracts.Kind, _ string) {
			if commits[kind]++; commits[kind] > 3 {
				return
			}
			n := keep + commits[contracts.KindTurn] - 1
			switch kind {
			case contracts.KindTurn:
				must(t, rdb.RPush(ctx, contracts.KeySession(c), sealTurn(t, p.s, i, fmt.Sprint("turn ", n))).Err())
				must(t, rdb.LTrim(ctx, contracts.KeySession(c), -keep, -1).Err())
			case contracts.KindResult:
				sealed, err := p.s.SealResult(c, contracts.Result{ID: i.String(), Reply: fmt.Sprint("newer ", commits[kind])})
				must(t, err)
				must(t, rdb.Set(ctx, contracts.KeyResult(c, i.String()), sealed, time.Hour).Err())
			case contracts.KindSummary:
				must(t, rdb.Del(ctx, contracts.KeySummary(c)).Err())
			case contracts.KindName:
				must(t, rdb.HSet(ctx, contracts.KeyUsageNames("2026-11-20"), "who", "gone").Err())
			}
		}
		done, err := resealer(rdb, k).Run(ctx)
		must(t, err)
		k.opened = nil
		k.drop(1)
		var all [][]byte
		for _, e := range rdb.LRange(ctx, contracts.KeySession(c), 0, -1).Val() {
			all = append(all, []byte(e))
		}
		turns, bad := p.s.OpenTurns(c, all)
		if bad != 0 || len(turns) != keep || turns[0].User != "turn 3" || turns[keep-1].User != fmt.Sprint("turn ", keep+2) {
			t.Errorf("%d turns, %d do not open, from %q to %q", len(turns), bad, turns[0].User, turns[len(turns)-1].User)
		}
		if r, _, _, err := p.s.Result(ctx, i); err != nil || r.Reply != "newer 1" {
			t.Errorf("result %q, %v", r.Reply, err)
		}
		if rdb.Exists(ctx, contracts.KeySummary(c)).Val() != 0 {
			t.Error("a summary that was deleted is back")
		}
		if got := rdb.HGet(ctx, contracts.KeyUsageNames("2026-11-20"), "who").Val(); got != "gone" || done.Bad != 1 {
			t.Errorf("name %q, %d bad", got, done.Bad)
		}
	})
}

// Others go on writing while a pass runs: what they wrote wins, nothing of theirs
// is lost, doubled or put out of order.
func TestResealBesideWriters(t *testing.T) {
	workerstest.EachRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		const keep, lanes = 100, 4
		k := newRotating(1)
		p := plant(t, rdb, k, lanes, keep)
		k.promote(2)
		ctx, stop := context.WithCancel(t.Context())
		var writers sync.WaitGroup
		wrote := make([]int, lanes)
		for lane, i := range p.ids {
			writers.Go(func() {
				for n := keep; ctx.Err() == nil && n < keep+2000; n++ {
					b, err := p.s.SealTurn(i.Conversation, contracts.Turn{ID: i.String(), User: fmt.Sprint("turn ", n)})
					if err != nil {
						t.Error(err)
					}
					_, err = rdb.TxPipelined(context.WithoutCancel(ctx), func(pipe redis.Pipeliner) error { // as a commit does
						pipe.RPush(context.WithoutCancel(ctx), contracts.KeySession(i.Conversation), b)
						pipe.LTrim(context.WithoutCancel(ctx), contracts.KeySession(i.Conversation), -keep, -1)
						pipe.Set(context.WithoutCancel(ctx), contracts.KeyResult(i.Conversation, i.String()), fmt.Sprint("newest ", n), time.Hour)
						return nil
					})
					if err != nil {
						t.Error(err)
					}
					wrote[lane] = n
				}
			})
		}
		for range 3 {
			if _, err := resealer(rdb, k).Run(t.Context()); err != nil && contracts.Public(err).Code != contracts.CodeConflict {
				t.Fatal(err)
			}
		}
		stop()
		writers.Wait()
		_, err := resealer(rdb, k).Run(t.Context())
		must(t, err)
		k.drop(1)
		for lane, i := range p.ids {
			var all [][]byte
			for _, e := range rdb.LRange(t.Context(), contracts.KeySession(i.Conversation), 0, -1).Val() {
				all = append(all, []byte(e))
			}
			turns, bad := p.s.OpenTurns(i.Conversation, all)
			if bad != 0 || len(turns) != keep {
				t.Fatalf("%d turns, %d do not open", len(turns), bad)
			}
			for n, turn := range turns {
				if want := fmt.Sprint("turn ", wrote[lane]-keep+1+n); turn.User != want {
					t.Fatalf("lane %d: %q, want %q", lane, turn.User, want)
				}
			}
			if got := rdb.Get(t.Context(), contracts.KeyResult(i.Conversation, i.String())).Val(); got != fmt.Sprint("newest ", wrote[lane]) {
				t.Errorf("lane %d: the result is %q", lane, got)
			}
		}
	})
}

// Only one process is at it, and one that vanished does not stop the next.
func TestResealIsAlone(t *testing.T) {
	workerstest.EachRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		k := newRotating(1)
		plant(t, rdb, k, 1, 3)
		k.promote(2)
		must(t, rdb.Set(t.Context(), contracts.KeyResealLease(), "another", 100*time.Millisecond).Err())
		if _, err := resealer(rdb, k).Run(t.Context()); !errors.Is(err, session.ErrResealing) {
			t.Fatalf("beside another: %v", err)
		}
		workerstest.Eventually(t, "the lease of the one that vanished runs out", func() bool {
			_, err := resealer(rdb, k).Run(t.Context())
			return err == nil
		})
		state, err := resealer(rdb, k).State(t.Context())
		must(t, err)
		if !state.Covers(2) || rdb.Exists(t.Context(), contracts.KeyResealLease()).Val() != 0 {
			t.Errorf("%+v, or the lease is left", state)
		}
	})
}

func TestResealRecord(t *testing.T) {
	rdb, k := workerstest.MiniRedis(t), newRotating(1)
	if s, err := resealer(rdb, k).State(t.Context()); s != nil || err != nil {
		t.Errorf("record before any pass: %+v, %v", s, err)
	}
	must(t, rdb.Set(t.Context(), contracts.KeyReseal(), "garbage", 0).Err())
	if s, err := resealer(rdb, k).State(t.Context()); s != nil || err == nil {
		t.Errorf("damaged record: %+v, %v", s, err)
	}
}

// promotes lets another key become the primary one in the middle of a pass.
type promotes struct {
	*rotating
	at atomic.Int64
}

func (p *promotes) Current(sealed []byte) bool {
	if p.at.Add(-1) == 0 {
		p.promote(3)
	}
	return p.rotating.Current(sealed)
}

// A pass that was overtaken, or cut off, does not say that it is done; the next
// one goes on.
func TestResealIsCutOff(t *testing.T) {
	workerstest.EachRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		k := newRotating(1)
		p := plant(t, rdb, k, 5, 70)
		k.promote(2)
		overtaken := &promotes{rotating: k}
		overtaken.at.Store(100)
		r := session.NewResealer(session.ResealerOptions{Redis: rdb, Sealer: k, Keys: overtaken, Rate: 1_000_000})
		if _, err := r.Run(t.Context()); contracts.Public(err) == nil || !contracts.Public(err).Retryable {
			t.Errorf("overtaken: %v", err)
		}
		slow := session.NewResealer(session.ResealerOptions{Redis: rdb, Sealer: k, Keys: k, Rate: 100, Batch: 8})
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		if _, err := slow.Run(ctx); err == nil {
			t.Error("the rate did not slow it down")
		}
		state, err := r.State(t.Context())
		must(t, err)
		if state == nil || state.State != contracts.ResealFailed || state.Covers(2) || state.Covers(3) || state.Sealed == 0 {
			t.Errorf("record %+v", state)
		}
		done, err := resealer(rdb, k).Run(t.Context())
		must(t, err)
		if !done.Covers(3) || done.Sealed == 0 {
			t.Errorf("%+v", done)
		}
		k.drop(1)
		k.drop(2)
		p.check(70)
	})
}

func TestResealStoreDown(t *testing.T) {
	rdb, k := workerstest.MiniRedis(t), newRotating(1)
	must(t, rdb.Close())
	_, err := resealer(rdb, k).Run(t.Context())
	if e := contracts.Public(err); e == nil || e.Code != contracts.CodeStoreDown || !e.Retryable {
		t.Errorf("%v", err)
	}
	if _, err := resealer(rdb, k).State(t.Context()); err == nil {
		t.Error("a record was read")
	}
}
