package platform

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// DingTalkApp is a robot as its developer sees it in the console.
type DingTalkApp struct {
	ClientID, ClientSecret string
	RobotCode, CorpID      string
}

// DingTalkAPI plays DingTalk for one robot.
type DingTalkAPI struct {
	*side
	tokens
	limits
	App   DingTalkApp
	Image []byte // what every downloadCode shows

	mu       sync.Mutex
	chats    map[string]bool   // groups
	direct   map[string]string // the 1:1 chat of a user, by staff id
	sessions map[string]session
	life     time.Duration // of session webhooks
}

// session is what a session webhook stands for.
type session struct {
	chat, message string
	until         time.Time
}

const (
	dingPerAPI   = 20 // calls in a second (facts)
	sessionLife  = 90 * time.Minute
	dingTokenNew = time.Second // the same token is given while it lives
	largestParam = 15_000
)

// NewDingTalk starts one.
func NewDingTalk(app DingTalkApp, o Options) (*DingTalkAPI, error) {
	d := &DingTalkAPI{
		side: newSide(DingTalk, o), App: app, Image: PNG(), life: sessionLife,
		chats: map[string]bool{}, direct: map[string]string{}, sessions: map[string]session{},
	}
	connector, err := d.connector()
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("POST /v1.0/gateway/connections/open", connector)
	mux.HandleFunc("POST /v1.0/oauth2/accessToken", d.serve(OpToken, d.token))
	mux.HandleFunc("POST /v1.0/robot/groupMessages/send", d.serve(OpCreate, d.with(OpCreate, d.group)))
	mux.HandleFunc("POST /v1.0/robot/oToMessages/batchSend", d.serve(OpDirect, d.with(OpDirect, d.batch)))
	mux.HandleFunc("POST /robot/sendBySession", d.serve(OpSession, d.bySession))
	mux.HandleFunc("POST /v1.0/robot/emotion/reply", d.serve(OpReaction, d.with(OpReaction, d.emotion)))
	mux.HandleFunc("POST /v1.0/robot/emotion/recall", d.serve(OpReaction, d.with(OpReaction, d.emotion)))
	mux.HandleFunc("POST /v1.0/robot/messageFiles/download", d.serve(OpImage, d.with(OpImage, d.download)))
	mux.HandleFunc("GET /files/{code}", d.serve(OpFile, d.file))
	mux.HandleFunc("/", d.serve("unknown", func(r *http.Request, _ []byte) answer {
		d.complain("there is no %s %s", r.Method, r.URL.Path)
		return answer{status: http.StatusNotFound, body: []byte("404 page not found")}
	}))
	return d, d.listen(mux)
}

func (d *DingTalkAPI) refuse(status int, code, message string) answer {
	return answer{status: status, body: map[string]any{"code": code, "message": message, "requestid": name("", 8)}}
}

// wrong refuses a call that nothing of ours may make.
func (d *DingTalkAPI) wrong(code, format string, args ...any) answer {
	message := fmt.Sprintf(format, args...)
	d.complain("%s %s", code, message)
	return d.refuse(http.StatusBadRequest, code, message)
}

func (d *DingTalkAPI) token(_ *http.Request, body []byte) answer {
	var q struct {
		AppKey    string `json:"appKey"`
		AppSecret string `json:"appSecret"`
	}
	if err := one(body, &q); err != nil {
		return d.wrong("invalidParameter", "token: %v", err)
	}
	if q.AppKey != d.App.ClientID || q.AppSecret != d.App.ClientSecret {
		return d.refuse(http.StatusBadRequest, "invalidClientIdOrSecret", "invalid clientId or clientSecret")
	}
	token, left := d.get(dingTokenNew)
	return answer{body: map[string]any{"accessToken": token, "expireIn": int(left.Seconds())}}
}

// with checks the token, and the calls in a second.
func (d *DingTalkAPI) with(op string, h func(r *http.Request, body []byte) answer) func(*http.Request, []byte) answer {
	return func(r *http.Request, body []byte) answer {
		token := r.Header.Get("X-Acs-Dingtalk-Access-Token")
		switch {
		case token == "":
			return d.wrong("InvalidAuthentication", "%s without a token", r.URL.Path)
		case !d.holds(token):
			return d.refuse(http.StatusUnauthorized, "InvalidAuthentication", "invalid access token")
		}
		if _, ok := d.take(op, dingPerAPI); !ok && !d.o.Unlimited {
			return d.refuse(http.StatusForbidden, "Forbidden.AccessDenied.QpsLimitForAppkeyAndApi", "too many calls in a second")
		}
		return h(r, body)
	}
}

