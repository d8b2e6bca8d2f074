package dingtalk

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/gorilla/websocket"
	frames "github.com/open-dingtalk/dingtalk-stream-sdk-go/payload"
	"github.com/open-dingtalk/dingtalk-stream-sdk-go/utils"

	"moltbot/ingress/im"
	"moltbot/ingress/link"
)

// StreamOptions of a Stream. What has no default is required.
type StreamOptions struct {
	Identity     Identity
	ClientID     string
	ClientSecret string
	Endpoint     string // base URL of the API, such as https://api.dingtalk.com
	// Ping is the wait between signs of life. Default 20s.
	Ping time.Duration
	// Link holds the waits and the log of the connection; the rest of it is set here.
	Link link.Options
}

// Stream is the long connection of one application.
//
// The frames are those of the official SDK (v0.9.1), its client is not: when a
// ping goes unanswered it sends on a closed channel outside of any recover, which
// ends the whole process; it writes answers from several goroutines at once, so
// that 11 of 400 got lost when 8 came at a time; nothing says that a connection
// ended; and what connects again neither heeds a context nor ends.
type Stream struct{ *link.Link }

// NewStream gives a Stream that is not connected yet.
func NewStream(o StreamOptions) (*Stream, error) {
	if o.ClientID == "" || o.ClientSecret == "" || o.Endpoint == "" {
		return nil, errors.New("dingtalk stream: ClientID, ClientSecret and Endpoint are required")
	}
	if o.Ping == 0 {
		o.Ping = 20 * time.Second
	}
	l := o.Link
	l.Platform, l.Kind, l.Plain = gateway{o}, websocket.TextMessage, strings.HasPrefix(o.Endpoint, "http://")
	return &Stream{link.New(l)}, nil
}

// gateway knows where to connect.
type gateway struct{ o StreamOptions }

// Locate gets a ticket, which is good for one connection within 90 seconds (facts).
func (g gateway) Locate(ctx context.Context) (string, link.Wire, error) {
	in := frames.ConnectionEndpointRequest{
		ClientId: g.o.ClientID, ClientSecret: g.o.ClientSecret, UserAgent: "moltbot/1.0",
		Subscriptions: []*frames.SubscriptionModel{{Type: utils.SubscriptionTypeKCallback, Topic: frames.BotMessageCallbackTopic}},
	}
	var out frames.ConnectionEndpointResponse
	address := strings.TrimRight(g.o.Endpoint, "/") + utils.GetConnectionEndpointAPIUrl
	status, err := link.Ask(ctx, address, http.Header{"Accept": {"application/json"}}, in, &out)
	switch {
	case err != nil:
		return "", nil, err
	case status == http.StatusUnauthorized, status == http.StatusForbidden, status == http.StatusBadRequest:
		return "", nil, &link.Refused{Code: status}
	case status != http.StatusOK:
		return "", nil, fmt.Errorf("the platform answered %d", status)
	case out.Valid() != nil:
		return "", nil, errors.New("the platform gave no address")
	}
	return out.Endpoint + "?ticket=" + url.QueryEscape(out.Ticket), wire(g), nil
}

// wire speaks Stream mode.
type wire struct{ o StreamOptions }

// Ping is one of WebSocket's own. DingTalk answers it as its SDKs expect.
func (w wire) Ping() (int, []byte, time.Duration) { return websocket.PingMessage, nil, w.o.Ping }

// Topics of frames of the type SYSTEM.
const (
	topicPing       = "ping"
	topicDisconnect = "disconnect"
)

// Read reads one frame.
func (w wire) Read(raw []byte) (link.Frame, error) {
	f, err := frames.DecodeDataFrame(raw)
	if err != nil || f.Headers == nil {
		return link.Frame{}, im.ErrMalformed
	}
	switch topic := f.GetTopic(); {
	case f.Type == utils.SubscriptionTypeKSystem && topic == topicPing:
		return link.Frame{Answer: func(error) []byte { return reply(f, frames.DataFrameResponseStatusCodeKOK, "OK", f.Data) }}, nil
	case f.Type == utils.SubscriptionTypeKSystem && topic == topicDisconnect:
		return link.Frame{Leave: true}, nil
	case f.Type == utils.SubscriptionTypeKCallback && topic == frames.BotMessageCallbackTopic:
		return w.message(f)
	default:
		return link.Frame{Answer: func(error) []byte {
			return reply(f, frames.DataFrameResponseStatusCodeKHandlerNotFound, "no such topic here", "{}")
		}}, nil
	}
}

func (w wire) message(f *frames.DataFrame) (link.Frame, error) {
	e, err := ReadMessage([]byte(f.Data), w.o.Identity)
	return link.Frame{Event: &e, Answer: func(err error) []byte {
		if err != nil { // so that it is sent again
			return reply(f, frames.DataFrameResponseStatusCodeKInternalError, "not stored", `{"status":"LATER","message":"not stored"}`)
		}
		return reply(f, frames.DataFrameResponseStatusCodeKOK, "OK", `{"response":null}`)
	}}, err
}

func reply(f *frames.DataFrame, code int, message, data string) []byte {
	r := frames.NewDataFrameResponse(code)
	r.SetHeader(frames.DataFrameHeaderKMessageId, f.GetMessageId())
	r.SetHeader(frames.DataFrameHeaderKContentType, frames.DataFrameContentTypeKJson)
	r.Message, r.Data = message, data
	return r.Encode()
}
