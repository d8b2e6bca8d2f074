package mailbox

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"moltbot/contracts"
)

//go:embed lua/begin.lua
var beginLua string

//go:embed lua/claim.lua
var claimLua string

//go:embed lua/commit.lua
var commitLua string

//go:embed lua/release.lua
var releaseLua string

//go:embed lua/hold.lua
var holdLua string

//go:embed lua/renew.lua
var renewLua string

//go:embed lua/clear.lua
var clearLua string

//go:embed lua/mend.lua
var mendLua string

//go:embed lua/newest.lua
var newestLua string

func beginSource() string { return newestLua + beginLua }
func claimSource() string { return newestLua + claimLua }

// box is the Redis side of a mailbox: who has a conversation, how far it is,
// and the one step that finishes a message. Every call may be repeated.
type box struct {
	rdb  redis.UniversalClient
	keys func(conversation string) contracts.BoxKeys
	o    *Options

	scripts struct{ begin, claim, commit, release, hold, renew, clear, mend *redis.Script }
}

func newBox(o *Options) *box {
	b := &box{rdb: o.Redis, keys: o.Keys, o: o}
	b.scripts.begin, b.scripts.claim = redis.NewScript(beginSource()), redis.NewScript(claimSource())
	b.scripts.commit, b.scripts.release = redis.NewScript(commitLua), redis.NewScript(releaseLua)
	b.scripts.hold, b.scripts.renew = redis.NewScript(holdLua), redis.NewScript(renewLua)
	b.scripts.clear, b.scripts.mend = redis.NewScript(clearLua), redis.NewScript(mendLua)
	return b
}

// state is what a script answered.
type state string

const (
	stateGo       state = "go"       // begin, claim: run it
	stateBusy     state = "busy"     // begin: another holder, or a back-off
	stateFinished state = "finished" // the message is done, nothing of it is left to do
	stateFenced   state = "fenced"   // somebody else holds the fence now
	stateLost     state = "lost"     // the box or the lease is gone
	stateStopped  state = "stopped"  // commit: the user stopped it in the meantime
	stateMore     state = "more"     // commit, release: a later message or the outbox waits; we still hold
	stateReleased state = "released" // commit, release: the lease is given up
)

// failures is the history of transient failures of one message.
type failures struct {
	count int
	first time.Time
}

// begun is begin's answer. Only wait is set when busy.
type begun struct {
	state    state
	wait     time.Duration
	fence    int64
	last     uint64
	want     uint64
	epoch    int64
	stop     uint64
	finished bool // the delivered message is done, but the outbox is not empty
	tries    int
	failed   failures
	same     int // entries of a context whose version was named; turns and summary are left out then
	turns    [][]byte
	out      [][]byte
	summary  []byte
	note     string
}

// wakeup is the delivery that begin is called for.
type wakeup struct {
	conversation string
	id           string
	seq          uint64
	created      int64 // the stream's life, see View
	token        string
	version      string // of the context that is remembered here
}

var errAnswer = errors.New("unexpected answer of a Redis script")

func (b *box) begin(ctx context.Context, w wakeup) (begun, error) {
	k := b.keys(w.conversation)
	v, err := b.run(ctx, b.scripts.begin, place{w.conversation, w.id},
		[]string{k.Lease, k.Box, k.Context, k.Out, k.Done + w.id, k.Summary},
		w.token, ms(b.o.Lease), w.seq, w.created, w.id, b.o.Window, jitter(b.o.BoxTTL), w.version, b.o.KeepBytes).Slice()
	if err != nil {
		return begun{}, storeError("begin", err)
	}
	r := reader{vals: v}
	out := begun{state: state(r.text())}
	switch out.state {
	case stateBusy:
		out.wait = time.Duration(r.int()) * time.Millisecond
	case stateGo:
		out.fence, out.last, out.want = r.int(), r.seq(), r.seq()
		out.epoch, out.stop = r.int(), r.seq()
		out.finished, out.tries = r.int() == 1, int(r.int())
		out.failed = parseFailures(r.text())
		out.same = int(r.int())
		out.turns, out.out = r.list(), r.list()
		out.summary, out.note = r.bytes(), r.text()
	case stateFinished:
	default:
		r.bad = true
	}
	return out, r.err("begin")
}

