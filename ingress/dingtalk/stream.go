package dingtalk

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/gorilla/websocket"

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

// Stream is the long connection of one application. ADR 0006 says why it is not the
// official SDK's.
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

const pathOpen = "/v1.0/gateway/connections/open"

type openRequest struct {
	ClientID      string         `json:"clientId"`
	ClientSecret  string         `json:"clientSecret"`
	Subscriptions []subscription `json:"subscriptions"`
	UserAgent     string         `json:"ua"`
}

type subscription struct {
	Type  string `json:"type"`
	Topic string `json:"topic"`
}

// Locate gets a ticket, which is good for one connection within 90 seconds (facts).
func (g gateway) Locate(ctx context.Context) (string, link.Wire, error) {
	in := openRequest{
		ClientID: g.o.ClientID, ClientSecret: g.o.ClientSecret, UserAgent: "moltbot/1.0",
		Subscriptions: []subscription{{Type: typeCallback, Topic: topicMessage}},
	}
	var out struct{ Endpoint, Ticket string }
	status, err := link.Ask(ctx, strings.TrimRight(g.o.Endpoint, "/")+pathOpen, http.Header{"Accept": {"application/json"}}, in, &out)
	switch {
	case err != nil:
		return "", nil, err
	case status == http.StatusUnauthorized, status == http.StatusForbidden, status == http.StatusBadRequest:
		return "", nil, &link.Refused{Code: status}
	case status != http.StatusOK:
		return "", nil, fmt.Errorf("the platform answered %d", status)
	case out.Endpoint == "" || out.Ticket == "":
		return "", nil, errors.New("the platform gave no address")
	}
	return out.Endpoint + "?ticket=" + url.QueryEscape(out.Ticket), wire(g), nil
}

// wire speaks Stream mode.
type wire struct{ o StreamOptions }

// Ping is one of WebSocket's own. DingTalk answers it as its SDKs expect.
func (w wire) Ping() (int, []byte, time.Duration) { return websocket.PingMessage, nil, w.o.Ping }

// Types of frames, and their topics.
const (
	typeSystem   = "SYSTEM"
	typeCallback = "CALLBACK"
	typeEvent    = "EVENT" // none is asked for

	topicPing       = "ping"
	topicDisconnect = "disconnect"
	topicMessage    = "/v1.0/im/bot/messages/get"
)

// frame is what the platform sends. Members that are not looked at may hold anything.
type frame struct {
	Type    string `json:"type"`
	Headers *struct {
		Topic string `json:"topic"`
		ID    string `json:"messageId"`
	} `json:"headers"`
	Data string `json:"data"` // JSON
}

// Read reads one frame.
func (w wire) Read(raw []byte) (link.Frame, error) {
	f := new(frame)
	if json.Unmarshal(raw, f) != nil || f.Headers == nil {
		return link.Frame{}, im.ErrMalformed
	}
	switch topic := f.Headers.Topic; {
	case f.Type == typeSystem && topic == topicPing:
		return link.Frame{Answer: func(error) []byte { return f.reply(http.StatusOK, "OK", f.Data) }}, nil
	case f.Type == typeSystem && topic == topicDisconnect:
		return link.Frame{Leave: true}, nil
	case f.Type == typeCallback && topic == topicMessage:
		return w.message(f)
	case f.Type == typeEvent:
		return link.Frame{Answer: func(error) []byte { return f.reply(http.StatusOK, "OK", `{"status":"SUCCESS","message":"success"}`) }}, nil
	default:
		return link.Frame{Answer: func(error) []byte { return f.reply(http.StatusNotFound, "no such topic here", "{}") }}, nil
	}
}

func (w wire) message(f *frame) (link.Frame, error) {
	e, err := ReadMessage([]byte(f.Data), w.o.Identity)
	return link.Frame{Event: &e, Answer: func(err error) []byte {
		if err != nil { // so that it is sent again
			return f.reply(http.StatusInternalServerError, "not stored", `{"status":"LATER","message":"not stored"}`)
		}
		return f.reply(http.StatusOK, "OK", `{"response":null}`)
	}}, err
}

// reply is the frame sent back. Its codes are those of HTTP.
func (f *frame) reply(code int, message, data string) []byte {
	b, _ := json.Marshal(map[string]any{ // cannot fail: texts and a number
		"code": code, "message": message, "data": data,
		"headers": map[string]string{"messageId": f.Headers.ID, "contentType": "application/json"},
	})
	return b
}
