package ingress

import (
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"

	"moltbot/contracts"
)

func delta(run int64, offset int, text string) contracts.Delta {
	return contracts.Delta{Run: run, Attempt: int(run), Offset: offset, Text: text}
}

// wants checks what is to be shown next; empty text and no reset: nothing.
func wants(t *testing.T, s *shown, reset bool, text string, offset int) {
	t.Helper()
	p, ok := s.take()
	if p.Reset != reset || p.Text != text || ok != (reset || text != "") || ok && p.Offset != offset {
		t.Errorf("piece %+v, %v, want reset %v, %q, offset %d", p, ok, reset, text, offset)
	}
}

func lapses() (*shown, *int) {
	n := 0
	return newShown(func() { n++ }), &n
}

func TestShownPieces(t *testing.T) {
	s, missed := lapses()
	wants(t, s, false, "", 0)
	s.put(delta(3, 0, "one "))
	s.put(delta(3, 4, "two "))
	wants(t, s, false, "one two ", 8)
	s.put(delta(3, 4, "two "))      // twice
	s.put(delta(3, 0, "one two t")) // from the beginning
	wants(t, s, false, "t", 9)
	s.put(delta(3, 12, "late")) // hree is missing
	s.put(delta(3, 16, "r"))
	wants(t, s, false, "", 0)
	if *missed != 1 || !s.quiet() || !s.quiet() {
		t.Errorf("%d lapses", *missed)
	}
	s.put(delta(3, 0, "one two three later"))
	wants(t, s, false, "hree later", 19)
	if s.quiet() || !s.quiet() {
		t.Error("what was heard once counts once")
	}
}

func TestShownRuns(t *testing.T) {
	s, _ := lapses()
	s.put(delta(1, 0, "old"))
	s.put(delta(2, 0, "new")) // nothing was taken of the old one
	wants(t, s, false, "new", 3)
	s.put(delta(1, 3, "old"))
	wants(t, s, false, "", 0)
	s.put(delta(5, 7, "behind a gap"))
	wants(t, s, true, "", 0)
	s.put(delta(6, 0, "x"))
	wants(t, s, false, "x", 1)
	s.put(delta(7, 0, "y"))
	s.put(delta(8, 0, "z"))
	if p, ok := s.rest(&contracts.Result{Run: 8, Reply: "zz"}); !ok || !p.Reset || p.Text != "zz" || p.Attempt != 8 {
		t.Errorf("%+v", p)
	}
}

// The result has the last word: what was shown stays only where it begins with it.
func TestShownRest(t *testing.T) {
	for name, c := range map[string]struct {
		take, pending string
		run           int64
		reply         string
		reset         bool
		rest          string
	}{
		"nothing shown":  {"", "", 2, "answer", false, "answer"},
		"some shown":     {"ans", "", 1, "answer", false, "wer"},
		"some pending":   {"ans", "we", 1, "answer", false, "wer"},
		"all shown":      {"answer", "", 1, "answer", false, ""},
		"another run":    {"ans", "", 2, "answer", false, "wer"}, // the text counts
		"another answer": {"ans", "", 1, "another", true, "another"},
		"shorter":        {"answer", "", 1, "ans", true, "ans"},
	} {
		t.Run(name, func(t *testing.T) {
			s, _ := lapses()
			s.put(delta(1, 0, c.take))
			s.take()
			s.put(delta(1, len(c.take), c.pending))
			p, ok := s.rest(&contracts.Result{Run: c.run, Reply: c.reply})
			if p.Reset != c.reset || p.Text != c.rest || ok != (c.reset || c.rest != "") || p.Offset != len(c.reply) || p.Run != c.run {
				t.Errorf("%+v, %v", p, ok)
			}
		})
	}
}

