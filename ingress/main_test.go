package ingress_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"moltbot/contracts"
	"moltbot/ingress"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	ann   = "token-of-ann-CANARY"
	bob   = "token-of-bob-CANARY"
	guest = "token-without-scope-CANARY"

	// patient is how long a test waits for what must happen; only a failure takes that long.
	patient = 10 * time.Second
)

type verifier map[string]ingress.Identity

func (v verifier) Verify(token string) (ingress.Identity, error) {
	who, ok := v[token]
	if !ok {
		return ingress.Identity{}, errors.New("token refused")
	}
	return who, nil
}

var users = verifier{
	ann: {User: "ann", Scopes: []string{"chat"}}, bob: {User: "bob", Scopes: []string{"admin", "chat"}},
	guest: {User: "guest", Scopes: []string{"admin"}},
}

// place is a Sealer that shows where it sealed.
type place struct{}

func (place) Seal(plain []byte, kind contracts.Kind, conversation, id string) ([]byte, error) {
	return append(contracts.AssociatedData(kind, conversation, id), plain...), nil
}

func (place) Open(sealed []byte, kind contracts.Kind, conversation, id string) ([]byte, error) {
	plain, ok := bytes.CutPrefix(sealed, contracts.AssociatedData(kind, conversation, id))
	if !ok {
		return nil, errors.New("sealed elsewhere")
	}
	return plain, nil
}

// broker is a JetStream server in this process that can be stopped and started.
type broker struct {
	t   testing.TB
	dir string
	mu  sync.Mutex
	srv *server.Server
}

func startBroker(t testing.TB) *broker {
	t.Helper()
	b := &broker{t: t, dir: t.TempDir()}
	b.start()
	t.Cleanup(b.stop)
	return b
}

func (b *broker) start() {
	b.t.Helper()
	srv, err := server.NewServer(&server.Options{
		DontListen: true, NoSigs: true, NoLog: true, JetStream: true, StoreDir: b.dir, JetStreamMaxStore: 1 << 28, JetStreamMaxMemory: 1 << 24,
	})
	if err != nil {
		b.t.Fatal(err)
	}
	srv.Start()
	if !srv.ReadyForConnections(patient) {
		b.t.Fatal("the broker did not start")
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.srv = srv
}

func (b *broker) stop() {
	b.mu.Lock()
	srv := b.srv
	b.srv = nil
	b.mu.Unlock()
	if srv != nil {
		srv.Shutdown()
		srv.WaitForShutdown()
	}
}

// InProcessConn makes the broker what a connection dials, again and again.
func (b *broker) InProcessConn() (net.Conn, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.srv == nil {
		return nil, errors.New("the broker is down")
	}
	return b.srv.InProcessConn()
}

func (b *broker) connect(opts ...nats.Option) *nats.Conn {
	b.t.Helper()
	nc, err := nats.Connect("", append([]nats.Option{
		nats.InProcessServer(b), nats.MaxReconnects(-1), nats.ReconnectWait(5 * time.Millisecond), nats.ReconnectJitter(0, 0),
		nats.RetryOnFailedConnect(true),
	}, opts...)...)
	if err != nil {
		b.t.Fatal(err)
	}
	closed := make(chan struct{})
	nc.SetClosedHandler(func(*nats.Conn) { close(closed) })
	b.t.Cleanup(func() { nc.Close(); <-closed })
	return nc
}

// logs is a log that several goroutines write and a test reads.
type logs struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// clock stands still until it is moved.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// rig is an ingress that serves on a real listener, with all it needs.
type rig struct {
	t      testing.TB
	broker *broker
	conn   *nats.Conn // of ingress
	test   *nats.Conn // of the test and its worker
	js     jetstream.JetStream
	store  *store
	namer  *contracts.Namer
	logs   *logs
	clock  *clock
	in     *ingress.Ingress
	base   string
	client *http.Client
	stop   func() error // stops Run and gives what it returned
}

func newRig(t testing.TB, change ...func(*ingress.Options)) *rig {
	t.Helper()
	r := newBareRig(t)
	r.makeStream(jetstream.StreamConfig{})
	r.run(change...)
	return r
}

// newBareRig has no stream and does not serve yet.
func newBareRig(t testing.TB) *rig {
	t.Helper()
	r := &rig{
		t: t, broker: startBroker(t), store: newStore(), logs: &logs{}, clock: &clock{t: time.Now().Truncate(time.Millisecond)},
		client: &http.Client{Transport: &http.Transport{}},
	}
	r.conn, r.test = r.broker.connect(), r.broker.connect()
	var err error
	if r.js, err = jetstream.New(r.test); err != nil {
		t.Fatal(err)
	}
	if r.namer, err = contracts.NewNamer(make([]byte, 32)); err != nil {
		t.Fatal(err)
	}
	return r
}

// makeStream makes CHAT, with what c adds.
func (r *rig) makeStream(c jetstream.StreamConfig) {
	r.t.Helper()
	c.Name, c.Subjects, c.Discard = contracts.StreamChat, []string{contracts.SubjectsChat}, jetstream.DiscardNew
	if _, err := r.js.CreateOrUpdateStream(r.t.Context(), c); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) run(change ...func(*ingress.Options)) {
	r.t.Helper()
	l := listen(r.t)
	o := ingress.Options{
		Node: "n1", Listener: l, Conn: r.conn, Store: r.store, Sessions: r.store, Opener: r.store, Sealer: place{}, Namer: r.namer,
		Verifier: users, Log: zerolog.New(r.logs), Now: r.clock.now, Cap: patient, Publish: patient / 2,
	}
	for _, f := range change {
		f(&o)
	}
	in, err := ingress.New(o)
	if err != nil {
		r.t.Fatal(err)
	}
	r.in, r.base = in, "http://"+l.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	var ended error
	go func() { defer close(done); ended = in.Run(ctx) }()
	r.stop = func() error { cancel(); <-done; return ended }
	r.t.Cleanup(func() {
		r.client.CloseIdleConnections()
		if err := r.stop(); err != nil {
			r.t.Errorf("run: %v", err)
		}
		if strings.Contains(r.logs.String(), "CANARY") {
			r.t.Errorf("a secret is in the log:\n%s", r.logs)
		}
	})
}

func listen(t testing.TB) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// response is an answer, read to its end.
type response struct {
	status int
	header http.Header
	body   string
	closed bool // the server ends the connection
}

func (r response) chat(t testing.TB) contracts.ChatReply {
	t.Helper()
	var c contracts.ChatReply
	if err := json.Unmarshal([]byte(r.body), &c); err != nil {
		t.Fatalf("%v in %s", err, r.body)
	}
	return c
}

// with changes a request: "Header: value" sets a header (twice: two headers),
// "Header:" takes it away.
func (r *rig) request(ctx context.Context, method, path, body string, with ...string) *http.Request {
	r.t.Helper()
	var content io.Reader
	if body != "" {
		content = strings.NewReader(body)
	}
	req, err := http.NewRequestWithContext(ctx, method, r.base+path, content)
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+ann)
	if method == http.MethodPost || method == http.MethodPut {
		req.Header.Set("Content-Type", "application/json")
	}
	for _, line := range with {
		name, value, _ := strings.Cut(line, ":")
		if value = strings.TrimSpace(value); value == "" {
			req.Header.Del(name)
		} else if name == "Idempotency-Key" {
			req.Header.Add(name, value)
		} else {
			req.Header.Set(name, value)
		}
	}
	return req
}

