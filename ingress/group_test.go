package ingress

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"moltbot/contracts"
)

const soon = 10 * time.Second // only a failure takes that long

// disk is a real stream that syncs, and the group in front of it, with hooks.
type disk struct {
	t      testing.TB
	srv    *server.Server
	js     jetstream.JetStream
	stream jetstream.Stream
	p      *publisher

	mu      sync.Mutex
	singles []string   // ids stored by themselves, in order
	batches [][]string // ids of each batch, in order

	beforeOne  func(id string)
	afterBatch func(error) error
}

type plainSealer struct{}

func (plainSealer) Seal(b []byte, _ contracts.Kind, _, _ string) ([]byte, error) { return b, nil }
func (plainSealer) Open(b []byte, _ contracts.Kind, _, _ string) ([]byte, error) { return b, nil }

func newDisk(t testing.TB, c jetstream.StreamConfig) *disk {
	t.Helper()
	srv, err := server.NewServer(&server.Options{
		DontListen: true, NoSigs: true, NoLog: true, JetStream: true, StoreDir: t.TempDir(), SyncAlways: true, JetStreamMaxStore: 1 << 28,
	})
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	if !srv.ReadyForConnections(soon) {
		t.Fatal("the broker did not start")
	}
	conn, err := nats.Connect("", nats.InProcessServer(srv), nats.ReconnectBufSize(-1))
	if err != nil {
		t.Fatal(err)
	}
	closed := make(chan struct{})
	conn.SetClosedHandler(func(*nats.Conn) { close(closed) })
	d := &disk{t: t, srv: srv}
	if d.p, err = newPublisher(&Options{Conn: conn, Sealer: plainSealer{}, Publish: soon, GroupCommit: true, Now: time.Now}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		d.p.close()
		conn.Close()
		<-closed
		srv.Shutdown()
		srv.WaitForShutdown()
	})
	d.js = d.p.js
	c.Name, c.Subjects = contracts.StreamChat, []string{contracts.SubjectsChat}
	c.Discard, c.AllowAtomicPublish, c.Duplicates = jetstream.DiscardNew, true, time.Minute
	if d.stream, err = d.js.CreateStream(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	one, many := d.p.group.one, d.p.group.many
	d.p.group.one = func(ctx context.Context, e *entry) (bool, error) {
		if d.beforeOne != nil {
			d.beforeOne(e.id)
		}
		d.note(func() { d.singles = append(d.singles, nameIn(e.id)) })
		return one(ctx, e)
	}
	d.p.group.many = func(ctx context.Context, es []*entry) error {
		d.note(func() { d.batches = append(d.batches, idsOf(es)) })
		err := many(ctx, es)
		if d.afterBatch != nil {
			err = d.afterBatch(err)
		}
		return err
	}
	return d
}

func (d *disk) note(f func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f()
}

func idsOf(es []*entry) (ids []string) {
	for _, e := range es {
		ids = append(ids, nameIn(e.id))
	}
	return ids
}

// sent is how a message fared.
type sent struct {
	id    string
	known bool
	err   error
}

// together holds the first message in the stream's hands until the others wait
// behind it, in this order, and gives what became of each.
func (d *disk) together(messages ...contracts.Message) map[string]sent {
	d.t.Helper()
	open, in := make(chan struct{}), make(chan struct{})
	var once sync.Once
	d.beforeOne = func(string) { once.Do(func() { close(in); <-open }) }
	results := make(chan sent, len(messages))
	for i, m := range messages {
		go func() {
			known, err := d.p.publish(context.Background(), &m, false)
			results <- sent{nameIn(m.ID), known, err}
		}()
		if i == 0 {
			d.await(in)
			continue
		}
		d.waiting(i)
	}
	close(open)
	all := make(map[string]sent)
	for range messages {
		select {
		case r := <-results:
			all[r.id] = r
		case <-time.After(soon):
			d.t.Fatal("a message got no answer")
		}
	}
	return all
}

func (d *disk) await(event <-chan struct{}) {
	d.t.Helper()
	select {
	case <-event:
	case <-time.After(soon):
		d.t.Fatal("nothing happened")
	}
}

