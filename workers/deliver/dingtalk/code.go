package dingtalk

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"moltbot/workers/deliver"
	"moltbot/workers/deliver/call"
)

var (
	errNoToken = errors.New("dingtalk gave no token")
	errBadURL  = errors.New("the URL cannot be used")
)

const (
	// ratePause: the window of the API's rates is a second (facts).
	ratePause = time.Second
	// floodPause: a robot that sent too fast is heard again after a while that is
	// documented nowhere; its window is a minute.
	floodPause = 20 * time.Second
	// blockPause is how long an address stays blocked after a flood (facts).
	blockPause = 5 * time.Minute
)

// refusal is what DingTalk said with a code: a word of the API, or a number of a
// webhook.
type refusal struct {
	code  string
	hint  string
	token bool // the token is no longer good
	gone  bool // the session webhook is of no use any more
}

func (r *refusal) Error() string {
	text := "dingtalk answered " + r.code
	if r.hint != "" {
		text += " (" + r.hint + ")"
	}
	return text
}

func isToken(err error) bool {
	var r *refusal
	return errors.As(err, &r) && r.token
}

func isGone(err error) bool {
	var r *refusal
	return errors.As(err, &r) && r.gone
}

// judgeAPI reads an answer of the API into into; nil error: it is a success.
func judgeAPI(r *call.Reply, into any) error {
	if blocked(r) {
		return blockedFor(r)
	}
	code := codeIn(r.Body)
	if r.Status == http.StatusOK && r.Broken == nil && code == "" && json.Unmarshal(r.Body, into) == nil {
		return nil
	}
	if f := judgeCode(r, code); f != nil {
		return f
	}
	f := r.Failed("dingtalk")
	if code != "" && (code != unnamed || r.Status == http.StatusOK) {
		f.Detail, f.Err = code, &refusal{code: code}
	}
	if code != "" && r.Status == http.StatusOK { // a failure that its status denies
		f.Verdict = deliver.VerdictRetry
	}
	return f
}

// unnamed is a code that is not passed on: it may be content.
const unnamed = "unnamed"

// codeIn is what an answer of the API names as its failure. The API of today has
// words for it; a number, as the API before it gave with 200, is one as well.
func codeIn(body []byte) string {
	var said struct {
		Code any `json:"code"`
		Old  any `json:"errcode"`
	}
	_ = json.Unmarshal(body, &said) // what cannot be read has no code
	for _, code := range []any{said.Code, said.Old} {
		switch text := fmt.Sprint(code); {
		case code == nil, text == "", text == "0":
		case plainCode(text) == "":
			return unnamed
		default:
			return text
		}
	}
	return ""
}

// judgeCode knows the codes that say more than their status; nil: it is none.
func judgeCode(r *call.Reply, code string) *deliver.Failure {
	said := &refusal{code: code}
	f := &deliver.Failure{Verdict: deliver.VerdictRetry, Detail: code, Err: said}
	word := code[strings.LastIndexByte(code, '.')+1:]
	switch {
	case r.Status == http.StatusUnauthorized, word == "InvalidAuthentication" && r.Status < 500:
		said.token = true
		if code == "" {
			said.code, f.Detail = "401", "401"
		}
	case r.Status >= 500 || r.Status < 400:
		return nil
	case word == "QpsLimitForAppkeyAndApi", word == "QpsLimitForApi":
		f.Wait = ratePause
	case word == "ApiCountLimitForOrg":
		f.Verdict, said.hint = deliver.VerdictFinal, "the organization's calls of this month are used up; the edition says how many there are"
	case code == "send.too.fast", code == "send.byToken.tooFast":
		f.Wait = floodPause
	case word == "AccessTokenPermissionDenied":
		f.Verdict, said.hint = deliver.VerdictFinal, "the application lacks a permission"
	case code == "too.many.group", code == "too.many.people":
		f.Verdict = deliver.VerdictFinal
	case word == "invalidClientIdOrSecret":
		f.Verdict, said.hint = deliver.VerdictFinal, "client id or client secret is wrong"
	default:
		return nil
	}
	return f
}

// judgeHook reads the answer of a session webhook; nil: it is a success.
func judgeHook(r *call.Reply) error {
	if blocked(r) {
		return blockedFor(r)
	}
	var said struct {
		Code *json.Number `json:"errcode"`
	}
	if r.Broken != nil || json.Unmarshal(r.Body, &said) != nil || said.Code == nil {
		f := r.Failed("dingtalk")
		if r.Status >= 300 && r.Status < 500 && f.Wait == 0 && r.Status != http.StatusTooManyRequests {
			f.Err = &refusal{code: f.Detail, hint: "by a session webhook", gone: true}
		}
		return f
	}
	code := plainCode(said.Code.String())
	if code == "0" && r.Status == http.StatusOK {
		return nil
	}
	return hookCode(r, code)
}

// hookCode: whatever the code, the message was not sent; only of a time-out inside
// DingTalk nobody knows.
func hookCode(r *call.Reply, code string) error {
	said := &refusal{code: code}
	f := &deliver.Failure{Verdict: deliver.VerdictRetry, Detail: code, Err: said}
	switch code {
	case "0": // a success that its status denies
		return r.Failed("dingtalk")
	case "300001":
		said.hint, said.gone = "the session webhook has expired", true
	case "15", "88":
		f.Verdict, said.hint = deliver.VerdictUncertain, "time-out inside DingTalk"
	case "90018", "90002":
		f.Wait = ratePause
	case "130101", "410100":
		f.Wait, f.Chat, said.hint = floodPause, true, "sent too fast"
	case "300005", "400101", "400102", "400106":
		said.hint, said.gone = "the robot of the session webhook is gone or switched off", true
	case "400013":
		f.Verdict, said.hint = deliver.VerdictFinal, "the group was dissolved"
	case "40035", "43004", "400105":
		f.Verdict, said.hint = deliver.VerdictFinal, "bad parameter"
	case "90020":
		f.Verdict, said.hint = deliver.VerdictFinal, "the organization's calls of this month are used up"
	case "310000", "430101", "430102", "430103", "430104":
		f.Verdict, said.hint = deliver.VerdictFinal, "the content was not let through"
	}
	return f
}

// blocked knows the page of the flood protection, which comes with any status.
func blocked(r *call.Reply) bool {
	squeezed := bytes.ReplaceAll(r.Body, []byte(" "), nil)
	return !r.JSON() && bytes.Contains(squeezed, []byte(`"status":1111`))
}

func blockedFor(r *call.Reply) error {
	return &deliver.Failure{
		Verdict: deliver.VerdictRetry, Wait: blockPause, Detail: "blocked",
		Err: fmt.Errorf("dingtalk blocks this address for a while: too many calls, status %s", strconv.Itoa(r.Status)),
	}
}

// plainCode lets through what looks like a code only.
func plainCode(code string) string {
	if len(code) > 80 || strings.ContainsFunc(code, func(c rune) bool {
		return (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') && c != '.' && c != '_' && c != '-'
	}) {
		return ""
	}
	return code
}

func unsendable(err error) error {
	return &deliver.Failure{Verdict: deliver.VerdictFinal, Detail: "unsendable", Err: fmt.Errorf("make the call to dingtalk: %w", err)}
}
