package embedded

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// dumpScript reads all keys in one script, which nothing else can interrupt:
// key by key, a task on its way between two lists could be seen in neither.
const dumpScript = `
local out = {}
for i, key in ipairs(redis.call('SCAN', '0')[2]) do
  local kind, values = redis.call('TYPE', key).ok, {}
  if kind == 'string' then values = {redis.call('GET', key)}
  elseif kind == 'hash' then values = redis.call('HGETALL', key)
  elseif kind == 'list' then values = redis.call('LRANGE', key, '0', '-1')
  elseif kind == 'set' then values = redis.call('SMEMBERS', key)
  elseif kind == 'zset' then values = redis.call('ZRANGE', key, '0', '-1', 'WITHSCORES')
  end
  out[i] = {key, kind, redis.call('PTTL', key), values}
end
return out`

// restoreBatch bounds the arguments of one command. It is even: pairs stay
// together.
const restoreBatch = 512

// dump reads all of rdb. It works on the stand-in only, whose SCAN returns
// every key at once.
func dump(ctx context.Context, rdb *redis.Client) (snapshot, error) {
	s := snapshot{at: time.Now()}
	rows, err := rdb.EvalRO(ctx, dumpScript, nil).Slice()
	if err != nil {
		return s, fmt.Errorf("dump keys: %w", err)
	}
	s.entries = make([]entry, 0, len(rows))
	for _, row := range rows {
		e, err := entryOf(row, s.at)
		if err != nil {
			return s, fmt.Errorf("dump keys: %w", err)
		}
		s.entries = append(s.entries, e)
	}
	return s, nil
}

// entryOf reads one row of the script: key, type, time to live, values.
func entryOf(row any, now time.Time) (entry, error) {
	cols, ok := row.([]any)
	if !ok || len(cols) != 4 {
		return entry{}, errors.New("a row of another shape")
	}
	key, okKey := cols[0].(string)
	name, okName := cols[1].(string)
	left, okLeft := cols[2].(int64)
	values, okValues := cols[3].([]any)
	if !okKey || !okName || !okLeft || !okValues {
		return entry{}, errors.New("a row of another shape")
	}
	k, err := kindNamed(name)
	if err != nil {
		return entry{}, fmt.Errorf("key %q: %w", key, err)
	}
	e := entry{key: key, kind: k, values: make([]string, len(values))}
	if left >= 0 { // -1: lives forever
		e.expireAt = now.UnixMilli() + left
	}
	for i, v := range values {
		if e.values[i], ok = v.(string); !ok {
			return entry{}, fmt.Errorf("key %q: a value of another shape", key)
		}
	}
	return e, nil
}

// restore writes entries to rdb, each in place of what the key held. Keys that
// would have expired by now are left out: the time we were down counts.
func restore(ctx context.Context, rdb *redis.Client, entries []entry, now time.Time) error {
	for _, e := range entries {
		if e.expireAt != 0 && e.expireAt <= now.UnixMilli() {
			continue
		}
		if err := restoreEntry(ctx, rdb, e); err != nil {
			return fmt.Errorf("restore key %q: %w", e.key, err)
		}
	}
	return nil
}

func restoreEntry(ctx context.Context, rdb *redis.Client, e entry) error {
	if err := rdb.Del(ctx, e.key).Err(); err != nil {
		return err
	}
	for rest := e.values; len(rest) > 0; {
		n := min(restoreBatch, len(rest))
		if err := rdb.Do(ctx, writeCommand(e, rest[:n])...).Err(); err != nil {
			return err
		}
		rest = rest[n:]
	}
	if e.expireAt == 0 {
		return nil
	}
	return rdb.Do(ctx, "PEXPIREAT", e.key, e.expireAt).Err()
}

func writeCommand(e entry, values []string) []any {
	names := map[kind]string{
		kindString: "SET", kindHash: "HSET", kindList: "RPUSH", kindSet: "SADD", kindSorted: "ZADD",
	}
	args := []any{names[e.kind], e.key}
	for i := range values {
		if e.kind == kindSorted {
			i ^= 1 // read as member, score; written as score, member
		}
		args = append(args, values[i])
	}
	return args
}