func (r *rig) do(req *http.Request) (response, error) {
	res, err := r.client.Do(req)
	if err != nil {
		return response{}, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return response{res.StatusCode, res.Header, string(b), res.Close}, err
}

func (r *rig) call(method, path, body string, with ...string) response {
	r.t.Helper()
	res, err := r.do(r.request(context.Background(), method, path, body, with...))
	if err != nil {
		r.t.Fatalf("%s %s: %v", method, path, err)
	}
	return res
}

func (r *rig) post(body string, with ...string) response {
	r.t.Helper()
	return r.call(http.MethodPost, "/api/chat", body, with...)
}

func (r *rig) get(path string, with ...string) response {
	r.t.Helper()
	return r.call(http.MethodGet, path, "", with...)
}

// later sends a request and gives its answer when it is there.
func (r *rig) later(method, path, body string, with ...string) <-chan response {
	r.t.Helper()
	req := r.request(context.Background(), method, path, body, with...)
	answer := make(chan response, 1)
	go func() {
		res, err := r.do(req)
		if err != nil {
			res.body = err.Error()
		}
		answer <- res
	}()
	return answer
}

func await[T any](t testing.TB, what string, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patient):
		t.Fatalf("%s: nothing came", what)
		panic("unreachable")
	}
}

func (r *rig) stored() uint64 {
	r.t.Helper()
	s, err := r.js.Stream(r.t.Context(), contracts.StreamChat)
	if err != nil {
		r.t.Fatal(err)
	}
	return s.CachedInfo().State.Msgs
}

// problem checks that res is a problem document of code, complete and typed.
func problem(t testing.TB, res response, code contracts.Code) contracts.Problem {
	t.Helper()
	var p contracts.Problem
	d := json.NewDecoder(strings.NewReader(res.body))
	d.DisallowUnknownFields()
	if err := d.Decode(&p); err != nil {
		t.Fatalf("status %d, no problem document (%v): %s", res.status, err, res.body)
	}
	switch {
	case p.Code != code || res.status != code.Status() || p.Status != res.status:
		t.Errorf("status %d, code %q, want %d %q: %s", res.status, p.Code, code.Status(), code, res.body)
	case p.Type != "about:blank" || p.Title != http.StatusText(res.status) || p.Detail == "":
		t.Errorf("incomplete: %s", res.body)
	case p.RequestID == "" || p.RequestID != res.header.Get("X-Request-Id"):
		t.Errorf("request id %q, header %q", p.RequestID, res.header.Get("X-Request-Id"))
	case res.header.Get("Content-Type") != contracts.ProblemType:
		t.Errorf("content type %q", res.header.Get("Content-Type"))
	case (res.status == 401) != (res.header.Get("WWW-Authenticate") != ""):
		t.Errorf("status %d with WWW-Authenticate %q", res.status, res.header.Get("WWW-Authenticate"))
	}
	return p
}

func say(message string, more ...string) string {
	b, _ := json.Marshal(message)
	fields := append([]string{`"message":` + string(b)}, more...)
	return fmt.Sprintf("{%s}", strings.Join(fields, ","))
}
