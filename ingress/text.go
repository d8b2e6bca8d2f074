package ingress

import (
	"moltbot/contracts"
	"moltbot/ingress/filter"
)

// clean filters the text of r, or refuses it. Later steps see only what is left.
// A command keeps the signs that strict mode would take: no model reads it.
func (in *Ingress) clean(r *contracts.ChatRequest) error {
	text, err := in.cleanText(r.Message)
	if err != nil {
		return fail(contracts.CodeBadRequest, `field "message" `+err.Error())
	}
	r.Message = text
	return nil
}

// cleanText gives the text that is left, filter.ErrEmpty or a filter.TooLong.
func (in *Ingress) cleanText(text string) (string, error) {
	rules := filter.Rules{Mode: in.o.Filter, MaxChars: in.o.MaxChars}
	if in.o.Filter == filter.Strict && isCommand(filter.Text(text, filter.Normal)) {
		rules.Mode = filter.Normal
	}
	return rules.Take(text)
}

func isCommand(text string) bool {
	_, is := contracts.ParseCommand(text)
	return is
}

// cleanParts filters what a client's own message says. The words of a user are
// filtered as on /api/chat; those of programs only lose what cannot be sent on.
func (t *thread) cleanParts(parts []contracts.PromptPart, role string) []contracts.PromptPart {
	kept := parts[:0]
	for _, p := range parts {
		blank := p.Text == ""
		if role == string(contracts.RoleUser) {
			p.Text = filter.Text(p.Text, t.filter)
		} else {
			p.Text = filter.Others(p.Text)
		}
		if p.Text != "" || p.Image != "" || blank {
			kept = append(kept, p)
		}
	}
	return kept
}
