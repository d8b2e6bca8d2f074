package floor

import (
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/labstack/echo/v4"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"moltbot/contracts"
)

// message is what goes through the stream.
type message struct {
	ID      string `json:"id"`
	ReplyTo string `json:"reply_to"`
	Session string `json:"session_id"`
	Text    string `json:"message"`
}

// ingress is the HTTP end: publish, wait, answer.
type ingress struct {
	js   jetstream.JetStream
	last atomic.Uint64

	mu      sync.Mutex
	waiting map[string]chan []byte // by subject of the reply
}

const patience = 30 * time.Second

func newIngress(nc *nats.Conn) (*ingress, error) {
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, err
	}
	in := &ingress{js: js, waiting: map[string]chan []byte{}}
	if _, err := nc.Subscribe(replies+"*", in.take); err != nil {
		return nil, err
	}
	return in, nc.Flush()
}

func (in *ingress) take(m *nats.Msg) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if w, found := in.waiting[m.Subject]; found {
		delete(in.waiting, m.Subject)
		w <- m.Data // has room for the one reply
	}
}

func (in *ingress) chat(c echo.Context) error {
	var r contracts.ChatRequest
	if err := json.UnmarshalRead(c.Request().Body, &r); err != nil {
		return echo.NewHTTPError(http.StatusBadRequest)
	}
	id := strconv.FormatUint(in.last.Add(1), 10)
	m := message{ID: id, ReplyTo: replies + id, Session: r.SessionID, Text: r.Message}
	data, err := json.Marshal(m)
	if err != nil {
		return err
	}
	// Register before publishing: a fast worker may answer before that returns.
	w := make(chan []byte, 1)
	in.mu.Lock()
	in.waiting[m.ReplyTo] = w
	in.mu.Unlock()
	ctx := c.Request().Context()
	if _, err := in.js.PublishMsg(ctx, &nats.Msg{Subject: inbound + m.Session, Data: data}); err != nil {
		return err
	}
	late := time.NewTimer(patience)
	defer late.Stop()
	select {
	case reply := <-w:
		return c.JSONBlob(http.StatusOK, reply)
	case <-late.C:
		return echo.NewHTTPError(http.StatusGatewayTimeout)
	case <-ctx.Done():
		return ctx.Err()
	}
}
