package contracts

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the golden files")

// place is a Sealer that shows where it sealed: "kind|conversation|id|plain".
type place struct{}

func (place) Seal(plain []byte, kind Kind, conversation, id string) ([]byte, error) {
	return append([]byte(string(kind)+"|"+conversation+"|"+id+"|"), plain...), nil
}

func (place) Open(sealed []byte, kind Kind, conversation, id string) ([]byte, error) {
	plain, ok := bytes.CutPrefix(sealed, []byte(string(kind)+"|"+conversation+"|"+id+"|"))
	if !ok {
		return nil, errors.New("sealed elsewhere")
	}
	return plain, nil
}

// broken is a Sealer without its key.
type broken struct{}

var errBroken = errors.New("no key")

func (broken) Seal([]byte, Kind, string, string) ([]byte, error) { return nil, errBroken }
func (broken) Open([]byte, Kind, string, string) ([]byte, error) { return nil, errBroken }

const (
	aConversation = "0123456789abcdefghijklmnop"
	anID          = aConversation + ".m5s3k0w0.00000000000000aa.vvvvvvvvvvvvvvvv"
)

var noon = time.Date(2026, 11, 20, 12, 0, 0, 123e6, time.UTC)

func aMessage() Message {
	return Message{
		ID: anID, Conversation: aConversation, Channel: ChannelAPI, RequestID: "REQ", ReplyTo: SubjectReply("n1"),
		Accepted: noon, Caller: "api:admin", SessionID: "s-1", Text: "héllo <b>\u2028\n", Model: "gpt-5",
		Route: "/zh/support", Prompt: `[{"role":"user","text":"hi"}]`, Params: `{"seed":1}`, Flags: FlagStream | FlagFresh, Allow: ModelNames{"fast", "gpt-*"},
		Say: "no", Images: []Image{anImage}, Origin: anOrigin, Callback: "https://hooks.example.com/a",
	}
}

func aResult() Result {
	return Result{
		Version: Version, ID: anID, SessionID: "s-1", Reply: "hi", Model: "m", ModelVersion: "m-1",
		Usage: Usage{PromptTokens: 3, CompletionTokens: 4}, Finish: "stop", At: noon,
		ToolCalls: []ToolCall{{ID: "c1", Name: "weather", Arguments: `{"city":"Köln"}`}}, Run: 7, Table: 12, Cached: true,
	}
}

