package prompt

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tiktoken-go/tokenizer"
	"go.uber.org/goleak"

	"moltbot/contracts"
	"moltbot/workers/model"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newBuilder(t testing.TB, o Options) *Builder {
	t.Helper()
	b, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// rounds gives n turns of the given size: u1/a1 is the oldest.
func rounds(n, tokens int) []contracts.Turn {
	turns := make([]contracts.Turn, n)
	for i := range turns {
		turns[i] = contracts.Turn{User: fmt.Sprintf("u%d", i+1), Assistant: fmt.Sprintf("a%d", i+1), Tokens: tokens}
	}
	return turns
}

func built(b *Builder, turns []contracts.Turn, text string) []model.Message {
	system, text := b.System(text)
	return b.Build(History{Turns: turns}, Ask{Text: text, System: system}).Messages
}

func texts(messages []model.Message) string {
	var all []string
	for _, m := range messages {
		all = append(all, string(m.Role[:1])+":"+m.Text)
	}
	return strings.Join(all, " ")
}

func TestBuild(t *testing.T) {
	mixed := rounds(3, 1)
	mixed[1].Tokens = 1000 // does not fit; the one before it would
	for name, c := range map[string]struct {
		o     Options
		turns []contracts.Turn
		text  string
		want  string
	}{
		"nothing before": {Options{}, nil, "new", "u:new"},
		"system":         {Options{System: "sys"}, rounds(1, 1), "new", "s:sys u:u1 a:a1 u:new"},
		"by rounds":      {Options{Rounds: 2}, rounds(4, 1), "new", "u:u3 a:a3 u:u4 a:a4 u:new"},
		"ten by default": {Options{}, rounds(11, 1)[:2], "new", "u:u1 a:a1 u:u2 a:a2 u:new"},
		"by tokens":      {Options{Tokens: 20}, rounds(4, 10), "new", "u:u3 a:a3 u:u4 a:a4 u:new"},
		"one too few":    {Options{Tokens: 19}, rounds(4, 10), "new", "u:u4 a:a4 u:new"},
		"no gap":         {Options{Tokens: 100}, mixed, "new", "u:u3 a:a3 u:new"},
		"long message":   {Options{Tokens: 2, System: "sys"}, rounds(3, 1), "a b c d", "s:sys u:u2 a:a2 u:u3 a:a3 u:a b c d"},
		"counted here":   {Options{Tokens: 4}, rounds(2, 0), "new", "u:u2 a:a2 u:new"},
		"chinese fits":   {Options{Tokens: 30}, []contracts.Turn{{User: "我叫小明", Assistant: "你好，小明！"}}, "我叫什么？", "u:我叫小明 a:你好，小明！ u:我叫什么？"},
	} {
		if got := texts(built(newBuilder(t, c.o), c.turns, c.text)); got != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
	if n := len(built(newBuilder(t, Options{}), rounds(30, 1), "new")); n != 21 {
		t.Errorf("%d messages by default, want 10 rounds and the new one", n)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	for _, o := range []Options{{Rounds: -1}, {Tokens: -1}, {Encoding: "r50k_base"}} {
		if _, err := New(o); err == nil {
			t.Errorf("%+v: accepted", o)
		}
	}
}

func TestEncodingFor(t *testing.T) {
	for name, want := range map[string]Encoding{
		"gpt-4o-mini": O200kBase, "gpt-4.1": O200kBase, "gpt-5": O200kBase, "o3": O200kBase, "deepseek-chat": O200kBase, "": O200kBase,
		"gpt-4": Cl100kBase, "GPT-4-turbo": Cl100kBase, "gpt-3.5-turbo-0125": Cl100kBase, "ft:gpt-3.5-turbo:x": Cl100kBase, "ft:gpt-4o-mini:x": O200kBase,
	} {
		if got := EncodingFor(name); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

func TestCount(t *testing.T) {
	for e, want := range map[Encoding]int{O200kBase: 2, Cl100kBase: 2} {
		b := newBuilder(t, Options{Encoding: e})
		b.Warm()
		if n := b.Count("hello world"); n != want {
			t.Errorf("%s: %d", e, n)
		}
		if n := b.Count(""); n != 0 {
			t.Errorf("%s: nothing has %d tokens", e, n)
		}
	}
}

// TestCountInPieces compares with the tokenizer on the whole text.
func TestCountInPieces(t *testing.T) {
	codec, err := tokenizer.Get(tokenizer.O200kBase)
	if err != nil {
		t.Fatal(err)
	}
	b := newBuilder(t, Options{})
	for name, text := range map[string]string{
		"prose":   strings.Repeat("The quick brown fox jumps over the lazy dog. ", 400),
		"chinese": strings.Repeat("今天天气很好，我们去公园散步吧。", 400),
		"code":    strings.Repeat("func main() {\n\tfmt.Println(\"hi\")\n}\n\n", 400),
	} {
		whole, err := codec.Count(text)
		if err != nil {
			t.Fatal(err)
		}
		if n := b.Count(text); n < whole*99/100 || n > whole*102/100 {
			t.Errorf("%s: %d in pieces, %d whole", name, n, whole)
		}
	}
}

func TestCountOfHostileTextsStaysQuick(t *testing.T) {
	b := newBuilder(t, Options{})
	b.Warm()
	for _, unit := range []string{"a", "A", " ", "\n", " \n", "\u0301", "a\u0301", "你", "!", "1", "\xff", "\xe4\xbd", "😀", "ʰ", "'s", "\u00a0 "} {
		text := strings.Repeat(unit, 64<<10/len(unit))
		begin := time.Now()
		n := b.Count(text)
		// In one piece the worst of them took 2.7 s, here about 0.05 s.
		if took := time.Since(begin); took > 2*time.Second {
			t.Errorf("%q: %s", unit, took)
		}
		if n == 0 || n > len(text) {
			t.Errorf("%q: %d tokens in %d bytes", unit, n, len(text))
		}
	}
}

func TestCountConcurrently(t *testing.T) {
	b := newBuilder(t, Options{})
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if n := b.Count("hello world"); n != 2 {
				t.Errorf("%d tokens", n)
			}
		})
	}
	all.Wait()
}

func FuzzPieceOf(f *testing.F) {
	f.Add(strings.Repeat("你好 ", 600))
	f.Fuzz(func(t *testing.T, text string) {
		joined := ""
		for rest := text; rest != ""; {
			var piece string
			piece, rest = pieceOf(rest)
			if piece == "" || len(piece) > maxPiece {
				t.Fatalf("a piece of %d bytes", len(piece))
			}
			joined += piece
		}
		if joined != text {
			t.Fatal("the pieces are not the text")
		}
	})
}

func BenchmarkBuild(b *testing.B) {
	for name, tokens := range map[string]int{"counted": 60, "uncounted": 0} {
		b.Run(name, func(b *testing.B) {
			builder := newBuilder(b, Options{})
			builder.Warm()
			turns := rounds(10, tokens)
			for i := range turns {
				turns[i].User, turns[i].Assistant = strings.Repeat("what about this? ", 5), strings.Repeat("that is so because of it. ", 6)
			}
			b.ReportAllocs()
			for b.Loop() {
				builder.Build(History{Turns: turns}, Ask{Text: "and what does that mean for the rest of us?", System: "be brief"})
			}
		})
	}
}

func BenchmarkCount64KiB(b *testing.B) {
	builder := newBuilder(b, Options{})
	for name, unit := range map[string]string{"prose": "The quick brown fox. ", "hostile": " \n"} {
		text := strings.Repeat(unit, 64<<10/len(unit))
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				builder.Count(text)
			}
		})
	}
}

func TestForCountsAsTheModelDoes(t *testing.T) {
	b, old := newBuilder(t, Options{}), newBuilder(t, Options{Encoding: Cl100kBase})
	const text = "你好，今天天气怎么样？" // the vocabularies differ here
	if b.Count(text) == old.Count(text) {
		t.Fatal("both count the same, which shows nothing")
	}
	for name, want := range map[string]int{"gpt-4": old.Count(text), "gpt-4o": b.Count(text), "deepseek-chat": b.Count(text)} {
		if got := b.For(name).Count(text); got != want {
			t.Errorf("%s: %d tokens, want %d", name, got, want)
		}
	}
	if old.For("gpt-4o") != old {
		t.Error("a fixed encoding gave way")
	}
}