// claimed is claim's answer.
type claimed struct {
	state  state
	tries  int
	failed failures
	same   int
	turns  [][]byte
	epoch  int64
	stop   uint64

	summary []byte
	note    string
}

func (b *box) claim(ctx context.Context, h *holding, id, undo string) (claimed, error) {
	k := b.keys(h.conversation)
	v, err := b.run(ctx, b.scripts.claim, place{h.conversation, id},
		[]string{k.Lease, k.Box, k.Done + id, k.Context, k.Summary},
		h.token, h.fence, id, undo, b.o.Window, h.known.version, b.o.KeepBytes).Slice()
	if err != nil {
		return claimed{}, storeError("claim", err)
	}
	r := reader{vals: v}
	out := claimed{state: state(r.text())}
	switch out.state {
	case stateGo:
		out.tries, out.failed = int(r.int()), parseFailures(r.text())
		out.same = int(r.int())
		out.turns, out.epoch, out.stop = r.list(), r.int(), r.seq()
		out.summary, out.note = r.bytes(), r.text()
	case stateFinished, stateFenced, stateLost:
	default:
		r.bad = true
	}
	return out, r.err("claim")
}

// committed is commit's answer.
type committed struct {
	state state
	kept  int
	want  uint64
	// version names the context as the commit left it; empty: as it was.
	version string
	entries int // of the context now; 0: nothing was added
}

func (b *box) commit(ctx context.Context, h *holding, t Task, o Outcome, stopped bool) (committed, error) {
	k := b.keys(h.conversation)
	note := ""
	if o.Note != nil {
		note = "=" + *o.Note
	}
	v, err := b.run(ctx, b.scripts.commit, place{h.conversation, t.ID},
		[]string{
			k.Lease, k.Box, k.Context, k.Out,
			k.Done + t.ID, k.Result + t.ID, k.Summary,
		},
		h.token, h.fence, t.Sequence, t.ID, t.Epoch, flag(stopped), o.Turn, o.Result, o.Out, b.o.KeepTurns,
		jitter(b.o.ContextTTL), jitter(b.o.BoxTTL), jitter(b.o.DoneTTL), jitter(b.o.ResultTTL), b.o.firstSeq(), h.created,
		flag(o.Reset), note, b.o.KeepBytes, b.o.Now().UnixMilli(), b.o.MaxAge.Milliseconds(), ringEntry(h.conversation, t.ID, o.Trail)).Slice()
	if err != nil {
		return committed{}, storeError("commit", err)
	}
	r := reader{vals: v}
	out := committed{state: state(r.text())}
	switch out.state {
	case stateMore, stateReleased:
		out.kept, out.want, out.version, out.entries = int(r.int()), r.seq(), r.text(), int(r.int())
	case stateFinished, stateFenced, stateLost, stateStopped:
	default:
		r.bad = true
	}
	return out, r.err("commit")
}

// everything, as release's upto, gives the conversation up whoever waits.
const everything = uint64(1) << 53

// release gives the lease up unless something after upto is wanted. refund
// names a message whose attempt did not happen.
func (b *box) release(ctx context.Context, h *holding, upto uint64, refund string) (state, uint64, error) {
	k := b.keys(h.conversation)
	v, err := b.run(ctx, b.scripts.release, place{h.conversation, refund}, []string{k.Lease, k.Box}, h.token, h.reached, upto, refund, h.created).Slice()
	if err != nil {
		return "", 0, storeError("release", err)
	}
	r := reader{vals: v}
	s, want := state(r.text()), r.seq()
	return s, want, r.err("release")
}

func (b *box) hold(ctx context.Context, h *holding, id string, wait time.Duration, refund bool, f failures) error {
	k := b.keys(h.conversation)
	_, err := b.run(ctx, b.scripts.hold, place{h.conversation, id}, []string{k.Lease, k.Box}, h.token, id, ms(wait), flag(refund), f.String()).Result()
	return storeError("hold", err)
}