// wire is everything that another process, another replica or a client reads.
// A change of a golden file is a change of the protocol.
var wire = []struct {
	name   string
	value  any
	encode func() ([]byte, error)
	decode func([]byte) (any, error) // nil: only clients read it
}{
	{"message", aMessage(), func() ([]byte, error) { return EncodeMessage(aMessage(), place{}) }, func(b []byte) (any, error) {
		l, err := DecodeLetter(b)
		if err != nil {
			return nil, err
		}
		return l.Open(place{})
	}},
	{"turn", aTurn, func() ([]byte, error) { return EncodeTurn(aTurn), nil }, func(b []byte) (any, error) { return DecodeTurn(b) }},
	{"result", aResult(), func() ([]byte, error) { return EncodeResult(aResult()), nil }, func(b []byte) (any, error) { return DecodeResult(b) }},
	{"result_failed", aFailure, func() ([]byte, error) { return EncodeResult(aFailure), nil }, func(b []byte) (any, error) { return DecodeResult(b) }},
	{"sealed", aSealed, func() ([]byte, error) { return EncodeSealed(aSealed), nil }, func(b []byte) (any, error) { return DecodeSealed(b) }},
	{"reply", Reply(aSealed), func() ([]byte, error) { return EncodeReply(Reply(aSealed)), nil }, func(b []byte) (any, error) { return DecodeReply(b) }},
	{"attach", Attach{Version: Version, ReplyTo: "chat.reply.n1"}, func() ([]byte, error) { return EncodeAttach(Attach{ReplyTo: "chat.reply.n1"}), nil }, func(b []byte) (any, error) { return DecodeAttach(b) }},
	{"attach_deltas", Attach{Version: Version, ReplyTo: "chat.reply.n1", Deltas: true}, func() ([]byte, error) { return EncodeAttach(Attach{ReplyTo: "chat.reply.n1", Deltas: true}), nil }, func(b []byte) (any, error) { return DecodeAttach(b) }},
	{"cancel", Cancel{Version: Version, ID: anID}, func() ([]byte, error) { id, err := ParseID(anID); return EncodeCancel(id), err }, func(b []byte) (any, error) { return DecodeCancel(b) }},
	{"cancel_stop", Cancel{Version: Version, ID: anID, Before: 41, Life: 1700000000000000001}, func() ([]byte, error) {
		id, err := ParseID(anID)
		return EncodeStop(id, 41, 1700000000000000001), err
	}, func(b []byte) (any, error) { return DecodeCancel(b) }},
	{"delta", aDelta, func() ([]byte, error) { return EncodeDelta(aDelta, place{}) }, func(b []byte) (any, error) {
		s, err := SealedDelta(b)
		if err != nil {
			return nil, err
		}
		return OpenDelta(s, place{})
	}},
	{"cached_answer", aCached, func() ([]byte, error) { return EncodeCachedAnswer(aCached), nil }, func(b []byte) (any, error) { return DecodeCachedAnswer(b) }},
	{"model_table", aTable, func() ([]byte, error) { return EncodeModelTable(aTable) }, func(b []byte) (any, error) { return DecodeModelTable(b) }},
	{"outgoing", anOutgoing, func() ([]byte, error) { return EncodeOutgoing(anOutgoing) }, func(b []byte) (any, error) { return DecodeOutgoing(b) }},
	{"answer", anAnswer, func() ([]byte, error) { return EncodeAnswer(anAnswer), nil }, func(b []byte) (any, error) { return DecodeAnswer(b) }},
	{"pool_slots", PoolSlots{Version: Version, Slots: 64}, func() ([]byte, error) { return EncodePoolSlots(PoolSlots{Slots: 64}) }, func(b []byte) (any, error) { return DecodePoolSlots(b) }},
	{"worker_status", aWorker, func() ([]byte, error) { return EncodeWorkerStatus(aWorker) }, func(b []byte) (any, error) { return DecodeWorkerStatus(b) }},
	{"worker_models", aModelsWorker(), func() ([]byte, error) { return EncodeWorkerStatus(aModelsWorker()) }, func(b []byte) (any, error) { return DecodeWorkerStatus(b) }},
	{"models_reload", aReload, func() ([]byte, error) { return EncodeModelsReload(aReload) }, func(b []byte) (any, error) { return DecodeModelsReload(b) }},
	{"summary", aSummary, func() ([]byte, error) { return EncodeSummary(aSummary), nil }, func(b []byte) (any, error) { return DecodeSummary(b) }},
	{"about", anAbout, func() ([]byte, error) { return EncodeAbout(anAbout), nil }, func(b []byte) (any, error) { return DecodeAbout(b) }},
	{"summarize", aTask, func() ([]byte, error) { return EncodeSummarize(aTask) }, func(b []byte) (any, error) { return DecodeSummarize(b) }},
	{"dead", aDead, func() ([]byte, error) { return EncodeDead(aDead) }, func(b []byte) (any, error) { return DecodeDead(b) }},

	{"chat_reply", nil, func() ([]byte, error) {
		r := aResult()
		return json.Marshal(ChatReply{
			ID: r.ID, SessionID: r.SessionID, Status: StatusDone, Reply: r.Reply, Model: r.Model, ModelVersion: r.ModelVersion,
			ModelTable: r.Table, FinishReason: r.Finish, Usage: &r.Usage, AnsweredAt: &r.At,
		})
	}, nil},
	{"chat_pending", nil, func() ([]byte, error) { return json.Marshal(ChatReply{ID: anID, Status: StatusPending}) }, nil},
	{"problem", nil, func() ([]byte, error) {
		return json.Marshal(Problem{Type: "about:blank", Title: "Gone", Status: 410, Detail: "d", Code: CodeResultExpired, RequestID: "REQ", ID: anID})
	}, nil},
	{"health", nil, func() ([]byte, error) { return json.Marshal(Health{Status: "healthy", Uptime: 7}) }, nil},
	{"ready", nil, func() ([]byte, error) {
		return json.Marshal(Ready{Status: "not_ready", Checks: map[string]string{"nats": "down", "redis": "ok"}})
	}, nil},
}

