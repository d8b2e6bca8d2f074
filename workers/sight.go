package workers

import (
	"context"
	"slices"

	"moltbot/contracts"
	"moltbot/workers/mailbox"
	"moltbot/workers/model"
)

// onlyImages stands in a conversation for a message without a text.
const onlyImages = "[image]"

// sight is what a user is told of the images of a message: instead of an answer,
// or before it. Empty: nothing.
type sight struct {
	say, note string
	done      func() // to be called when the model has answered; never nil without an error
}

func nothing() {}

// spoken is the answer where no model is asked. It becomes no turn.
func (s sight) spoken() model.Answer {
	return model.Answer{Text: s.say, Finish: model.FinishStop, Apology: true}
}

// noted is an answer behind the note.
func (s sight) noted(text string) string {
	if s.note == "" || text == "" {
		return text
	}
	return s.note + "\n\n" + text
}

// see puts the images of m, and of the turns before it, into the request. A
// message is never held up by them: what cannot be seen, its user is told.
func (t *turn) see(ctx context.Context, m *contracts.Message, c *model.Choice, before *history, r *model.Request) (sight, error) {
	if m.Prompt != "" {
		return sight{done: nothing}, nil
	}
	alone := len(m.Images) > 0 && blank(m.Text)
	if alone {
		m.Text = onlyImages // as the turn keeps it
	}
	if t.media == nil || c.Blind {
		if len(m.Images) == 0 {
			return sight{done: nothing}, nil // nearly always
		}
		t.media.count(imageUnseen, len(m.Images))
		return told(alone, imageWordsFor(m, alone).blind), nil
	}
	refs := references(m, before, r.Messages)
	if len(refs) == 0 {
		return sight{done: nothing}, nil
	}
	images := make([]contracts.Image, len(refs))
	for i := range refs {
		images[i] = refs[i].image
	}
	addresses, done, err := t.media.addresses(ctx, images)
	if err != nil {
		return sight{}, err
	}
	own := attach(r, refs, addresses)
	var s sight
	if own < len(m.Images) {
		s = told(alone && own == 0, imageWordsFor(m, alone).missing(own))
	}
	s.done = done
	return s, nil
}

func told(instead bool, text string) sight {
	if instead {
		return sight{say: text, done: nothing}
	}
	return sight{note: text, done: nothing}
}

// reference is an image with the message of the prompt that it belongs to.
type reference struct {
	image contracts.Image
	at    int
}

// references are the newest images of m and the turns before it, newest first.
func references(m *contracts.Message, before *history, prompt []model.Message) []reference {
	var refs []reference
	add := func(images []contracts.Image, at int) {
		for _, i := range slices.Backward(images) {
			if len(refs) < mostImages {
				refs = append(refs, reference{i, at})
			}
		}
	}
	at := len(prompt) - 1
	add(m.Images, at)
	for i := len(before.turns) - 1; i >= 0 && len(refs) < mostImages; i-- {
		turn := &before.turns[i]
		if len(turn.Images) == 0 {
			continue
		}
		if found := saidAt(prompt[:at], turn.User); found >= 0 {
			at = found
			add(turn.Images, at)
		}
	}
	return refs
}

// saidAt is where a user last said text in a prompt; -1: it has no room there.
func saidAt(prompt []model.Message, text string) int {
	for i, p := range slices.Backward(prompt) {
		if p.Role == model.RoleUser && p.Text == text {
			return i
		}
	}
	return -1
}

// attach puts what was fetched where it belongs, oldest first, and gives how many
// of it are of the new message.
func attach(r *model.Request, refs []reference, addresses []string) (own int) {
	for i, ref := range slices.Backward(refs) {
		if addresses[i] == "" {
			continue
		}
		to := &r.Messages[ref.at]
		to.Parts = append(to.Parts, contracts.PromptPart{Image: addresses[i]})
		r.Fresh = true // answers to images are not worth finding again: they come with new ids
		if ref.at == len(r.Messages)-1 {
			own++
		}
	}
	return own
}

// unseen is the outcome of a message that no model is asked for.
func (t *turn) unseen(task mailbox.Task, m *contracts.Message, s sight, table int64) (mailbox.Outcome, error) {
	return t.outcome(task, *m, answered{Answer: s.spoken(), table: table, at: t.now()}, history{})
}
