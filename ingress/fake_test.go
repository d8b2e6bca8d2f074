package ingress_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"moltbot/contracts"
)

// store is the conversation store in memory, with faults.
type store struct {
	mu      sync.Mutex
	results map[string][]byte // sealed
	done    map[string]bool
	claims  map[string]claim
	erased  []string
	lists   []string
	reads   []contracts.SessionSpan

	sessions map[string]contracts.SessionDetail
	down     bool

	onResult func(ctx context.Context)
	onClaim  func(ctx context.Context)
}

type claim struct {
	first time.Time
	body  string
}

func newStore() *store {
	return &store{results: make(map[string][]byte), done: make(map[string]bool), claims: make(map[string]claim), sessions: make(map[string]contracts.SessionDetail)}
}

func (s *store) failing(down bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = down
}

func (s *store) fault() error {
	if s.down {
		return &contracts.Error{
			Code: contracts.CodeStoreDown, Message: "the conversation store is not available", RetryAfter: time.Second,
			Retryable: true, Err: errors.New("dial tcp 10.1.2.3:6379: connection refused"),
		}
	}
	return nil
}

func sealResult(r contracts.Result) []byte {
	id, _ := contracts.ParseID(r.ID)
	plain := contracts.EncodeResult(r)
	sealed, _ := place{}.Seal(plain, contracts.KindResult, id.Conversation, r.ID)
	return sealed
}

func (s *store) park(r contracts.Result) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.results[r.ID], s.done[r.ID] = sealResult(r), true
}

func (s *store) expire(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.results, id)
}

func (s *store) Result(ctx context.Context, id contracts.ID) (r contracts.Result, found, done bool, err error) {
	if s.onResult != nil {
		s.onResult(ctx)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.fault(); err != nil {
		return r, false, false, err
	}
	done = s.done[id.String()]
	sealed, ok := s.results[id.String()]
	if !ok {
		return r, false, done, nil
	}
	r, err = s.OpenReply(id, sealed)
	return r, err == nil, done, err
}

func (s *store) OpenReply(id contracts.ID, data []byte) (contracts.Result, error) {
	plain, err := place{}.Open(data, contracts.KindResult, id.Conversation, id.String())
	if err != nil {
		return contracts.Result{}, err
	}
	return contracts.DecodeResult(plain)
}

func (s *store) Claim(ctx context.Context, digest, body string, now time.Time) (time.Time, bool, bool, error) {
	if s.onClaim != nil {
		s.onClaim(ctx)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.fault(); err != nil {
		return time.Time{}, false, false, err
	}
	c, known := s.claims[digest]
	if !known {
		c = claim{now, body}
		s.claims[digest] = c
	}
	return c.first, c.body == body, !known, nil
}

func (s *store) Erase(_ context.Context, caller, conversation string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.fault(); err != nil {
		return err
	}
	s.erased = append(s.erased, caller+" "+conversation)
	delete(s.sessions, conversation)
	return nil
}

func (s *store) List(_ context.Context, caller, after string, limit int) (contracts.SessionPage, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lists = append(s.lists, fmt.Sprintf("%s %q %d", caller, after, limit))
	page := contracts.SessionPage{Sessions: []contracts.SessionItem{}, Next: "next"}
	for _, d := range s.sessions {
		page.Sessions = append(page.Sessions, d.Session)
	}
	return page, s.fault()
}

func (s *store) Read(_ context.Context, conversation string, span contracts.SessionSpan) (contracts.SessionDetail, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reads = append(s.reads, span)
	d, found := s.sessions[conversation]
	return d, found, s.fault()
}

// worker takes messages from CHAT and replies as contracts say: parked first,
// then sent to whoever waits, then acknowledged.
type worker struct {
	r     *rig
	taken chan contracts.Message // every message, as it is taken
	mu    sync.Mutex
	inbox map[string][]string // of running messages
	asked chan string         // the id of every attach
}

// work starts a worker. run gives the result of a message; ok false is a worker
// that died: no reply, no acknowledgement.
func (r *rig) work(run func(contracts.Message) (contracts.Result, bool)) *worker {
	r.t.Helper()
	w := &worker{r: r, taken: make(chan contracts.Message, 1000), inbox: make(map[string][]string), asked: make(chan string, 1000)}
	sub, err := r.test.Subscribe(contracts.SubjectsAttach, w.attach)
	if err != nil {
		r.t.Fatal(err)
	}
	c, err := r.js.CreateOrUpdateConsumer(r.t.Context(), contracts.StreamChat, jetstream.ConsumerConfig{
		Durable: contracts.ConsumerChat, AckPolicy: jetstream.AckExplicitPolicy,
	})
	if err != nil {
		r.t.Fatal(err)
	}
	var wg sync.WaitGroup
	consuming, err := c.Consume(func(d jetstream.Msg) {
		wg.Go(func() { w.handle(d, run) })
	})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() {
		consuming.Stop()
		<-consuming.Closed()
		wg.Wait()
		_ = sub.Unsubscribe()
	})
	return w
}

func (w *worker) handle(d jetstream.Msg, run func(contracts.Message) (contracts.Result, bool)) {
	letter, err := contracts.DecodeLetter(d.Data())
	if err != nil {
		w.r.t.Errorf("unreadable message: %v", err)
		return
	}
	m, err := letter.Open(place{})
	if err != nil {
		w.r.t.Errorf("sealed for another place: %v", err)
		return
	}
	w.mu.Lock()
	w.inbox[m.ID] = append(w.inbox[m.ID], m.ReplyTo)
	w.mu.Unlock()
	w.taken <- m
	result, ok := run(m)
	if !ok {
		return
	}
	w.r.store.park(result)
	w.mu.Lock()
	defer w.mu.Unlock()
	sent := make(map[string]bool)
	for _, to := range w.inbox[m.ID] {
		if to != "" && !sent[to] {
			sent[to] = true
			w.r.reply(to, contracts.Reply{ID: m.ID, Data: sealResult(result)})
		}
	}
	delete(w.inbox, m.ID)
	_ = d.Ack()
}

func (w *worker) attach(m *nats.Msg) {
	a, err := contracts.DecodeAttach(m.Data)
	if err != nil {
		w.r.t.Errorf("attach: %v", err)
		return
	}
	id := m.Subject[len(contracts.SubjectsAttach)-1:]
	w.mu.Lock()
	if _, running := w.inbox[id]; running {
		w.inbox[id] = append(w.inbox[id], a.ReplyTo)
	}
	w.mu.Unlock()
	w.asked <- id
}

// reply sends a reply and gives the ingress' answer: taken, gone or none.
func (r *rig) reply(to string, reply contracts.Reply) string {
	m, err := r.test.Request(to, contracts.EncodeReply(reply), patient)
	if err != nil {
		return ""
	}
	return string(m.Data)
}

// answered is the result of m that says what was said.
func answered(m contracts.Message) (contracts.Result, bool) {
	return contracts.Result{
		ID: m.ID, SessionID: m.SessionID, Reply: "you said " + m.Text, Model: "demo", ModelVersion: "demo-1",
		Usage: contracts.Usage{PromptTokens: 1, CompletionTokens: 2}, Finish: "stop", At: m.Accepted.Add(time.Second),
	}, true
}

// held is a run that waits until it is opened, or the test is over.
func held(t testing.TB, open <-chan struct{}) func(contracts.Message) (contracts.Result, bool) {
	return func(m contracts.Message) (contracts.Result, bool) {
		select {
		case <-open:
		case <-t.Context().Done():
		}
		return answered(m)
	}
}
