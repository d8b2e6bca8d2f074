package mailbox

import (
	"bytes"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"moltbot/contracts"
	"moltbot/workers/workerstest"
)

// limited runs f with a box whose contexts are bounded, over each kind of Redis.
func limited(t *testing.T, set func(*Options), f func(t *testing.T, b *box)) {
	t.Helper()
	workerstest.EachRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		o := Options{Redis: rdb, Keys: contracts.ChatKeys, Look: func() View { return View{} }, Window: 10}
		set(&o)
		setDefaults(&o)
		f(t, newBox(&o))
	})
}

// round runs one message whose turn is turn, and gives what begin brought.
func round(t *testing.T, b *box, seq uint64, turn []byte) (begun, committed) {
	t.Helper()
	id := strconv.FormatUint(seq, 10)
	h, got := take(t, b, "t"+id, id, seq)
	c, err := b.commit(t.Context(), h, Task{ID: id, Sequence: seq, Epoch: got.epoch}, Outcome{Turn: turn, Result: []byte("r")}, false)
	must(t, err)
	return got, c
}

func stored(t *testing.T, b *box) []string {
	t.Helper()
	v, err := b.rdb.LRange(t.Context(), contracts.KeySession(conv), 0, -1).Result()
	must(t, err)
	return v
}

// The oldest turns go first; the newest stays whatever its size.
func TestContextIsBoundedInBytes(t *testing.T) {
	limited(t, func(o *Options) { o.KeepBytes = 100 }, func(t *testing.T, b *box) {
		sizes := []int{30, 30, 30, 30, 90, 20, 300, 10}
		want := [][]int{{30}, {30, 30}, {30, 30, 30}, {30, 30, 30}, {90}, {20}, {300}, {10}}
		for i, n := range sizes {
			_, c := round(t, b, uint64(i+1), bytes.Repeat([]byte{'a' + byte(i)}, n))
			var got []int
			sum := 0
			for _, turn := range stored(t, b) {
				got, sum = append(got, len(turn)), sum+len(turn)
			}
			if !slices.Equal(got, want[i]) || c.entries != len(got) || b.field(t, "bytes") != strconv.Itoa(sum) || b.field(t, "turns") != strconv.Itoa(len(got)) {
				t.Fatalf("after %d: %v, entries %d, bytes %s", i+1, got, c.entries, b.field(t, "bytes"))
			}
		}
	})
}

func TestContextIsBoundedInTurns(t *testing.T) {
	limited(t, func(o *Options) { o.KeepTurns = 3 }, func(t *testing.T, b *box) {
		for seq := uint64(1); seq <= 5; seq++ {
			round(t, b, seq, []byte(strconv.FormatUint(seq, 10)))
		}
		if got := stored(t, b); !slices.Equal(got, []string{"3", "4", "5"}) {
			t.Errorf("%v", got)
		}
	})
}

// A list that an older build or somebody else left: begin brings no more of it
// than fits, and the next commit cuts it, whatever the box says of it.
func TestGiantContext(t *testing.T) {
	const room = 64 << 10
	limited(t, func(o *Options) { o.KeepBytes = room }, func(t *testing.T, b *box) {
		for name, fill := range map[string]func(){
			"many": func() {
				p := b.rdb.Pipeline()
				for range 100 {
					p.RPush(t.Context(), contracts.KeySession(conv), slices.Repeat([]any{"0123456789"}, 500)...)
				}
				_, err := p.Exec(t.Context())
				must(t, err)
			},
			"large": func() {
				for range 50 {
					must(t, b.rdb.RPush(t.Context(), contracts.KeySession(conv), bytes.Repeat([]byte("x"), 1<<20)).Err())
				}
			},
			"behind a good one": func() {
				round(t, b, 1, []byte("good"))
				for range 9 {
					must(t, b.rdb.RPush(t.Context(), contracts.KeySession(conv), bytes.Repeat([]byte("x"), room/4)).Err())
				}
			},
		} {
			must(t, b.rdb.FlushAll(t.Context()).Err())
			fill()
			got, c := round(t, b, 2, []byte("turn"))
			size := 0
			for _, turn := range got.turns {
				size += len(turn)
			}
			if size > room || len(got.turns) > 10 || name != "large" && len(got.turns) == 0 {
				t.Errorf("%s: begin brings %d turns of %d bytes", name, len(got.turns), size)
			}
			size = 0
			turns := stored(t, b)
			for _, turn := range turns {
				size += len(turn)
			}
			if size > room || len(turns) > 200 || c.entries != len(turns) || turns[len(turns)-1] != "turn" {
				t.Errorf("%s: %d turns of %d bytes are left", name, len(turns), size)
			}
			if n := b.field(t, "bytes"); n != strconv.Itoa(size) {
				t.Errorf("%s: the box says %s bytes, there are %d", name, n, size)
			}
		}
	})
}