func (d *disk) waiting(n int) {
	g := d.p.group
	for deadline := time.Now().Add(soon); time.Now().Before(deadline); runtime.Gosched() {
		g.mu.Lock()
		now := len(g.waiting)
		g.mu.Unlock()
		if now == n {
			return
		}
	}
	d.t.Fatalf("never %d waiting", n)
}

func (d *disk) stored() (ids []string) {
	d.t.Helper()
	info, err := d.stream.Info(d.t.Context())
	if err != nil {
		d.t.Fatal(err)
	}
	for seq := info.State.FirstSeq; seq <= info.State.LastSeq && info.State.Msgs > 0; seq++ {
		m, err := d.stream.GetMsg(d.t.Context(), seq)
		if err != nil {
			d.t.Fatal(err)
		}
		ids = append(ids, nameIn(m.Header.Get(nats.MsgIdHdr)))
	}
	return ids
}

// say makes a message whose id and conversation hold these short names.
func say(name, conversation string) contracts.Message {
	c := fmt.Sprintf("%026s", conversation)
	return contracts.Message{
		ID: fmt.Sprintf("%s.m5s3k0w0.%016s.%016s", c, name, "0"), Conversation: c, Channel: contracts.ChannelAPI, Text: "hi",
	}
}

// nameIn gives the short name back.
func nameIn(id string) string { return strings.TrimLeft(strings.Split(id, ".")[2], "0") }

func saying(id, conversation string) *contracts.Message {
	m := say(id, conversation)
	return &m
}

func numbered(n int) (all []contracts.Message) {
	for i := range n {
		all = append(all, say(fmt.Sprintf("m%d", i), fmt.Sprintf("c%d", i)))
	}
	return all
}

func want[T comparable](t testing.TB, what string, got, wanted []T) {
	t.Helper()
	if !slices.Equal(got, wanted) {
		t.Errorf("%s: %v, want %v", what, got, wanted)
	}
}

func noErrors(t testing.TB, all map[string]sent) {
	t.Helper()
	for id, r := range all {
		if r.err != nil || r.known {
			t.Errorf("%s: %+v", id, r)
		}
	}
}

func TestWhatWaitsBecomesOneBatch(t *testing.T) {
	d := newDisk(t, jetstream.StreamConfig{})
	noErrors(t, d.together(numbered(5)...))
	want(t, "single", d.singles, []string{"m0"}) // nobody waited: at once, and no batch
	if len(d.batches) != 1 {
		t.Fatalf("batches %v", d.batches)
	}
	want(t, "batch", d.batches[0], []string{"m1", "m2", "m3", "m4"})
	want(t, "stored", d.stored(), []string{"m0", "m1", "m2", "m3", "m4"})
}

func TestBatchesAreBounded(t *testing.T) {
	d := newDisk(t, jetstream.StreamConfig{})
	noErrors(t, d.together(numbered(2+2*maxBatch)...))
	var sizes []int
	for _, b := range d.batches {
		sizes = append(sizes, len(b))
	}
	want(t, "batches", sizes, []int{maxBatch, maxBatch})
	want(t, "single", d.singles, []string{"m0", fmt.Sprintf("m%d", 1+2*maxBatch)})

	g := &group{waiting: []*entry{{data: make([]byte, maxBatchBytes)}, {data: make([]byte, 1)}, {data: make([]byte, 1)}}}
	want(t, "by bytes", []int{len(g.cut()), len(g.cut()), len(g.waiting)}, []int{1, 2, 0})
}

// An id that the stream knows fails a batch whole; nobody else may notice.
func TestKnownIDInABatch(t *testing.T) {
	d := newDisk(t, jetstream.StreamConfig{})
	if _, err := d.p.publish(t.Context(), saying("old", "c"), false); err != nil {
		t.Fatal(err)
	}
	all := d.together(say("m0", "c0"), say("m1", "c1"), say("old", "c"), say("m2", "c2"))
	if r := all["old"]; r.err != nil || !r.known {
		t.Errorf("old: %+v", r)
	}
	delete(all, "old")
	noErrors(t, all)
	want(t, "stored", d.stored(), []string{"old", "m0", "m1", "m2"})
}

