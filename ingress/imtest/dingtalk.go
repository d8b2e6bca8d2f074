package imtest

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/gorilla/websocket"
)

// TopicBot is the topic of messages to a robot.
const TopicBot = "/v1.0/im/bot/messages/get"

// DingTalk plays the gateway of DingTalk's Stream mode.
type DingTalk struct {
	*hub
	URL string // what stands for https://api.dingtalk.com

	id, secret string
	server     *httptest.Server
	// TicketTTL is how long a ticket is good. Default 90s (facts).
	TicketTTL time.Duration
}

// NewDingTalk starts a gateway that takes these credentials.
func NewDingTalk(clientID, clientSecret string) *DingTalk {
	d := &DingTalk{hub: newHub(), id: clientID, secret: clientSecret, TicketTTL: 90 * time.Second}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1.0/gateway/connections/open", d.open)
	mux.HandleFunc("GET /connect", d.connect)
	d.server = httptest.NewServer(mux)
	d.URL = d.server.URL
	return d
}

// Close ends the gateway and its connections.
func (d *DingTalk) Close() { d.Drop(); d.server.Close() }

func (d *DingTalk) open(w http.ResponseWriter, r *http.Request) {
	var in struct {
		ClientID      string `json:"clientId"`
		ClientSecret  string `json:"clientSecret"`
		Subscriptions []struct{ Type, Topic string }
	}
	w.Header().Set("Content-Type", "application/json")
	if json.NewDecoder(r.Body).Decode(&in) != nil || r.Header.Get("Accept") != "application/json" {
		http.Error(w, `{"code":"InvalidParameter","message":"bad request"}`, http.StatusBadRequest)
		return
	}
	if in.ClientID != d.id || in.ClientSecret != d.secret {
		http.Error(w, `{"code":"authFailed","message":"authentication failed"}`, http.StatusUnauthorized)
		return
	}
	ours := false
	for _, s := range in.Subscriptions {
		ours = ours || s.Type == "CALLBACK" && s.Topic == TopicBot
	}
	if !ours {
		http.Error(w, `{"code":"InvalidParameter","message":"nothing subscribed"}`, http.StatusBadRequest)
		return
	}
	ticket := rand.Text()
	d.change(func() { d.opens++; d.tickets[ticket] = time.Now().Add(d.TicketTTL) })
	_ = json.NewEncoder(w).Encode(map[string]string{"endpoint": "ws" + strings.TrimPrefix(d.URL, "http") + "/connect", "ticket": ticket})
}

func (d *DingTalk) connect(w http.ResponseWriter, r *http.Request) {
	if !d.take(r.URL.Query().Get("ticket")) {
		http.Error(w, "ticket", http.StatusUnauthorized)
		return
	}
	d.serve(w, r, func(c *conn, raw []byte) {
		var a struct {
			Code    int
			Headers map[string]string
			Message string
			Data    string
		}
		if json.Unmarshal(raw, &a) == nil {
			c.acked(a.Headers["messageId"], Ack{Code: a.Code, Message: a.Message, Data: []byte(a.Data)})
		}
	})
}

// Push sends a message of a robot to one client and waits for the answer.
func (d *DingTalk) Push(ctx context.Context, data []byte) (Ack, error) {
	return d.Send(ctx, "CALLBACK", TopicBot, string(data))
}

// Ping sends a ping of the platform's own kind.
func (d *DingTalk) Ping(ctx context.Context) (Ack, error) {
	return d.Send(ctx, "SYSTEM", "ping", `{"opaque":"made-up"}`)
}

// Disconnect asks the newest client to connect anew. It does not close the connection.
func (d *DingTalk) Disconnect(ctx context.Context) error {
	c, err := d.pick(ctx)
	if err != nil {
		return err
	}
	return c.write(websocket.TextMessage, dingFrame("SYSTEM", "disconnect", rand.Text(), `{"reason":"connection is expired"}`))
}

// Send sends any frame and waits for the answer.
func (d *DingTalk) Send(ctx context.Context, kind, topic, data string) (Ack, error) {
	c, err := d.pick(ctx)
	if err != nil {
		return Ack{}, err
	}
	id := rand.Text()
	return c.push(ctx, websocket.TextMessage, id, dingFrame(kind, topic, id, data))
}

func dingFrame(kind, topic, id, data string) []byte {
	b, _ := json.Marshal(map[string]any{ // texts only
		"specVersion": "1.0", "type": kind, "data": data,
		"headers": map[string]string{
			"appId": "00000000-aaaa-bbbb-cccc-111111111111", "connectionId": "22222222-dddd-eeee-ffff-333333333333",
			"contentType": "application/json", "messageId": id, "time": "1789200001756", "topic": topic,
		},
	})
	return b
}
