package embedded

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"
)

func binary256() string {
	b := make([]byte, 256)
	for i := range b {
		b[i] = byte(i)
	}
	return string(b)
}

// fill writes every type, with binary keys, values and times to live.
func fill(t *testing.T, rdb *redis.Client) {
	t.Helper()
	ctx, bin := t.Context(), binary256()
	many := make([]any, 0, 3000)
	for i := range 3000 {
		many = append(many, fmt.Sprintf("%05d", i))
	}
	must(t, rdb.Set(ctx, "empty", "", 0).Err())
	must(t, rdb.Set(ctx, "key"+bin, bin, time.Hour).Err())
	must(t, rdb.HSet(ctx, "hash", bin, bin, "", "empty field", "f", "").Err())
	must(t, rdb.RPush(ctx, "list", "b", "a", "", bin, "b").Err())
	must(t, rdb.RPush(ctx, "long", many...).Err())
	must(t, rdb.SAdd(ctx, "set", many...).Err())
	must(t, rdb.SAdd(ctx, "set", bin, "").Err())
	must(t, rdb.ZAdd(ctx, "zset",
		redis.Z{Score: math.Pi, Member: bin}, redis.Z{Score: -1e-9, Member: ""},
		redis.Z{Score: float64(1<<53 - 1), Member: "exact"}, redis.Z{Score: 1764000000.123456, Member: "time"},
		redis.Z{Score: math.Inf(1), Member: "+inf"}, redis.Z{Score: math.Inf(-1), Member: "-inf"}).Err())
	must(t, rdb.Expire(ctx, "zset", 2*time.Hour).Err())
}

func contents(t *testing.T, r *Redis) snapshot {
	t.Helper()
	var got snapshot
	must(t, r.engine.(*standIn).inside(func(rdb *redis.Client) (err error) {
		got, err = dump(t.Context(), rdb)
		return err
	}))
	return got
}

// same compares what two snapshots hold. Sets and hashes have no order.
func same(t *testing.T, got, want snapshot) {
	t.Helper()
	if len(got.entries) != len(want.entries) {
		t.Fatalf("%d keys, want %d", len(got.entries), len(want.entries))
	}
	for i, w := range want.entries {
		g := got.entries[i]
		if g.key != w.key || g.kind != w.kind || !slices.Equal(ordered(g), ordered(w)) {
			t.Errorf("key %q differs: %.200q, want %.200q", w.key, g.values, w.values)
		}
		if drift := g.expireAt - w.expireAt; max(drift, -drift) > 5000 || (g.expireAt == 0) != (w.expireAt == 0) {
			t.Errorf("key %q expires at %d, want %d", w.key, g.expireAt, w.expireAt)
		}
	}
}

func ordered(e entry) []string {
	v := slices.Clone(e.values)
	switch e.kind {
	case kindSet:
		slices.Sort(v)
	case kindHash:
		pairs := make([]string, 0, len(v)/2)
		for p := range slices.Chunk(v, 2) {
			pairs = append(pairs, fmt.Sprintf("%q", p))
		}
		slices.Sort(pairs)
		return pairs
	}
	return v
}

func TestStandInSurvivesRestartWithData(t *testing.T) {
	dir := t.TempDir()
	began := time.Now()
	r := startRedis(t, RedisOptions{Dir: dir, PathLookup: noServer})
	t.Logf("%s ready after %s", r.Kind(), time.Since(began))
	fill(t, client(t, r.URL()))
	want := contents(t, r)
	must(t, r.Close(t.Context()))
	must(t, r.Close(t.Context())) // twice is once

	info, err := os.Stat(filepath.Join(dir, snapshotName))
	must(t, err)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode = %o", info.Mode().Perm())
	}
	again := startRedis(t, RedisOptions{Dir: dir, PathLookup: noServer})
	same(t, contents(t, again), want)
	if again.Kind() != "embedded stand-in" || !strings.Contains(again.Warning(), "last second") {
		t.Errorf("kind = %q, warning = %q", again.Kind(), again.Warning())
	}
}

func TestStandInTimeMoves(t *testing.T) {
	r := startRedis(t, RedisOptions{Dir: t.TempDir(), PathLookup: noServer})
	rdb := client(t, r.URL())
	must(t, rdb.Set(t.Context(), "short", "v", 300*time.Millisecond).Err())
	must(t, rdb.Set(t.Context(), "long", "v", time.Hour).Err())
	eventually(t, "short expires", func() bool { return rdb.Exists(t.Context(), "short").Val() == 0 })
	if left := rdb.PTTL(t.Context(), "long").Val(); left >= time.Hour || left < time.Hour-patience {
		t.Errorf("long has %s left", left)
	}
}

func TestStandInCountsTheTimeItWasDown(t *testing.T) {
	dir := t.TempDir()
	at := time.Now().Add(-time.Minute)
	must(t, writeSnapshot(filepath.Join(dir, snapshotName), snapshot{at: at, entries: []entry{
		{key: "gone", kind: kindString, values: []string{"v"}, expireAt: at.Add(30 * time.Second).UnixMilli()},
		{key: "here", kind: kindString, values: []string{"v"}, expireAt: at.Add(10 * time.Minute).UnixMilli()},
	}}))
	rdb := client(t, startRedis(t, RedisOptions{Dir: dir, PathLookup: noServer}).URL())
	if n := rdb.DBSize(t.Context()).Val(); n != 1 {
		t.Errorf("%d keys", n)
	}
	if left := rdb.PTTL(t.Context(), "here").Val(); left > 9*time.Minute || left < 9*time.Minute-patience {
		t.Errorf("here has %s left", left)
	}
}

