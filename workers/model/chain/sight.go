package chain

import (
	"slices"

	"moltbot/contracts"
	"moltbot/workers/model"
)

// unseenImage stands where a model that sees no images would get one. A fall-back is
// one that was not chosen for the message, so nobody has told the user.
const unseenImage = "[An image that you cannot see. If the question is about it, say that you cannot see images at the moment.]"

// blinded is a prompt without images. The prompt of who is asked next stays whole.
func blinded(messages []model.Message) []model.Message {
	isImage := func(p contracts.PromptPart) bool { return p.Image != "" }
	out := messages
	for i := range messages {
		if !slices.ContainsFunc(messages[i].Parts, isImage) {
			continue
		}
		if &out[0] == &messages[0] {
			out = slices.Clone(messages)
		}
		out[i].Parts = slices.Clone(messages[i].Parts)
		for j, p := range out[i].Parts {
			if isImage(p) {
				out[i].Parts[j] = contracts.PromptPart{Text: unseenImage}
			}
		}
	}
	return out
}
