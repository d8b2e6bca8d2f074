package mailbox

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// scripted answers both lookups from a table and counts the questions.
type scripted struct {
	replica, truth       message
	replicaErr, truthErr error
	asked                []string
}

func (s *scripted) direct(_ context.Context, _ string, from uint64) (message, error) {
	s.asked = append(s.asked, "replica")
	if from != 5 {
		return message{}, errors.New("asked from the wrong sequence")
	}
	return s.replica, s.replicaErr
}

func (s *scripted) leader(_ context.Context, _ string, from uint64) (message, error) {
	s.asked = append(s.asked, "leader")
	if from != 5 {
		return message{}, errors.New("asked from the wrong sequence")
	}
	return s.truth, s.truthErr
}

// The reading rule: only "it is me" lets us go without asking the leader.
func TestReadingRule(t *testing.T) {
	at := time.Unix(100, 0)
	own := &message{seq: 7, at: at, data: []byte("own")}
	earlier := message{seq: 5, at: at.Add(-time.Second), data: []byte("earlier")}
	down := errors.New("no answer")
	for name, c := range map[string]struct {
		stream    scripted
		last      uint64
		delivered *message
		want      string
		err       error
		asked     int
	}{
		"it is me":                       {stream: scripted{replica: message{seq: 7, at: at}, truthErr: down}, delivered: own, want: "own", asked: 1},
		"not found there":                {stream: scripted{replicaErr: errNoHead, truth: earlier}, delivered: own, want: "earlier", asked: 2},
		"something earlier":              {stream: scripted{replica: message{seq: 5}, truth: earlier}, delivered: own, want: "earlier", asked: 2},
		"something older than last":      {stream: scripted{replica: message{seq: 3}, truth: *own}, delivered: own, want: "own", asked: 2},
		"something later":                {stream: scripted{replica: message{seq: 9}, truth: earlier}, delivered: own, want: "earlier", asked: 2},
		"my sequence of another stream":  {stream: scripted{replica: message{seq: 7, at: at.Add(time.Second)}, truth: earlier}, delivered: own, want: "earlier", asked: 2},
		"the replica fails":              {stream: scripted{replicaErr: down, truth: *own}, delivered: own, want: "own", asked: 2},
		"both fail":                      {stream: scripted{replicaErr: down, truthErr: down}, delivered: own, err: down, asked: 2},
		"the leader knows of none":       {stream: scripted{replicaErr: errNoHead, truthErr: errNoHead}, delivered: own, err: errNoHead, asked: 2},
		"the replica is not asked alone": {stream: scripted{replica: message{seq: 7, at: at}, truth: earlier}, want: "earlier", asked: 1},
		"own is behind last":             {stream: scripted{truth: earlier}, delivered: &message{seq: 4, at: at}, want: "earlier", asked: 1},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := head(t.Context(), &c.stream, "s", 4, c.delivered)
			if !errors.Is(err, c.err) || string(got.data) != c.want {
				t.Errorf("head = %q, %v", got.data, err)
			}
			if len(c.stream.asked) != c.asked {
				t.Errorf("asked %v", c.stream.asked)
			}
		})
	}
}

func FuzzDecodeLeader(f *testing.F) {
	f.Add([]byte(`{"message":{"subject":"s","seq":5,"time":"2026-01-02T03:04:05.6Z","data":"eA=="}}`))
	f.Add([]byte(`{"error":{"code":404,"err_code":10037}}`))
	f.Add([]byte(`{"error":{"code":503,"err_code":10008}}`))
	f.Add([]byte(`{"message":{"subject":"t","seq":5}}`))
	f.Add([]byte(`{"message":{"subject":"s","seq":4}}`))
	f.Add([]byte(`{}`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := decodeLeader(b, "s", 5)
		if err == nil && m.seq < 5 {
			t.Fatalf("sequence %d from %q", m.seq, b)
		}
		if err != nil && (m.seq != 0 || m.data != nil) {
			t.Fatalf("a message beside %v", err)
		}
	})
}

func FuzzDecodeDirect(f *testing.F) {
	f.Add("", "5", "2026-01-02T03:04:05.6Z")
	f.Add("404", "", "")
	f.Add("408", "5", "2026-01-02T03:04:05.6Z")
	f.Add("", "-1", "x")
	f.Fuzz(func(t *testing.T, status, seq, at string) {
		h := nats.Header{}
		h.Set("Status", status)
		h.Set(jetstream.SequenceHeader, seq)
		h.Set(jetstream.TimeStampHeaer, at)
		m, err := decodeDirect(h)
		if err == nil && status != "" && status != "200" {
			t.Fatalf("message %d in spite of status %q", m.seq, status)
		}
		if err != nil && m.seq != 0 {
			t.Fatalf("a message beside %v", err)
		}
	})
}

func FuzzParseFailures(f *testing.F) {
	for _, s := range []string{"", "1:5", "1:", ":", "x:1", "-1:5", "9:9:9", "1:99999999999999999999"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := parseFailures(s)
		if got.count < 0 {
			t.Fatalf("%q gives %d failures", s, got.count)
		}
		if again := parseFailures(got.String()); again.count != got.count || !again.first.Equal(got.first) {
			t.Fatalf("%q gives %+v, then %+v", s, got, again)
		}
	})
}

// A script's answer of any form is read without a panic, and a bad one is an error.
func FuzzReader(f *testing.F) {
	f.Add("go", int64(3), "x", uint8(0))
	f.Add("go", int64(-3), "", uint8(255))
	f.Fuzz(func(t *testing.T, a string, b int64, c string, shape uint8) {
		vals := []any{any(a), any(b), []any{c, b}, nil}
		if shape&1 != 0 {
			vals[0] = nil
		}
		if shape&2 != 0 {
			vals[1] = a
		}
		if shape&4 != 0 {
			vals[2] = []any{c}
		}
		vals = vals[:min(len(vals), int(shape>>3)%5)]
		r := reader{vals: vals}
		text, n, list := r.text(), r.seq(), r.list()
		good := len(vals) >= 3 && shape&1 == 0 && shape&2 == 0 && shape&4 != 0
		if (r.err("test") == nil) != good {
			t.Fatalf("%v: %v", vals, r.err("test"))
		}
		if good && (text != a || int64(n) != max(0, b) || string(list[0]) != c) {
			t.Fatalf("%v read as %q %d %q", vals, text, n, list)
		}
	})
}
