package session

import (
	"context"
	"crypto/rand"
	_ "embed"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/time/rate"

	"moltbot/contracts"
)

var (
	//go:embed lua/reseal_value.lua
	resealValueLua string
	//go:embed lua/reseal_list.lua
	resealListLua string
	//go:embed lua/reseal_field.lua
	resealFieldLua string
	//go:embed lua/reseal_keep.lua
	resealKeepLua string
)

// Keys tells which key sealed what, without opening it.
type Keys interface {
	Primary() uint32            // the id of the key that seals
	Current(sealed []byte) bool // the primary key sealed it
}

// ResealerOptions of a Resealer.
type ResealerOptions struct {
	Redis  redis.UniversalClient // required
	Sealer contracts.Sealer      // required
	Keys   Keys                  // required

	Node  string           // for the record
	Rate  int              // Redis keys looked at, and values sealed anew, in a second; default 5000
	Batch int              // keys of one look; default 200
	Lease time.Duration    // of the pass; default 30s
	Now   func() time.Time // default time.Now
}

// Resealer seals what lies in Redis anew with the primary key. A pass may end
// anywhere: the next one passes over what is done.
type Resealer struct {
	o                        ResealerOptions
	limit                    *rate.Limiter
	value, list, field, keep *redis.Script
}

const (
	resealTries  = 8                    // looks at a value that others go on changing
	resealPasses = 3                    // over everything, while something is left
	resealChunk  = 32                   // entries of a list in one step
	resealHead   = 256                  // bytes that tell which key sealed a value
	resealMemory = 400 * 24 * time.Hour // how long the record of a pass is kept: longer than any key is retired
)

// ErrResealing says that another process seals Redis anew at the moment.
var ErrResealing = errors.New("another process is sealing Redis anew")

// NewResealer gives a Resealer over o.
func NewResealer(o ResealerOptions) *Resealer {
	if o.Rate == 0 {
		o.Rate = 5000
	}
	if o.Batch == 0 {
		o.Batch = 200
	}
	if o.Lease == 0 {
		o.Lease = 30 * time.Second
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Resealer{
		o: o, limit: rate.NewLimiter(rate.Limit(o.Rate), o.Batch), value: redis.NewScript(resealValueLua),
		list: redis.NewScript(resealListLua), field: redis.NewScript(resealFieldLua), keep: redis.NewScript(resealKeepLua),
	}
}

// State gives the record of the last pass; nil: there was none.
func (r *Resealer) State(ctx context.Context) (*contracts.Resealing, error) {
	b, err := r.o.Redis.Get(ctx, contracts.KeyReseal()).Bytes()
	if errors.Is(err, redis.Nil) {
		return nil, nil
	}
	if err != nil {
		return nil, storeError("read how far Redis is sealed", err)
	}
	s, err := contracts.DecodeResealing(b)
	if err != nil {
		return nil, fmt.Errorf("read how far Redis is sealed: %w", err)
	}
	return &s, nil
}

// Run goes over everything, until all of it is sealed with the key that was the
// primary one at its begin. It gives ErrResealing where another process does so.
// Every process must seal with that key before it begins: what another key seals
// behind its back stays so until the next pass.
func (r *Resealer) Run(ctx context.Context) (contracts.Resealing, error) {
	now := r.o.Now().UTC()
	p := &pass{Resealer: r, token: rand.Text(), state: contracts.Resealing{
		Key: r.o.Keys.Primary(), State: contracts.ResealRunning, Node: r.o.Node, Began: now, At: now,
	}}
	ours, err := r.o.Redis.SetNX(ctx, contracts.KeyResealLease(), p.token, r.o.Lease).Result()
	if err != nil {
		return p.state, storeError("begin to seal Redis anew", err)
	}
	if !ours {
		return p.state, ErrResealing
	}
	err = p.run(ctx)
	p.state.State = contracts.ResealDone
	if err != nil {
		p.state.State = contracts.ResealFailed
	}
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second) // also when ctx ended: the lease is to be free
	defer cancel()
	if e := p.tell(end, true); err == nil {
		err = e
	}
	return p.state, err
}

