package app

import (
	"context"
	"fmt"
	"strings"

	"moltbot/contracts"
	"moltbot/ops/config"
	"moltbot/scheduler"
	"moltbot/workers"
	"moltbot/workers/model"
	"moltbot/workers/prompt"
)

// callerSummary is who summaries are counted for.
const callerSummary = "system:summary"

// writer lets the workers' models write for the background.
type writer struct {
	models workers.Models
	name   string // of the model; empty: the default
}

// Write asks the model, and never takes the demo's words for a summary unless the
// demo was named: they describe its prompt.
func (w writer) Write(ctx context.Context, a scheduler.Assignment) (scheduler.Written, error) {
	choice, err := w.models.Choose(contracts.Message{Conversation: a.Conversation, Model: w.name})
	if err != nil {
		return scheduler.Written{}, err
	}
	answer, err := choice.Complete(ctx, model.Request{
		Messages: a.Messages, User: a.Conversation, Caller: callerSummary, Model: choice.Model,
		Params: contracts.Params{MaxTokens: a.MaxTokens, Temperature: &a.Temperature}, Fresh: true,
	})
	switch {
	case err != nil:
		return scheduler.Written{}, err
	case answer.Apology:
		return scheduler.Written{}, &contracts.Error{Code: contracts.CodeModelFailed, Message: "no model answers", Retryable: true}
	case strings.HasPrefix(answer.Version, config.KindDemo+"/") && w.name == "":
		return scheduler.Written{}, &contracts.Error{
			Code: contracts.CodeModelFailed, Message: "only the demo model answers, and it does not summarize", Retryable: true,
		}
	}
	return scheduler.Written{Text: answer.Text, Model: answer.Model}, nil
}

// asksModels tells whether models are asked in this process.
func (a *App) asksModels() bool {
	return a.has(RoleWorkers) || a.has(RoleScheduler) && a.o.Config.Session.Summary.Enabled
}

// openSummarizer makes what folds turns, with the models of this process.
func (a *App) openSummarizer(models workers.Models) error {
	c := a.o.Config.Session.Summary
	if !a.has(RoleScheduler) || !c.Enabled {
		return nil
	}
	counter, err := prompt.New(prompt.Options{})
	if err != nil {
		return err
	}
	a.summarizer, err = scheduler.NewSummarizer(scheduler.SummarizerOptions{
		Sessions: a.store, Model: writer{models, c.Model}, Log: a.o.Log, After: c.After, MaxTokens: c.MaxTokens, Metrics: a.registerer(),
		Tokens: func(name, text string) int { return counter.For(name).Count(text) },
	})
	if err != nil {
		return fmt.Errorf("summaries: %w", err)
	}
	return nil
}

// summarize does a task, or lets it be where summaries were turned off since.
func (a *App) summarize(ctx context.Context, payload []byte) error {
	if a.summarizer == nil {
		return nil
	}
	return a.summarizer.Run(ctx, payload)
}

// summaries are chores that leave the demo model alone: where it would have to
// summarize, nothing is asked.
type summaries struct {
	workers.Chores
	models *answerer
	name   string
}

// summarized gives what the workers ask for summaries; nil: they do not.
func (a *App) summarized(chores workers.Chores, models *answerer) workers.Chores {
	c := a.o.Config.Session.Summary
	if chores == nil || !c.Enabled {
		return nil
	}
	return summaries{chores, models, c.Model}
}

// Summarize passes on what is asked.
func (s summaries) Summarize(ctx context.Context, conversation, upto string) error {
	if s.name == "" && s.models.demo(s.models.Router().Table) {
		return nil
	}
	return s.Chores.Summarize(ctx, conversation, upto)
}

// demo tells whether the demo answers by default.
func (w *answerer) demo(t contracts.ModelTable) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	provider := t.Models[t.Default].Provider
	return w.said[provider].Kind == config.KindDemo
}
