package bench

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"moltbot/contracts"
	"moltbot/ops/bench/load"
	"moltbot/ops/bench/outside"
	"moltbot/ops/bench/report"
)

// The scenario stream: many clients read answers along that a slow model makes
// word by word.
const (
	streamCallers = 200
	streamTokens  = 200
	streamTime    = 10 * time.Second // of one answer
	streamArrive  = 0.25             // of that time; within it all clients arrive
	longestFirst  = time.Minute
)

// Kinds of streams that are broken.
const (
	faultStatus = "no stream"
	faultText   = "other text than the model sent"
	faultEnd    = "no end"
)

// streams measures how long the first token is under way, and whether every
// stream shows what the model sent.
func (b *bench) streams(ctx context.Context, t turn) ([]report.Row, error) {
	n, takes := t.Callers, b.o.ModelTime
	defaults(&takes, streamTime)
	if err := enoughFiles(n); err != nil {
		return nil, err
	}
	s, err := b.cluster(ctx, t, roles{
		ingress: 1, workers: waitingWorkers, slots: (n + waitingWorkers - 1) / waitingWorkers, model: takes, tokens: streamTokens,
	})
	if err != nil {
		return nil, err
	}
	r := newReaders(s, n, b.progress.phase(loopOpen, 0, takes+time.Duration(streamArrive*float64(takes))))
	g := &gauge{s: s}
	peak := g.peakMemory(ctx, r.live)
	g.begin()
	elapsed := r.run(ctx, time.Duration(streamArrive*float64(takes)), 3*takes+requestTimeout)
	g.end()
	top := peak()
	if err := firstOf(context.Cause(ctx), g.err); err != nil {
		return nil, s.close(err)
	}
	return []report.Row{r.row(t, g, elapsed, top)}, s.close(nil)
}

func (r *readers) row(t turn, g *gauge, elapsed time.Duration, top held) report.Row {
	ok := uint64(r.first.TotalCount())
	row := report.Row{
		Key: t.Key, Run: t.run, Requests: ok, PerSecond: float64(ok) / elapsed.Seconds(), Latency: report.LatencyOf(r.first),
		Faults: r.faults, Peak: top.waiting, Asked: uint64(r.n), CPU: g.cpu, BenchCPU: g.bench, OtherCPU: g.others, RSS: top.rss,
	}
	for _, c := range r.faults {
		row.Failed += c
	}
	row.Loop = loopOpen
	row.Note = fmt.Sprintf("%d of %d streams whole, most at once %d; the first token came P50 %.1f ms, P99 %.1f ms after the model sent it; %.0f tokens/s in %d events; %s",
		ok, r.n, top.waiting, row.Latency.P50, row.Latency.P99, float64(ok*streamTokens)/elapsed.Seconds(), r.events, memory(top))
	return row
}

// readers are the clients.
type readers struct {
	n      int
	url    string
	token  string
	want   string // behind the first token
	client *http.Client
	live   *load.Live

	mu     sync.Mutex
	first  *hdrhistogram.Histogram // microseconds
	faults map[string]uint64
	events int
}

func newReaders(s *stand, n int, live *load.Live) *readers {
	token := ""
	if c, is := s.target.(*chatTarget); is {
		token = c.token
	}
	return &readers{
		n: n, url: "http://" + s.addresses[0] + "/api/chat", token: token, want: outside.Streamed(streamTokens), live: live,
		client: &http.Client{Transport: &http.Transport{DisableCompression: true}},
		first:  hdrhistogram.New(1, longestFirst.Microseconds(), 3), faults: map[string]uint64{},
	}
}

// run lets all clients read, beginning one after the other within arrive.
func (r *readers) run(ctx context.Context, arrive, timeout time.Duration) (elapsed time.Duration) {
	defer r.client.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	began := time.Now()
	var all sync.WaitGroup
	for i := range r.n {
		if pause(ctx, time.Until(began.Add(arrive*time.Duration(i)/time.Duration(r.n)))) != nil {
			r.fault(faultConnectLate)
			continue
		}
		all.Go(func() { r.read(ctx, i) })
	}
	all.Wait()
	return time.Since(began)
}

const faultConnectLate = "not begun in time"

func (r *readers) fault(kind string) {
	r.live.Failed.Add(1)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.faults[kind]++
}

// read is one client.
func (r *readers) read(ctx context.Context, i int) {
	r.live.InFlight.Add(1)
	defer r.live.InFlight.Add(-1)
	// Each asks something else: for the same, the model would be called once.
	body := fmt.Sprintf(`{"message":"say many words, for the %dth time","stream":true,"session_id":"stream-%d"}`, i, i)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.url, strings.NewReader(body))
	if err != nil {
		r.fault(faultStatus)
		return
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+r.token)
	res, err := r.client.Do(req)
	if err != nil {
		r.fault(faultStatus)
		return
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		r.fault("status " + strconv.Itoa(res.StatusCode))
		return
	}
	shown, fault := r.follow(res.Body)
	if fault == "" {
		fault = r.judge(shown)
	}
	if fault != "" {
		r.fault(fault)
		return
	}
	r.live.Done.Add(1)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events += shown.events
	_ = r.first.RecordValue(max(1, min(shown.first.Microseconds(), longestFirst.Microseconds()))) // in range
}

// shown is what one client saw.
type shown struct {
	text   string
	whole  string        // by the last event
	first  time.Duration // between the sending of the first token and its coming
	events int
}

// judge compares what was shown with what the model sent.
func (r *readers) judge(s shown) string {
	if _, rest, ok := outside.SentAt(s.text); !ok || rest != r.want || s.whole != s.text {
		return faultText
	}
	return ""
}

// follow reads a stream to its end.
func (r *readers) follow(body io.Reader) (s shown, fault string) {
	var text strings.Builder
	name := ""
	for lines := bufio.NewScanner(body); lines.Scan(); {
		line := lines.Bytes()
		if value, is := bytes.CutPrefix(line, []byte("event: ")); is {
			name = string(value)
			continue
		}
		data, is := bytes.CutPrefix(line, []byte("data: "))
		if !is {
			continue
		}
		switch name {
		case "delta":
			var d contracts.StreamDelta
			if json.Unmarshal(data, &d) != nil {
				return s, faultText
			}
			if at, _, ok := outside.SentAt(d.Text); ok && s.events == 0 {
				s.first = time.Since(at)
			}
			s.events++
			text.WriteString(d.Text)
		case "done":
			var c contracts.ChatReply
			if json.Unmarshal(data, &c) != nil {
				return s, faultText
			}
			s.text, s.whole = text.String(), c.Reply
			return s, ""
		case "reset", "error", "pending":
			return s, name
		}
	}
	return s, faultEnd
}
