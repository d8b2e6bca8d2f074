package usage

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"moltbot/contracts"
)

// StoreOptions of a Store. What has no default is required.
type StoreOptions struct {
	Redis  redis.UniversalClient
	Sealer contracts.Sealer
	Namer  Namer

	Young    time.Duration // how old what Spent knows may be; default 1s
	Patience time.Duration // longest time that Spent waits for Redis; default 250ms
	// Now is the clock. Default: time.Now.
	Now func() time.Time
}

// Store reads what books wrote. It is safe for concurrent use.
type Store struct {
	o StoreOptions

	mu    sync.Mutex
	spent map[string]*spent // by day and caller
}

// spent is a caller's tokens of a day.
type spent struct {
	tokens int64
	err    error
	read   time.Time
	asking chan struct{} // closed when the answer is there; nil: nobody asks
}

// NewStore gives a Store over o.
func NewStore(o StoreOptions) *Store {
	o.Young, o.Patience = cmp.Or(o.Young, time.Second), cmp.Or(o.Patience, 250*time.Millisecond)
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Store{o: o, spent: make(map[string]*spent)}
}

var errSlow = errors.New("redis takes too long to say what was used")

// mostSpent bounds the callers that are remembered.
const mostSpent = 10_000

// Spent gives the tokens that a caller has used today, as they were a moment
// ago. However many ask at a time, Redis is asked once, beside the requests: none
// of them waits for it longer than Patience.
func (s *Store) Spent(ctx context.Context, caller string) (int64, error) {
	now := s.o.Now()
	s.mu.Lock()
	e := s.entry(contracts.Day(now), caller)
	if !e.read.IsZero() && now.Sub(e.read) < s.o.Young {
		defer s.mu.Unlock()
		return e.tokens, e.err
	}
	if e.asking == nil {
		e.asking = make(chan struct{})
		go s.ask(contracts.Day(now), caller, e)
	}
	asking := e.asking
	s.mu.Unlock()
	limit := time.NewTimer(s.o.Patience)
	defer limit.Stop()
	select {
	case <-asking:
	case <-limit.C:
		return 0, errSlow
	case <-ctx.Done():
		return 0, fmt.Errorf("ask what was used: %w", ctx.Err())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return e.tokens, e.err
}

func (s *Store) entry(day, caller string) *spent {
	key := day + " " + caller
	e := s.spent[key]
	if e == nil {
		if len(s.spent) >= mostSpent {
			clear(s.spent)
		}
		e = &spent{}
		s.spent[key] = e
	}
	return e
}

// ask also remembers a failure, so that Redis gets one question in a while.
func (s *Store) ask(day, caller string, e *spent) {
	field := fieldTokens + digestOf(s.o.Namer, caller)
	n, err := s.o.Redis.HGet(context.Background(), contracts.KeyUsage(day), field).Int64()
	if errors.Is(err, redis.Nil) {
		err = nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	e.tokens, e.err, e.read = n, err, s.o.Now()
	close(e.asking)
	e.asking = nil
}

// Report adds up the days from the first to the last.
func (s *Store) Report(ctx context.Context, from, to string) (contracts.AdminUsage, error) {
	days, err := contracts.Days(from, to)
	if err != nil {
		return contracts.AdminUsage{}, &contracts.Error{Code: contracts.CodeBadRequest, Message: err.Error()}
	}
	sum := make(map[cell]*contracts.UsageRow)
	for _, day := range days {
		if err := s.read(ctx, day, sum); err != nil {
			return contracts.AdminUsage{}, &contracts.Error{
				Code: contracts.CodeStoreDown, Message: "Redis does not answer", Retryable: true, RetryAfter: time.Second, Err: err,
			}
		}
	}
	out := contracts.AdminUsage{From: from, To: to, Rows: make([]contracts.UsageRow, 0, len(sum))}
	for _, row := range sum {
		out.Rows = append(out.Rows, *row)
		out.Total.Add(*row)
	}
	slices.SortFunc(out.Rows, func(a, b contracts.UsageRow) int {
		return cmp.Or(cmp.Compare(a.Caller, b.Caller), cmp.Compare(a.Model, b.Model))
	})
	return out, nil
}

// read adds a day to sum.
func (s *Store) read(ctx context.Context, day string, sum map[cell]*contracts.UsageRow) error {
	names := make(map[string]string)
	if err := s.scan(ctx, contracts.KeyUsageNames(day), "*", func(digest, sealed string) {
		if name, err := s.o.Sealer.Open([]byte(sealed), contracts.KindName, digest, day); err == nil {
			names[digest] = string(name)
		}
	}); err != nil {
		return fmt.Errorf("read the names of callers: %w", err)
	}
	if err := s.scan(ctx, contracts.KeyUsage(day), fieldRow+"*", func(field, value string) {
		parts := strings.SplitN(strings.TrimPrefix(field, fieldRow), "|", 3)
		n, err := strconv.ParseInt(value, 10, 64)
		if len(parts) != 3 || err != nil {
			return
		}
		c := cell{cmp.Or(names[parts[0]], parts[0]), parts[2]}
		if sum[c] == nil {
			sum[c] = &contracts.UsageRow{Caller: c.caller, Model: c.model}
		}
		addTo(sum[c], parts[1], n)
	}); err != nil {
		return fmt.Errorf("read usage: %w", err)
	}
	return nil
}

// scan gives each field of a hash once. HSCAN itself may give one twice.
func (s *Store) scan(ctx context.Context, key, match string, each func(field, value string)) error {
	seen := make(map[string]bool)
	for cursor := uint64(0); ; {
		kv, next, err := s.o.Redis.HScan(ctx, key, cursor, match, 1000).Result()
		if err != nil {
			return err
		}
		for i := 0; i+1 < len(kv); i += 2 {
			if !seen[kv[i]] {
				seen[kv[i]] = true
				each(kv[i], kv[i+1])
			}
		}
		if cursor = next; cursor == 0 {
			return nil
		}
	}
}

func addTo(row *contracts.UsageRow, kind string, n int64) {
	switch kind {
	case kindCalls:
		row.Calls += n
	case kindPrompt:
		row.PromptTokens += n
	case kindCompletion:
		row.CompletionTokens += n
	case kindNanos:
		row.Cost += float64(n) / 1e9
	case kindCached:
		row.Cached += n
	}
}
