package contracts

import (
	"bytes"
	"strings"
	"testing"
)

// FuzzSubjects: whatever goes into a builder, it stays one token.
func FuzzSubjects(f *testing.F) {
	for _, s := range []string{"", "_", aConversation, "a.b", "*", ">", "a b", "\x00\xff", "世界", "$JS.API.>", "A-Z_09"} {
		f.Add(s, s)
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		for prefix, subject := range map[string]string{
			subjectChat: SubjectChat(a), subjectDead: SubjectDead(a), subjectReply: SubjectReply(a), subjectCancel: SubjectCancel(a),
		} {
			oneToken(t, strings.TrimPrefix(subject, prefix))
		}
		channel, conversation, ok := strings.Cut(strings.TrimPrefix(SubjectSend(Channel(a), b), subjectSend), ".")
		if !ok {
			t.Fatalf("%q", SubjectSend(Channel(a), b))
		}
		oneToken(t, channel)
		oneToken(t, conversation)
		oneToken(t, DeadID(a, 1, 2))
		if len(a) <= 64 && a != "" && strings.Trim(a, "_") == a && token(a) == a && !IsReplySubject(SubjectReply(a)) {
			t.Fatalf("%q is not taken as a reply subject", SubjectReply(a))
		}
		if IsReplySubject(a) && a != SubjectReply(strings.TrimPrefix(a, subjectReply)) {
			t.Fatalf("%q is taken as a reply subject", a)
		}
	})
}

func oneToken(t *testing.T, s string) {
	t.Helper()
	for _, c := range []byte(s) {
		if c != '-' && c != '_' && (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') {
			t.Fatalf("reserved character in %q", s)
		}
	}
	if s == "" {
		t.Fatal("empty token")
	}
}

// Redis hashes what is between the first '{' and the next '}'; all keys of a
// conversation must hash alike or a script cannot touch them together.
func FuzzKeys(f *testing.F) {
	for _, s := range []string{"", aConversation, "{", "}", "{}", "a}{b", "a:b", "\xff"} {
		f.Add(s, anID)
		f.Add(aConversation, s)
	}
	f.Fuzz(func(t *testing.T, conversation, id string) {
		box := ChatKeys(conversation)
		keys := []string{
			KeySession(conversation), KeySummary(conversation), KeyBox(conversation), KeyLease(conversation), KeyOut(conversation),
			KeyDone(conversation, id), KeyResult(conversation, id), KeyLimit(conversation), box.Lease, box.Box, box.Context, box.Out,
		}
		want := token(conversation)
		distinct := make(map[string]bool)
		for _, k := range keys {
			_, rest, _ := strings.Cut(k, "{")
			hashed, _, ok := strings.Cut(rest, "}")
			if !ok || hashed != want {
				t.Fatalf("%q hashes %q, want %q", k, hashed, want)
			}
			distinct[k] = true
		}
		if len(distinct) != 8 {
			t.Fatalf("%d different keys in %q", len(distinct), keys)
		}
		for _, k := range []string{KeyIdempotency(conversation), KeyJanitor(conversation)} {
			if strings.ContainsAny(k, "{}") {
				t.Fatalf("%q has a hash tag", k)
			}
		}
	})
}

func TestConversationOf(t *testing.T) {
	for subject, want := range map[string]bool{
		SubjectChat(aConversation): true, SubjectSend("feishu", aConversation): true,
		SubjectDead(aConversation): false, SubjectReply(aConversation): false, "chat.in." + aConversation + ".x": false,
		"chat.in.x": false, "chat.out." + aConversation: false, "chat.out.." + aConversation: false,
		"chat.out.a.b." + aConversation: false, "chat.out.*." + aConversation: false, "": false, "x" + SubjectChat(aConversation): false,
	} {
		c, ok := ConversationOf(subject)
		if ok != want || (ok && c != aConversation) {
			t.Errorf("%q: %q, %v", subject, c, ok)
		}
	}
}

func FuzzConversationOf(f *testing.F) {
	for _, s := range []string{SubjectChat(aConversation), SubjectSend("feishu", aConversation), "chat.out.. ", "chat.out.\xff." + aConversation, ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		c, ok := ConversationOf(s)
		if !ok {
			return
		}
		channel, _, _ := strings.Cut(strings.TrimPrefix(s, subjectSend), ".")
		if s != SubjectChat(c) && s != SubjectSend(Channel(channel), c) {
			t.Fatalf("%q is no subject that we make, but gives %q", s, c)
		}
	})
}

func TestAssociatedDataOfLongParts(t *testing.T) {
	// With lengths of two bytes these are alike: 65536 wraps to 0.
	long := strings.Repeat("\x00", 1<<16)
	a := AssociatedData("k", long, "")
	b := AssociatedData("k", "", long[:len(long)-2]+"\x00\x00")
	if bytes.Equal(a, b) {
		t.Error("two places have the same associated data")
	}
}

func FuzzAssociatedData(f *testing.F) {
	f.Add("message", "c", "i", "message", "ci", "")
	f.Add("message", "", "", "mess", "age", "")
	f.Add("", "\x00\x00\x00\x01a", "", "", "", "\x00\x00\x00\x01a")
	f.Fuzz(func(t *testing.T, k1, c1, i1, k2, c2, i2 string) {
		same := k1 == k2 && c1 == c2 && i1 == i2
		if bytes.Equal(AssociatedData(Kind(k1), c1, i1), AssociatedData(Kind(k2), c2, i2)) != same {
			t.Fatalf("(%q %q %q) and (%q %q %q): alike must be %v", k1, c1, i1, k2, c2, i2, same)
		}
	})
}
