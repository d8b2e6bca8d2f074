package workers

import (
	"context"
	"errors"
	"time"

	"github.com/rs/zerolog"
	"go.opentelemetry.io/otel/trace"

	"moltbot/contracts"
	"moltbot/workers/mailbox"
	"moltbot/workers/model"
	"moltbot/workers/prompt"
	"moltbot/workers/session"
)

// turn is one message's way through the workers: open it, build the prompt from
// what begin brought, ask the model, seal what is to be committed.
type turn struct {
	sealer    contracts.Sealer
	store     *session.Store
	prompt    *prompt.Builder
	completer model.Completer
	replies   *replies
	now       func() time.Time
	log       zerolog.Logger
	metrics   *metrics
	tracer    trace.Tracer // nil: no spans
	modelName string       // as configured, for spans
}

// identify names a message for the mailbox.
func identify(data []byte) (string, error) {
	l, err := contracts.DecodeLetter(data)
	return l.ID, err
}

// Run answers one message. It has no effect but the model call: everything else
// happens in the commit.
func (t *turn) Run(ctx context.Context, task mailbox.Task) (o mailbox.Outcome, err error) {
	m, err := t.open(task)
	if err != nil {
		return mailbox.Outcome{}, &contracts.Error{
			Code: contracts.CodeDead, Message: "the message cannot be opened", Err: err,
		}
	}
	t.metrics.begin(task, m.Accepted)
	defer t.metrics.end()
	t.replies.begin(task.ID)
	defer func() { o.Waiters = t.replies.end(task.ID) }() // also when the completer panics
	return t.answer(ctx, task, m)
}

func (t *turn) answer(ctx context.Context, task mailbox.Task, m contracts.Message) (mailbox.Outcome, error) {
	turns, bad := t.store.OpenTurns(m.Conversation, task.Context)
	if bad > 0 {
		t.log.Warn().Str("conversation", m.Conversation).Int("turns", bad).Msg("turns that do not open are left out of the prompt")
	}
	began := t.now()
	call, endModel := t.startModel(ctx, m.Channel)
	answer, err := t.completer.Complete(call, model.Request{
		Messages: t.prompt.Build(turns, m.Text), User: m.Conversation, Model: m.Model,
	})
	ended := t.now()
	endModel(err)
	t.metrics.asked(ended.Sub(began), err)
	if err != nil {
		return mailbox.Outcome{}, err
	}
	withTrace(t.log.Info(), task).Str("request_id", m.RequestID).Str("message_id", m.ID).Str("user_id", m.Caller).
		Str("model_version", answer.Version).Int("attempt", task.Attempt).Int64("latency_ms", ended.Sub(m.Accepted).Milliseconds()).
		Int64("model_ms", ended.Sub(began).Milliseconds()).Msg("message answered")
	return t.outcome(m, answer, ended)
}

func (t *turn) open(task mailbox.Task) (contracts.Message, error) {
	letter, err := contracts.DecodeLetter(task.Data)
	if err != nil {
		return contracts.Message{}, err
	}
	return letter.Open(t.sealer)
}

func (t *turn) outcome(m contracts.Message, a model.Answer, at time.Time) (mailbox.Outcome, error) {
	round, err := t.store.SealTurn(m.Conversation, contracts.Turn{
		ID: m.ID, User: m.Text, Assistant: a.Text, Tokens: t.prompt.Count(m.Text) + t.prompt.Count(a.Text), At: at.UTC(),
	})
	if err != nil {
		return mailbox.Outcome{}, err
	}
	result, err := t.store.SealResult(m.Conversation, contracts.Result{
		ID: m.ID, SessionID: m.SessionID, Reply: a.Text, Model: a.Model, ModelVersion: a.Version,
		Usage: a.Usage, Finish: a.Finish, At: at.UTC(),
	})
	if err != nil {
		return mailbox.Outcome{}, err
	}
	return mailbox.Outcome{Turn: round, Result: result}, nil
}

// Fail is the outcome of a message without an answer: a result that says why,
// so that nobody waits for ever.
func (t *turn) Fail(task mailbox.Task, why *contracts.Error) mailbox.Outcome {
	m, err := t.open(task)
	if err != nil {
		m = contracts.Message{ID: task.ID, Conversation: task.Conversation}
	}
	code := why.Code
	var cause *contracts.Error
	if code == contracts.CodeDead && errors.As(why.Err, &cause) {
		code = cause.Code // the client is told what went wrong, the operator that it was given up
	}
	withTrace(t.log.Warn(), task).Err(why).Str("request_id", m.RequestID).Str("message_id", task.ID).Str("user_id", m.Caller).
		Str("code", string(code)).Msg("message ended without an answer")
	result, err := t.store.SealResult(task.Conversation, contracts.Failed(m, code, why.Message, t.now().UTC()))
	if err != nil {
		t.log.Error().Err(err).Str("message_id", task.ID).Msg("failure not recorded for the client")
	}
	return mailbox.Outcome{Result: result}
}

// Reply sends the parked result to the request that waits for it, and to those
// that attached since.
func (t *turn) Reply(ctx context.Context, task mailbox.Task, o mailbox.Outcome) {
	letter, err := contracts.DecodeLetter(task.Data)
	if err != nil {
		return // nobody can be found who waits for it
	}
	t.replies.send(ctx, letter.Message, o)
}
