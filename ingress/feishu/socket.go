package feishu

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"
	larkws "github.com/larksuite/oapi-sdk-go/v3/ws"

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

// Socket is the long connection of one application.
//
// The frames are those of the official SDK (v3.12.0), its client is not. It puts
// the parts of a message together in goroutines of their own without a lock, so
// that a part gets lost (1 message in 200 of three parts each, which Feishu then
// sends again in parts); it refuses every type of event that it was not told of,
// so that Feishu sends those again for 7 hours; it stops the storing of what came
// in when it is stopped; and it notices silence only after twice the platform's
// interval, 245 seconds.
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

// Codes of the answer that no new try mends (facts).
const (
	codeNoCredential = 1000040344
	codeTooMany      = 1000040350
)

// Locate asks for an address with a ticket in it.
func (p endpoint) Locate(ctx context.Context) (string, link.Wire, error) {
	in := larkws.BootstrapRequest{AppID: p.o.Identity.AppID, AppSecret: p.o.AppSecret}
	var out larkws.EndpointResp
	address := strings.TrimRight(p.o.Endpoint, "/") + larkws.GenEndpointUri
	status, err := link.Ask(ctx, address, http.Header{"Locale": {"zh"}}, in, &out)
	switch {
	case err != nil:
		return "", nil, err
	case out.Code == larkws.AuthFailed, out.Code == larkws.Forbidden, out.Code == codeNoCredential, out.Code == codeTooMany:
		return "", nil, &link.Refused{Code: out.Code}
	case status != http.StatusOK || out.Code != larkws.OK:
		return "", nil, fmt.Errorf("the platform answered %d with code %d", status, out.Code)
	case out.Data == nil:
		return "", nil, errors.New("the platform gave no address")
	}
	w := &wire{identity: p.o.Identity, longest: p.o.Ping, parts: newParts(time.Now)}
	w.service = serviceOf(out.Data.Url)
	w.configure(out.Data.ClientConfig)
	return out.Data.Url, w, nil
}

// serviceOf is what pings name, from the address; 0 if there is none.
func serviceOf(address string) int32 {
	u, err := url.Parse(address)
	if err != nil {
		return 0 // Link refuses it
	}
	n, err := strconv.ParseInt(u.Query().Get(larkws.ServiceID), 10, 32)
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

func (w *wire) configure(c *larkws.ClientConfig) {
	interval := w.longest
	if c != nil && c.PingInterval > 0 {
		interval = min(interval, time.Duration(c.PingInterval)*time.Second)
	}
	w.interval.Store(int64(interval))
}

// Ping is a frame of Feishu's own. Each is answered.
func (w *wire) Ping() (int, []byte, time.Duration) {
	b, _ := larkws.NewPingFrame(w.service).Marshal() // into memory
	return websocket.BinaryMessage, b, time.Duration(w.interval.Load())
}

// Read reads one frame.
func (w *wire) Read(raw []byte) (link.Frame, error) {
	began := time.Now()
	f := new(larkws.Frame)
	if err := f.Unmarshal(raw); err != nil {
		return link.Frame{}, im.ErrMalformed
	}
	h := larkws.Headers(f.Headers)
	if larkws.FrameType(f.Method) == larkws.FrameTypeControl {
		w.control(h.GetString(larkws.HeaderType), f.Payload)
		return link.Frame{}, nil
	}
	switch larkws.MessageType(h.GetString(larkws.HeaderType)) {
	case larkws.MessageTypeEvent, larkws.MessageTypeCard:
	default:
		return link.Frame{}, nil
	}
	whole, ok, err := w.parts.add(h, f.Payload)
	if err != nil || !ok {
		return link.Frame{}, err
	}
	e, err := ReadEvent(whole, w.identity)
	return link.Frame{Event: &e, Answer: func(err error) []byte { return ack(f, began, e.Body, err) }}, err
}

func (w *wire) control(kind string, payload []byte) {
	c := new(larkws.ClientConfig)
	if larkws.MessageType(kind) == larkws.MessageTypePong && len(payload) > 0 && json.Unmarshal(payload, c) == nil {
		w.configure(c)
	}
}

// ack is the frame sent back, with how it went. body is what a callback answers.
func ack(f *larkws.Frame, began time.Time, body []byte, err error) []byte {
	r := larkws.NewResponseByCode(http.StatusOK)
	r.Data = body
	if err != nil { // so that it is sent again
		r = larkws.NewResponseByCode(http.StatusInternalServerError)
	}
	out := *f
	h := larkws.Headers(append([]larkws.Header(nil), f.Headers...))
	h.Add(larkws.HeaderBizRt, strconv.FormatInt(time.Since(began).Milliseconds(), 10))
	out.Headers = h
	out.Payload, _ = json.Marshal(r) // cannot fail: a number and bytes
	b, _ := out.Marshal()            // into memory
	return b
}
