package scheduler

import (
	"fmt"

	"github.com/rs/zerolog"
)

// asynqLog writes what the library says. Its ordinary life is for debugging, and
// nothing of it ends the process.
type asynqLog struct{ log zerolog.Logger }

// Debug implements asynq.Logger.
func (l asynqLog) Debug(args ...any) { l.say(l.log.Trace(), args) }

// Info implements asynq.Logger.
func (l asynqLog) Info(args ...any) { l.say(l.log.Debug(), args) }

// Warn implements asynq.Logger.
func (l asynqLog) Warn(args ...any) { l.say(l.log.Warn(), args) }

// Error implements asynq.Logger.
func (l asynqLog) Error(args ...any) { l.say(l.log.Error(), args) }

// Fatal implements asynq.Logger.
func (l asynqLog) Fatal(args ...any) { l.say(l.log.Error(), args) }

func (l asynqLog) say(e *zerolog.Event, args []any) {
	if e.Enabled() {
		e.Str("detail", fmt.Sprint(args...)).Msg("the task queue reports")
	}
}
