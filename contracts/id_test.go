package contracts

import (
	"strings"
	"testing"
	"time"
)

func aNamer(t testing.TB) *Namer {
	t.Helper()
	n, err := NewNamer([]byte("0123456789abcdef0123456789abcdef"))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestNamerRefusesAShortKey(t *testing.T) {
	if _, err := NewNamer(make([]byte, 31)); err == nil {
		t.Error("a key of 31 bytes was taken")
	}
}

func TestNamerKeepsItsOwnKey(t *testing.T) {
	key := []byte("0123456789abcdef0123456789abcdef")
	n, err := NewNamer(key)
	if err != nil {
		t.Fatal(err)
	}
	before := n.Digest("p", "x")
	clear(key)
	if n.Digest("p", "x") != before {
		t.Error("the caller's slice is the namer's key")
	}
}

// Every part of a scope, and where one part ends, makes another conversation.
func TestConversationNames(t *testing.T) {
	n := aNamer(t)
	base := Scope{Channel: "api", App: "a", Caller: "c", Session: "s"}
	if n.Conversation(base) != aNamer(t).Conversation(base) {
		t.Fatal("another process with the same key gives another name")
	}
	other, err := NewNamer([]byte("another key, another name: 32 by"))
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]string{n.Conversation(base): "base", other.Conversation(base): "another key"}
	if len(seen) != 2 {
		t.Error("the key makes no difference")
	}
	for name, s := range map[string]Scope{
		"channel": {"feishu", "a", "c", "s"}, "app": {"api", "b", "c", "s"},
		"caller": {"api", "a", "d", "s"}, "session": {"api", "a", "c", "t"},
		"moved border": {"api", "ac", "", "s"}, "moved border 2": {"api", "", "ac", "s"}, "swapped": {"api", "c", "a", "s"},
	} {
		c := n.Conversation(s)
		if was, twice := seen[c]; twice {
			t.Errorf("%s is named as %s", name, was)
		}
		if !IsConversation(c) {
			t.Errorf("%q is no conversation name", c)
		}
		seen[c] = name
	}
	if n.Digest("a", "b", "c") == n.Digest("a", "bc") || n.Digest("a", "b") == n.Digest("b", "b") {
		t.Error("digests of different parts are alike")
	}
}

func TestIDs(t *testing.T) {
	n := aNamer(t)
	c, d := n.Conversation(Scope{Caller: "ann"}), n.Digest("message", "ann", "k")
	id := n.NewID(c, "ann", noon.Add(time.Microsecond), d)
	if again := n.NewID(c, "ann", noon, d); again != id {
		t.Errorf("a retry has another id: %v, %v", again, id)
	}
	back, err := ParseID(id.String())
	if err != nil || back != id {
		t.Fatalf("%v, %v, want %v", back, err, id)
	}
	if !n.Genuine(back, "ann") || n.Genuine(back, "bob") || n.Genuine(back, "") {
		t.Error("an id must be genuine for its caller and for nobody else")
	}
	if _, err := ParseID(strings.ToUpper(id.String())); err == nil {
		t.Error("upper case parses")
	}
	back.Replay = 12
	if r, err := ParseID(back.String()); err != nil || r != back {
		t.Errorf("replay: %v, %v", r, err)
	}
}

// Whoever changes one character of an id, anywhere, has no id.
func TestFlippedIDs(t *testing.T) {
	n := aNamer(t)
	text := n.NewID(n.Conversation(Scope{Caller: "ann"}), "ann", noon, n.Digest("message", "x")).String()
	for i := range len(text) {
		for _, c := range []byte("0av.#~ \x00") {
			if text[i] == c {
				continue
			}
			forged := text[:i] + string(c) + text[i+1:]
			if id, err := ParseID(forged); err == nil && n.Genuine(id, "ann") {
				t.Errorf("%q is genuine", forged)
			}
		}
	}
}

func TestParseIDRefuses(t *testing.T) {
	parts := strings.Split(anID, ".")
	for name, s := range map[string]string{
		"empty": "", "three parts": strings.Join(parts[:3], "."), "five parts": anID + ".x", "no time": strings.Replace(anID, ".m5s3k0w0.", "..", 1),
		"leading zero": strings.Replace(anID, ".m5", ".0m5", 1), "negative": strings.Replace(anID, ".m5", ".-m5", 1),
		"upper-case time": strings.Replace(anID, ".m5", ".M5", 1), "long time": strings.Replace(anID, ".m5", ".mmmm5", 1),
		"replay zero": anID + "#r0", "replay 01": anID + "#r01", "replay without number": anID + "#r", "replay of five digits": anID + "#r10000",
		"replayed twice": anID + "#r1#r1", "space": anID + " ", "letter w": strings.Replace(anID, "vvvv", "wvvv", 1),
		"short conversation": anID[1:], "long": anID + strings.Repeat("0", 128),
	} {
		if id, err := ParseID(s); err == nil {
			t.Errorf("%s: %q parses to %v", name, s, id)
		}
	}
	if _, err := ParseID(anID); err != nil {
		t.Errorf("and the unchanged id does not: %v", err)
	}
}

func FuzzParseID(f *testing.F) {
	for _, s := range []string{anID, anID + "#r1", anID + "#r9999", anID + "#r01", "", "...", strings.ToUpper(anID)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		id, err := ParseID(s)
		if err != nil {
			return
		}
		// With this, no two strings parse alike.
		if id.String() != s {
			t.Fatalf("%q parses to %q", s, id)
		}
		if !IsConversation(id.Conversation) || strings.ContainsAny(SubjectAttach(id), "*> \t\r\n") {
			t.Fatalf("%q leaks into names", s)
		}
	})
}
