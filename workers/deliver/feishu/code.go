package feishu

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"moltbot/workers/deliver"
	"moltbot/workers/deliver/call"
)

// refusal is what Feishu said with a code. The code decides, not the status.
type refusal struct {
	code int64
	hint string
	log  string // id by which Feishu's support finds the call
}

func (r *refusal) Error() string {
	text := "feishu answered code " + strconv.FormatInt(r.code, 10)
	if r.hint != "" {
		text += " (" + r.hint + ")"
	}
	if r.log != "" {
		text += ", log id " + r.log
	}
	return text
}

// codeOf is the code that a call was refused with; zero: it was not.
func codeOf(err error) int64 {
	var r *refusal
	if errors.As(err, &r) {
		return r.code
	}
	return 0
}

// A rate is said in calls a second (facts), so it has passed after one.
const ratePause = time.Second

// chatRate: too much is sent to this chat, by all its bots together.
const chatRate = 230020

// inFlight: a try before this one is still on its way.
const inFlight = 230049

// judge turns a code into a verdict; nil: it is a success.
func judge(r *call.Reply, code int64) error {
	if code == 0 && r.Status < 300 {
		return nil
	}
	said := &refusal{code: code, hint: hint(code), log: logID(r.Header)}
	f := &deliver.Failure{Verdict: deliver.VerdictFinal, Detail: strconv.FormatInt(code, 10), Err: said}
	switch {
	case code == 0: // a success that its status denies
		return r.Failed("feishu")
	case isRate(code):
		f.Verdict, f.Wait = deliver.VerdictRetry, max(ratePause, r.Wait("x-ogw-ratelimit-reset"))
		f.Chat = code == chatRate
	case isToken(code):
		f.Verdict = deliver.VerdictRetry
	case code == inFlight:
		f.Verdict = deliver.VerdictUncertain
	case final(code):
	case r.Status == http.StatusTooManyRequests || r.Status == http.StatusRequestTimeout: // whatever the code
		f.Verdict, f.Wait = deliver.VerdictRetry, max(ratePause, r.Wait("x-ogw-ratelimit-reset"), r.Wait("Retry-After"))
	case r.Status >= 500:
		f.Verdict = deliver.VerdictUncertain
	case r.Status < 400: // a code we do not know: nothing was sent, and nothing says never
		f.Verdict = deliver.VerdictRetry
	}
	return f
}

func isRate(code int64) bool {
	switch code {
	case 99991400, chatRate, 11232, 11233:
		return true
	}
	return false
}

// isToken: the token is no longer good. The second also means that the endpoint
// does not take this kind, which is why a refresh is tried once only.
func isToken(code int64) bool {
	switch code {
	case 99991664, 99991663, 99991665, 99991671:
		return true
	}
	return false
}

// final reports whether a code means never, whatever the status.
func final(code int64) bool {
	return hint(code) != "" || code >= 99992351 && code <= 99992361 || code >= 230000 && code < 235000
}

// hint is what an operator can do, or what became of the receiver.
func hint(code int64) string {
	switch code {
	case 99991662, 99991673:
		return "the application is switched off or not installed"
	case 99991672, 99991679:
		return "the application lacks a scope"
	case 99991661, 99991668, 99991677:
		return "wrong kind of token"
	case 99991401:
		return "this server's address is not in the application's list"
	case 99991403, 11247:
		return "the quota of calls is used up"
	case 10003, 10012, 10014:
		return "app id or app secret is wrong, or the application is not available"
	case 230001, 9499, 234001:
		return "bad parameter"
	case 230002, 234004:
		return "the bot is not in the chat"
	case 230006:
		return "the application has no bot"
	case 230011, 230110, 231003:
		return "the message is gone"
	case 230013, 230029, 230053:
		return "the user left, stopped the bot, or may not use the application"
	case 230018, 230027, 230035, 231002, 234009:
		return "the bot may not do that in this chat"
	case 230019:
		return "the topic is gone"
	case 230022, 230028:
		return "the content was not let through"
	case 230025, 19036:
		return "too long"
	case 230071, 230072:
		return "no topics there"
	case 230099:
		return "the content cannot be shown"
	case 231001:
		return "no such reaction"
	case 232009:
		return "the chat was dissolved"
	}
	return ""
}

// logID lets through what looks like an id only.
func logID(h http.Header) string {
	id := h.Get("X-Tt-Logid")
	if len(id) > 64 || strings.ContainsFunc(id, func(c rune) bool {
		return (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') && c != '-'
	}) {
		return ""
	}
	return id
}

// unsendable is a call that could not even be made.
func unsendable(err error) error {
	var f *deliver.Failure
	if errors.As(err, &f) {
		return f
	}
	return &deliver.Failure{Verdict: deliver.VerdictFinal, Detail: "unsendable", Err: fmt.Errorf("make the call to feishu: %w", err)}
}
