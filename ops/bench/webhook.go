package bench

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/valyala/fasthttp"

	"moltbot/ops/bench/load"
	"moltbot/ops/bench/report"
	"moltbot/ops/e2e/platform"
)

// The scenario webhook: callbacks of Feishu and DingTalk in turns, signed and
// encrypted as theirs are, to the whole product with the demo model; its answers go
// back to stand-ins of the platforms, which take any number of them. They run in
// the bench, so their work is not the servers'.
const (
	webhookRate  = 100 // callbacks in a second of both together
	webhookChats = 200 // of each
	longestWay   = 2 * time.Minute
	seenWait     = requestTimeout // for the last answers
)

// Kinds of answers that went wrong behind the acknowledgement.
const (
	faultUnseen  = "answer never seen"
	faultTwice   = "answer seen twice"
	faultUnasked = "answer to nothing"
)

var (
	benchFeishu = platform.FeishuApp{
		AppID: "cli_bench", AppSecret: "feishu-secret-of-the-bench", EncryptKey: "feishu-encryption-of-the-bench",
		VerificationToken: "feishu-token-of-the-bench", TenantKey: "bench", BotOpenID: "ou_bench",
	}
	benchDingTalk = platform.DingTalkApp{ClientID: "dingbench", ClientSecret: "dingtalk-secret-of-the-bench", RobotCode: "dingbench", CorpID: "dingcorp"}
)

// webhook measures how fast callbacks are acknowledged, and how long after that
// their answers are seen.
func (b *bench) webhook(ctx context.Context, t turn) ([]report.Row, error) {
	w, err := newWebhookTarget()
	if err != nil {
		return nil, err
	}
	defer w.close()
	s, err := b.up(ctx, t, w, w.settings())
	if err != nil {
		return nil, err
	}
	rate := b.o.Rate
	defaults(&rate, float64(webhookRate))
	row, res, err := b.watched(ctx, t, s, loopOpen, load.Options{
		Addresses: s.addresses, Target: w, Callers: b.o.MaxInFlight, Ready: minReady, Rate: rate,
		Warmup: b.o.Warmup, Duration: b.o.Duration, Timeout: requestTimeout,
	})
	if err != nil {
		return nil, s.close(err)
	}
	if err := w.settle(ctx); err != nil {
		return nil, s.close(err)
	}
	row.Note = "acknowledgements; " + w.limits()
	return []report.Row{row, w.row(t, row, res)}, s.close(s.profiles(ctx))
}

// webhookTarget is both platforms. What it knows of a message is when it was
// acknowledged, and when its answer was seen.
type webhookTarget struct {
	feishu *platform.FeishuAPI
	ding   *platform.DingTalkAPI

	mu     sync.Mutex
	acked  map[uint64]time.Time // and not seen yet
	early  map[uint64]time.Time // seen before the acknowledgement was read
	seen   map[uint64]bool
	way    *hdrhistogram.Histogram // microseconds from the one to the other
	faults map[string]uint64
	first  time.Time
	last   time.Time
	change chan struct{} // closed and made anew by every answer
}

func newWebhookTarget() (*webhookTarget, error) {
	w := &webhookTarget{
		acked: map[uint64]time.Time{}, early: map[uint64]time.Time{}, seen: map[uint64]bool{}, faults: map[string]uint64{},
		way: hdrhistogram.New(1, longestWay.Microseconds(), 3), change: make(chan struct{}),
	}
	o := platform.Options{Ledger: &platform.Ledger{OnShow: w.show}, Unlimited: true}
	var err error
	if w.feishu, err = platform.NewFeishu(benchFeishu, o); err != nil {
		return nil, err
	}
	if w.ding, err = platform.NewDingTalk(benchDingTalk, o); err != nil {
		w.feishu.Close()
		return nil, err
	}
	return w, nil
}

func (w *webhookTarget) close() {
	w.feishu.Close()
	w.ding.Close()
}

// settings are the applications. Their rates are beyond what is asked: the limits
// of the real platforms would be all that the scenario measures.
func (w *webhookTarget) settings() string {
	return fmt.Sprintf(`feishu: {app_id: %s, app_secret: %s, encrypt_key: %s, verification_token: %s, tenant_key: %s, endpoint: %q, received: "off", rate: 100000, chat_rate: 100000}
dingtalk: {client_id: %s, client_secret: %s, robot_code: %s, corp_id: %s, endpoint: %q, webhook_origins: [%q], received: "off", rate: 100000, chat_rate: 100000}
deliver: {allow_networks: [127.0.0.0/8]}`,
		benchFeishu.AppID, benchFeishu.AppSecret, benchFeishu.EncryptKey, benchFeishu.VerificationToken, benchFeishu.TenantKey, w.feishu.URL(),
		benchDingTalk.ClientID, benchDingTalk.ClientSecret, benchDingTalk.RobotCode, benchDingTalk.CorpID, w.ding.URL(), w.ding.URL())
}

