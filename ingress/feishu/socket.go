package feishu

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"

	"moltbot/ingress/feishu/frame"
	"moltbot/ingress/im"
	"moltbot/ingress/link"
)

// SocketOptions of a Socket. What has no default is required.
type SocketOptions struct {
	Identity  Identity
	AppSecret string
	Endpoint  string // base URL, such as https://open.feishu.cn
	// Ping is the longest wait between signs of life; the platform may want a
	// shorter one. Default 30s.
	Ping time.Duration
	// Link holds the waits and the log of the connection; the rest of it is set here.
	Link link.Options
}

// Socket is the long connection of one application. ADR 0006 says why it is not the
// official SDK's.
type Socket struct{ *link.Link }

// NewSocket gives a Socket that is not connected yet.
func NewSocket(o SocketOptions) (*Socket, error) {
	if o.Identity.AppID == "" || o.AppSecret == "" || o.Endpoint == "" {
		return nil, errors.New("feishu socket: AppID, AppSecret and Endpoint are required")
	}
	if o.Ping == 0 {
		o.Ping = 30 * time.Second
	}
	o.Identity.Token = "" // what comes over the socket is proven by TLS and the secret
	l := o.Link
	l.Platform, l.Kind, l.Plain = endpoint{o}, websocket.BinaryMessage, strings.HasPrefix(o.Endpoint, "http://")
	return &Socket{link.New(l)}, nil
}

// endpoint knows where to connect.
type endpoint struct{ o SocketOptions }

// What is asked, and answered (facts).
const (
	pathEndpoint = "/callback/ws/endpoint"
	queryService = "service_id"

	codeOK           = 0
	codeForbidden    = 403
	codeAuthFailed   = 514
	codeNoCredential = 1000040344
	codeTooMany      = 1000040350
)

type endpointRequest struct {
	AppID     string `json:"AppID"`
	AppSecret string `json:"AppSecret"`
}

type endpointAnswer struct {
	Code int `json:"code"`
	Data *struct {
		URL    string  `json:"URL"`
		Config *config `json:"ClientConfig"`
	} `json:"data"`
}

// config is what the platform wants of a connection, as far as it is heeded.
type config struct {
	PingInterval int `json:"PingInterval"` // seconds
}

// Locate asks for an address with a ticket in it.
func (p endpoint) Locate(ctx context.Context) (string, link.Wire, error) {
	in := endpointRequest{AppID: p.o.Identity.AppID, AppSecret: p.o.AppSecret}
	var out endpointAnswer
	status, err := link.Ask(ctx, strings.TrimRight(p.o.Endpoint, "/")+pathEndpoint, http.Header{"Locale": {"zh"}}, in, &out)
	if err != nil {
		return "", nil, err
	}
	switch out.Code {
	case codeAuthFailed, codeForbidden, codeNoCredential, codeTooMany:
		return "", nil, &link.Refused{Code: out.Code}
	}
	switch {
	case status != http.StatusOK || out.Code != codeOK:
		return "", nil, fmt.Errorf("the platform answered %d with code %d", status, out.Code)
	case out.Data == nil:
		return "", nil, errors.New("the platform gave no address")
	}
	w := &wire{identity: p.o.Identity, longest: p.o.Ping, parts: newParts(time.Now)}
	w.service = serviceOf(out.Data.URL)
	w.configure(out.Data.Config)
	return out.Data.URL, w, nil
}

// serviceOf is what pings name, from the address; 0 if there is none.
func serviceOf(address string) int32 {
	u, err := url.Parse(address)
	if err != nil {
		return 0 // Link refuses it
	}
	n, err := strconv.ParseInt(u.Query().Get(queryService), 10, 32)
	if err != nil {
		return 0
	}
	return int32(n)
}

// wire speaks over one connection.
type wire struct {
	identity Identity
	longest  time.Duration
	service  int32
	interval atomic.Int64 // time.Duration between pings
	parts    *parts
}

func (w *wire) configure(c *config) {
	interval := w.longest
	if c != nil && c.PingInterval > 0 {
		interval = min(interval, time.Duration(c.PingInterval)*time.Second)
	}
	w.interval.Store(int64(interval))
}

// Headers of a frame, and their values.
const (
	headerType = "type"
	headerID   = "message_id"
	headerSum  = "sum"
	headerSeq  = "seq"
	headerTook = "biz_rt"

	typePing  = "ping"
	typePong  = "pong"
	typeEvent = "event"
	typeClick = "card"
)

// Ping is a frame of Feishu's own. Each is answered.
func (w *wire) Ping() (int, []byte, time.Duration) {
	f := frame.Frame{Method: frame.Control, Service: w.service, Headers: []frame.Header{{Key: headerType, Value: typePing}}}
	return websocket.BinaryMessage, f.Encode(), time.Duration(w.interval.Load())
}

// Read reads one frame.
func (w *wire) Read(raw []byte) (link.Frame, error) {
	began := time.Now()
	f, err := frame.Decode(raw)
	if err != nil {
		return link.Frame{}, im.ErrMalformed
	}
	kind := f.Get(headerType)
	switch {
	case f.Method == frame.Control && kind == typePong:
		w.pong(f.Payload)
		return link.Frame{}, nil
	case f.Method != frame.Data || kind != typeEvent && kind != typeClick:
		return link.Frame{}, nil
	}
	whole, ok, err := w.parts.add(f)
	if err != nil || !ok {
		return link.Frame{}, err
	}
	f.Payload = nil // need not wait for the answer
	e, err := ReadEvent(whole, w.identity)
	return link.Frame{Event: &e, Answer: func(err error) []byte { return ack(f, time.Since(began), e.Body, err) }}, err
}

// pong may hold new wishes of the platform.
func (w *wire) pong(payload []byte) {
	c := new(config)
	if len(payload) > 0 && json.Unmarshal(payload, c) == nil {
		w.configure(c)
	}
}

// ack is the frame sent back, with how it went. body is what a callback answers.
func ack(f *frame.Frame, took time.Duration, body []byte, err error) []byte {
	r := struct {
		Code    int               `json:"code"`
		Headers map[string]string `json:"headers"`
		Data    []byte            `json:"data"`
	}{Code: http.StatusOK, Data: body}
	if err != nil { // so that it is sent again
		r.Code, r.Data = http.StatusInternalServerError, nil
	}
	out := *f
	out.Headers = append(slices.Clone(f.Headers), frame.Header{Key: headerTook, Value: strconv.FormatInt(took.Milliseconds(), 10)})
	out.Payload, _ = json.Marshal(r) // cannot fail: a number and bytes
	return out.Encode()
}
