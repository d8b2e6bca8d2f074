package imtest

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"time"

	"github.com/gorilla/websocket"

	"moltbot/ingress/feishu/frame"
)

// serviceID of all connections; made up.
const serviceID = 12345678

// Feishu plays the server of Feishu's long connections.
type Feishu struct {
	*hub
	URL string // what stands for https://open.feishu.cn

	id, secret string
	server     *httptest.Server
	// PingInterval is what clients are told, in seconds. Default 120.
	PingInterval int
	// Code answers the question where to connect, if it is not 0.
	Code int
}

// NewFeishu starts a server that takes these credentials.
func NewFeishu(appID, appSecret string) *Feishu {
	f := &Feishu{hub: newHub(), id: appID, secret: appSecret, PingInterval: 120}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /callback/ws/endpoint", f.open)
	mux.HandleFunc("GET /ws", f.connect)
	f.server = httptest.NewServer(mux)
	f.URL = f.server.URL
	return f
}

// Close ends the server and its connections.
func (f *Feishu) Close() { f.Drop(); f.server.Close() }

func (f *Feishu) config() map[string]int {
	return map[string]int{"ReconnectCount": -1, "ReconnectInterval": 120, "ReconnectNonce": 30, "PingInterval": f.PingInterval}
}

func (f *Feishu) open(w http.ResponseWriter, r *http.Request) {
	var in struct{ AppID, AppSecret string }
	if json.NewDecoder(r.Body).Decode(&in) != nil || f.Code != 0 || in.AppID != f.id || in.AppSecret != f.secret {
		code := f.Code
		if code == 0 {
			code = 514
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"code": code, "msg": "refused"})
		return
	}
	ticket := rand.Text()
	f.change(func() { f.opens++; f.tickets[ticket] = time.Now().Add(time.Minute) })
	_ = json.NewEncoder(w).Encode(map[string]any{"code": 0, "msg": "", "data": map[string]any{
		"URL":          fmt.Sprintf("ws%s/ws?device_id=1&service_id=%d&ticket=%s", strings.TrimPrefix(f.URL, "http"), serviceID, ticket),
		"ClientConfig": f.config(),
	}})
}

func (f *Feishu) connect(w http.ResponseWriter, r *http.Request) {
	if !f.take(r.URL.Query().Get("ticket")) {
		w.Header().Set("Handshake-Status", "514")
		w.Header().Set("Handshake-Msg", "ticket")
		w.WriteHeader(http.StatusForbidden)
		return
	}
	f.serve(w, r, f.read)
}

func (f *Feishu) read(c *conn, raw []byte) {
	in, err := frame.Decode(raw)
	if err != nil {
		return
	}
	if in.Method == frame.Control {
		if in.Get("type") != "ping" || in.Service != serviceID {
			return
		}
		f.change(func() { f.pings++ })
		config, _ := json.Marshal(f.config())
		_ = c.write(websocket.BinaryMessage, encodeFrame(frame.Control, config, "type", "pong"))
		return
	}
	var answer struct {
		Code int    `json:"code"`
		Data []byte `json:"data"`
	}
	if json.Unmarshal(in.Payload, &answer) == nil && in.Get("biz_rt") != "" {
		c.acked(in.Get("message_id"), Ack{Code: answer.Code, Data: answer.Data})
	}
}

// Push sends an event to one client in that many frames, and waits for the answer.
func (f *Feishu) Push(ctx context.Context, event []byte, frames int) (Ack, error) {
	return f.Send(ctx, "event", event, frames)
}

// Send does so with any type of frame.
func (f *Feishu) Send(ctx context.Context, kind string, payload []byte, frames int) (Ack, error) {
	c, err := f.pick(ctx)
	if err != nil {
		return Ack{}, err
	}
	id := rand.Text()
	parts := make([][]byte, frames)
	for i := range parts {
		part := payload[len(payload)*i/frames : len(payload)*(i+1)/frames]
		parts[i] = encodeFrame(frame.Data, part, "type", kind, "message_id", id, "sum", strconv.Itoa(frames), "seq", strconv.Itoa(i), "trace_id", "made-up")
	}
	return c.push(ctx, websocket.BinaryMessage, id, parts...)
}

func encodeFrame(method int32, payload []byte, headers ...string) []byte {
	f := frame.Frame{SeqID: 7, LogID: 42, Service: serviceID, Method: method, Payload: payload}
	for i := 0; i+1 < len(headers); i += 2 {
		f.Headers = append(f.Headers, frame.Header{Key: headers[i], Value: headers[i+1]})
	}
	return f.Encode()
}
