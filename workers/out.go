package workers

import (
	"errors"
	"fmt"
	"strings"

	"moltbot/contracts"
	"moltbot/workers/deliver"
	"moltbot/workers/mailbox"
)

// maxOut is the largest outgoing message: what NATS and the stream take, less
// some room for headers.
const maxOut = 1<<20 - 4<<10

// send adds to an outcome what goes out to the IM platform that the message came
// from, or to its callback URL. text is what an IM user is shown; result is told
// to a callback. Messages of others are answered by who waits.
func (t *turn) send(o *mailbox.Outcome, m *contracts.Message, text string, result contracts.Result) error {
	if m.Origin == nil && m.Callback == "" {
		return nil
	}
	a := contracts.Answer{
		ID: m.ID, Caller: m.Caller, RequestID: m.RequestID, Accepted: m.Accepted, Text: text, Origin: m.Origin, Result: result,
	}
	if m.Origin != nil {
		said := apologiesFor(m)
		if a.Text == "" {
			a.Text = said.nothing
		}
		// The text is the answer; of its making only what tells two of them apart.
		a.Result = contracts.Result{ID: m.ID, At: result.At, Run: result.Run, Code: result.Code}
	} else {
		a.Callback, a.Text = m.Callback, ""
	}
	out, err := t.outgoing(m, &a)
	if err == nil && len(out) > maxOut {
		shorten(&a)
		out, err = t.outgoing(m, &a)
	}
	o.Out = out
	return err
}

// maxText is what is left of a text that does not fit: many times what a platform shows.
const maxText = 256 << 10

// shorten makes an answer fit into the stream. Its whole can still be read by its id.
func shorten(a *contracts.Answer) {
	if a.Origin != nil {
		a.Text = strings.ToValidUTF8(a.Text[:min(len(a.Text), maxText)], "") + "…"
		return
	}
	r := contracts.Result{ID: a.ID, SessionID: a.Result.SessionID, Model: a.Result.Model, At: a.Result.At, Run: a.Result.Run}
	r.Code, r.Detail = contracts.CodeTooLarge, "the answer is too large to be called back; it can be read by its id"
	a.Result = r
}

func (t *turn) outgoing(m *contracts.Message, a *contracts.Answer) ([]byte, error) {
	data, err := t.sealer.Seal(contracts.EncodeAnswer(*a), contracts.KindSend, m.Conversation, m.ID)
	if err != nil {
		return nil, fmt.Errorf("seal answer to be sent: %w", err)
	}
	return contracts.EncodeOutgoing(contracts.Outgoing{ID: m.ID, Conversation: m.Conversation, Channel: a.Channel(m.Channel), Data: data})
}

// said is the outcome of a message that is answered without a model and without
// becoming a turn.
func (t *turn) said(task *mailbox.Task, m *contracts.Message, text string) (o mailbox.Outcome, err error) {
	r := contracts.Result{ID: m.ID, SessionID: m.SessionID, Reply: text, Finish: "stop", At: t.now().UTC(), Run: task.Run}
	if o.Result, err = t.store.SealResult(m.Conversation, r); err != nil {
		return o, err
	}
	return o, t.send(&o, m, text, r)
}

// stale refuses a message of an IM platform that was written too long ago, unless
// an operator replays it.
func (t *turn) stale(m *contracts.Message) error {
	if m.Origin == nil || t.maxAge == nil {
		return nil
	}
	if id, err := contracts.ParseID(m.ID); err == nil && id.Replay > 0 {
		return nil
	}
	return deliver.Stale(m.Origin, t.now(), t.maxAge(m.Channel, m.Origin.App))
}

// failed adds to the outcome of a message without an answer what its user, or its
// callback URL, is told. Who stopped it knows, and nobody waits for an answer to
// what is too old. That a failure is not told must not keep it from being recorded.
func (t *turn) failed(o *mailbox.Outcome, m *contracts.Message, r contracts.Result) {
	text := ""
	if m.Origin != nil {
		if r.Code == contracts.CodeStopped || r.Code == contracts.CodeStale {
			return
		}
		text = apologiesFor(m).of(r.Code)
	}
	if err := t.send(o, m, text, r); err != nil {
		t.log.Error().Err(err).Str("message_id", m.ID).Msg("failure not told to where the message came from")
	}
}

// failure is the code that a client is told: what went wrong, where the operator is
// told that it was given up.
func failure(why *contracts.Error) contracts.Code {
	var cause *contracts.Error
	if why.Code == contracts.CodeDead && errors.As(why.Err, &cause) {
		return cause.Code
	}
	return why.Code
}