// renew answers false when somebody else has the lease. What has the sequence stop
// or a lower one was stopped by the user.
func (b *box) renew(ctx context.Context, h *holding) (ours bool, stop uint64, _ error) {
	k := b.keys(h.conversation)
	v, err := b.run(ctx, b.scripts.renew, place{h.conversation, h.ownID}, []string{k.Lease, k.Box}, h.token, ms(b.o.Lease), h.created).Slice()
	if err != nil {
		return true, 0, storeError("renew", err)
	}
	r := reader{vals: v}
	n, stop := r.int(), r.seq()
	return r.bad || n != 0, stop, r.err("renew")
}

func (b *box) outbox(ctx context.Context, h *holding) ([][]byte, error) {
	entries, err := b.rdb.LRange(ctx, b.keys(h.conversation).Out, 0, -1).Result()
	out := make([][]byte, len(entries))
	for i, e := range entries {
		out[i] = []byte(e)
	}
	return out, storeError("read outbox", err)
}

func (b *box) clear(ctx context.Context, h *holding, entries [][]byte) error {
	args := make([]any, len(entries))
	for i, e := range entries {
		args[i] = e
	}
	return storeError("clear outbox", b.scripts.clear.Run(ctx, b.rdb, []string{b.keys(h.conversation).Out}, args...).Err())
}

func (b *box) result(ctx context.Context, conversation, id string) ([]byte, error) {
	v, err := b.rdb.Get(ctx, b.keys(conversation).Result+id).Bytes()
	if errors.Is(err, redis.Nil) {
		return nil, nil
	}
	return v, storeError("read result", err)
}

// storeError marks a failure of Redis: not the message's fault, and it may pass.
func storeError(step string, err error) error {
	if err == nil {
		return nil
	}
	return &contracts.Error{
		Code: contracts.CodeStoreDown, Message: "the conversation store is not available",
		Retryable: true, Err: fmt.Errorf("redis: %s: %w", step, err),
	}
}

func (f failures) String() string {
	if f.count == 0 {
		return ""
	}
	return strconv.Itoa(f.count) + ":" + strconv.FormatInt(f.first.UnixMilli(), 10)
}

func parseFailures(s string) failures {
	n, at, ok := strings.Cut(s, ":")
	count, err := strconv.Atoi(n)
	first, err2 := strconv.ParseInt(at, 10, 64)
	if !ok || err != nil || err2 != nil || count <= 0 {
		return failures{}
	}
	return failures{count: count, first: time.UnixMilli(first)}
}

func flag(set bool) int {
	if set {
		return 1
	}
	return 0
}

func ms(d time.Duration) int64 { return max(1, d.Milliseconds()) }

// jitter spreads a time to live by ±10 %, so that keys written together do not
// expire together. In milliseconds.
func jitter(d time.Duration) int64 {
	return ms(time.Duration(float64(d) * (0.9 + 0.2*rand.Float64())))
}

// reader takes a script's answer apart and remembers whether it had the form.
type reader struct {
	vals []any
	bad  bool
}

func (r *reader) next() any {
	if len(r.vals) == 0 {
		r.bad = true
		return nil
	}
	v := r.vals[0]
	r.vals = r.vals[1:]
	return v
}

func (r *reader) text() string {
	s, ok := r.next().(string)
	r.bad = r.bad || !ok
	return s
}

func (r *reader) bytes() []byte {
	if s := r.text(); s != "" {
		return []byte(s)
	}
	return nil
}

func (r *reader) int() int64 {
	n, ok := r.next().(int64)
	r.bad = r.bad || !ok
	return n
}

func (r *reader) seq() uint64 { return uint64(max(0, r.int())) }

func (r *reader) list() [][]byte {
	l, ok := r.next().([]any)
	r.bad = r.bad || !ok
	out := make([][]byte, 0, len(l))
	for _, v := range l {
		s, ok := v.(string)
		r.bad = r.bad || !ok
		out = append(out, []byte(s))
	}
	return out
}

func (r *reader) err(step string) error {
	if r.bad {
		return storeError(step, errAnswer)
	}
	return nil
}
