package contracts

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"
)

// ErrVersion is the cause of a decode error when the bytes were written by a
// version this build does not read.
var ErrVersion = errors.New("unsupported version")

// Turn is one round of a conversation: what the user wrote and what the model
// answered. It is stored sealed in the list KeySession names.
type Turn struct {
	Version   int
	ID        string // the message id
	User      string
	Assistant string
	// Tokens of both texts by the model's tokenizer, counted once at write.
	Tokens int
	At     time.Time
	// Images go with User: where they are, not what they show.
	Images []Image
	// Stopped says that the user stopped the answer; Assistant is what of it was
	// made by then, and may be empty.
	Stopped bool
}

// Usage is what a model call cost in tokens.
type Usage struct {
	PromptTokens     int `json:"prompt_tokens"`
	CompletionTokens int `json:"completion_tokens"`
}

// Result is the final outcome of one message, parked under KeyResult and sent
// to whoever waits. Either Code is set, or at least one of Reply and ToolCalls.
type Result struct {
	Version      int
	ID           string
	SessionID    string
	Reply        string
	Code         Code
	Detail       string
	Model        string
	ModelVersion string
	Usage        Usage
	Finish       string
	At           time.Time

	ToolCalls []ToolCall // what the model wants called
	Run       int64      // the run that made it, see Delta
	Table     int64      // revision of the model table; 0: there was none
	Cached    bool       // the answer was made for another message
}

// Failed is the result of a message that got no answer.
func Failed(m Message, code Code, detail string, at time.Time) Result {
	return Result{Version: Version, ID: m.ID, SessionID: m.SessionID, Code: code, Detail: detail, At: at}
}

// EncodeTurn gives the plain bytes to be sealed.
func EncodeTurn(t Turn) []byte {
	w := newFields(48 + len(t.ID) + len(t.User) + len(t.Assistant))
	w.text(t.ID, t.User, t.Assistant)
	w.number(t.Tokens)
	w.time(t.At)
	w.number(bit(t.Stopped))
	w.text(encodeImages(t.Images))
	return w.b
}

// DecodeTurn reads what EncodeTurn wrote, in this version or the one before.
func DecodeTurn(b []byte) (t Turn, err error) {
	if err := versioned(b); err != nil {
		return t, fmt.Errorf("decode turn: %w", err)
	}
	r := readFields(b)
	t = Turn{Version: Version, ID: r.text(), User: r.text(), Assistant: r.text(), Tokens: r.number(), At: r.time()}
	t.Stopped = r.bit()
	if r.version > 4 {
		if t.Images, err = decodeImages(r.text()); err != nil {
			return Turn{}, fmt.Errorf("decode turn: %w", err)
		}
	}
	if err := r.end(); err != nil {
		return Turn{}, fmt.Errorf("decode turn: %w", err)
	}
	return t, nil
}

// EncodeResult gives the plain bytes to be sealed.
func EncodeResult(r Result) []byte {
	w := newFields(96 + len(r.ID) + len(r.SessionID) + len(r.Reply) + len(r.Detail) + len(r.Model) + len(r.ModelVersion))
	w.text(r.ID, r.SessionID, r.Reply, string(r.Code), r.Detail, r.Model, r.ModelVersion, r.Finish)
	w.number(r.Usage.PromptTokens, r.Usage.CompletionTokens)
	w.time(r.At)
	w.text(encodeToolCalls(r.ToolCalls))
	w.number(int(r.Run), int(r.Table), bit(r.Cached))
	return w.b
}

// DecodeResult reads what EncodeResult wrote, in this version or the one before.
func DecodeResult(b []byte) (v Result, err error) {
	if err := versioned(b); err != nil {
		return v, fmt.Errorf("decode result: %w", err)
	}
	r := readFields(b)
	v = Result{
		Version: Version, ID: r.text(), SessionID: r.text(), Reply: r.text(), Code: Code(r.text()), Detail: r.text(),
		Model: r.text(), ModelVersion: r.text(), Finish: r.text(),
		Usage: Usage{PromptTokens: r.number(), CompletionTokens: r.number()}, At: r.time(),
	}
	calls := r.text()
	v.Run, v.Table, v.Cached = int64(r.number()), int64(r.number()), r.bit()
	if v.ToolCalls, err = decodeToolCalls(calls); err != nil {
		return Result{}, fmt.Errorf("decode result: %w", err)
	}
	if err := r.end(); err != nil {
		return Result{}, fmt.Errorf("decode result: %w", err)
	}
	return v, nil
}

func encode(v any, version *int) ([]byte, error) {
	*version = Version
	return json.Marshal(v)
}

func decode(b []byte, v any, version *int, what string) error {
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("decode %s: %w", what, err)
	}
	if !supported(*version) {
		return fmt.Errorf("decode %s: %w %d", what, ErrVersion, *version)
	}
	return nil
}

// Sealed is a sealed record with what is needed to open it: the message id
// belongs to its associated data.
type Sealed struct {
	ID   string
	Data []byte
}

const maxVersionLen = 4 // digits

// EncodeSealed writes "<version> <id> <sealed bytes>". An id holds no space, so
// the first two spaces end the first two fields and the rest may hold anything.
func EncodeSealed(s Sealed) []byte {
	b := make([]byte, 0, 4+len(s.ID)+len(s.Data))
	b = strconv.AppendInt(b, Version, 10)
	b = append(b, ' ')
	b = append(b, s.ID...)
	b = append(b, ' ')
	return append(b, s.Data...)
}

// DecodeSealed reads what EncodeSealed wrote. Data shares b's memory.
func DecodeSealed(b []byte) (Sealed, error) {
	version, rest, ok := bytes.Cut(b, []byte{' '})
	id, data, ok2 := bytes.Cut(rest, []byte{' '})
	v, err := canonicalInt(string(version), 10, maxVersionLen)
	if !ok || !ok2 || err != nil || len(id) == 0 {
		return Sealed{}, errors.New("decode sealed record: not a sealed record")
	}
	if !supported(int(v)) {
		return Sealed{}, fmt.Errorf("decode sealed record: %w %d", ErrVersion, v)
	}
	return Sealed{ID: string(id), Data: data}, nil
}