func TestSameIDTwiceInABatch(t *testing.T) {
	d := newDisk(t, jetstream.StreamConfig{})
	d.together(say("m0", "c0"), say("m1", "c1"), say("m1", "c1"))
	want(t, "stored", d.stored(), []string{"m0", "m1"})
}

// A full conversation refuses its own message only, and stays out of batches.
func TestFullConversationInABatch(t *testing.T) {
	d := newDisk(t, jetstream.StreamConfig{MaxMsgsPerSubject: 1, DiscardNewPerSubject: true})
	all := d.together(say("m0", "full"), say("m1", "c1"), say("m2", "full"), say("m3", "c3"))
	refused := all["m2"]
	if e := (&contracts.Error{}); !errors.As(refused.err, &e) || e.Code != contracts.CodeConversationFull {
		t.Errorf("m2: %+v", refused)
	}
	delete(all, "m2")
	noErrors(t, all)
	want(t, "stored", d.stored(), []string{"m0", "m1", "m3"})

	failed := len(d.batches)
	if _, err := d.p.publish(t.Context(), saying("m4", "full"), false); err == nil {
		t.Error("m4 was stored")
	}
	noErrors(t, d.together(say("m5", "c5"), say("m6", "c6"), say("m7", "c7")))
	if len(d.batches) != failed+1 || slices.Contains(d.singles, "m4") {
		t.Errorf("batches %v, singles %v", d.batches, d.singles)
	}
}

func TestStreamFullInABatch(t *testing.T) {
	d := newDisk(t, jetstream.StreamConfig{MaxMsgs: 3})
	all := d.together(numbered(5)...)
	want(t, "stored", d.stored(), []string{"m0", "m1", "m2"})
	for _, id := range []string{"m3", "m4"} {
		if e := (&contracts.Error{}); !errors.As(all[id].err, &e) || e.Code != contracts.CodeQueueFull {
			t.Errorf("%s: %+v", id, all[id])
		}
	}
	if !d.p.alone.has("anybody") {
		t.Error("batches go on against a full stream")
	}
}

// The acknowledgement of a batch is lost: its messages are known by their ids.
func TestOutcomeUnknown(t *testing.T) {
	d := newDisk(t, jetstream.StreamConfig{})
	d.afterBatch = func(error) error { return context.DeadlineExceeded }
	for id, r := range d.together(numbered(4)...) {
		if r.err != nil || r.known != (id != "m0") {
			t.Errorf("%+v", r)
		}
	}
	want(t, "stored", d.stored(), []string{"m0", "m1", "m2", "m3"})
}

// The broker goes while a batch is under way: everybody is told, nobody is kept.
func TestBrokerLostInABatch(t *testing.T) {
	d := newDisk(t, jetstream.StreamConfig{})
	lost := make(chan struct{})
	d.p.conn.SetDisconnectErrHandler(func(*nats.Conn, error) { close(lost) })
	d.afterBatch = func(error) error {
		d.srv.Shutdown()
		<-lost
		return context.DeadlineExceeded
	}
	all := d.together(numbered(50)...)
	for id, r := range all {
		e := &contracts.Error{}
		if id != "m0" && (!errors.As(r.err, &e) || e.Code != contracts.CodeQueueDown) {
			t.Errorf("%+v", r)
		}
	}
	want(t, "tried one by one", d.singles, []string{"m0", "m1"}) // the first that finds nobody is enough
}

// Batch and fall-back together take no longer than one publish may.
func TestFallBackIsBounded(t *testing.T) {
	var begun time.Time
	g := &group{timeout: 100 * time.Millisecond, hopeless: func(error) bool { return false }}
	g.many = func(ctx context.Context, _ []*entry) error { <-ctx.Done(); return ctx.Err() }
	tries := 0
	g.one = func(ctx context.Context, _ *entry) (bool, error) { tries++; <-ctx.Done(); return false, ctx.Err() }
	es := []*entry{{}, {}, {}}
	for _, e := range es {
		e.lead, e.done = make(chan struct{}), make(chan struct{})
	}
	g.waiting, g.led, begun = es, true, time.Now()
	g.run(t.Context())
	if tries != 1 || time.Since(begun) < g.timeout {
		t.Errorf("%d tries in %s", tries, time.Since(begun))
	}
	for _, e := range es {
		if <-e.done; !errors.Is(e.err, context.DeadlineExceeded) {
			t.Errorf("%v", e.err)
		}
	}
}

