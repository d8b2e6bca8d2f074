package ingress

import (
	"bytes"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"
)

// events writes a stream of server-sent events. Each event is on its way when
// its method returns. A client that does not read is given up on after a while;
// one that reads may be served for longer than the server's WriteTimeout.
type events struct {
	w      http.ResponseWriter
	c      *http.ResponseController
	within time.Duration // time to write one event
	buf    bytes.Buffer
}

// keptBuffer is the most that a stream holds while it waits for its next event.
const keptBuffer = 8 << 10

// stream begins a stream of events: from here on an error is an event, too.
func (in *Ingress) stream(c echo.Context) (*events, error) {
	h := c.Response().Header()
	h.Set(echo.HeaderContentType, "text/event-stream")
	h.Set(echo.HeaderCacheControl, "no-store, no-transform")
	h.Set("X-Accel-Buffering", "no") // nginx would collect the events
	// echo's own Flush hides what the connection has to say.
	e := &events{w: c.Response().Writer, c: http.NewResponseController(c.Response().Writer), within: in.o.WriteWait}
	if err := e.c.SetWriteDeadline(time.Now().Add(e.within)); err != nil {
		return nil, err
	}
	c.Response().WriteHeader(http.StatusOK)
	return e, e.c.Flush()
}

// send writes one event. Empty id and name are left out.
func (e *events) send(id, name string, data []byte) error {
	e.buf.Reset()
	e.field("id", id)
	e.field("event", name)
	for line := range bytes.Lines(data) {
		e.buf.WriteString("data: ")
		e.buf.Write(bytes.TrimRight(line, "\r\n"))
		e.buf.WriteByte('\n')
	}
	return e.end()
}

func (e *events) field(name, value string) {
	if value != "" {
		e.buf.WriteString(name + ": " + value + "\n")
	}
}

// alive writes a comment, which clients ignore and proxies take for traffic.
func (e *events) alive() error {
	e.buf.Reset()
	e.buf.WriteString(":\n")
	return e.end()
}

func (e *events) end() error {
	e.buf.WriteByte('\n')
	if err := e.c.SetWriteDeadline(time.Now().Add(e.within)); err != nil {
		return err
	}
	_, err := e.w.Write(e.buf.Bytes())
	if e.buf.Cap() > keptBuffer {
		e.buf = bytes.Buffer{}
	}
	if err != nil {
		return err
	}
	return e.c.Flush()
}