func (d *DingTalkAPI) group(_ *http.Request, body []byte) answer {
	var q struct {
		RobotCode          string `json:"robotCode"`
		OpenConversationID string `json:"openConversationId"`
		MsgKey             string `json:"msgKey"`
		MsgParam           string `json:"msgParam"`
	}
	if err := one(body, &q); err != nil {
		return d.wrong("invalidParameter", "group message: %v", err)
	}
	text, err := ReadParam(q.MsgKey, q.MsgParam)
	d.mu.Lock()
	known := d.chats[q.OpenConversationID]
	d.mu.Unlock()
	if err != nil || q.RobotCode != d.App.RobotCode || !known {
		return d.wrong("invalidParameter", "group message to %q by %q: %v", q.OpenConversationID, q.RobotCode, err)
	}
	return d.shownIn(q.OpenConversationID, text)
}

func (d *DingTalkAPI) batch(_ *http.Request, body []byte) answer {
	var q struct {
		RobotCode string   `json:"robotCode"`
		UserIDs   []string `json:"userIds"`
		MsgKey    string   `json:"msgKey"`
		MsgParam  string   `json:"msgParam"`
	}
	if err := one(body, &q); err != nil {
		return d.wrong("invalidParameter", "message to users: %v", err)
	}
	text, err := ReadParam(q.MsgKey, q.MsgParam)
	if err != nil || q.RobotCode != d.App.RobotCode || len(q.UserIDs) != 1 {
		return d.wrong("invalidParameter", "message to %q by %q: %v", q.UserIDs, q.RobotCode, err)
	}
	d.mu.Lock()
	chat := d.direct[q.UserIDs[0]]
	d.mu.Unlock()
	if chat == "" {
		d.complain("there is no user %q", q.UserIDs[0])
		return answer{body: map[string]any{"processQueryKey": name("", 8), "invalidStaffIdList": q.UserIDs, "flowControlledStaffIdList": []string{}}}
	}
	a := d.shownIn(chat, text)
	a.body = map[string]any{"processQueryKey": name("", 8), "invalidStaffIdList": []string{}, "flowControlledStaffIdList": []string{}}
	return a
}

func (d *DingTalkAPI) shownIn(chat, text string) answer {
	key := name("", 8)
	d.show(Shown{Platform: DingTalk, Chat: chat, Text: text, ID: key})
	return answer{body: map[string]any{"processQueryKey": key}}
}

// bySession takes no token, and says 200 to everything.
func (d *DingTalkAPI) bySession(r *http.Request, body []byte) answer {
	if r.Header.Get("X-Acs-Dingtalk-Access-Token") != "" || r.Header.Get("Authorization") != "" || r.URL.Query().Has("access_token") {
		d.complain("a token was sent to a session webhook")
	}
	d.mu.Lock()
	s, known := d.sessions[r.URL.Query().Get("session")]
	d.mu.Unlock()
	if !known || time.Now().After(s.until) {
		return answer{body: map[string]any{"errcode": 300001, "errmsg": "session 不存在"}}
	}
	var q struct {
		MsgType string `json:"msgtype"`
		Text    struct {
			Content string `json:"content"`
		} `json:"text"`
		Markdown struct {
			Title string `json:"title"`
			Text  string `json:"text"`
		} `json:"markdown"`
	}
	err := one(body, &q)
	text := q.Text.Content
	if q.MsgType == "markdown" {
		if text = q.Markdown.Text; q.Markdown.Title == "" {
			err = fmt.Errorf("markdown without a title")
		}
	}
	if err != nil || text == "" || q.MsgType != "text" && q.MsgType != "markdown" {
		d.complain("session message of type %q: %v", q.MsgType, err)
		return answer{body: map[string]any{"errcode": 40035, "errmsg": "bad JSON"}}
	}
	d.show(Shown{Platform: DingTalk, Chat: s.chat, To: s.message, Text: text, ID: name("", 8)})
	return answer{body: map[string]any{"errcode": 0, "errmsg": "ok"}}
}

func (d *DingTalkAPI) emotion(_ *http.Request, body []byte) answer {
	var q map[string]any
	if err := one(body, &q); err != nil || q["robotCode"] != d.App.RobotCode || q["openMsgId"] == nil {
		return d.wrong("invalidParameter", "emotion: %v", err)
	}
	return answer{body: map[string]any{"success": true}}
}

func (d *DingTalkAPI) download(_ *http.Request, body []byte) answer {
	var q struct {
		DownloadCode string `json:"downloadCode"`
		RobotCode    string `json:"robotCode"`
	}
	if err := one(body, &q); err != nil || q.RobotCode != d.App.RobotCode || !strings.HasPrefix(q.DownloadCode, "code-") {
		return d.wrong("resource.not.found", "download of %q: %v", q.DownloadCode, err)
	}
	return answer{body: map[string]any{"downloadUrl": d.url + "/files/" + q.DownloadCode + "?sig=1"}}
}

