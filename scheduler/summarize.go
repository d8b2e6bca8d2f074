package scheduler

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/rs/zerolog"

	"moltbot/contracts"
)

// Sessions is where conversations are kept.
type Sessions interface {
	// Fold lets what write makes stand for the old summary, which is empty where
	// there is none, and for the oldest turns up to the one called upto, if there are
	// least of them. Nothing changes unless both are still as write got them.
	Fold(ctx context.Context, conversation, upto string, least int,
		write func(context.Context, contracts.Summary, []contracts.Turn) (contracts.Summary, error)) (contracts.Folded, error)
}

// Model writes for the background. Its errors are as those of a message's model:
// a *contracts.Error says by Retryable whether it may do better later.
type Model interface {
	Write(ctx context.Context, a Assignment) (Written, error)
}

// Assignment is what is to be written.
type Assignment struct {
	Conversation string // for the provider's abuse control
	Messages     []contracts.PromptMessage
	MaxTokens    int
	Temperature  float64
}

// Written is what a model wrote.
type Written struct {
	Text  string
	Model string
}

// SummarizerOptions are the settings of a Summarizer. What has no default is required.
type SummarizerOptions struct {
	Sessions Sessions
	Model    Model
	Log      zerolog.Logger
	// Tokens counts those of a text as the model called name does.
	Tokens func(name, text string) int

	After     int // fewer turns are not worth a summary; default 5
	MaxTokens int // of a summary; default 256

	// Metrics takes the metrics; nil: nobody reads them.
	Metrics prometheus.Registerer
	// Now is the clock. Default: time.Now.
	Now func() time.Time
}

// Summarizer folds the turns that left a conversation's window into its summary.
type Summarizer struct {
	o       SummarizerOptions
	results map[string]prometheus.Counter
	turns   prometheus.Counter
	alone   alone
}

// Results that are not a contracts.Folded.
const (
	resultFailed = "failed" // given up
	resultLater  = "later"  // a failure that may pass
)

// NewSummarizer checks o.
func NewSummarizer(o SummarizerOptions) (*Summarizer, error) {
	if o.Sessions == nil || o.Model == nil || o.Tokens == nil || o.After < 0 || o.MaxTokens < 0 {
		return nil, errors.New("summarizer options: Sessions, Model and Tokens are required, and no limit may be negative")
	}
	o.After, o.MaxTokens = cmp.Or(o.After, 5), cmp.Or(o.MaxTokens, 256)
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Metrics == nil {
		o.Metrics = prometheus.NewRegistry()
	}
	with := promauto.With(o.Metrics)
	s := &Summarizer{o: o, results: map[string]prometheus.Counter{}}
	steps := with.NewCounterVec(prometheus.CounterOpts{
		Name: "moltbot_scheduler_summaries_total", Help: "Steps of summarizing, by what came of them.",
	}, []string{"result"})
	for _, r := range []string{
		string(contracts.FoldedAll), string(contracts.FoldedPart), string(contracts.FoldedNone), string(contracts.FoldedChanged), resultFailed, resultLater,
	} {
		s.results[r] = steps.WithLabelValues(r)
	}
	s.turns = with.NewCounter(prometheus.CounterOpts{
		Name: "moltbot_scheduler_summarized_turns_total", Help: "Turns that summaries were stored for.",
	})
	return s, nil
}

// maxSteps bounds what one task does: turns of a long session, and sessions that
// change while the model writes.
const maxSteps = 8

// Run does a task of type TaskSummarize. Run again, or twice at a time, it folds
// nothing twice.
func (s *Summarizer) Run(ctx context.Context, payload []byte) error {
	task, err := contracts.DecodeSummarize(payload)
	if err != nil {
		// A newer build may have asked; by the next try this one may be as new.
		return s.failed(&contracts.Error{
			Code: contracts.CodeDead, Message: "the task cannot be read", Retryable: errors.Is(err, contracts.ErrVersion), Err: err,
		})
	}
	if task.Conversation == "" || task.Upto == "" {
		return s.failed(&contracts.Error{Code: contracts.CodeDead, Message: "the task names no turns"})
	}
	leave, err := s.alone.enter(ctx, task.Conversation)
	if err != nil {
		return s.failed(fmt.Errorf("wait for another task of the conversation: %w", err))
	}
	defer leave()
	for range maxSteps {
		folded, err := s.step(ctx, task)
		if err != nil {
			return s.failed(fmt.Errorf("summarize: %w", err))
		}
		s.results[string(folded)].Inc()
		if folded == contracts.FoldedAll || folded == contracts.FoldedNone {
			return nil
		}
	}
	return s.failed(&contracts.Error{Code: contracts.CodeConflict, Message: "the session changes faster than it is summarized", Retryable: true})
}

// step folds once.
func (s *Summarizer) step(ctx context.Context, task contracts.Summarize) (contracts.Folded, error) {
	turns := 0
	began := s.o.Now()
	folded, err := s.o.Sessions.Fold(ctx, task.Conversation, task.Upto, s.o.After,
		func(ctx context.Context, old contracts.Summary, said []contracts.Turn) (contracts.Summary, error) {
			turns = len(said)
			return s.write(ctx, task.Conversation, old, said)
		})
	if err != nil {
		return folded, err
	}
	if _, known := s.results[string(folded)]; !known {
		return folded, fmt.Errorf("unknown outcome %q", folded)
	}
	if folded == contracts.FoldedAll || folded == contracts.FoldedPart {
		s.turns.Add(float64(turns))
		s.o.Log.Info().Str("conversation", task.Conversation).Int("turns", turns).
			Int64("latency_ms", s.o.Now().Sub(began).Milliseconds()).Msg("turns summarized")
	}
	return folded, nil
}

// write asks the model.
func (s *Summarizer) write(ctx context.Context, conversation string, old contracts.Summary, turns []contracts.Turn) (contracts.Summary, error) {
	prompt, err := summaryPrompt(old.Text, turns, s.o.MaxTokens)
	if err != nil {
		return contracts.Summary{}, err
	}
	w, err := s.o.Model.Write(ctx, Assignment{
		Conversation: conversation, Messages: prompt, MaxTokens: s.o.MaxTokens, Temperature: summaryTemperature,
	})
	if err != nil {
		return contracts.Summary{}, fmt.Errorf("ask the model: %w", err)
	}
	text := summaryText(w.Text, s.o.MaxTokens)
	if text == "" {
		return contracts.Summary{}, &contracts.Error{Code: contracts.CodeModelAnswer, Message: "the model wrote no summary", Retryable: true}
	}
	return contracts.Summary{Text: text, Tokens: s.o.Tokens(w.Model, text), Model: w.Model, At: s.o.Now().UTC()}, nil
}

// failed counts err.
func (s *Summarizer) failed(err error) error {
	result := resultLater
	var e *contracts.Error
	if errors.As(err, &e) && !e.Retryable {
		result = resultFailed
	}
	s.results[result].Inc()
	return err
}
