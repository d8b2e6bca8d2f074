package model

import (
	"context"
	"fmt"
	"slices"
	"time"
	"unicode"

	"moltbot/contracts"
)

const demoName = "demo"

// Demo is a Completer without a provider. The same prompt always gets the same
// answer, and the answer shows what of the conversation the prompt contained.
type Demo struct {
	// Delay is how long an answer takes, for tests and benches.
	Delay time.Duration
}

// Complete describes the prompt it was given.
func (d Demo) Complete(ctx context.Context, r Request) (Answer, error) {
	text := demoText(r.Messages)
	if err := d.say(ctx, text, r.OnDelta); err != nil {
		return Answer{}, fmt.Errorf("ask the demo model: %w", err)
	}
	tokens := estimate(text) // the demo has no tokenizer but this
	return Answer{
		Text: text, Tokens: tokens, Model: demoName, Version: demoName + "/" + demoName, Finish: finishStop,
		Usage: contracts.Usage{PromptTokens: estimatePrompt(r.Messages), CompletionTokens: tokens},
	}, nil
}

// say takes Delay for the text: before it, or spread over its words for somebody
// who reads along.
func (d Demo) say(ctx context.Context, text string, onDelta func(string)) error {
	if onDelta == nil {
		return pause(ctx, d.Delay)
	}
	said := words(text)
	for _, word := range said {
		if err := pause(ctx, d.Delay/time.Duration(len(said))); err != nil {
			return err
		}
		onDelta(word)
	}
	return nil
}

// words cuts a text behind its spaces and before its Han characters.
func words(text string) []string {
	var out []string
	from, behind := 0, false
	for i, r := range text {
		if (behind || unicode.Is(unicode.Han, r)) && i > from {
			out = append(out, text[from:i])
			from = i
		}
		behind = r == ' '
	}
	return append(out, text[from:])
}

func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

func demoText(messages []Message) string {
	var said []string // what the user wrote, oldest first
	seen := 0
	for _, m := range messages {
		if m.Role == RoleUser {
			said = append(said, m.Text)
		}
		if m.Role != RoleSystem {
			seen++
		}
	}
	text := demoSaid(said, seen)
	if n := images(messages); n > 0 {
		text += fmt.Sprintf(phrasesFor(text).images, n)
	}
	return text
}

// images counts those of the newest message of the user.
func images(messages []Message) (n int) {
	for _, m := range slices.Backward(messages) {
		if m.Role != RoleUser {
			continue
		}
		for _, p := range m.Parts {
			if p.Image != "" {
				n++
			}
		}
		break
	}
	return n
}

func demoSaid(said []string, seen int) string {
	if len(said) == 0 {
		return "This is the demo model; there was no message to answer."
	}
	now, earlier := said[len(said)-1], said[:len(said)-1]
	words := phrasesFor(now)
	if len(earlier) == 0 {
		return fmt.Sprintf(words.alone, clipRunes(now))
	}
	return fmt.Sprintf(words.after, clipRunes(now), seen-1, clipRunes(earlier[0]), clipRunes(earlier[len(earlier)-1]))
}

// phrases are the demo's answers: alone quotes the message; after adds the
// count of earlier messages, the first and the previous user message; images the
// count of those in the newest one.
type phrases struct{ alone, after, images string }

func phrasesFor(text string) phrases {
	for _, r := range text {
		if unicode.Is(unicode.Han, r) {
			return phrases{
				alone:  "这是演示模型，没有配置真实的模型服务。你说：“%s”。这是本次对话的第一条消息。",
				after:  "这是演示模型，没有配置真实的模型服务。你说：“%s”。在此之前有 %d 条消息，你的第一条是“%s”，上一条是“%s”。",
				images: " 这条消息带有 %d 张图片。",
			}
		}
	}
	return phrases{
		alone:  "This is the demo model: no provider is configured. You wrote: %q. It is the first message of this conversation.",
		after:  "This is the demo model: no provider is configured. You wrote: %q. Before it came %d messages: your first was %q, your previous one %q.",
		images: " Images in this message: %d.",
	}
}

// clipRunes shortens a quotation to what reads well.
func clipRunes(text string) string {
	const longest = 80
	runes := 0
	for i := range text {
		if runes == longest {
			return text[:i] + "…"
		}
		runes++
	}
	return text
}