// file takes no token: its URL is temporary.
func (d *DingTalkAPI) file(r *http.Request, _ []byte) answer {
	if r.Header.Get("X-Acs-Dingtalk-Access-Token") != "" {
		d.complain("a token was sent to a download URL")
	}
	return answer{header: map[string]string{"Content-Type": "image/png"}, body: d.Image}
}

// ReadParam reads what a robot message shows. param is a JSON document in a string.
func ReadParam(key, param string) (string, error) {
	if len(param) > largestParam {
		return "", fmt.Errorf("msgParam of %d bytes", len(param))
	}
	var text string
	var err error
	switch key {
	case "sampleText":
		var p struct {
			Content string `json:"content"`
		}
		err = strict(param, &p)
		text = p.Content
	case "sampleMarkdown":
		var p struct {
			Title string `json:"title"`
			Text  string `json:"text"`
		}
		if err = strict(param, &p); err == nil && p.Title == "" {
			err = fmt.Errorf("sampleMarkdown without a title")
		}
		text = p.Text
	default:
		err = fmt.Errorf("msgKey %q", key)
	}
	if err == nil && text == "" {
		err = fmt.Errorf("an empty %s", key)
	}
	return text, err
}

// ExpireSessions ends the life of all session webhooks now, and gives later ones
// so long: shorter than they claim.
func (d *DingTalkAPI) ExpireSessions(life time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.life = life
	for k, s := range d.sessions {
		s.until = time.Time{}
		d.sessions[k] = s
	}
}

// Sessions are the secrets of all session webhooks.
func (d *DingTalkAPI) Sessions() (all []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for k := range d.sessions {
		all = append(all, k)
	}
	return all
}

// Write makes a message to the robot.
func (d *DingTalkAPI) Write(m Message) *Incoming {
	in := &Incoming{Message: m, Platform: DingTalk, ID: name("msg", 12) + "=="}
	key := name("", 16)
	now := time.Now()
	d.mu.Lock()
	d.sessions[key] = session{chat: m.Chat, message: in.ID, until: now.Add(d.life)}
	if m.Direct {
		d.direct[m.User] = m.Chat
	} else {
		d.chats[m.Chat] = true
	}
	d.mu.Unlock()
	body := map[string]any{
		"chatbotCorpId": d.App.CorpID, "chatbotUserId": "$:LWCP_v1:$bot==", "senderNick": "Zhang", "isAdmin": false, "senderStaffId": m.User,
		"senderCorpId": d.App.CorpID, "senderId": "$:LWCP_v1:$" + m.User, "senderPlatform": "Mac", "robotCode": d.App.RobotCode,
		"sessionWebhookExpiredTime": now.Add(sessionLife).UnixMilli(), "sessionWebhook": d.url + "/robot/sendBySession?session=" + key,
		"createAt": now.UnixMilli(), "conversationId": m.Chat, "conversationType": "1", "msgId": in.ID, "msgtype": "text",
	}
	text := m.Text
	if !m.Direct {
		body["conversationType"], body["conversationTitle"], body["openThreadId"] = "2", "team", m.Chat
		body["isInAtList"] = m.Mention
		if m.Mention {
			body["atUsers"] = []any{map[string]any{"dingtalkId": "$:LWCP_v1:$bot=="}}
		}
		text = " " + text
	}
	switch m.Kind {
	case "image":
		body["msgtype"], body["content"] = "picture", map[string]any{"downloadCode": "code-" + in.ID, "pictureDownloadCode": "wrong-" + in.ID}
	case "file":
		body["msgtype"], body["content"] = "file", map[string]any{"fileName": m.Text, "downloadCode": "code-" + in.ID, "spaceId": "1", "fileId": "2"}
	default:
		body["text"] = map[string]any{"content": text}
	}
	in.body = []byte(encode(body))
	in.plain = in.body
	d.write(in)
	return in
}

// Push calls the webhook with a message until it is acknowledged.
func (d *DingTalkAPI) Push(ctx context.Context, in *Incoming) error {
	return d.push(ctx, in, d.sign)
}

// Request is the first call of the webhook with a message.
func (d *DingTalkAPI) Request(in *Incoming) (http.Header, []byte) { return d.sign(), in.body }

// sign is the base64 HMAC-SHA256 of time and secret; it does not cover the body
// (facts 2.1).
func (d *DingTalkAPI) sign() http.Header {
	now := strconv.FormatInt(time.Now().UnixMilli(), 10)
	mac := hmac.New(sha256.New, []byte(d.App.ClientSecret))
	mac.Write([]byte(now + "\n" + d.App.ClientSecret))
	return http.Header{
		"Content-Type": {"application/json; charset=utf-8"},
		"Timestamp":    {now}, "Sign": {base64.StdEncoding.EncodeToString(mac.Sum(nil))},
	}
}
