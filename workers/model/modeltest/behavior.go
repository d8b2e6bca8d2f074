package modeltest

import (
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// Kind is a way to treat a request.
type Kind int

// The kinds. All but Answer are faults. Where it matters they follow the
// request: Cut is half a stream or half a JSON document.
const (
	Answer  Kind = iota // a good answer, plain or streamed as asked
	Plain               // a good answer in one piece, although a stream was asked for
	Status              // Behavior.Status with an error body; see Body
	Raw                 // 200 with Body as it is; see ContentType in Header
	Cut                 // the answer's first half, then a clean end
	Abort               // the answer's first half, then the connection breaks
	Reset               // the connection breaks before any byte
	Silent              // headers, then nothing until the client leaves
	Stall               // the answer's first half, then nothing until the client leaves
	Endless             // the first half again and again until the client leaves
	Giant               // one document of Size bytes that never closes its string
	Drip                // a good answer, one byte every Every
	Hushed              // a good answer without its terminator: [DONE], message_stop
	Fail                // streamed: the first half, then an error of type Body; plain: that error in a 200
)

// Behavior is how one request is treated. The zero value is a good answer.
type Behavior struct {
	Kind   Kind
	Status int               // for Status
	Body   string            // for Raw; for Status instead of the protocol's error shape, its {key} the key that came; for Fail
	Header map[string]string // added to the response
	Finish string            // finish_reason in OpenAI's words; default "stop", or "tool_calls"
	Usage  string            // JSON of the usage object; default: made up from lengths; "none": absent
	Size   int64             // for Giant
	Calls  []Call            // beside the text; streamed a few bytes at a time
	At     int               // added to the index of each call
	Twice  bool              // the finish comes twice
	// Every is the pause between the pieces of Endless and the bytes of Drip.
	Every time.Duration
	// Latency is the time before the headers.
	Latency time.Duration
	// Gate holds the request before the headers.
	Gate *Gate
}

// Call is a tool call.
type Call struct{ ID, Name, Arguments string }

// Gate holds requests until a test opens it.
type Gate struct {
	entered chan Request
	open    chan struct{}
	once    sync.Once
}

// NewGate gives a closed gate.
func NewGate() *Gate {
	return &Gate{entered: make(chan Request), open: make(chan struct{})}
}

// Entered gives each request that reaches the gate. Each must be received, or
// the request stays outside.
func (g *Gate) Entered() <-chan Request { return g.entered }

// Release opens the gate for good: for those held and those to come.
func (g *Gate) Release() { g.once.Do(func() { close(g.open) }) }

// exchange is one request being answered.
type exchange struct {
	w   http.ResponseWriter
	r   *http.Request
	req Request
	b   Behavior
	dialect
}

// dialect writes one protocol. What it gives is complete in itself: documents
// without a break, events with their empty line.
type dialect struct {
	document   func(x *exchange, text string) string
	opening    func(x *exchange) string
	delta      func(x *exchange, text string) string
	calls      func(x *exchange) []string // in pieces
	finishing  func(x *exchange, text string) string
	terminator string
	failure    func(kind, message string) string // a document
	giant      string                            // the beginning of one
}

func (s *Server) act(x *exchange) {
	switch x.b.Kind {
	case Answer, Hushed:
		x.answer(s.opts.Reply(x.req), x.req.Stream)
	case Plain:
		x.answer(s.opts.Reply(x.req), false)
	case Status:
		x.status()
	case Raw:
		x.raw()
	case Cut, Abort, Stall, Endless:
		s.spoil(x)
	case Reset:
		panic(http.ErrAbortHandler)
	case Silent:
		x.begin(x.req.Stream)
		until(s, x.r, make(chan struct{}))
	case Giant:
		x.endless()
	case Drip:
		s.drip(x)
	case Fail:
		x.fail(s.opts.Reply(x.req))
	}
}

func (x *exchange) begin(stream bool) {
	kind := "application/json"
	if stream {
		kind = "text/event-stream; charset=utf-8"
	}
	if x.w.Header().Get("Content-Type") == "" {
		x.w.Header().Set("Content-Type", kind)
	}
	x.flush()
}

func (x *exchange) flush() {
	if f, ok := x.w.(http.Flusher); ok {
		f.Flush()
	}
}

// write sends at once. A client that left is noticed by its context.
func (x *exchange) write(s string) {
	_, _ = x.w.Write([]byte(s))
	x.flush()
}

func (x *exchange) answer(text string, stream bool) {
	x.begin(stream)
	for _, piece := range x.pieces(text, stream) {
		x.write(piece)
	}
}

func (x *exchange) pieces(text string, stream bool) []string {
	if !stream {
		return []string{x.document(x, text)}
	}
	first, second := halves(text)
	all := []string{x.opening(x)}
	if text != "" {
		all = append(all, x.delta(x, first)+x.delta(x, second))
	}
	all = append(all, x.calls(x)...)
	all = append(all, x.finishing(x, text))
	if x.b.Twice {
		all = append(all, x.finishing(x, text))
	}
	if x.b.Kind == Hushed {
		return all
	}
	return append(all, x.terminator)
}

// drip gives nothing between two bytes but time.
func (s *Server) drip(x *exchange) {
	x.begin(x.req.Stream)
	for _, piece := range x.pieces(s.opts.Reply(x.req), x.req.Stream) {
		for i := range len(piece) {
			if !s.pause(x) {
				return
			}
			x.write(piece[i : i+1])
		}
	}
}

func (x *exchange) fail(text string) {
	x.begin(x.req.Stream)
	document := x.failure(x.b.Body, "the test wants an error that quotes "+x.req.Key)
	if !x.req.Stream {
		x.write(document)
		return
	}
	first, _ := halves(text)
	x.write(x.opening(x) + x.delta(x, first))
	x.write("event: error\ndata: " + document + "\n\n")
}

func (x *exchange) status() {
	if x.b.Body == "" {
		refuse(x.w, x.dialect, x.b.Status, "the test wants status "+strconv.Itoa(x.b.Status))
		return
	}
	x.w.WriteHeader(x.b.Status)
	x.write(strings.ReplaceAll(x.b.Body, "{key}", x.req.Key))
}

func (x *exchange) raw() {
	x.begin(x.req.Stream)
	x.write(x.b.Body)
}

// spoil sends a first half and then does what the kind says.
func (s *Server) spoil(x *exchange) {
	first, _ := halves(s.opts.Reply(x.req))
	x.begin(x.req.Stream)
	piece := x.delta(x, first)
	if x.req.Stream {
		x.write(x.opening(x) + piece)
	} else {
		whole := x.document(x, first)
		x.write(whole[:len(whole)/2])
		piece = " "
	}
	switch x.b.Kind {
	case Abort:
		panic(http.ErrAbortHandler)
	case Stall:
		until(s, x.r, make(chan struct{}))
	case Endless:
		for s.pause(x) {
			x.write(piece)
		}
	}
}

func (s *Server) pause(x *exchange) bool {
	timer := time.NewTimer(max(x.b.Every, time.Microsecond))
	defer timer.Stop()
	return until(s, x.r, timer.C)
}

func (x *exchange) endless() {
	x.begin(x.req.Stream)
	if x.req.Stream {
		x.write("data: ")
	}
	x.write(x.giant)
	block := strings.Repeat("x", 32<<10)
	for left := x.b.Size; left > 0 && x.r.Context().Err() == nil; left -= int64(len(block)) {
		x.write(block)
	}
}

// finish is the reason in OpenAI's words; the dialect translates it.
func (x *exchange) finish() string {
	switch {
	case x.b.Finish != "":
		return x.b.Finish
	case len(x.b.Calls) > 0:
		return "tool_calls"
	}
	return "stop"
}

// halves cuts a text in two between characters.
func halves(text string) (first, second string) {
	cut := len(text) / 2
	for cut > 0 && !utf8.RuneStart(text[cut]) {
		cut--
	}
	return text[:cut], text[cut:]
}
