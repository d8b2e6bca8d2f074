package contracts

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

// seeds are the golden files and what is near them.
func seeds(f *testing.F, name string) {
	f.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name+".golden"))
	if err != nil {
		f.Fatal(err)
	}
	old, err := os.ReadFile(filepath.Join("testdata", "v2", name+".golden"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		f.Fatal(err)
	}
	for _, s := range [][]byte{b, old, b[:len(b)/2], append(bytes.Clone(b), b...), nil, []byte("null"), []byte("{}"), []byte(`{"v":1}`), []byte("1  "), []byte("final 1 x ")} {
		f.Add(s)
	}
}

// again checks that what was read is written and read back alike, so that no
// record changes by passing through.
func again[T any](t *testing.T, v T, encode func(T) ([]byte, error), decode func([]byte) (T, error)) {
	t.Helper()
	b, err := encode(v)
	if err != nil {
		t.Fatalf("%+v is read but not written: %v", v, err)
	}
	back, err := decode(b)
	if err != nil {
		t.Fatalf("%q is written but not read: %v", b, err)
	}
	first, second := reflect.ValueOf(v), reflect.ValueOf(back)
	for i := range first.NumField() {
		if first.Type().Field(i).Name == "Version" {
			continue // the writer's own
		}
		if f, s := first.Field(i), second.Field(i); f.Kind() == reflect.Slice && f.Len() == 0 && s.Len() == 0 {
			continue
		} else if !reflect.DeepEqual(f.Interface(), s.Interface()) {
			t.Fatalf("%s was %v and is %v", first.Type().Field(i).Name, f, s)
		}
	}
}

func FuzzDecodeLetter(f *testing.F) {
	seeds(f, "message")
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := DecodeLetter(b)
		if err != nil {
			return
		}
		if id, err := ParseID(l.ID); err != nil || id.Conversation != l.Conversation || l.Channel == "" {
			t.Fatalf("%+v was taken", l.Message)
		}
		m, err := l.Open(place{})
		if err != nil {
			return
		}
		again(t, m, func(m Message) ([]byte, error) { return EncodeMessage(m, place{}) }, func(b []byte) (Message, error) {
			l, err := DecodeLetter(b)
			if err != nil {
				return Message{}, err
			}
			return l.Open(place{})
		})
	})
}

func FuzzDecodeSealed(f *testing.F) {
	seeds(f, "sealed")
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := DecodeSealed(b)
		if err == nil {
			again(t, s, func(s Sealed) ([]byte, error) { return EncodeSealed(s), nil }, DecodeSealed)
		}
	})
}

func FuzzDecodeReply(f *testing.F) {
	seeds(f, "reply")
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := DecodeReply(b)
		if err != nil {
			return
		}
		if _, err := ParseID(r.ID); err != nil {
			t.Fatalf("%q was taken", r.ID)
		}
		if len(r.Data) <= MaxReply {
			again(t, r, func(r Reply) ([]byte, error) { return EncodeReply(r), nil }, DecodeReply)
		}
	})
}

func FuzzDecodeAttach(f *testing.F) {
	seeds(f, "attach")
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := DecodeAttach(b)
		if err != nil {
			return
		}
		oneToken(t, a.ReplyTo[len(subjectReply):])
		again(t, a, func(a Attach) ([]byte, error) { return EncodeAttach(a), nil }, DecodeAttach)
	})
}

func FuzzDecodeOutgoing(f *testing.F) {
	seeds(f, "outgoing")
	f.Fuzz(func(t *testing.T, b []byte) {
		if o, err := DecodeOutgoing(b); err == nil {
			again(t, o, EncodeOutgoing, DecodeOutgoing)
		}
	})
}

func FuzzDecodeDead(f *testing.F) {
	seeds(f, "dead")
	f.Fuzz(func(t *testing.T, b []byte) {
		if d, err := DecodeDead(b); err == nil {
			again(t, d, EncodeDead, DecodeDead)
		}
	})
}

func FuzzDecodeTurn(f *testing.F) {
	seeds(f, "turn")
	f.Fuzz(func(t *testing.T, b []byte) {
		if v, err := DecodeTurn(b); err == nil {
			again(t, v, func(v Turn) ([]byte, error) { return EncodeTurn(v), nil }, DecodeTurn)
		}
	})
}

func FuzzDecodeResult(f *testing.F) {
	seeds(f, "result")
	f.Fuzz(func(t *testing.T, b []byte) {
		if v, err := DecodeResult(b); err == nil {
			again(t, v, func(v Result) ([]byte, error) { return EncodeResult(v), nil }, DecodeResult)
		}
	})
}

func FuzzDecodeDelta(f *testing.F) {
	seeds(f, "delta")
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := SealedDelta(b)
		if err != nil {
			return
		}
		d, err := OpenDelta(s, place{})
		if err != nil {
			return
		}
		again(t, d, func(d Delta) ([]byte, error) { return EncodeDelta(d, place{}) }, func(b []byte) (Delta, error) {
			s, err := SealedDelta(b)
			if err != nil {
				return Delta{}, err
			}
			return OpenDelta(s, place{})
		})
	})
}

func FuzzDecodeCancel(f *testing.F) {
	seeds(f, "cancel")
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, err := DecodeCancel(b); err == nil {
			if _, err := ParseID(c.ID); err != nil {
				t.Fatalf("%+v was taken", c)
			}
		}
	})
}

func FuzzDecodeModelTable(f *testing.F) {
	seeds(f, "model_table")
	f.Fuzz(func(t *testing.T, b []byte) {
		table, err := DecodeModelTable(b)
		if err != nil {
			return
		}
		r, err := NewRouter(table, 1)
		if err != nil {
			t.Fatalf("decoded, but: %v", err)
		}
		for _, text := range []string{"", "/zh/ hi", "hi"} {
			if c, err := r.Choose("", text, text); err != nil || c.Entry.Provider == "" {
				t.Fatalf("%q leads to %+v, %v", text, c, err)
			}
		}
	})
}

func FuzzDecodeCachedAnswer(f *testing.F) {
	seeds(f, "cached_answer")
	f.Fuzz(func(t *testing.T, b []byte) {
		if a, err := DecodeCachedAnswer(b); err == nil {
			again(t, a, func(a CachedAnswer) ([]byte, error) { return EncodeCachedAnswer(a), nil }, DecodeCachedAnswer)
		}
	})
}

func FuzzDecodeSummary(f *testing.F) {
	f.Add(EncodeSummary(aSummary))
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := DecodeSummary(b); err == nil && b[0] == Version && !bytes.Equal(EncodeSummary(s), b) {
			t.Errorf("%q reads as %+v", b, s)
		}
	})
}

func FuzzDecodeAbout(f *testing.F) {
	f.Add(EncodeAbout(anAbout))
	f.Fuzz(func(t *testing.T, b []byte) {
		if a, err := DecodeAbout(b); err == nil && b[0] == Version && !bytes.Equal(EncodeAbout(a), b) {
			t.Errorf("%q reads as %+v", b, a)
		}
	})
}
