package ingress

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"time"

	"moltbot/contracts"
	"moltbot/ingress/filter"
	"moltbot/ingress/im"
)

// takeEvent stores the messages of an event that app got. Nothing may be
// acknowledged to the platform before it gave nil. The order within a chat is that
// in which the events came here: no platform says which of two it sent first.
func (in *Ingress) takeEvent(ctx context.Context, app *ChannelApp, e im.Event) error {
	return in.take(ctx, app, &e, rand.Text())
}

func (in *Ingress) take(ctx context.Context, app *ChannelApp, e *im.Event, request string) error {
	for i := range e.Messages {
		if err := in.takeMessage(ctx, app, &e.Messages[i], request); err != nil {
			return err
		}
	}
	return nil
}

func (in *Ingress) takeMessage(ctx context.Context, app *ChannelApp, m *im.Incoming, request string) error {
	if why := app.Policy.leaves(m); why != "" {
		in.left(app, m, why, request)
		return nil
	}
	a, err := in.acceptIncoming(ctx, app, m, request)
	if err != nil {
		return err
	}
	if a.stops() && in.stoppedBefore(ctx, a) {
		in.metrics.took(app.Channel, takenRepeated)
		return nil
	}
	how, err := in.storeIncoming(ctx, a)
	if err != nil {
		return err
	}
	in.metrics.took(app.Channel, how)
	in.o.Log.Info().Str("request_id", request).Str("channel", string(app.Channel)).Str("app", app.Name).Str("user_id", a.message.Caller).
		Str("message_id", a.message.ID).Str("outcome", how).Msg("message of a chat")
	return nil
}

// left counts a message that is not answered. Why, but nothing of what it says, is
// logged once, for whoever has to put a chat or a user on a list.
func (in *Ingress) left(app *ChannelApp, m *im.Incoming, why, request string) {
	in.metrics.took(app.Channel, why)
	e := in.o.Log.Debug()
	if audited(why) {
		e = in.o.Log.Info()
	}
	e.Str("request_id", request).Str("channel", string(app.Channel)).Str("app", app.Name).Str("chat", clip(m.Chat, 128)).
		Str("user_id", in.callerOf(app, m)).Str("reason", why).Msg("message of a chat not answered")
}

// acceptIncoming makes the message that is stored. It gets the same id whenever the
// platform repeats it, on any replica: the platform's name and time of it are in it.
func (in *Ingress) acceptIncoming(ctx context.Context, app *ChannelApp, m *im.Incoming, request string) (*accepted, error) {
	names, unique := in.o.Namer, cmp.Or(m.Unique, m.MessageID)
	at, err := in.sentAt(ctx, app, m, unique)
	if err != nil {
		return nil, err
	}
	origin := m.Origin
	origin.App = app.Name
	a := &accepted{budget: in.o.DailyTokens, message: contracts.Message{
		Channel: app.Channel, RequestID: request, Caller: in.callerOf(app, m), Images: m.Images, Origin: &origin,
	}}
	msg := &a.message
	msg.SessionID = app.session(m)
	scope := contracts.Scope{Channel: app.Channel, App: app.Name, Session: msg.SessionID}
	if app.Policy.Scope == ScopeUserInChat {
		scope.Caller = cmp.Or(m.Sender, m.Stranger)
	}
	msg.Conversation = names.Conversation(scope)
	a.id = names.NewID(msg.Conversation, msg.Caller, at, names.Digest("im", string(app.Channel), app.Name, unique))
	msg.ID, msg.Accepted = a.id.String(), a.id.At
	in.say(a, m)
	return a, nil
}

// maxAhead is how far a platform's clock may be before ours.
const maxAhead = 24 * time.Hour

// firstWithin bounds the question what was said first: the platform waits 3 s.
const firstWithin = time.Second

