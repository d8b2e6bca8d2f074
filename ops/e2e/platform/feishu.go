package platform

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// FeishuApp is an application as its developer sees it in the console.
type FeishuApp struct {
	AppID, AppSecret              string
	EncryptKey, VerificationToken string
	TenantKey, BotOpenID          string
}

// FeishuAPI plays Feishu for one application.
type FeishuAPI struct {
	*side
	tokens
	limits
	App FeishuApp
	// RepeatRefused answers a repeated uuid with 230049 instead of the message that
	// was sent first; which of both the real one does is not known (facts).
	RepeatRefused bool
	// Restamp signs a redelivery anew; whether the real one does is not known (facts).
	Restamp bool
	// Image is what every image_key shows.
	Image []byte

	mu     sync.Mutex
	rooms  map[string]bool
	chats  map[string]string // the chat of a message, by its id
	direct map[string]string // the 1:1 chat of a user, by open_id
	uuids  map[string]repeat
	signs  map[string]string // the emoji of a reaction, by its id
}

// repeat is what a uuid stands for, for an hour.
type repeat struct {
	id, content string
	until       time.Time
}

// Limits and rules of the API (facts).
const (
	feishuPerChat  = 5
	feishuPerApp   = 50
	longestUUID    = 50
	uuidLife       = time.Hour
	largestText    = 150 << 10
	largestPost    = 30 << 10
	feishuTokenNew = 30 * time.Minute // with less left, a new token is made
)

// NewFeishu starts one.
func NewFeishu(app FeishuApp, o Options) (*FeishuAPI, error) {
	f := &FeishuAPI{
		side: newSide(Feishu, o), tokens: tokens{prefix: "t-"}, App: app, Image: PNG(),
		rooms: map[string]bool{}, chats: map[string]string{}, direct: map[string]string{}, uuids: map[string]repeat{}, signs: map[string]string{},
	}
	connector, err := f.connector()
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("POST /callback/ws/endpoint", connector)
	mux.HandleFunc("POST /open-apis/auth/v3/tenant_access_token/internal", f.serve(OpToken, f.token))
	mux.HandleFunc("GET /open-apis/bot/v3/info", f.serve(OpBot, f.with(f.bot)))
	mux.HandleFunc("POST /open-apis/im/v1/messages", f.serve(OpCreate, f.with(f.create)))
	mux.HandleFunc("POST /open-apis/im/v1/messages/{id}/reply", f.serve(OpReply, f.with(f.answerTo)))
	mux.HandleFunc("POST /open-apis/im/v1/messages/{id}/reactions", f.serve(OpReaction, f.with(f.react)))
	mux.HandleFunc("DELETE /open-apis/im/v1/messages/{id}/reactions/{reaction}", f.serve(OpReaction, f.with(f.unreact)))
	mux.HandleFunc("GET /open-apis/im/v1/messages/{id}/resources/{key}", f.serve(OpImage, f.with(f.resource)))
	mux.HandleFunc("/", f.serve("unknown", func(r *http.Request, _ []byte) answer {
		f.complain("there is no %s %s", r.Method, r.URL.Path)
		return answer{status: http.StatusNotFound, body: []byte("404 page not found")}
	}))
	return f, f.listen(mux)
}

func (f *FeishuAPI) refuse(status, code int, msg string) answer {
	return answer{status: status, body: map[string]any{"code": code, "msg": msg, "error": map[string]any{"log_id": name("", 8)}}}
}

// wrong refuses a call that nothing of ours may make.
func (f *FeishuAPI) wrong(code int, format string, args ...any) answer {
	msg := fmt.Sprintf(format, args...)
	f.complain("%d %s", code, msg)
	return f.refuse(http.StatusBadRequest, code, msg)
}

func good(data map[string]any) answer {
	return answer{body: map[string]any{"code": 0, "msg": "success", "data": data}}
}

