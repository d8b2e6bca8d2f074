package platform

import (
	"net/http"
	"time"
)

// Call is a call of ours to a platform.
type Call struct {
	Op   string // one of the Op constants
	N    int    // the how manieth of its operation, from 1
	Body string
}

// Operations.
const (
	OpToken    = "token"
	OpBot      = "bot"      // who the bot is
	OpCreate   = "create"   // Feishu: a message into a chat; DingTalk: into a group
	OpReply    = "reply"    // Feishu: an answer to a message
	OpDirect   = "direct"   // DingTalk: a message to users
	OpSession  = "session"  // DingTalk: by session webhook
	OpReaction = "reaction" // a sign at a message is set or removed
	OpImage    = "image"    // an image is asked for
	OpFile     = "file"     // DingTalk: the image itself
)

// Sends reports whether the call shows users a message.
func (c Call) Sends() bool {
	return c.Op == OpCreate || c.Op == OpReply || c.Op == OpDirect || c.Op == OpSession
}

// Fault is how one call goes wrong. Its zero value is: not at all.
type Fault struct {
	// Seen: the call has its effect, although the caller is told otherwise.
	Seen   bool
	Delay  time.Duration // before the answer; nothing else need be wrong
	Hang   bool          // there is no answer
	Reset  bool          // the connection is reset
	Status int           // with Body and Header instead of the answer
	Body   string
	Header map[string]string
}

func (f Fault) spoils() bool { return f.Hang || f.Reset || f.Status != 0 }

// JSON is an answer with a body of the platform's, such as an error code with
// status 200.
func JSON(status int, body string) Fault {
	return Fault{Status: status, Body: body, Header: map[string]string{"Content-Type": "application/json; charset=utf-8"}}
}

// HTML is what a gateway in between answers.
func HTML() Fault {
	return Fault{Status: http.StatusBadGateway, Body: "<html><body><h1>502 Bad Gateway</h1></body></html>", Header: map[string]string{"Content-Type": "text/html"}}
}
