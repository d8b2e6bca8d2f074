package ingress

import (
	"encoding/json"
	"errors"

	"github.com/labstack/echo/v4"

	"moltbot/contracts"
)

// streamCompletion stores a message and shows its answer while it is made.
// Nothing is written before there is something to show, or a sign of life is
// due, so that an error before the first token has a status of its own.
func (in *Ingress) streamCompletion(c echo.Context, a *accepted, x *completion) error {
	ctx := c.Request().Context()
	s := &completionStream{in: in, c: c, x: x}
	r, err := in.answeredBefore(ctx, a)
	if err != nil {
		return err
	}
	a.patience = in.patience(a.patience, in.o.StreamCap)
	w := in.replies.follow(a.message.ID) // before publishing: a fast worker may answer at once
	defer w.cancel()
	if r != nil {
		return s.end(r, in.showRest(s, w.shown, r))
	}
	how, err := in.begin(ctx, a)
	if err != nil {
		return in.unstored(x, err)
	}
	x.crowded = how.patience <= 0
	return s.follow(w, how)
}

// completionStream is an answer as it is made, in chunks. What was shown cannot
// be taken back here: where it would have to be, the stream ends with an error.
type completionStream struct {
	in     *Ingress
	c      echo.Context
	x      *completion
	events *events // nil: nothing was written yet
	opened bool    // the client knows who speaks
	shown  bool    // and has read some of the text
}

// errUnsaid says that what was shown is void.
var errUnsaid = errors.New("the answer is made again after a part of it was shown")

// errIdle ends a stream whose result did not come in time.
var errIdle = errors.New("no result")

func (s *completionStream) follow(w *waiter, how wait) error {
	s.in.metrics.open.Inc()
	defer s.in.metrics.open.Dec()
	r, err := s.in.follow(s.c.Request().Context(), &s.x.id, w, how, s)
	if r == nil && err == nil {
		err = errIdle
	}
	return s.end(r, err)
}

// end finishes the stream: with the result, or with what kept it from coming.
func (s *completionStream) end(r *contracts.Result, err error) error {
	switch {
	case err == nil && r.Code != "":
		return s.broken(ended(s.c, r))
	case err == nil:
		return s.finish(r)
	}
	if !s.x.keyed && r == nil {
		s.in.abandon(s.x.id)
	}
	switch {
	case errors.Is(err, errUnsaid):
		return s.broken(&contracts.Error{
			Code: contracts.CodeModelFailed, Message: "the answer broke off after its beginning had been sent; ask again", Err: err,
		})
	case errors.Is(err, errIdle):
		return s.broken(s.in.gaveUp(s.c, s.x))
	}
	return nil // the client is gone
}

// broken gives err as an answer while there is none yet, else as the last event.
// Without [DONE] behind it no client takes the answer for complete.
func (s *completionStream) broken(err error) error {
	if s.events == nil {
		return err
	}
	e := publicError(err)
	s.in.refused(s.c, e.Code)
	_ = s.send(openAIError(err, e)) // nothing can be done for a client that is gone
	return nil
}

// piece shows text as a chunk.
func (s *completionStream) piece(p piece) error {
	if p.Reset && s.shown {
		return errUnsaid
	}
	if p.Text == "" {
		return nil
	}
	s.shown = true
	if err := s.open(new("")); err != nil {
		return err
	}
	return s.chunk(completionDelta{Content: &p.Text})
}

// alive is due when nothing was shown for a while.
func (s *completionStream) alive() error {
	if err := s.begin(); err != nil {
		return err
	}
	return s.events.alive()
}

func (s *completionStream) begin() (err error) {
	if s.events == nil {
		s.events, err = s.in.stream(s.c)
	}
	return err
}

// open says once who speaks; content is null where there will be calls alone.
func (s *completionStream) open(content *string) error {
	if s.opened {
		return nil
	}
	s.opened = true
	return s.send(s.head(completionChunkChoice{Delta: openingDelta{contracts.RoleAssistant, content, nil}}))
}

// finish sends what only the result knows: calls of tools, why it ended, what it cost.
func (s *completionStream) finish(r *contracts.Result) error {
	if s.last(r) == nil {
		_ = s.events.send("", "", []byte("[DONE]"))
	}
	return nil // an error says that the client is gone
}

func (s *completionStream) last(r *contracts.Result) error {
	content := new("")
	if r.Reply == "" && len(r.ToolCalls) > 0 {
		content = nil
	}
	if err := s.open(content); err != nil {
		return err
	}
	for i, call := range callsOf(r) {
		if err := s.chunk(completionDelta{ToolCalls: []indexedCall{{i, call}}}); err != nil {
			return err
		}
	}
	reason := finishOf(r)
	head := s.head(completionChunkChoice{Delta: completionDelta{}, Finish: &reason})
	head.Fingerprint = r.ModelVersion
	if err := s.send(head); err != nil || !s.x.usage {
		return err
	}
	cost, _ := json.Marshal(usageOf(r)) // three numbers
	head = s.head()
	head.Fingerprint, head.Usage = r.ModelVersion, cost
	return s.send(head)
}

func (s *completionStream) chunk(d completionDelta) error {
	return s.send(s.head(completionChunkChoice{Delta: d}))
}

// head is a chunk with what they all have in common.
func (s *completionStream) head(choices ...completionChunkChoice) completionChunk {
	h := completionChunk{
		ID: s.x.name(), Object: "chat.completion.chunk", Created: s.x.created(), Model: s.x.model, Choices: choices,
	}
	if choices == nil {
		h.Choices = []completionChunkChoice{}
	}
	if s.x.usage {
		h.Usage = json.RawMessage("null")
	}
	return h
}

func (s *completionStream) send(v any) error {
	if err := s.begin(); err != nil {
		return err
	}
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return s.events.send("", "", b)
}

type completionChunk struct {
	ID          string                  `json:"id"`
	Object      string                  `json:"object"`
	Created     int64                   `json:"created"`
	Model       string                  `json:"model"`
	Choices     []completionChunkChoice `json:"choices"`
	Usage       json.RawMessage         `json:"usage,omitempty"` // null but in the last one, where it was asked for
	Fingerprint string                  `json:"system_fingerprint,omitempty"`
}

type completionChunkChoice struct {
	Index    int       `json:"index"`
	Delta    any       `json:"delta"` // openingDelta or completionDelta
	Logprobs *struct{} `json:"logprobs"`
	Finish   *string   `json:"finish_reason"`
}

type openingDelta struct {
	Role    contracts.Role `json:"role"`
	Content *string        `json:"content"`
	Refusal *string        `json:"refusal"`
}

type completionDelta struct {
	Content   *string       `json:"content,omitempty"`
	ToolCalls []indexedCall `json:"tool_calls,omitempty"`
}

// indexedCall is a whole call: it comes in one chunk.
type indexedCall struct {
	Index int `json:"index"`
	completionCall
}