// token gives the fields at the top level, not in data.
func (f *FeishuAPI) token(r *http.Request, body []byte) answer {
	var q struct {
		AppID     string `json:"app_id"`
		AppSecret string `json:"app_secret"`
	}
	if err := one(body, &q); err != nil || !isJSON(r) {
		return f.wrong(10003, "token: %v, content type %s", err, r.Header.Get("Content-Type"))
	}
	if q.AppID != f.App.AppID || q.AppSecret != f.App.AppSecret {
		return answer{body: map[string]any{"code": 10014, "msg": "app secret invalid"}}
	}
	token, left := f.get(feishuTokenNew)
	return answer{body: map[string]any{"code": 0, "msg": "ok", "tenant_access_token": token, "expire": int(left.Seconds())}}
}

// with checks the token.
func (f *FeishuAPI) with(h func(r *http.Request, body []byte) answer) func(*http.Request, []byte) answer {
	return func(r *http.Request, body []byte) answer {
		token, is := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		switch {
		case !is:
			return f.wrong(99991661, "%s without a token", r.URL.Path)
		case !f.holds(token):
			return f.refuse(http.StatusBadRequest, 99991663, "Invalid access token for authorization. Please make a test attempt again.")
		}
		return h(r, body)
	}
}

// bot gives its data under bot, not data.
func (f *FeishuAPI) bot(*http.Request, []byte) answer {
	return answer{body: map[string]any{"code": 0, "msg": "ok", "bot": map[string]any{
		"activate_status": 2, "app_name": "assistant", "avatar_url": "", "ip_white_list": []string{}, "open_id": f.App.BotOpenID,
	}}}
}

// sending is the body of a create or a reply.
type sending struct {
	ReceiveID string `json:"receive_id"`
	MsgType   string `json:"msg_type"`
	Content   string `json:"content"`
	UUID      string `json:"uuid"`
	InThread  bool   `json:"reply_in_thread"`
}

func (f *FeishuAPI) create(r *http.Request, body []byte) answer {
	var q sending
	if err := one(body, &q); err != nil || !isJSON(r) {
		return f.wrong(230001, "create: %v", err)
	}
	chat := q.ReceiveID
	switch by := r.URL.Query().Get("receive_id_type"); by {
	case "chat_id":
	case "open_id":
		f.mu.Lock()
		chat = f.direct[q.ReceiveID]
		f.mu.Unlock()
	default:
		return f.wrong(230001, "receive_id_type %q", by)
	}
	if chat == "" || !f.hasChat(chat) {
		return f.wrong(230034, "there is no receiver %q", q.ReceiveID)
	}
	return f.send(chat, "", q)
}

func (f *FeishuAPI) answerTo(r *http.Request, body []byte) answer {
	var q sending
	if err := one(body, &q); err != nil || !isJSON(r) {
		return f.wrong(230001, "reply: %v", err)
	}
	f.mu.Lock()
	chat := f.chats[r.PathValue("id")]
	f.mu.Unlock()
	if chat == "" || q.ReceiveID != "" || r.URL.Query().Has("receive_id_type") {
		return f.wrong(230001, "reply to %q (receive_id %q)", r.PathValue("id"), q.ReceiveID)
	}
	return f.send(chat, r.PathValue("id"), q)
}

