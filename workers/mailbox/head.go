package mailbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"moltbot/contracts"
)

// message is one message as it lies in the stream.
type message struct {
	seq  uint64
	at   time.Time // when it was stored; with seq it tells a message of a recreated stream from one of the old
	data []byte

	// Set by identify. id is made up where raw.
	id        string
	letter    any
	raw       bool
	header    nats.Header // of a delivery
	rawHeader []byte      // of a message that was looked up
}

// errNoHead says that the leader knows of no message after a sequence.
var errNoHead = errors.New("no message waits")

// lookup asks the stream which message of subject is the first at or after from.
type lookup interface {
	// direct asks any replica, which may lag. It brings no data.
	direct(ctx context.Context, subject string, from uint64) (message, error)
	// leader asks who knows; errNoHead is its word that there is none.
	leader(ctx context.Context, subject string, from uint64) (message, error)
}

// head finds the first message of subject after last. own is the delivered
// message while it is not settled; its bytes are used when it is the answer.
//
// The reading rule: a direct get may be answered by a replica that lags. One
// that shows our own message and nothing before it has nothing before it,
// because replicas apply in order. Any other answer proves nothing, and the
// leader is asked. Believing a lagging replica lost 11 messages in four trials.
func head(ctx context.Context, l lookup, subject string, last uint64, own *message) (message, error) {
	if own != nil && own.seq > last {
		first, err := l.direct(ctx, subject, last+1)
		if err == nil && first.seq == own.seq && first.at.Equal(own.at) {
			return *own, nil
		}
	}
	return l.leader(ctx, subject, last+1)
}

// gets is the lookup over a connection.
type gets struct {
	conn    *nats.Conn
	stream  string
	timeout time.Duration
}

func (g gets) direct(ctx context.Context, subject string, from uint64) (message, error) {
	msg, err := g.request(ctx, "$JS.API.DIRECT.GET."+g.stream, getRequest{Seq: from, NextFor: subject})
	if err != nil {
		return message{}, err
	}
	return decodeDirect(msg.Header)
}

// decodeDirect reads the headers of a direct get. A replica that knows of no
// message answers with a status instead.
func decodeDirect(h nats.Header) (message, error) {
	if s := h.Get("Status"); s != "" && s != "200" {
		return message{}, errNoHead
	}
	seq, err := strconv.ParseUint(h.Get(jetstream.SequenceHeader), 10, 64)
	if err != nil {
		return message{}, queueError("read head", err)
	}
	at, err := time.Parse(time.RFC3339Nano, h.Get(jetstream.TimeStampHeaer))
	if err != nil {
		return message{}, queueError("read head", err)
	}
	return message{seq: seq, at: at}, nil
}

type getRequest struct {
	Seq     uint64 `json:"seq"`
	NextFor string `json:"next_by_subj"`
}

type getResponse struct {
	Error   *jetstream.APIError `json:"error"`
	Message *struct {
		Seq     uint64    `json:"seq"`
		Subject string    `json:"subject"`
		Time    time.Time `json:"time"`
		Data    []byte    `json:"data"`
		Headers []byte    `json:"hdrs"`
	} `json:"message"`
}

// leader makes the request by hand: nats.go's GetMsg always goes direct once
// the stream allows it.
func (g gets) leader(ctx context.Context, subject string, from uint64) (message, error) {
	msg, err := g.request(ctx, "$JS.API.STREAM.MSG.GET."+g.stream, getRequest{Seq: from, NextFor: subject})
	if err != nil {
		return message{}, err
	}
	return decodeLeader(msg.Data, subject, from)
}

func decodeLeader(b []byte, subject string, from uint64) (message, error) {
	var r getResponse
	if err := json.Unmarshal(b, &r); err != nil {
		return message{}, queueError("read head", err)
	}
	switch {
	case r.Error != nil && r.Error.ErrorCode == jetstream.JSErrCodeMessageNotFound:
		return message{}, errNoHead
	case r.Error != nil:
		return message{}, queueError("read head", r.Error)
	case r.Message == nil || r.Message.Subject != subject || r.Message.Seq < from:
		return message{}, queueError("read head", errors.New("the broker answered with another message"))
	}
	return message{seq: r.Message.Seq, at: r.Message.Time, data: r.Message.Data, rawHeader: r.Message.Headers}, nil
}

func (g gets) request(ctx context.Context, subject string, r getRequest) (*nats.Msg, error) {
	body, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encode head request: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, g.timeout)
	defer cancel()
	msg, err := g.conn.RequestWithContext(ctx, subject, body)
	if err != nil {
		return nil, queueError("read head", err)
	}
	return msg, nil
}

// queueError marks a failure of the broker: not the message's fault.
func queueError(step string, err error) error {
	return &contracts.Error{
		Code: contracts.CodeQueueDown, Message: "the queue is not available",
		Retryable: true, Err: fmt.Errorf("nats: %s: %w", step, err),
	}
}
