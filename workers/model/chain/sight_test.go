package chain_test

import (
	"strings"
	"testing"

	"moltbot/contracts"
	"moltbot/workers/model"
)

// A fall-back that sees no images is told of them instead, and the one behind it,
// which sees, gets them.
func TestABlindFallback(t *testing.T) {
	blind := false
	table := router(t, 1, "a", entries{
		"a": {Provider: "pa", Model: "ma", Fallback: []string{"b", "c"}}, "b": {Provider: "pb", Model: "mb", Vision: &blind}, "c": {Provider: "pc", Model: "mc"},
	})
	a, b, last := failing(model.KindTimeout), failing(model.KindTimeout), &fake{}
	c := build(t, table, map[string]model.Completer{"pa": a, "pb": b, "pc": last}, nil)
	image := contracts.PromptPart{Image: "data:image/png;base64,AA=="}
	ask := func() model.Request {
		return model.Request{Messages: []model.Message{{Role: model.RoleUser, Text: "hi"}, {Role: model.RoleUser, Text: "what is it?", Parts: []contracts.PromptPart{image, {Text: "and?"}}}}}
	}
	choice, err := c.Choose(contracts.Message{Text: "what is it?"})
	if err != nil {
		t.Fatal(err)
	}
	request := ask()
	if _, err := choice.Complete(t.Context(), request); err != nil {
		t.Fatal(err)
	}
	for name, f := range map[string]*fake{"chosen": a, "last": last} {
		if p := f.requests()[0].Messages[1].Parts; p[0] != image || p[1].Text != "and?" {
			t.Errorf("the %s was shown %+v", name, p)
		}
	}
	if p := b.requests()[0].Messages[1].Parts; p[0].Image != "" || !strings.Contains(p[0].Text, "cannot see") || p[1].Text != "and?" {
		t.Errorf("the blind one was shown %+v", p)
	}
	if request.Messages[1].Parts[0] != image {
		t.Error("the caller's prompt was changed")
	}
}
