package feishu

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"

	"moltbot/workers/deliver/call"
)

// guard is the HTTP client of the SDK. It lets the SDK see what succeeded and
// nothing else: every failure is judged here, where status, header and body are
// known, and goes through the SDK as it is.
type guard struct {
	client *http.Client
	binary bool // an answer that is not JSON is a success
}

// Do makes the call once. The SDK repeats only what failed with errors of
// net/http, which never come from here.
func (g guard) Do(req *http.Request) (*http.Response, error) {
	r, err := call.Do(g.client, req)
	if err != nil {
		return nil, err
	}
	if err := g.judge(&r); err != nil {
		return nil, err
	}
	return &http.Response{
		StatusCode: r.Status, Body: io.NopCloser(bytes.NewReader(r.Body)), Request: req,
		// Without a content type the SDK leaves the body alone, which is ours to read.
		Header: http.Header{},
	}, nil
}

func (g guard) judge(r *call.Reply) error {
	if g.binary && r.Status == http.StatusOK && r.Broken == nil && !r.JSON() {
		return nil
	}
	var said struct {
		Code *int64 `json:"code"`
	}
	if r.Broken != nil || json.Unmarshal(r.Body, &said) != nil || said.Code == nil {
		return r.Failed("feishu")
	}
	return judge(r, *said.Code)
}

// silent is the SDK's logger: its texts quote answers and errors.
type silent struct{}

func (silent) Debug(context.Context, ...any) {}
func (silent) Info(context.Context, ...any)  {}
func (silent) Warn(context.Context, ...any)  {}
func (silent) Error(context.Context, ...any) {}

// plainJSON writes < > & as they are. Escaped, code in an answer would be several
// times as long, and the limits are in bytes.
type plainJSON struct{}

// Serialize is called by the SDK with the body of a request.
func (plainJSON) Serialize(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// Deserialize is the other half of the SDK's interface.
func (plainJSON) Deserialize(b []byte, v any) error { return json.Unmarshal(b, v) }