// send shows a message, unless its uuid was shown already.
func (f *FeishuAPI) send(chat, to string, q sending) answer {
	text, err := ReadContent(q.MsgType, q.Content)
	if err != nil {
		return f.wrong(230001, "%s", err)
	}
	if q.UUID == "" || len(q.UUID) > longestUUID {
		return f.wrong(230001, "uuid %q", q.UUID)
	}
	if wait, ok := f.take("app", feishuPerApp); !ok && !f.o.Unlimited {
		a := f.refuse(http.StatusTooManyRequests, 99991400, "request trigger frequency limit")
		a.header = map[string]string{"x-ogw-ratelimit-limit": strconv.Itoa(feishuPerApp), "x-ogw-ratelimit-reset": strconv.Itoa(int(math.Ceil(wait.Seconds())))}
		return a
	}
	if _, ok := f.take("chat "+chat, feishuPerChat); !ok && !f.o.Unlimited {
		return f.refuse(http.StatusBadRequest, 230020, "the chat's frequency limit is reached")
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	first, repeated := f.uuids[q.UUID]
	if repeated && time.Now().Before(first.until) {
		if first.content != chat+q.Content {
			f.complain("uuid %s is that of another message", q.UUID)
		}
		if f.RepeatRefused {
			return f.refuse(http.StatusBadRequest, 230049, "the message is being sent")
		}
		return f.sent(first.id, chat, to, q)
	}
	id := name("om_", 16)
	f.uuids[q.UUID] = repeat{id: id, content: chat + q.Content, until: time.Now().Add(uuidLife)}
	f.chats[id] = chat
	f.show(Shown{Platform: Feishu, Chat: chat, To: to, Text: text, Key: q.UUID, ID: id})
	return f.sent(id, chat, to, q)
}

func (f *FeishuAPI) sent(id, chat, to string, q sending) answer {
	now := strconv.FormatInt(time.Now().UnixMilli(), 10)
	return good(map[string]any{
		"message_id": id, "root_id": to, "parent_id": to, "msg_type": q.MsgType, "create_time": now, "update_time": now, "deleted": false,
		"updated": false, "chat_id": chat, "body": map[string]any{"content": q.Content},
		"sender": map[string]any{"id": f.App.AppID, "id_type": "app_id", "sender_type": "app", "tenant_key": f.App.TenantKey},
	})
}

func (f *FeishuAPI) hasChat(chat string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.rooms[chat]
}

func (f *FeishuAPI) react(r *http.Request, body []byte) answer {
	var q struct {
		Type struct {
			Emoji string `json:"emoji_type"`
		} `json:"reaction_type"`
	}
	if err := one(body, &q); err != nil || q.Type.Emoji == "" {
		return f.wrong(231001, "reaction: %v", err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.chats[r.PathValue("id")] == "" {
		return f.refuse(http.StatusBadRequest, 231003, "the message is gone")
	}
	id := name("ZCaCIjUBVVWSrm5L-", 8)
	f.signs[id] = q.Type.Emoji
	return good(map[string]any{"reaction_id": id, "reaction_type": map[string]any{"emoji_type": q.Type.Emoji}})
}

func (f *FeishuAPI) unreact(r *http.Request, _ []byte) answer {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, is := f.signs[r.PathValue("reaction")]; !is {
		return f.refuse(http.StatusBadRequest, 231010, "wrong reaction_id")
	}
	delete(f.signs, r.PathValue("reaction"))
	return good(map[string]any{})
}

// Signs counts the reactions that stand at messages now.
func (f *FeishuAPI) Signs() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.signs)
}

func (f *FeishuAPI) resource(r *http.Request, _ []byte) answer {
	f.mu.Lock()
	chat := f.chats[r.PathValue("id")]
	f.mu.Unlock()
	kind := r.URL.Query().Get("type")
	if chat == "" || kind != "image" || r.PathValue("key") != imageKey(r.PathValue("id")) {
		return f.wrong(234003, "resource %s of %s, type %q", r.PathValue("key"), r.PathValue("id"), kind)
	}
	return answer{header: map[string]string{"Content-Type": "image/png"}, body: f.Image}
}

func imageKey(message string) string { return "img_v3_" + strings.TrimPrefix(message, "om_") }

func isJSON(r *http.Request) bool {
	return strings.HasPrefix(r.Header.Get("Content-Type"), "application/json")
}

// Push calls the webhook with a message until it is acknowledged.
func (f *FeishuAPI) Push(ctx context.Context, in *Incoming) error {
	return f.push(ctx, in, func() http.Header { return f.stamp(in) })
}