// sentAt is when the platform says that m was sent, and for one of which it says
// something else each time, what it said first.
func (in *Ingress) sentAt(ctx context.Context, app *ChannelApp, m *im.Incoming, unique string) (time.Time, error) {
	if m.At.Sub(in.o.Now()) > maxAhead {
		return time.Time{}, im.ErrMalformed
	}
	if !m.Vague {
		return m.At, nil
	}
	ctx, cancel := context.WithTimeout(ctx, firstWithin)
	defer cancel()
	digest := in.o.Namer.Digest("im-first", string(app.Channel), app.Name, unique)
	first, _, _, err := in.o.Store.Claim(ctx, digest, digest, m.At)
	return first, err
}

// callerOf is how a user of a platform appears in logs and envelopes. Whom the
// platform does not name is told apart by a digest.
func (in *Ingress) callerOf(app *ChannelApp, m *im.Incoming) string {
	who := m.Sender
	if who == "" {
		who = "~" + in.o.Namer.Digest("stranger", string(app.Channel), app.Name, m.Stranger)
	}
	return string(app.Channel) + ":" + who
}

// session is what a conversation is called after: the chat, and with ScopeThread
// in a group the message that began the thread, which may be m itself. DingTalk has
// no threads.
func (app *ChannelApp) session(m *im.Incoming) string {
	thread := m.Thread
	if thread == "" && app.Channel == contracts.ChannelFeishu {
		thread = m.MessageID
	}
	if app.Policy.Scope != ScopeThread || m.Direct || thread == "" {
		return m.Chat
	}
	return m.Chat + "/" + thread
}

// say puts into the message what the user said, or the answer to what cannot be
// answered by a model.
func (in *Ingress) say(a *accepted, m *im.Incoming) {
	msg := &a.message
	w := sentencesFor(m.Text)
	if m.Unread != "" {
		msg.Say = w.unread(m.Unread)
		return
	}
	text, err := in.cleanText(m.Text)
	var long filter.TooLong
	switch {
	case errors.As(err, &long):
		msg.Say = w.tooLong(long.Chars, long.Most)
		msg.Images = nil
	case err != nil && len(m.Images) == 0:
		msg.Say = w.empty
	default:
		msg.Text = text
	}
	if c, is := contracts.ParseCommand(msg.Text); is && len(msg.Images) == 0 {
		a.command = c.Name
	}
}

// storeIncoming stores the message, or in its place what is to be said of it: the
// platform hears of no refusal but a full queue and a broken one.
func (in *Ingress) storeIncoming(ctx context.Context, a *accepted) (how string, err error) {
	if a.message.Say != "" {
		a.budget = 0 // it costs nothing
	}
	w := sentencesFor(a.message.Text)
	known, err := in.stored(ctx, a)
	if e := contracts.Public(err); e != nil {
		switch e.Code {
		case contracts.CodeBudget:
			known, err = in.storeInstead(ctx, a, w.budget)
		case contracts.CodeTooLarge:
			known, err = in.storeInstead(ctx, a, w.tooLarge)
		}
	}
	if e := contracts.Public(err); e != nil && e.Code == contracts.CodeConversationFull {
		return takenFull, in.refuse(ctx, a, w.full)
	}
	if known {
		return takenRepeated, err
	}
	return takenNew, err
}

// storeInstead stores the message with an answer and without what it says.
func (in *Ingress) storeInstead(ctx context.Context, a *accepted, say string) (known bool, err error) {
	a.message.Say, a.message.Text, a.message.Images = say, "", nil
	a.budget, a.command = 0, ""
	return in.stored(ctx, a)
}

// stoppedBefore reports whether a command to stop was carried out: stored once
// more, it would stop what was written after it.
func (in *Ingress) stoppedBefore(ctx context.Context, a *accepted) bool {
	ctx, cancel := context.WithTimeout(ctx, stopWithin)
	defer cancel()
	_, _, done, err := in.o.Store.Result(ctx, a.id)
	return err == nil && done
}
