package modeltest

import (
	"fmt"
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
)

// Behavior is how one request is treated. The zero value is a good answer.
type Behavior struct {
	Kind   Kind
	Status int               // for Status
	Body   string            // for Raw; for Status instead of OpenAI's error shape
	Header map[string]string // added to the response
	Finish string            // finish_reason; default "stop"
	Usage  string            // JSON of the usage object; default: made up from lengths; "none": absent
	Size   int64             // for Giant
	// Every is the pause between the pieces of Endless.
	Every time.Duration
	// Latency is the time before the headers.
	Latency time.Duration
	// Gate holds the request before the headers.
	Gate *Gate
}

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
}

func (s *Server) act(x *exchange) {
	switch x.b.Kind {
	case Answer:
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
		x.giant()
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
	if !stream {
		x.write(x.document(text))
		return
	}
	first, second := halves(text)
	x.write(x.opening() + x.delta(first) + x.delta(second))
	x.write(x.chunk(`"choices":[{"index":0,"delta":{},"finish_reason":` + quote(x.finish()) + `}]`))
	if usage := x.usage(text); usage != "" && x.req.StreamOptions.IncludeUsage {
		x.write(x.chunk(`"choices":[]` + usage))
	}
	x.write("data: [DONE]\n\n")
}

func (x *exchange) status() {
	if x.b.Body == "" {
		refuse(x.w, x.b.Status, "the test wants status "+strconv.Itoa(x.b.Status))
		return
	}
	x.w.WriteHeader(x.b.Status)
	x.write(x.b.Body)
}

func (x *exchange) raw() {
	x.begin(x.req.Stream)
	x.write(x.b.Body)
}

// spoil sends a first half and then does what the kind says.
func (s *Server) spoil(x *exchange) {
	first, _ := halves(s.opts.Reply(x.req))
	x.begin(x.req.Stream)
	piece := x.delta(first)
	if x.req.Stream {
		x.write(x.opening() + piece)
	} else {
		whole := x.document(first)
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

func (x *exchange) giant() {
	x.begin(x.req.Stream)
	if x.req.Stream {
		x.write("data: ")
	}
	x.write(`{"choices":[{"message":{"content":"`)
	block := strings.Repeat("x", 32<<10)
	for left := x.b.Size; left > 0 && x.r.Context().Err() == nil; left -= int64(len(block)) {
		x.write(block)
	}
}

func (x *exchange) finish() string {
	if x.b.Finish == "" {
		return "stop"
	}
	return x.b.Finish
}

// usage is the member of the same name with its comma, or nothing.
func (x *exchange) usage(text string) string {
	switch x.b.Usage {
	case "none":
		return ""
	case "":
		prompt := 0
		for _, m := range x.req.Messages {
			prompt += utf8.RuneCountInString(m.Content)
		}
		out := utf8.RuneCountInString(text)
		return fmt.Sprintf(`,"usage":{"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d}`, prompt, out, prompt+out)
	}
	return `,"usage":` + x.b.Usage
}

func (x *exchange) document(text string) string {
	return fmt.Sprintf(`{"id":"chatcmpl-test","object":"chat.completion","created":1700000000,"model":%s,`+
		`"choices":[{"index":0,"message":{"role":"assistant","content":%s,"refusal":null},"logprobs":null,"finish_reason":%s}]%s}`,
		quote(x.req.Model), quote(text), quote(x.finish()), x.usage(text))
}

func (x *exchange) chunk(rest string) string {
	return fmt.Sprintf(`data: {"id":"chatcmpl-test","object":"chat.completion.chunk","created":1700000000,"model":%s,%s}`+"\n\n",
		quote(x.req.Model), rest)
}

func (x *exchange) opening() string {
	return x.chunk(`"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]`)
}

func (x *exchange) delta(text string) string {
	return x.chunk(`"choices":[{"index":0,"delta":{"content":` + quote(text) + `},"finish_reason":null}]`)
}

// halves cuts a text in two between characters.
func halves(text string) (first, second string) {
	cut := len(text) / 2
	for cut > 0 && !utf8.RuneStart(text[cut]) {
		cut--
	}
	return text[:cut], text[cut:]
}
