package scheduler

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"strings"
	"time"

	"github.com/hibiken/asynq"

	"moltbot/contracts"
)

var (
	errNoHandler = errors.New("this version has no handler for such tasks")
	errStillRuns = errors.New("an earlier run of this task, which was given up, has not ended yet")
)

// process is the mux: it runs the handler of a task's type.
func (s *Scheduler) process(ctx context.Context, task *asynq.Task) (err error) {
	s.o.Crash("task_begun")
	handler, ok := s.o.Handlers[contracts.TaskType(task.Type())]
	if !ok {
		return failure(errNoHandler) // tried again: a newer replica may know it
	}
	id, _ := asynq.GetTaskID(ctx)
	if !s.begin(id) {
		return failure(errStillRuns)
	}
	defer s.end(id)
	began := time.Now()
	err = call(ctx, handler, task.Payload())
	s.metrics.ran(task.Type(), time.Since(began))
	if err == nil && ctx.Err() == nil {
		s.o.Crash("task_ran")
		s.metrics.count(task.Type(), outcomeDone)
		s.o.Log.Info().Str("task", id).Str("type", task.Type()).Dur("took", time.Since(began)).Msg("task done")
	}
	if err != nil && ctx.Err() != nil { // whatever it says, it was cut off
		return &failedRun{text: "the run was cut off: " + context.Cause(ctx).Error(), cause: err}
	}
	return failure(err)
}

// begin notes that a task runs. A handler that ignored its deadline may still be
// at it when the task comes again: the two must not run beside each other.
func (s *Scheduler) begin(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, runs := s.running[id]; runs {
		return false
	}
	s.running[id] = struct{}{}
	s.ended.Add(1)
	return true
}

func (s *Scheduler) end(id string) {
	s.mu.Lock()
	delete(s.running, id)
	s.mu.Unlock()
	s.ended.Done()
}

// call makes an error out of a panic, before the queue does: it would keep the
// panic's value, which may be content.
func call(ctx context.Context, h Handler, payload []byte) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = panicked{fmt.Errorf("task panicked: %v\n%s", p, debug.Stack())}
		}
	}()
	return h(ctx, payload)
}

type panicked struct{ error }

// failed is told of every run that failed, also of those that were cut off.
func (s *Scheduler) failed(ctx context.Context, task *asynq.Task, err error) {
	id, _ := asynq.GetTaskID(ctx)
	tried, _ := asynq.GetRetryCount(ctx)
	most, _ := asynq.GetMaxRetry(ctx)
	outcome, text := outcomeRetry, "task failed, it is tried again"
	if tried >= most || errors.Is(err, asynq.SkipRetry) {
		outcome, text = outcomeGivenUp, "task failed, it is given up"
	}
	s.metrics.count(task.Type(), outcome)
	cause := err
	if f := (*failedRun)(nil); errors.As(err, &f) {
		cause = f.cause
	}
	s.o.Log.Warn().Err(cause).Str("task", id).Str("type", task.Type()).Int("tried", tried+1).Int("tries", most+1).Msg(text)
}

// failedRun is what the queue is told of a failure. Its text is kept in Redis
// and shown to operators; the cause is for the log alone.
type failedRun struct {
	text  string
	final bool
	cause error
}

func (f *failedRun) Error() string { return f.text }
func (f *failedRun) Unwrap() error { return f.cause }

// Is says SkipRetry where another run would not help.
func (f *failedRun) Is(target error) bool { return f.final && target == asynq.SkipRetry }

// mostReason bounds the reason that is kept with a task.
const mostReason = 300

// failure wraps what a handler returned. A panic may pass, as may an error of no
// known kind: only what says of itself that it is final is given up at once.
func failure(err error) error {
	if err == nil {
		return nil
	}
	var known *contracts.Error
	switch {
	case errors.As(err, &panicked{}):
		return &failedRun{text: "the task panicked; the log has the stack", cause: err}
	case errors.As(err, &known):
		return &failedRun{text: reason(string(known.Code) + ": " + known.Message), final: !known.Retryable, cause: err}
	}
	return &failedRun{text: reason(err.Error()), cause: err}
}

// reason makes text fit to be kept. The queue cannot encode what is no UTF-8: the
// task would stay where it is until its lease runs out.
func reason(text string) string { return clip(strings.ToValidUTF8(text, "\uFFFD"), mostReason) }

// delay is the wait before run n+2: doubling, within a quarter around it, and
// never sooner than the failure asks for.
func (s *Scheduler) delay(n int, err error, _ *asynq.Task) time.Duration {
	d := s.o.RetryMax
	if s.o.RetryBase <= d>>n { // so that doubling does not overflow
		d = s.o.RetryBase << n
	}
	d += time.Duration((rand.Float64() - .5) / 2 * float64(d)) //nolint:gosec // spreads load, hides nothing
	var known *contracts.Error
	if errors.As(err, &known) {
		d = max(d, min(known.RetryAfter, s.o.RetryMax))
	}
	return d
}