var (
	aTurn    = Turn{Version: Version, ID: anID, User: "hi", Assistant: "hello", Tokens: 5, At: noon, Stopped: true, Images: []Image{anImage}}
	aSummary = Summary{Version: Version, Upto: anID, Text: "they said hi", Turns: 5, Tokens: 4, Model: "m", At: noon}
	anAbout  = About{Version: Version, Caller: "api:admin", SessionID: "s-1", Channel: ChannelAPI, Began: noon}
	aTask    = Summarize{Version: Version, Conversation: aConversation, Upto: anID}
	aFailure = Failed(aMessage(), CodeModelTimeout, "the model took too long", noon)
	aSealed  = Sealed{ID: anID, Data: []byte("any bytes \x00\n here")}
	aDelta   = Delta{ID: anID, Run: 7, Attempt: 2, Offset: 12, Text: "a piece\n"}
	aCached  = CachedAnswer{
		Version: Version, Text: "hi", ToolCalls: []ToolCall{{ID: "c1", Name: "weather", Arguments: "{}"}}, Model: "m", ModelVersion: "p/m",
		Finish: "tool_calls", Usage: Usage{PromptTokens: 3, CompletionTokens: 4}, Tokens: 2, At: noon,
	}
	half   = 0.5
	aTable = ModelTable{
		Version: Version, Default: "fast", Routes: []ModelRoute{{Pattern: "^/zh/", Model: "slow"}}, By: "operator", At: noon, Sources: []string{"abc"},
		Models: map[string]ModelEntry{
			"fast": {Provider: "deepseek", Model: "deepseek-chat", Fallback: []string{"slow"}, MaxTokens: 100, Temperature: &half, MaxConcurrent: 4, InputPrice: 1.5, OutputPrice: 2},
			"slow": {Provider: "claude", Model: "claude-4", AnyModel: true},
		},
	}
	anImage  = Image{Channel: ChannelFeishu, App: DefaultApp, MessageID: "om_1", Key: "img_1"}
	anOrigin = &Origin{
		App: DefaultApp, MessageID: "msg1==", At: noon, Chat: "cid1==", Direct: true, Thread: "t", Sender: "manager1", Tenant: "ding1",
		Webhook: "https://oapi.dingtalk.com/robot/sendBySession?session=1", WebhookUntil: noon.Add(90 * time.Minute),
	}
	anAnswer   = Answer{Version: Version, ID: anID, Caller: "dingtalk:manager1", RequestID: "REQ", Accepted: noon, Text: "**hi**", Origin: anOrigin, Result: aResult()}
	anOutgoing = Outgoing{Version: Version, ID: anID, Conversation: aConversation, Channel: "feishu", Data: []byte{1, 2}}
	aWorker    = WorkerStatus{
		Version: Version, Node: "n1", Host: "h", PID: 7, Build: "v0", Started: noon,
		Pools: map[Pool]PoolStatus{PoolChat: {Slots: 4, InUse: 3, Configured: 64}},
	}
	aReload = ModelsReload{Version: Version, Import: "abc", By: "ann"}
	aDead   = Dead{
		Version: Version, ID: anID, Conversation: aConversation, Code: CodeModelFailed, Detail: []byte("sealed"), Attempts: 5,
		Stream: StreamChat, Sequence: 9, Subject: SubjectChat(aConversation), At: noon, Original: []byte("original"),
	}
)

// aModelsWorker is a worker that refuses a table.
func aModelsWorker() WorkerStatus {
	w := aWorker
	w.Models = &ModelsStatus{Revision: 11, Refused: 12, Error: "no provider", File: "abc", Providers: []string{"a", "b"}, Mistake: "line 3", Resting: map[string][]RestingKey{"a": {{Key: 2, Until: noon, Refused: true}}}}
	return w
}