func TestStandInSavesWhileItRuns(t *testing.T) {
	dir := t.TempDir()
	r := startRedis(t, RedisOptions{Dir: dir, PathLookup: noServer})
	must(t, client(t, r.URL()).Eval(t.Context(), "return redis.call('SET', KEYS[1], 'v')", []string{"k"}).Err())
	eventually(t, "the key is in the file", func() bool {
		s, err := readSnapshot(filepath.Join(dir, snapshotName))
		must(t, err)
		return s != nil && len(s.entries) == 1
	})
}

func TestStandInSavesOnlyWhatMayBeNew(t *testing.T) {
	dir := t.TempDir()
	s := &saver{standIn: startRedis(t, RedisOptions{Dir: dir, PathLookup: noServer}).engine.(*standIn)}
	s.stop() // the rounds are ours now
	<-s.done
	path := filepath.Join(dir, snapshotName)
	saved := func() bool {
		_ = os.Remove(path)
		s.round()
		_, err := os.Stat(path)
		return err == nil
	}
	got := []bool{saved(), saved()}
	s.writes.Add(1)
	got = append(got, saved(), saved(), saved())
	if want := []bool{true, false, true, true, false}; !slices.Equal(got, want) {
		t.Errorf("saved = %v, want %v", got, want)
	}
}

func TestStandInReportsFailingSnapshotsOnce(t *testing.T) {
	dir := t.TempDir()
	log := &lines{got: make(chan string, 10)}
	r := startRedis(t, RedisOptions{Dir: dir, PathLookup: noServer, Log: zerolog.New(log)})
	s := &saver{standIn: r.engine.(*standIn)}
	s.stop()
	<-s.done
	blocker := filepath.Join(dir, snapshotName+".new")
	must(t, os.Mkdir(blocker, 0o700))
	s.round()
	s.round()
	must(t, os.Remove(blocker))
	s.round()
	if line := log.next(t); !strings.Contains(line, "snapshot failed") {
		t.Errorf("log = %s", line)
	}
	if line := log.next(t); !strings.Contains(line, "work again") {
		t.Errorf("log = %s", line)
	}
}

func TestStandInWantsItsPassword(t *testing.T) {
	r := startRedis(t, RedisOptions{Dir: t.TempDir(), PathLookup: noServer})
	u, err := url.Parse(r.URL())
	must(t, err)
	if password, _ := u.User.Password(); len(password) != 64 || u.Hostname() != "127.0.0.1" {
		t.Errorf("password of %d characters on %s", len(password), u.Hostname())
	}
	u.User = nil
	if err := client(t, u.String()).Set(t.Context(), "k", "v", 0).Err(); err == nil || !strings.Contains(err.Error(), "NOAUTH") {
		t.Errorf("error = %v", err)
	}
}

func TestStandInRefusesWhatItCannotKeep(t *testing.T) {
	rdb := client(t, startRedis(t, RedisOptions{Dir: t.TempDir(), PathLookup: noServer}).URL())
	must(t, rdb.HSet(t.Context(), "h", "f", "v").Err())
	for _, args := range [][]any{
		{"XADD", "s", "*", "f", "v"}, {"pfadd", "p", "v"}, {"HEXPIRE", "h", "9", "FIELDS", "1", "f"},
		{"SELECT", "1"}, {"MOVE", "h", "1"}, {"COPY", "h", "g", "DB", "1"},
		{"EVAL", "return redis.call('XADD', 's', '*', 'f', 'v')", "0"},
	} {
		if err := rdb.Do(t.Context(), args...).Err(); err == nil || !strings.Contains(err.Error(), "not supported by the embedded stand-in") {
			t.Errorf("%v: %v", args, err)
		}
	}
}

func TestStandInRefusesADamagedSnapshot(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, snapshotName)
	must(t, os.WriteFile(path, []byte("what is this"), 0o600))
	_, err := StartRedis(t.Context(), RedisOptions{Dir: dir, PathLookup: noServer})
	if err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "move it away") {
		t.Fatalf("error = %v", err)
	}
	if text, _ := os.ReadFile(path); string(text) != "what is this" {
		t.Errorf("the file was touched: %q", text)
	}
}

func TestRedisReportsAllOptionMistakes(t *testing.T) {
	_, err := StartRedis(t.Context(), RedisOptions{Durability: "hope"})
	if err == nil || !strings.Contains(err.Error(), "hope") || !strings.Contains(err.Error(), "no path") {
		t.Fatalf("error = %v", err)
	}
}

func TestStartStopsWithItsContext(t *testing.T) {
	needRedis(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := StartRedis(ctx, RedisOptions{Dir: t.TempDir()}); !errors.Is(err, context.Canceled) {
		t.Fatalf("error = %v", err)
	}
}

func BenchmarkDump2000Keys(b *testing.B) {
	r, err := StartRedis(b.Context(), RedisOptions{Dir: b.TempDir(), PathLookup: noServer})
	must(b, err)
	defer r.Close(context.Background())
	rdb := client(b, r.URL())
	for i := range 2000 {
		must(b, rdb.HSet(b.Context(), fmt.Sprintf("asynq:t:%d", i), "msg", strings.Repeat("x", 300), "state", "pending").Err())
	}
	s := r.engine.(*standIn)
	s.stop()
	<-s.done
	b.Run("dump", func(b *testing.B) {
		for b.Loop() {
			must(b, s.inside(func(rdb *redis.Client) error { _, err := dump(b.Context(), rdb); return err }))
		}
	})
	b.Run("save", func(b *testing.B) {
		for b.Loop() {
			must(b, s.save())
		}
	})
}
