// Package platform plays Feishu and DingTalk over real HTTP for tests and the
// bench: it calls our webhooks as they do, judges what we send, and keeps a ledger
// of what users saw. It uses nothing of the product's, and never speaks to the real ones.
package platform

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync"
	"time"
)

// Names of the platforms in the ledger.
const (
	Feishu   = "feishu"
	DingTalk = "dingtalk"
)

// Message is what a user writes.
type Message struct {
	Chat   string
	User   string
	Direct bool   // a chat of the user with the bot
	Kind   string // text (the default), image or file
	Text   string // of a file: its name
	// Mention is @bot; in a group nothing else is for it.
	Mention bool
}

// Platform is what both have.
type Platform interface {
	// Write makes a message, which the ledger then expects an answer to.
	Write(m Message) *Incoming
	// Push calls our webhook with it, and again as the platform does, until it is
	// acknowledged.
	Push(ctx context.Context, in *Incoming) error
	// Request is the first call of the webhook with it, for those who push themselves.
	Request(in *Incoming) (http.Header, []byte)
	// Calls counts our calls of an operation.
	Calls(op string) int
}

// Incoming is a message on its way to our webhook.
type Incoming struct {
	Message
	Platform string
	ID       string      // the platform's message_id or msgId
	at       time.Time   // it was written
	plain    []byte      // the event or message itself
	body     []byte      // as it is posted
	stamp    http.Header // of the first call
	acked    bool        // under the ledger's lock
}

// Options are what both platforms are asked for.
type Options struct {
	// Ledger is shared by platforms whose users are judged together; nil: an own one.
	Ledger *Ledger
	// Faults says how a call of ours goes wrong; nil: none does.
	Faults func(Call) Fault
	// Redeliver are the waits before a webhook is called again; nil: once only.
	Redeliver []time.Duration
	// LongConnections is the base URL of a server that plays the platform's: who asks
	// where to connect is passed on to it. Empty: there is none.
	LongConnections string
	// Over brings an event or message over such a connection, until it is
	// acknowledged, instead of by webhook; nil: by webhook.
	Over func(ctx context.Context, plain []byte) error
	// Unlimited takes any number of calls in a second.
	Unlimited bool
	// Listen is the address; empty: any port of this machine.
	Listen string
}

// Redelivery is the schedule of Feishu (facts: 15 s, 5 min, 1 h, 6 h), so many
// times faster.
func Redelivery(faster int) []time.Duration {
	waits := []time.Duration{15 * time.Second, 5 * time.Minute, time.Hour, 6 * time.Hour}
	for i := range waits {
		waits[i] /= time.Duration(faster)
	}
	return waits
}

// side is what the stand-ins of both platforms are made of.
type side struct {
	*Ledger
	name   string
	o      Options
	url    string
	server *http.Server
	client *http.Client
	closed chan struct{}

	mu         sync.Mutex
	faults     func(Call) Fault
	webhook    string
	acks       []time.Duration
	badAcks    []string
	complaints []string
	calls      map[string]int
}

func newSide(name string, o Options) *side {
	if o.Ledger == nil {
		o.Ledger = &Ledger{}
	}
	return &side{
		Ledger: o.Ledger, name: name, o: o, faults: o.Faults, closed: make(chan struct{}), calls: map[string]int{},
		client: &http.Client{Timeout: ackLimit, Transport: &http.Transport{MaxIdleConnsPerHost: 512}},
	}
}

func (s *side) listen(routes http.Handler) error {
	if s.o.Listen == "" {
		s.o.Listen = "127.0.0.1:0"
	}
	l, err := net.Listen("tcp", s.o.Listen)
	if err != nil {
		return fmt.Errorf("listen as %s: %w", s.name, err)
	}
	s.url = "http://" + l.Addr().String()
	s.server = &http.Server{Handler: routes, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = s.server.Serve(l) }() // it ends with Close
	return nil
}

// URL is the base of the API, and the origin of session webhooks.
func (s *side) URL() string { return s.url }

// connector passes on who asks where to connect.
func (s *side) connector() (http.Handler, error) {
	if s.o.LongConnections == "" {
		return http.NotFoundHandler(), nil
	}
	to, err := url.Parse(s.o.LongConnections)
	if err != nil {
		return nil, fmt.Errorf("long connections of %s: %w", s.name, err)
	}
	return httputil.NewSingleHostReverseProxy(to), nil
}

// Close ends it; calls that hang are cut.
func (s *side) Close() {
	close(s.closed)
	_ = s.server.Close() // what is open is to be cut
	s.client.CloseIdleConnections()
}

// Webhook says where our endpoint is. It must be said before the first Push.
func (s *side) Webhook(url string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.webhook = url
}

func (s *side) endpoint() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.webhook
}

// Break changes how calls go wrong.
func (s *side) Break(faults func(Call) Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = faults
}

// Complaints are calls that the platform refuses, or would be right to: nothing of
// the product's may cause one.
func (s *side) Complaints() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.complaints...)
}

func (s *side) complain(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.complaints = append(s.complaints, s.name+": "+fmt.Sprintf(format, args...))
}

// Calls counts the calls of an operation, those that went wrong among them.
func (s *side) Calls(op string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[op]
}

// answer is what a call is told.
type answer struct {
	status int
	header map[string]string
	body   any // JSON; []byte: as it is
}

const largestBody = 1 << 20

// serve handles one operation. What h does has happened, whatever the fault then
// makes of the answer.
func (s *side) serve(op string, h func(r *http.Request, body []byte) answer) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, largestBody))
		if err != nil {
			return // it left before it had asked
		}
		s.mu.Lock()
		s.calls[op]++
		faults, n := s.faults, s.calls[op]
		s.mu.Unlock()
		var f Fault
		if faults != nil {
			f = faults(Call{Op: op, N: n, Body: string(body)})
		}
		var a answer
		if f.Seen || !f.spoils() {
			a = h(r, body)
		}
		s.reply(w, r, f, a)
	}
}

func (s *side) reply(w http.ResponseWriter, r *http.Request, f Fault, a answer) {
	if !s.pause(r.Context(), f.Delay) || f.Hang && !s.pause(r.Context(), time.Hour) {
		panic(http.ErrAbortHandler)
	}
	if f.Reset {
		reset(w)
		return
	}
	if f.spoils() {
		for k, v := range f.Header {
			w.Header().Set(k, v)
		}
		w.WriteHeader(f.Status)
		_, _ = io.WriteString(w, f.Body) // whoever asked may be gone
		return
	}
	for k, v := range a.header {
		w.Header().Set(k, v)
	}
	raw, is := a.body.([]byte)
	if !is {
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		raw, _ = json.Marshal(a.body) // cannot fail: our own maps
	}
	if a.status != 0 {
		w.WriteHeader(a.status)
	}
	_, _ = w.Write(raw) // whoever asked may be gone
}

// pause reports whether nobody left meanwhile.
func (s *side) pause(ctx context.Context, d time.Duration) bool {
	if d == 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
	case <-s.closed:
	}
	return false
}

// reset cuts the connection so that the other side reads an error, not an end.
func reset(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if c, is := conn.(*net.TCPConn); is {
		_ = c.SetLinger(0) // RST
	}
	_ = conn.Close()
}

// name makes an id of the platform's look.
func name(prefix string, bytes int) string {
	b := make([]byte, bytes)
	_, _ = rand.Read(b) // never fails
	return prefix + hex.EncodeToString(b)
}

// one reads a JSON document and nothing behind it.
func one(body []byte, into any) error {
	if !json.Valid(body) {
		return errors.New("no JSON")
	}
	return json.Unmarshal(body, into)
}
