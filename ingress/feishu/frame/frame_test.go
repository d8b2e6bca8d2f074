package frame

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"reflect"
	"strings"
	"testing"
)

// vector is a frame that the official Node SDK wrote.
type vector struct {
	Fields struct {
		SeqID   uint64   `json:"SeqID"`
		LogID   uint64   `json:"LogID"`
		Service int32    `json:"service"`
		Method  int32    `json:"method"`
		Headers []Header `json:"headers"`
		Payload string   `json:"payload_utf8"`
	} `json:"fields"`
	Hex string `json:"hex"`
}

func (v *vector) frame() *Frame {
	f := &Frame{SeqID: v.Fields.SeqID, LogID: v.Fields.LogID, Service: v.Fields.Service, Method: v.Fields.Method, Headers: v.Fields.Headers}
	if v.Fields.Payload != "" {
		f.Payload = []byte(v.Fields.Payload)
	}
	return f
}

func vectors(t testing.TB) map[string]*vector {
	t.Helper()
	var file struct {
		Frames map[string]*vector `json:"frames"`
	}
	b, err := os.ReadFile("testdata/feishu-ws-frames.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &file); err != nil {
		t.Fatal(err)
	}
	return file.Frames
}

func unhex(t testing.TB, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestVectors(t *testing.T) {
	all := vectors(t)
	if len(all) < 6 {
		t.Fatalf("%d vectors", len(all))
	}
	for name, v := range all {
		f, err := Decode(unhex(t, v.Hex))
		if err != nil || !reflect.DeepEqual(f, v.frame()) {
			t.Errorf("%s: %v, %+v", name, err, f)
		}
		if got := hex.EncodeToString(v.frame().Encode()); got != v.Hex {
			t.Errorf("%s:\n%s, want\n%s", name, got, v.Hex)
		}
	}
}

func TestAllFieldsComeBack(t *testing.T) {
	for name, f := range map[string]*Frame{
		"all":      {SeqID: 1, LogID: 1<<64 - 1, Service: -1, Method: -1 << 31, Headers: []Header{{"", ""}, {"k", "v"}}, PayloadEncoding: "e", PayloadType: "t", Payload: []byte("p"), LogIDNew: "n"},
		"required": {},
	} {
		if got, err := Decode(f.Encode()); err != nil || !reflect.DeepEqual(got, f) {
			t.Errorf("%s: %v, %+v", name, err, got)
		}
	}
	f := Frame{Headers: []Header{{"sum", "2"}, {"sum", "3"}, {"seq", "x"}}}
	if f.Get("sum") != "2" || f.Int("sum") != 2 || f.Int("seq") != 0 || f.Get("none") != "" {
		t.Error("a header is another one")
	}
}

func TestWhatIsNoFrame(t *testing.T) {
	const head = "08 01 10 02 18 03 20 01" // the required fields
	for name, c := range map[string]struct {
		hex  string
		good bool
	}{
		"required only": {head, true}, "nothing": {"", false}, "without a method": {"08 01 10 02 18 03", false},
		"new field": {head + "50 07", true}, "new text": {head + "52 01 41", true}, "new fixed number": {head + "55 01020304", true},
		"a text for a number": {"0a 01 41 10 02 18 03 20 01", false}, "a number for a text": {head + "40 01", false},
		"fixed for a number": {"0d 01020304 10 02 18 03 20 01", false}, "cut text": {head + "42 05 41", false},
		"cut number": {head + "50 80", false}, "eleven bytes": {"08 ffffffffffffffffffff01 10 02 18 03 20 01", false},
		"header without a value": {head + "2a 03 0a 01 41", false}, "empty header": {head + "2a 00", false},
		"header with a number": {head + "2a 06 08 01 10 02 18 03", false}, "header with more": {head + "2a 08 0a 01 41 12 01 42 18 03", true},
		"length over all":   {head + "42 ffffffffffffffff7f", false},
		"field 0":           {head + "00 01", false},
		"too many headers":  {head + strings.Repeat("2a 06 0a 01 41 12 01 42", maxHeaders+1), false},
		"many headers":      {head + strings.Repeat("2a 06 0a 01 41 12 01 42", maxHeaders), true},
		"unended group":     {head + "53", false},
		"end of no group":   {head + "54", false},
		"an empty payload":  {head + "42 00", true},
		"the last one wins": {head + "20 00", true},
	} {
		f, err := Decode(unhex(t, c.hex))
		if (err == nil) != c.good || err != nil && (!errors.Is(err, errFrame) || f != nil) {
			t.Errorf("%s: %v, %+v", name, err, f)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, v := range vectors(f) {
		f.Add(unhex(f, v.Hex))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := Decode(b)
		if err != nil {
			return
		}
		if len(got.Headers) > maxHeaders || len(got.Payload) > len(b) {
			t.Errorf("%+v", got)
		}
		again, err := Decode(got.Encode())
		if err != nil || !bytes.Equal(again.Encode(), got.Encode()) {
			t.Errorf("%v, %+v of %+v", err, again, got)
		}
	})
}
