package feishu

import (
	"encoding/hex"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"moltbot/ingress/feishu/frame"
	"moltbot/ingress/im"
)

// frames are those that the official Node SDK wrote.
func frames(t testing.TB) map[string][]byte {
	t.Helper()
	var file struct {
		Frames map[string]struct{ Hex string } `json:"frames"`
	}
	load(t, filepath.Join("..", "frame", "testdata", "feishu-ws-frames.json"), &file)
	out := map[string][]byte{}
	for name, f := range file.Frames {
		b, err := hex.DecodeString(f.Hex)
		if err != nil {
			t.Fatal(err)
		}
		out[name] = b
	}
	return out
}

func newWire() *wire {
	w := &wire{identity: identity(), longest: time.Hour, service: 12345678, parts: newParts(vectorTime)}
	w.configure(nil)
	return w
}

func TestFramesOfTheOfficialSDK(t *testing.T) {
	w, f := newWire(), frames(t)
	if _, ping, _ := w.Ping(); string(ping) != string(f["client_ping"]) {
		t.Errorf("a ping is %x", ping)
	}
	if got, err := w.Read(f["server_pong_with_config"]); err != nil || got.Event != nil || got.Answer != nil {
		t.Errorf("a pong: %+v, %v", got, err)
	}
	if _, _, next := w.Ping(); next != 2*time.Minute {
		t.Errorf("the next ping comes after %s", next)
	}
	if got, err := w.Read(f["server_event_fragment_1"]); err != nil || got.Event != nil || got.Answer != nil {
		t.Errorf("a part: %+v, %v", got, err)
	}
	whole, err := w.Read(f["server_event_fragment_0"])
	if err != nil {
		t.Fatal(err)
	}
	check(t, "in two parts", *whole.Event, err, payloads()["feishu-p2p-text"])
	acked(t, whole.Answer(nil), 200, `{"code":200,"headers":null,"data":null}`)
	acked(t, whole.Answer(errors.New("x")), 500, `{"code":500,"headers":null,"data":null}`)
}

func acked(t *testing.T, raw []byte, code int, payload string) {
	t.Helper()
	f, err := frame.Decode(raw)
	if err != nil || string(f.Payload) != payload || f.Get(headerTook) == "" || f.Get(headerID) == "" {
		t.Errorf("%d: %v, %+v", code, err, f)
	}
}

func TestAcknowledgementOfTheOfficialSDK(t *testing.T) {
	all := frames(t)
	in, err := frame.Decode(all["server_event_small"])
	if err != nil {
		t.Fatal(err)
	}
	if got := ack(in, 12*time.Millisecond, nil, nil); string(got) != string(all["client_ack_event_small"]) {
		t.Errorf("%x", got)
	}
}

// What an answer to a click shows goes back in the frame.
func TestClickOverTheSocket(t *testing.T) {
	f := frame.Frame{Method: frame.Data, Payload: card(`{}`, "c-1"), Headers: []frame.Header{{Key: headerType, Value: typeClick}, {Key: headerID, Value: "1"}}}
	got, err := newWire().Read(f.Encode())
	if err != nil || got.Event.Kind != im.KindCard {
		t.Fatalf("%+v, %v", got, err)
	}
	back, err := frame.Decode(got.Answer(nil))
	if err != nil || !strings.HasPrefix(string(back.Payload), `{"code":200,"headers":null,"data":"eyJ0b2Fzd`) {
		t.Errorf("%s, %v", back.Payload, err)
	}
}

func TestFramesThatAreNotForUs(t *testing.T) {
	for _, f := range []frame.Frame{
		{Method: 7, Headers: []frame.Header{{Key: headerType, Value: typeEvent}}}, {Method: frame.Control}, {Method: frame.Data},
		{Method: frame.Data, Headers: []frame.Header{{Key: headerType, Value: typePing}}},
	} {
		if got, err := newWire().Read(f.Encode()); err != nil || got.Event != nil || got.Answer != nil {
			t.Errorf("%+v: %+v, %v", f, got, err)
		}
	}
	if _, err := newWire().Read([]byte("{}")); !errors.Is(err, im.ErrMalformed) {
		t.Errorf("no frame: %v", err)
	}
}

// Parts may come in any order, twice, and never.
func TestPartsThatDoNotFit(t *testing.T) {
	now := vectorTime()
	p := newParts(func() time.Time { return now })
	add := func(id, sum, seq, text string) (string, bool, error) {
		f := frame.Frame{Payload: []byte(text), Headers: []frame.Header{{Key: headerID, Value: id}, {Key: headerSum, Value: sum}, {Key: headerSeq, Value: seq}}}
		whole, ok, err := p.add(&f)
		return string(whole), ok, err
	}
	for _, c := range [][3]string{{"", "2", "0"}, {"a", "129", "0"}, {"a", "2", "2"}, {"a", "2", "-1"}} {
		if _, _, err := add(c[0], c[1], c[2], "x"); !errors.Is(err, im.ErrMalformed) {
			t.Errorf("%v: %v", c, err)
		}
	}
	_, _, _ = add("late", "2", "0", "x")
	now = now.Add(partsTTL + time.Second)
	if _, ok, err := add("late", "2", "1", "y"); ok || err != nil {
		t.Errorf("a part was joined to an old one: %v", err)
	}
	_, _, _ = add("b", "2", "1", "y")
	_, _, _ = add("b", "2", "1", "z")
	if whole, ok, err := add("b", "2", "0", "x"); whole != "xy" || !ok || err != nil {
		t.Errorf("%q, %v", whole, err)
	}
	_, _, _ = add("big", "2", "0", strings.Repeat("x", maxWhole))
	if _, _, err := add("big", "2", "1", "y"); !errors.Is(err, im.ErrMalformed) {
		t.Errorf("too large: %v", err)
	}
}