// Init writes nothing: two requests of a caller have little in common.
func (w *webhookTarget) Init(r *fasthttp.Request) { r.Header.SetMethod(fasthttp.MethodPost) }

// Prepare writes the callback of message n.
func (w *webhookTarget) Prepare(r *fasthttp.Request, n uint64) {
	var p platform.Platform = w.feishu
	path := "/feishu/webhook"
	if n%2 == 1 {
		p, path = w.ding, "/dingtalk/webhook"
	}
	chat := strconv.FormatUint(n/2%webhookChats, 10)
	header, body := p.Request(p.Write(platform.Message{Chat: "oc_" + chat, User: "ou_" + chat, Direct: true, Text: string(appendMessage(nil, n))}))
	r.Header.Reset() // of the other platform
	r.Header.SetMethod(fasthttp.MethodPost)
	r.Header.SetRequestURI(path)
	r.Header.SetHost("bench")
	for k := range header {
		r.Header.Set(k, header.Get(k))
	}
	r.SetBodyRaw(body)
}

// Judge notes the acknowledgement.
func (w *webhookTarget) Judge(_ *fasthttp.Response, n uint64) string {
	now := time.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.first.IsZero() {
		w.first = now
	}
	if at, is := w.early[n]; is {
		delete(w.early, n)
		w.arrived(now, at)
		return ""
	}
	w.acked[n] = now
	return ""
}

// answered finds the message that the demo model answers.
var answered = regexp.MustCompile(`You wrote: .this is message number (\d+) of the bench`)

// show notes an answer.
func (w *webhookTarget) show(s platform.Shown) {
	w.mu.Lock()
	defer w.mu.Unlock()
	found := answered.FindStringSubmatch(s.Text)
	if found == nil {
		w.faults[faultUnasked]++
		return
	}
	n, _ := strconv.ParseUint(found[1], 10, 64) // digits
	if w.seen[n] {
		w.faults[faultTwice]++
		return
	}
	w.seen[n] = true
	at, is := w.acked[n]
	if !is {
		w.early[n] = s.At
		return
	}
	delete(w.acked, n)
	w.arrived(at, s.At)
}

func (w *webhookTarget) arrived(acked, seen time.Time) {
	w.last = seen
	_ = w.way.RecordValue(max(1, min(seen.Sub(acked).Microseconds(), longestWay.Microseconds()))) // in range
	close(w.change)
	w.change = make(chan struct{})
}

// settle waits for the last answers. What then is missing is lost.
func (w *webhookTarget) settle(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, seenWait, errors.New("the last answers did not come"))
	defer cancel()
	for {
		w.mu.Lock()
		missing, change := len(w.acked), w.change
		w.mu.Unlock()
		if missing == 0 {
			return nil
		}
		select {
		case <-change:
		case <-ctx.Done():
			w.mu.Lock()
			defer w.mu.Unlock()
			w.faults[faultUnseen] += uint64(len(w.acked))
			return nil
		}
	}
}

// limits says what the platforms thought of the calls.
func (w *webhookTarget) limits() string {
	complaints := append(w.feishu.Complaints(), w.ding.Complaints()...)
	if len(complaints) == 0 {
		return "the platforms refused no call"
	}
	return fmt.Sprintf("the platforms refused %d calls, such as %s", len(complaints), complaints[0])
}

// row is the way from the acknowledgement to the user.
func (w *webhookTarget) row(t turn, acks report.Row, res load.Result) report.Row {
	w.mu.Lock()
	defer w.mu.Unlock()
	r := report.Row{
		Key: t.Key, Run: t.run, Rate: acks.Rate, Requests: uint64(w.way.TotalCount()), Latency: report.LatencyOf(w.way),
		Faults: w.faults, Asked: res.Sent, CPU: acks.CPU, BenchCPU: acks.BenchCPU, OtherCPU: acks.OtherCPU, RSS: acks.RSS,
	}
	for _, n := range w.faults {
		r.Failed += n
	}
	if took := w.last.Sub(w.first).Seconds(); took > 0 {
		r.PerSecond = float64(r.Requests) / took
	}
	r.Scenario += ", seen"
	r.Loop = loopOpen
	r.Note = "from the acknowledgement until the user sees the answer, with the warm-up"
	return r
}
