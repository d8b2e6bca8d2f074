package im

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"
)

func TestDecode(t *testing.T) {
	type v struct {
		A string   `json:"a"`
		B []string `json:"b"`
	}
	for name, c := range map[string]struct {
		body string
		good bool
	}{
		"good": {` {"a":"x","b":["y"],"new":{"c":[1]}} `, true}, "nothing": {"", false}, "list": {"[]", false}, "text": {`"x"`, false},
		"twice": {`{"a":"x","a":"x"}`, false}, "twice inside": {`{"new":{"c":1,"c":1}}`, false}, "type": {`{"a":1}`, false},
		"type of a list": {`{"b":"x"}`, false}, "behind": {`{}{}`, false}, "cut": {`{"a":"x"`, false}, "UTF-8": {"{\"a\":\"\xff\"}", false},
		"half a pair": {`{"a":"\ud800"}`, false}, "case": {`{"A":1}`, true},
		"32 levels":   {`{"x":` + strings.Repeat("[", 31) + strings.Repeat("]", 31) + `}`, true},
		"33 levels":   {`{"x":` + strings.Repeat("[", 32) + strings.Repeat("]", 32) + `}`, false},
		"many values": {`{"x":[` + strings.Repeat("1,", 1<<16) + `1]}`, false},
	} {
		var out v
		err := Decode([]byte(c.body), &out)
		if (err == nil) != c.good || err != nil && !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTime(t *testing.T) {
	for text, want := range map[string]string{
		"1789200000": "2026-09-12T08:00:00Z", "1789200000640": "2026-09-12T08:00:00.64Z", "1789200000640001": "2026-09-12T08:00:00.640001Z",
	} {
		if at, err := Time(text); err != nil || at.Format(time.RFC3339Nano) != want {
			t.Errorf("%s: %s, %v", text, at, err)
		}
	}
	for _, text := range []string{"", "0", "-1789200000", "17892000001", "178920000064000100", "1789200000.1", "0789200000", "１７８９２０００００", "1e10"} {
		if _, err := Time(text); !errors.Is(err, ErrMalformed) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"a":"x","b":["y"]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		var v map[string]any
		err := Decode(body, &v)
		if err != nil && !errors.Is(err, ErrMalformed) {
			t.Fatalf("%v", err)
		}
		if err == nil && !json.Valid(body) {
			t.Error("taken, and no JSON")
		}
	})
}

func FuzzTimeAndNames(f *testing.F) {
	f.Add("1789200000640")
	f.Fuzz(func(t *testing.T, s string) {
		if at, err := Time(s); err == nil && (at.Year() < 2001 || at.Year() > 2286) {
			t.Errorf("%s is %s", s, at)
		}
		if k := Kind(s); len(k) > 64 || strings.ContainsAny(k, " \r\n\x00") {
			t.Errorf("%q", k)
		}
		if ID(s) == nil && strings.ContainsAny(s, "\r\n\x00") {
			t.Errorf("%q", s)
		}
	})
}
