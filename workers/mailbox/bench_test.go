package mailbox

import (
	"bytes"
	"strconv"
	"strings"
	"testing"

	"moltbot/contracts"
	"moltbot/workers/workerstest"
)

// One message's two round trips with ten turns of 400 bytes, on a real Redis.
func BenchmarkBeginCommit(b *testing.B) {
	rdb := workerstest.StartRedis(b).Client(b)
	o := Options{Redis: rdb, Keys: contracts.ChatKeys, Look: func() View { return View{} }, Window: 10, KeepTurns: 10}
	setDefaults(&o)
	x := newBox(&o)
	turn := bytes.Repeat([]byte("x"), 400)
	seq := uint64(0)
	for b.Loop() {
		seq++
		id := strconv.FormatUint(seq, 10)
		got, err := x.begin(b.Context(), wakeup{conversation: conv, id: id, seq: seq, created: 1, token: "t" + id})
		must(b, err)
		h := &holding{conversation: conv, token: "t" + id, fence: got.fence, created: 1}
		c, err := x.commit(b.Context(), h, Task{ID: id, Sequence: seq}, Outcome{Turn: turn, Result: turn}, false)
		must(b, err)
		if c.state != stateReleased {
			b.Fatalf("commit = %+v", c)
		}
	}
	_, stats, _ := strings.Cut(rdb.Info(b.Context(), "commandstats").Val(), "cmdstat_evalsha:")
	_, stats, _ = strings.Cut(stats, "usec=")
	spent, _, _ := strings.Cut(stats, ",")
	µs, err := strconv.ParseFloat(spent, 64)
	must(b, err)
	b.ReportMetric(µs/float64(seq), "redis-µs/op")
}
