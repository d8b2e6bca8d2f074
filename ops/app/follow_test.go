package app

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"moltbot/contracts"
	"moltbot/ops/config"
	"moltbot/workers/workerstest"
)

// fleet is a number of followers of one bucket, each with a pool of its own.
type fleet struct {
	t     *testing.T
	nats  *workerstest.NATS
	top   *topology
	slots chan [2]int // follower, slots
	own   []int
}

// follows starts followers whose own slots are given.
func follows(t *testing.T, lines *book, own ...int) *fleet {
	t.Helper()
	f := &fleet{t: t, nats: workerstest.StartNATS(t), slots: make(chan [2]int, 100), own: own}
	var err error
	f.top, err = newTopology(f.nats.Connect(t), config.Default(), zerolog.Nop())
	must(t, err)
	must(t, f.top.ensure(t.Context()))
	for i, n := range own {
		top, err := newTopology(f.nats.Connect(t), config.Default(), lines.log())
		must(t, err)
		w := newFollower(top, lines.log())
		w.addPool(contracts.PoolChat, n, func(n int) { f.slots <- [2]int{i, n} })
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() { ended <- w.run(ctx) }()
		t.Cleanup(func() { cancel(); must(t, await(t, "the follower's end", ended)) })
		await(t, "the bucket was read", w.known)
	}
	return f
}

// become waits until every follower has its slots, and says how long it took.
func (f *fleet) become(want ...int) time.Duration {
	f.t.Helper()
	began := time.Now()
	for range f.own {
		got := await(f.t, fmt.Sprint("slots become ", want), f.slots)
		equal(f.t, fmt.Sprint("slots of follower ", got[0]), got[1], want[got[0]])
	}
	return time.Since(began)
}

func (f *fleet) want(n int) {
	f.t.Helper()
	must(f.t, f.top.want(f.t.Context(), contracts.PoolChat, &n))
}

const withinASecond = time.Second

func soonEnough(t *testing.T, what string, took time.Duration) {
	t.Helper()
	t.Logf("%s: followed after %s", what, took)
	if took > withinASecond {
		t.Errorf("%s: followed after %s", what, took)
	}
}

func TestFollowersFollow(t *testing.T) {
	f := follows(t, &book{}, 64, 8)
	for _, n := range []int{4, 32, 0, 2} {
		f.want(n)
		soonEnough(t, fmt.Sprint(n, " slots"), f.become(n, n))
	}
	must(t, f.top.want(t.Context(), contracts.PoolChat, nil))
	soonEnough(t, "back to the configuration", f.become(64, 8))
	other := 7
	must(t, f.top.want(t.Context(), contracts.PoolDeliver, &other))
	f.want(3)
	f.become(3, 3)
	wanted, err := f.top.wanted(t.Context())
	must(t, err)
	if len(wanted) != 2 || wanted[contracts.PoolChat] != 3 || wanted[contracts.PoolDeliver] != 7 {
		t.Errorf("wanted are %v", wanted)
	}
}

// A follower that starts later has what was asked for before it works.
func TestFollowerBeginsWithWhatIsWanted(t *testing.T) {
	f := follows(t, &book{}, 64)
	f.want(5)
	f.become(5)
	w := newFollower(f.top, zerolog.Nop())
	got := make(chan int, 2)
	w.addPool(contracts.PoolChat, 64, func(n int) { got <- n })
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.run(ctx) }()
	await(t, "the bucket was read", w.known)
	equal(t, "slots", await(t, "slots", got), 5)
	cancel()
	must(t, await(t, "end", ended))
}

// Somebody deletes the bucket: it is made again, the pools go back to their
// configuration and follow the new one.
func TestFollowersOutliveTheirBucket(t *testing.T) {
	lines := &book{}
	f := follows(t, lines, 64, 8)
	f.want(4)
	f.become(4, 4)
	must(t, f.top.js.DeleteKeyValue(t.Context(), contracts.BucketConfig))
	soonEnough(t, "bucket deleted", f.become(64, 8))
	equal(t, "said", len(lines.errorsOf(t, "the bucket is missing, making it again")) > 0, true)
	f.want(6)
	soonEnough(t, "new bucket", f.become(6, 6))

	// Deleted and made again between two looks.
	must(t, f.top.js.DeleteKeyValue(t.Context(), contracts.BucketConfig))
	f.want(9)
	took := time.Now()
	for last := [2]int{}; last != [2]int{9, 9}; { // with or without a stop at their own slots
		got := await(t, "slots", f.slots)
		last[got[0]] = got[1]
	}
	soonEnough(t, "bucket exchanged", time.Since(took))
}

func TestFollowersOutliveTheBroker(t *testing.T) {
	f := follows(t, &book{}, 64, 8)
	f.want(4)
	f.become(4, 4)
	f.nats.Stop()
	f.nats.Start(t)
	n := 12
	eventually(t, "the broker takes the change", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		return f.top.want(ctx, contracts.PoolChat, &n) == nil
	})
	soonEnough(t, "broker restarted", f.become(12, 12))
	f.want(1)
	soonEnough(t, "after it", f.become(1, 1))
}

// What others write into the bucket is passed over, and so are other keys.
func TestFollowersPassOverNonsense(t *testing.T) {
	lines := &book{}
	f := follows(t, lines, 64)
	kv, err := f.top.bucket(t.Context())
	must(t, err)
	for _, value := range []string{"many", `{"v":1,"slots":-4}`, `{"v":9,"slots":4}`, ""} {
		_, err := kv.PutString(t.Context(), contracts.KeyPoolSlots(contracts.PoolChat), value)
		must(t, err)
	}
	_, err = kv.PutString(t.Context(), "something.else", "x")
	must(t, err)
	f.want(4)
	f.become(4)
	equal(t, "lines", len(lines.errorsOf(t, "slots in the bucket cannot be read and are passed over")), 4)
}

func TestBucketIsMadeAndCorrected(t *testing.T) {
	top, lines := ensured(t, config.Default())
	i := streamInfo(t, top, bucketStream)
	equal(t, "storage", i.Config.Storage, jetstream.FileStorage)
	equal(t, "history", i.Config.MaxMsgsPerSubject, 8)
	equal(t, "replicas", i.Config.Replicas, 1)
	must(t, top.ensure(t.Context()))
	if again := streamInfo(t, top, bucketStream); !again.Created.Equal(i.Created) {
		t.Error("the bucket was made twice")
	}
	hasText(t, lines.String(), "bucket created")
	top.c.NATS.Replicas = 3
	if err := top.ensureBucket(t.Context()); err == nil {
		t.Error("one server has three replicas")
	}
}