// A caller that gives up while it waits takes its message with it, and a leader
// that gave up still hands the lead on.
func TestCallersThatGiveUp(t *testing.T) {
	d := newDisk(t, jetstream.StreamConfig{})
	open, in := make(chan struct{}), make(chan struct{})
	var once sync.Once
	d.beforeOne = func(string) { once.Do(func() { close(in); <-open }) }
	var wg sync.WaitGroup
	wg.Go(func() { _, _ = d.p.publish(context.Background(), saying("m0", "c0"), false) })
	d.await(in)
	short, giveUp := context.WithCancel(context.Background())
	gone := make(chan error, 1)
	wg.Go(func() { _, err := d.p.publish(short, saying("m1", "c1"), false); gone <- err })
	d.waiting(1)
	wg.Go(func() { _, _ = d.p.publish(context.Background(), saying("m2", "c2"), false) })
	d.waiting(2)
	giveUp()
	if err := <-gone; err == nil {
		t.Error("no error for who gave up")
	}
	close(open)
	wg.Wait()
	want(t, "stored", d.stored(), []string{"m0", "m2"})
	if d.p.group.led || len(d.p.group.waiting) > 0 {
		t.Error("somebody still leads")
	}
}

// Many callers, some impatient: who was told "stored" is stored once.
func TestGroupUnderLoad(t *testing.T) {
	d := newDisk(t, jetstream.StreamConfig{})
	const callers, each = 64, 40
	var mu sync.Mutex
	told := make(map[string]bool)
	var wg sync.WaitGroup
	for c := range callers {
		wg.Go(func() {
			for i := range each {
				ctx, cancel := context.WithTimeout(context.Background(), soon)
				if i%7 == 0 {
					ctx, cancel = context.WithTimeout(context.Background(), time.Duration(c)*20*time.Microsecond)
				}
				id := fmt.Sprintf("m%dv%d", c, i)
				if _, err := d.p.publish(ctx, saying(id, "c"), false); err == nil {
					mu.Lock()
					told[id] = true
					mu.Unlock()
				} else if i%7 != 0 {
					t.Errorf("%s: %v", id, err)
				}
				cancel()
			}
		})
	}
	wg.Wait()
	counts := make(map[string]int)
	last := make(map[string]int)
	for _, id := range d.stored() {
		counts[id]++
		c, n, _ := strings.Cut(id, "v")
		var i int
		if _, err := fmt.Sscan(n, &i); err != nil || i < last[c] {
			t.Errorf("%s is stored behind %d", id, last[c])
		}
		last[c] = i
	}
	for id, n := range counts {
		if n != 1 {
			t.Errorf("%s stored %d times", id, n)
		}
	}
	for id := range told {
		if counts[id] != 1 {
			t.Errorf("%s was acknowledged and is stored %d times", id, counts[id])
		}
	}
	if len(d.batches) == 0 {
		t.Error("no batch in all of this")
	}
}

// BenchmarkPublish compares publishing by itself with group commit, both synced.
func BenchmarkPublish(b *testing.B) {
	for _, grouped := range []bool{false, true} {
		for _, callers := range []int{1, 64, 256} {
			b.Run(fmt.Sprintf("grouped=%t/callers=%d", grouped, callers), func(b *testing.B) {
				d := newDisk(b, jetstream.StreamConfig{})
				if !grouped {
					d.p.group = nil
				}
				var next sync.Mutex
				n := 0
				var wg sync.WaitGroup
				b.ResetTimer()
				for range callers {
					wg.Go(func() {
						for {
							next.Lock()
							i := n
							n++
							next.Unlock()
							if i >= b.N {
								return
							}
							m := say(fmt.Sprintf("m%d", i), fmt.Sprintf("c%d", i%1000))
							if _, err := d.p.publish(context.Background(), &m, false); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				wg.Wait()
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
			})
		}
	}
}