// What begin brings of a list that it reads one by one is in order.
func TestForeignTurnsComeInOrder(t *testing.T) {
	limited(t, func(*Options) {}, func(t *testing.T, b *box) {
		round(t, b, 1, []byte("1"))
		must(t, b.rdb.RPush(t.Context(), contracts.KeySession(conv), "2", "3", "4").Err())
		if got, _ := round(t, b, 2, []byte("5")); string(bytes.Join(got.turns, nil)) != "1234" {
			t.Errorf("%q", got.turns)
		}
		if got, _ := round(t, b, 3, nil); string(bytes.Join(got.turns, nil)) != "12345" {
			t.Errorf("%q", got.turns)
		}
	})
}

// A context ends with its age, however lively it is, and the next one begins young.
func TestContextEndsWithItsAge(t *testing.T) {
	now := time.UnixMilli(1_000_000)
	limited(t, func(o *Options) {
		o.MaxAge, o.ContextTTL, o.Now = time.Hour, 30*time.Minute, func() time.Time { return now }
	}, func(t *testing.T, b *box) {
		now = time.UnixMilli(1_000_000)
		left := func() time.Duration { return b.rdb.PTTL(t.Context(), contracts.KeySession(conv)).Val() }
		for i, minute := range []int{0, 20, 40, 50} {
			now = time.UnixMilli(1_000_000).Add(time.Duration(minute) * time.Minute)
			round(t, b, uint64(i+1), []byte("x"))
			if rest := time.Hour - time.Duration(minute)*time.Minute; left() > min(rest, 33*time.Minute) || left() < min(rest, 27*time.Minute)-time.Minute {
				t.Errorf("after %d minutes it lives for %s", minute, left())
			}
		}
		must(t, b.rdb.Del(t.Context(), contracts.KeySession(conv)).Err()) // it runs out
		round(t, b, 9, []byte("x"))
		if left() < 26*time.Minute {
			t.Errorf("the new one lives for %s", left())
		}
	})
}

// The ring has the newest messages with what was made of them, and no more.
func TestRingOfResults(t *testing.T) {
	limited(t, func(*Options) {}, func(t *testing.T, b *box) {
		const many = 150
		for n := uint64(1); n <= many; n++ {
			id := conv + ".x" + strconv.FormatUint(n, 10)
			h, got := take(t, b, "t"+id, id, n)
			_, err := b.commit(t.Context(), h, Task{ID: id, Sequence: n, Epoch: got.epoch}, Outcome{Result: []byte("r"), Trail: "digest"}, false)
			must(t, err)
		}
		seen := map[string]bool{}
		for slot := range 64 {
			seen[b.field(t, "r"+strconv.Itoa(slot))] = true
		}
		for n := many - 63; n <= many; n++ {
			if !seen[".x"+strconv.Itoa(n)+" digest"] {
				t.Errorf("message %d is not in the ring", n)
			}
		}
		if len(seen) != 64 || b.field(t, "r64") != "" {
			t.Errorf("%d entries", len(seen))
		}
	})
}