// A client that was left by another process goes on where it was.
func TestShownResumes(t *testing.T) {
	resumed := func(run int64, offset int) *shown {
		s, _ := lapses()
		s.resume(run, offset)
		return s
	}
	s := resumed(4, 3)
	s.put(delta(4, 0, "answer"))
	wants(t, s, false, "wer", 6)
	s = resumed(4, 3)
	s.put(delta(5, 0, "answer"))
	wants(t, s, true, "answer", 6)
	s = resumed(4, 3)
	s.put(delta(3, 0, "answer"))
	wants(t, s, false, "", 0)
	s = resumed(4, 4)
	s.put(delta(4, 0, "Grüße"))
	wants(t, s, false, "ße", 7)
	s = resumed(4, 3) // in the middle of a character
	s.put(delta(4, 0, "Grüße"))
	wants(t, s, true, "Grüße", 7)
	for _, c := range []struct {
		run    int64
		offset int
		reset  bool
		text   string
	}{{4, 2, false, "üße"}, {4, 3, true, "Grüße"}, {4, 7, false, ""}, {4, 8, true, "Grüße"}, {3, 2, true, "Grüße"}, {5, 0, false, "Grüße"}} {
		p, _ := resumed(c.run, c.offset).rest(&contracts.Result{Run: 4, Reply: "Grüße"})
		if p.Reset != c.reset || p.Text != c.text || p.Offset != 7 {
			t.Errorf("%+v: %+v", c, p)
		}
	}
}

// A client that does not read costs a bounded room, and gets it all in the end.
func TestShownIsBounded(t *testing.T) {
	s, missed := lapses()
	answer := strings.Repeat("0123456789", maxPending)
	for at := 0; at < len(answer); at += 1000 {
		s.put(delta(1, at, answer[at:min(at+1000, len(answer))]))
		if len(s.pending) > maxPending || cap(s.pending) > 2*maxPending {
			t.Fatalf("%d bytes wait in %d", len(s.pending), cap(s.pending))
		}
	}
	if *missed != 1 {
		t.Errorf("%d lapses", *missed)
	}
	p, _ := s.take()
	if !strings.HasPrefix(answer, p.Text) || len(p.Text) < maxPending-1000 || s.pending != nil {
		t.Errorf("%d bytes", len(p.Text))
	}
	rest, _ := s.rest(&contracts.Result{Run: 1, Reply: answer})
	if rest.Reset || p.Text+rest.Text != answer {
		t.Errorf("reset %v, %d bytes", rest.Reset, len(rest.Text))
	}
}

// Whatever order pieces come in, and whichever get lost: the client has the
// answer in the end, and never saw anything else that was not taken back.
func TestShownWhateverHappens(t *testing.T) {
	const answer = "Ein Wörterbuch ohne Ümläute wäre kürzer, aber ärmer."
	for seed := range uint64(2000) {
		r := rand.New(rand.NewPCG(seed, 1))
		s, _ := lapses()
		shown := ""
		show := func(p piece) {
			if p.Reset {
				shown = ""
			}
			if shown += p.Text; !strings.HasPrefix(answer, shown) || p.Offset != len(shown) || !utf8.ValidString(p.Text) {
				t.Fatalf("seed %d: shown %q, offset %d", seed, shown, p.Offset)
			}
		}
		for range r.IntN(30) {
			from := r.IntN(len(answer))
			for !utf8.RuneStart(answer[from]) {
				from--
			}
			if r.IntN(3) == 0 {
				from = 0
			}
			to := from + r.IntN(len(answer)-from)
			for !utf8.RuneStart(answer[to]) {
				to++
			}
			s.put(delta(int64(1+r.IntN(3)), from, answer[from:to]))
			if r.IntN(2) == 0 {
				p, _ := s.take()
				show(p)
			}
		}
		p, _ := s.rest(&contracts.Result{Run: 3, Reply: answer})
		show(p)
		if shown != answer {
			t.Fatalf("seed %d: shown %q", seed, shown)
		}
	}
}

func FuzzEventID(f *testing.F) {
	for _, s := range []string{"1-0", "12-345", "0-0", "", "-", "1-", "-1", "+1-2", "01-2", "1-02", "1--2", "99999999999999999999-1", "1-4294967296", "1-2-3", " 1-2", "١-2"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		run, offset, err := parseEventID(s)
		if err != nil {
			if run != 0 || offset != 0 {
				t.Errorf("%q: %d, %d with an error", s, run, offset)
			}
			return
		}
		if run < 0 || offset < 0 || eventID(run, offset) != s {
			t.Errorf("%q: %d, %d", s, run, offset)
		}
	})
}
