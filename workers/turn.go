package workers

import (
	"context"
	"errors"
	"time"

	"github.com/rs/zerolog"
	"go.opentelemetry.io/otel/trace"

	"moltbot/contracts"
	"moltbot/workers/deliver"
	"moltbot/workers/mailbox"
	"moltbot/workers/model"
	"moltbot/workers/prompt"
	"moltbot/workers/session"
)

// turn is one message's way through the workers: open it, build the prompt from
// what begin brought, ask the model, seal what is to be committed.
type turn struct {
	sealer  contracts.Sealer
	store   *session.Store
	prompt  *prompt.Builder
	models  Models
	replies *replies
	window  int // turns that a prompt may hold
	now     func() time.Time
	log     zerolog.Logger
	metrics *metrics
	tracer  trace.Tracer // nil: no spans

	maxAge   func(contracts.Channel, string) time.Duration // nil: any age
	outcomes *deliver.Metrics
	media    *media // nil: no images
	signs    *signs // nil: none
}

// identify names a message for the mailbox.
func identify(data []byte) (id string, letter any, err error) {
	l, err := contracts.DecodeLetter(data)
	return l.ID, l, err
}

// Run answers one message. It has no effect but the model call: everything else
// happens in the commit.
func (t *turn) Run(ctx context.Context, task mailbox.Task) (o mailbox.Outcome, err error) {
	m, err := t.open(task)
	if err != nil {
		return mailbox.Outcome{}, unopened(err)
	}
	t.metrics.begin(task, m.Accepted)
	defer t.metrics.end()
	if err := t.stale(&m); err != nil {
		return mailbox.Outcome{}, err
	}
	if m.Say != "" {
		return t.said(&task, &m, m.Say)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	p := t.replies.piecesOf(&m, task)
	t.replies.begin(task.ID, &running{cancel: cancel, pieces: p})
	defer func() { o.Waiters = t.replies.end(task.ID) }() // also when the completer panics
	if c, ok := commandOf(&m); ok {
		o, err = t.command(&task, &m, c, p)
		return o, err
	}
	t.signs.received(task.Attempt, &m)
	o, err = t.answer(ctx, task, m, p)
	return o, judged(ctx, &m, p, err)
}

func (t *turn) answer(ctx context.Context, task mailbox.Task, m contracts.Message, p *pieces) (mailbox.Outcome, error) {
	before := t.recall(task)
	choice, gone, err := t.choose(&task, &m)
	if err != nil {
		return mailbox.Outcome{}, err
	}
	system := t.route(&m, &choice)
	request, err := t.request(m, choice, system, before)
	if err != nil {
		return mailbox.Outcome{}, err
	}
	seen, err := t.see(ctx, &m, &choice, &before, &request)
	if err != nil {
		return mailbox.Outcome{}, err
	}
	defer seen.done()
	if seen.say != "" {
		return t.unseen(task, &m, seen, choice.Table)
	}
	if p != nil {
		request.OnDelta = p.add
	}
	began := t.now()
	call, endModel := t.startModel(ctx, m.Channel, choice.Listed)
	answer, err := choice.Complete(call, request)
	ended := t.now()
	endModel(apologyOr(answer, err))
	t.metrics.asked(ended.Sub(began), apologyOr(answer, err))
	if err != nil {
		return mailbox.Outcome{}, err
	}
	costs(withTrace(t.log.Info(), task), &answer).Str("request_id", m.RequestID).Str("message_id", m.ID).Str("user_id", m.Caller).
		Str("model_version", answer.Version).Int64("model_table", choice.Table).Int("attempt", task.Attempt).
		Int64("latency_ms", ended.Sub(m.Accepted).Milliseconds()).Int64("model_ms", ended.Sub(began).Milliseconds()).Msg("message answered")
	answer.Text = seen.noted(answer.Text)
	return t.outcome(task, m, answered{answer, choice.Table, ended, request.Messages, gone}, before)
}

// costs adds what an answer cost, and whether it is none of a model's. A cached
// one says what the original used.
func costs(e *zerolog.Event, a *model.Answer) *zerolog.Event {
	e.Int("prompt_tokens", a.Usage.PromptTokens).Int("completion_tokens", a.Usage.CompletionTokens).Bool("cached", a.Cached)
	if a.Cost > 0 {
		e.Float64("cost", a.Cost)
	}
	if a.Apology {
		e.Bool("apology", true)
	}
	if a.FirstToken > 0 {
		e.Int64("first_token_ms", a.FirstToken.Milliseconds())
	}
	return e
}

// answered is an answer with what is recorded of its making.
type answered struct {
	model.Answer
	table int64
	at    time.Time
	asked []model.Message
	gone  bool // the model that was chosen for the session is not there any more
}

// route gives the system prompt of the route that m came by, and takes off m's
// text the route that led it. A client's own messages were written for the model.
func (t *turn) route(m *contracts.Message, c *model.Choice) (system string) {
	if m.Text = c.Text; m.Prompt != "" {
		return ""
	}
	system, m.Text = t.prompt.System(c.Text, m.Route, c.Route)
	return system
}

// request is what the model is asked: the session with the new message, or the
// context that the client brought along.
func (t *turn) request(m contracts.Message, c model.Choice, system string, before history) (model.Request, error) {
	params, err := contracts.DecodeParams(m.Params)
	if err != nil {
		return model.Request{}, unreadable(err)
	}
	r := model.Request{
		User: m.Conversation, Caller: m.Caller, Model: c.Model, Params: params, Fresh: m.Flags.Has(contracts.FlagFresh),
	}
	if m.Prompt == "" {
		r.Messages = t.told(&m, t.prompt.For(c.Model).Build(before.told(), prompt.Ask{Text: m.Text, System: system}))
		return r, nil
	}
	own, err := contracts.DecodePrompt(m.Prompt)
	if err != nil {
		return model.Request{}, unreadable(err)
	}
	r.Messages = own
	if !m.Flags.Has(contracts.FlagUnkept) {
		r.Messages = t.told(&m, t.prompt.For(c.Model).Join(before.told(), own))
	}
	return r, nil
}

// told gives the messages of a prompt, and says where a text had to be cut for it.
func (t *turn) told(m *contracts.Message, p prompt.Prompt) []model.Message {
	if p.Shortened {
		t.log.Debug().Str("message_id", m.ID).Int("turns", p.Kept).Msg("a text was too long for the prompt and was shortened")
	}
	return p.Messages
}

// unreadable is the verdict on a message that ingress should not have let through.
func unreadable(err error) error {
	return &contracts.Error{Code: contracts.CodeDead, Message: "the message cannot be read", Err: err}
}

// unopened is the verdict on a message that does not open. One whose key is not
// here waits, as for a store that is away: it gets here, or the message to others.
func unopened(err error) error {
	e := &contracts.Error{Code: contracts.CodeDead, Message: "the message cannot be opened", Err: err}
	if errors.Is(err, contracts.ErrNoKey) {
		e.Code, e.Retryable = contracts.CodeInternal, true
	}
	return e
}

func (t *turn) open(task mailbox.Task) (contracts.Message, error) {
	letter, ok := task.Letter.(contracts.Letter)
	if !ok {
		return contracts.Message{}, errors.New("the envelope cannot be read")
	}
	return letter.Open(t.sealer)
}

func (t *turn) outcome(task mailbox.Task, m contracts.Message, a answered, before history) (o mailbox.Outcome, err error) {
	result := contracts.Result{
		ID: m.ID, SessionID: m.SessionID, Reply: a.Text, ToolCalls: a.ToolCalls, Model: a.Model, ModelVersion: a.Version,
		Usage: a.Usage, Finish: a.Finish, At: a.at.UTC(), Run: task.Run, Table: a.table, Cached: a.Cached,
	}
	if o.Result, err = t.store.SealResult(m.Conversation, result); err == nil {
		err = t.send(&o, &m, a.Text, result)
	}
	o.Trail = a.Key
	if a.gone {
		n := readNote(task.Note)
		n.model = ""
		o.Note = n.kept()
	}
	if err != nil || m.Flags.Has(contracts.FlagUnkept) || a.Text == "" || a.Apology {
		return o, err
	}
	turn := contracts.Turn{
		ID: m.ID, User: m.Text, Assistant: a.Text, At: a.at.UTC(), Images: m.Images,
		Tokens: t.prompt.For(a.Model).Count(m.Text) + prompt.ImagesOf(a.Model, a.asked) + t.answerTokens(a.Answer),
	}
	if o.Turn, err = t.store.SealTurn(m.Conversation, turn); err != nil {
		return mailbox.Outcome{}, err
	}
	o.Memory, o.MemorySize = t.remember(before, turn)
	return o, nil
}

// answerTokens spares counting what the provider has counted: it is a good part
// of the work on a message.
func (t *turn) answerTokens(a model.Answer) int {
	if a.Tokens > 0 {
		return a.Tokens
	}
	return t.prompt.For(a.Model).Count(a.Text)
}

// Fail is the outcome of a message without an answer: a result that says why,
// so that nobody waits for ever.
func (t *turn) Fail(task mailbox.Task, why *contracts.Error) mailbox.Outcome {
	m, err := t.open(task)
	if err != nil {
		m = contracts.Message{ID: task.ID, Conversation: task.Conversation}
	}
	code := failure(why)
	withTrace(t.log.Warn(), task).Err(why).Str("request_id", m.RequestID).Str("message_id", task.ID).Str("user_id", m.Caller).
		Str("code", string(code)).Msg("message ended without an answer")
	failed := contracts.Failed(m, code, why.Message, t.now().UTC())
	failed.Run = task.Run
	result, err := t.store.SealResult(task.Conversation, failed)
	if err != nil {
		t.log.Error().Err(err).Str("message_id", task.ID).Msg("failure not recorded for the client")
	}
	o := mailbox.Outcome{Result: result}
	t.failed(&o, &m, failed)
	if code == contracts.CodeStale {
		t.outcomes.Stale(m.Channel)
	}
	if errors.Is(why, mailbox.ErrStopped) {
		t.stopped(task, &m, why, &o)
	}
	return o
}

// Reply sends the parked result to the request that waits for it, and to those
// that attached since.
func (t *turn) Reply(_ context.Context, task mailbox.Task, o mailbox.Outcome) {
	letter, ok := task.Letter.(contracts.Letter)
	if !ok {
		return // nobody can be found who waits for it
	}
	t.replies.send(letter.Message, o)
}
