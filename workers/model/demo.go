package model

import (
	"context"
	"fmt"
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
	if err := d.think(ctx); err != nil {
		return Answer{}, fmt.Errorf("ask the demo model: %w", err)
	}
	text := demoText(r.Messages)
	if r.OnDelta != nil {
		r.OnDelta(text)
	}
	tokens := estimate(text) // the demo has no tokenizer but this
	return Answer{
		Text: text, Tokens: tokens, Model: demoName, Version: demoName + "/" + demoName, Finish: finishStop,
		Usage: contracts.Usage{PromptTokens: estimatePrompt(r.Messages), CompletionTokens: tokens},
	}, nil
}

func (d Demo) think(ctx context.Context) error {
	if d.Delay <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d.Delay)
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
// count of earlier messages, the first and the previous user message.
type phrases struct{ alone, after string }

func phrasesFor(text string) phrases {
	for _, r := range text {
		if unicode.Is(unicode.Han, r) {
			return phrases{
				alone: "这是演示模型，没有配置真实的模型服务。你说：“%s”。这是本次对话的第一条消息。",
				after: "这是演示模型，没有配置真实的模型服务。你说：“%s”。在此之前有 %d 条消息，你的第一条是“%s”，上一条是“%s”。",
			}
		}
	}
	return phrases{
		alone: "This is the demo model: no provider is configured. You wrote: %q. It is the first message of this conversation.",
		after: "This is the demo model: no provider is configured. You wrote: %q. Before it came %d messages: your first was %q, your previous one %q.",
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