// pass is one run over everything.
type pass struct {
	*Resealer
	token string
	state contracts.Resealing
	told  time.Time
}

func (p *pass) run(ctx context.Context) error {
	if err := p.tell(ctx, false); err != nil {
		return err
	}
	for range resealPasses {
		p.state.Keys, p.state.Left, p.state.Bad, p.state.Total = 0, 0, 0, 0
		if err := p.everywhere(ctx, func(ctx context.Context, c redis.Cmdable) error {
			n, err := c.DBSize(ctx).Result()
			p.state.Total += n
			return err
		}); err != nil {
			return storeError("count keys", err)
		}
		if err := p.everywhere(ctx, p.server); err != nil {
			return err
		}
		if p.state.Left == 0 {
			return nil
		}
	}
	return &contracts.Error{
		Code: contracts.CodeConflict, Message: fmt.Sprintf("%d values were changed again and again while they were sealed anew", p.state.Left),
		Retryable: true, RetryAfter: time.Second,
	}
}

// everywhere calls f with each server that holds keys, one after the other.
func (p *pass) everywhere(ctx context.Context, f func(context.Context, redis.Cmdable) error) error {
	cluster, ok := p.o.Redis.(*redis.ClusterClient)
	if !ok {
		return f(ctx, p.o.Redis)
	}
	var one sync.Mutex
	return cluster.ForEachMaster(ctx, func(ctx context.Context, c *redis.Client) error {
		one.Lock()
		defer one.Unlock()
		return f(ctx, c)
	})
}

// server goes over the keys of one server.
func (p *pass) server(ctx context.Context, c redis.Cmdable) error {
	var cursor uint64
	for {
		keys, next, err := c.Scan(ctx, cursor, "*", int64(p.o.Batch)).Result()
		if err != nil {
			return storeError("scan keys", err)
		}
		for len(keys) > 0 {
			n := min(len(keys), p.o.Batch)
			if err := p.batch(ctx, keys[:n]); err != nil {
				return err
			}
			keys = keys[n:]
		}
		if cursor = next; cursor == 0 {
			return nil
		}
	}
}

// spend waits until n more keys or values fit the rate.
func (p *pass) spend(ctx context.Context, n int) error {
	if err := p.limit.WaitN(ctx, min(n, p.o.Batch)); err != nil {
		return fmt.Errorf("seal Redis anew: %w", err)
	}
	return p.beat(ctx)
}

// beat keeps the lease and writes how far it is, a few times in its time.
func (p *pass) beat(ctx context.Context) error {
	if p.o.Keys.Primary() != p.state.Key {
		return &contracts.Error{
			Code: contracts.CodeConflict, Message: "another key became the primary one meanwhile", Retryable: true, RetryAfter: time.Second,
		}
	}
	if p.o.Now().Sub(p.told) < min(time.Second, p.o.Lease/4) {
		return nil
	}
	return p.tell(ctx, false)
}

func (p *pass) tell(ctx context.Context, last bool) error {
	p.told = p.o.Now()
	p.state.At = p.told.UTC()
	record, err := contracts.EncodeResealing(p.state)
	if err != nil {
		return fmt.Errorf("write how far Redis is sealed: %w", err)
	}
	end := "0"
	if last {
		end = "1"
	}
	ours, err := p.keep.Run(ctx, p.o.Redis, []string{contracts.KeyResealLease(), contracts.KeyReseal()},
		p.token, p.o.Lease.Milliseconds(), record, resealMemory.Milliseconds(), end).Int()
	if err != nil {
		return storeError("write how far Redis is sealed", err)
	}
	if ours != 1 {
		return ErrResealing // we were too slow, and somebody took over
	}
	return nil
}