func golden(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name+".golden"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestGolden(t *testing.T) {
	for _, w := range wire {
		t.Run(w.name, func(t *testing.T) {
			got, err := w.encode()
			if err != nil {
				t.Fatal(err)
			}
			if *update {
				if err := os.WriteFile(filepath.Join("testdata", w.name+".golden"), got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want := golden(t, w.name)
			if !bytes.Equal(got, want) {
				t.Errorf("written\n%q, golden\n%q", got, want)
			}
			if w.decode == nil {
				return
			}
			back, err := w.decode(want)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(back, w.value) {
				t.Errorf("read\n%+v, want\n%+v", back, w.value)
			}
		})
	}
}

// A build reads what it knows, and says of anything else that it is another version's.
func TestVersions(t *testing.T) {
	version := regexp.MustCompile(`"v":5,|(^|^final |^delta )5 |^\x05`)
	for _, w := range wire {
		if w.decode == nil {
			continue
		}
		b := golden(t, w.name)
		for _, v := range []byte{0, 1, 6, 9, 5} {
			as := version.ReplaceAllFunc(b, func(m []byte) []byte {
				if m[0] == Version {
					return []byte{v}
				}
				return bytes.Replace(m, []byte("5"), []byte{'0' + v}, 1)
			})
			_, err := w.decode(as)
			if (v == Version) != (err == nil) || (v != Version) != errors.Is(err, ErrVersion) {
				t.Errorf("%s of version %d: %v", w.name, v, err)
			}
		}
		without := version.ReplaceAll(b, []byte("$1"))
		if _, err := w.decode(without); err == nil {
			t.Errorf("%s without a version was read", w.name)
		} else if b[0] == '{' && !errors.Is(err, ErrVersion) {
			t.Errorf("%s without a version: %v", w.name, err)
		}
	}
}

// What the version before wrote is read as if this one had written it.
func TestVersionBefore(t *testing.T) {
	for _, w := range wire {
		if w.decode == nil {
			continue
		}
		old, err := os.ReadFile(filepath.Join("testdata", "v4", w.name+".golden"))
		if errors.Is(err, fs.ErrNotExist) {
			continue // there was none
		}
		got, err := w.decode(old)
		if err != nil {
			t.Errorf("%s: %v", w.name, err)
			continue
		}
		was := reflect.New(reflect.TypeOf(got)).Elem()
		was.Set(reflect.ValueOf(got))
		if v := was.FieldByName("Version"); v.IsValid() {
			v.SetInt(Version)
		}
		want := reflect.New(reflect.TypeOf(w.value)).Elem()
		want.Set(reflect.ValueOf(w.value))
		for _, field := range []string{"Say", "Images", "Origin", "Callback"} {
			if v := want.FieldByName(field); v.IsValid() {
				v.SetZero() // they came with this version
			}
		}
		if !reflect.DeepEqual(was.Interface(), want.Interface()) {
			t.Errorf("%s: read\n%+v, want\n%+v", w.name, got, want)
		}
	}
}

func TestWriterSetsTheVersion(t *testing.T) {
	if got, err := DecodeTurn(EncodeTurn(Turn{Version: 77, ID: anID})); err != nil || got.Version != Version {
		t.Errorf("version %d, %v", got.Version, err)
	}
}

// A field that could not be told from its neighbors is refused where it is written.
func TestNoSuchEnvelope(t *testing.T) {
	for name, change := range map[string]func(*Message){
		"of another conversation": func(m *Message) { m.Conversation = strings.Repeat("0", conversationLen) },
		"without a channel":       func(m *Message) { m.Channel = "" },
		"channel of two words":    func(m *Message) { m.Channel = "a b" },
		"request of two lines":    func(m *Message) { m.RequestID = "a\nb" },
		"reply subject not ASCII": func(m *Message) { m.ReplyTo = "chat.reply.ü" },
		"much too long":           func(m *Message) { m.RequestID = strings.Repeat("x", 2000) },
		"without an id":           func(m *Message) { m.ID = "" },
	} {
		m := aMessage()
		change(&m)
		if b, err := EncodeMessage(m, place{}); err == nil {
			t.Errorf("%s: %q", name, b)
		}
	}
}

func TestMessageIsSealedForItsPlace(t *testing.T) {
	b, err := EncodeMessage(aMessage(), place{})
	if err != nil {
		t.Fatal(err)
	}
	clearPart, _, _ := bytes.Cut(b, []byte("\n"))
	for _, secret := range []string{"api:admin", "s-1", "llo", "gpt-5"} {
		if bytes.Contains(clearPart, []byte(secret)) {
			t.Errorf("%q lies in the clear: %s", secret, clearPart)
		}
	}
	l, err := DecodeLetter(b)
	if err != nil {
		t.Fatal(err)
	}
	if l.Text != "" || l.Caller != "" {
		t.Errorf("an unopened letter shows its content: %+v", l.Message)
	}
	l.ID = strings.Replace(anID, "aa", "bb", 1)
	if _, err := l.Open(place{}); err == nil {
		t.Error("a body that was sealed for another id opens")
	}
}

func TestSealerFailure(t *testing.T) {
	if _, err := EncodeMessage(aMessage(), broken{}); !errors.Is(err, errBroken) {
		t.Errorf("encode: %v", err)
	}
	l, err := DecodeLetter(golden(t, "message"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Open(broken{}); !errors.Is(err, errBroken) {
		t.Errorf("open: %v", err)
	}
}

// An envelope whose parts disagree would be run under one conversation's lock
// and written into another's keys.
func TestContradictions(t *testing.T) {
	other := strings.Repeat("0", conversationLen)
	change := func(name, old, new string) []byte {
		b := golden(t, name)
		changed := bytes.ReplaceAll(b, []byte(old), []byte(new))
		if bytes.Equal(b, changed) {
			t.Fatalf("%s holds no %q", name, old)
		}
		return changed
	}
	cases := map[string]func() error{
		"letter without a channel": func() error {
			_, err := DecodeLetter(change("message", " api ", "  "))
			return err
		},
		"letter with a field more": func() error {
			_, err := DecodeLetter(change("message", " api ", " api api "))
			return err
		},
		"letter without an id": func() error {
			_, err := DecodeLetter(change("message", anID, ""))
			return err
		},
		"letter of no time": func() error {
			_, err := DecodeLetter(change("message", " api 1", " api +1"))
			return err
		},
		"letter without a line": func() error {
			_, err := DecodeLetter(change("message", "\n", " "))
			return err
		},
		"outgoing of another conversation": func() error {
			_, err := DecodeOutgoing(change("outgoing", `"conversation":"`+aConversation, `"conversation":"`+other))
			return err
		},
		"outgoing without a channel": func() error {
			_, err := DecodeOutgoing(change("outgoing", `"feishu"`, `""`))
			return err
		},
		"attach to a subject of the server": func() error {
			_, err := DecodeAttach(change("attach", "chat.reply.n1", "$JS.API.STREAM.DELETE.CHAT"))
			return err
		},
		"attach to a wildcard": func() error {
			_, err := DecodeAttach(change("attach", "chat.reply.n1", "chat.reply.>"))
			return err
		},
		"attach to nobody": func() error {
			_, err := DecodeAttach(change("attach", "chat.reply.n1", "chat.reply._"))
			return err
		},
		"reply of another kind": func() error {
			_, err := DecodeReply(change("reply", "final ", "delta "))
			return err
		},
		"reply for no id": func() error {
			_, err := DecodeReply(change("reply", anID, "x"))
			return err
		},
		"sealed record with a sign before its version": func() error {
			_, err := DecodeSealed([]byte("+1 " + anID + " x"))
			return err
		},
	}
	for name, decode := range cases {
		if err := decode(); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
}

// The largest result travels inside; one byte more and the reply only points.
func TestReplyPointer(t *testing.T) {
	for size, carried := range map[int]bool{MaxReply: true, MaxReply + 1: false, 0: false} {
		r, err := DecodeReply(EncodeReply(Reply{ID: anID, Data: make([]byte, size)}))
		if err != nil || r.ID != anID || (len(r.Data) == size) != (carried || size == 0) || (len(r.Data) > 0) != carried {
			t.Errorf("%d bytes: %d arrived, %v", size, len(r.Data), err)
		}
	}
}

func TestFailed(t *testing.T) {
	if r := aFailure; r.Reply != "" || r.Code != CodeModelTimeout || r.ID != anID || r.SessionID != "s-1" || !r.At.Equal(noon) {
		t.Errorf("%+v", r)
	}
}
