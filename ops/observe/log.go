// Package observe makes the logger, the metrics registry and the tracer that are
// handed to every part, and serves metrics and probes. It opens no file, changes
// no global setting and decides nothing about what is logged, counted or traced.
package observe

import (
	"io"
	"os"
	"time"

	"github.com/mattn/go-isatty"
	"github.com/rs/zerolog"
)

const (
	fieldTimestamp = "timestamp"
	timeFormat     = "2006-01-02T15:04:05.000Z"
)

// Options of a logger. The zero value logs info as JSON or, on a terminal, as
// text to standard error.
type Options struct {
	// Writer takes one Write per line and must be safe for concurrent use, as
	// an *os.File is. Default: os.Stderr.
	Writer io.Writer
	// Level is the lowest level written. Default, also for an unknown one: info.
	Level string
	// Format is json, console or auto (console if Writer is a terminal).
	// Default, also for an unknown one: auto.
	Format string
	// Role and Node become fields of every line. Default: no such field.
	Role, Node string
	// Now is the clock. Default: time.Now.
	Now func() time.Time
}

// New makes a logger whose lines hold timestamp, level and message.
//
// The names of level and message are zerolog's defaults. The one of the time is
// not, and zerolog keeps it, and its format, in package variables that every
// logger of the process reads without a lock. So the timestamp is written by a
// hook of this logger instead: nothing global changes and nothing can race.
func New(o Options) zerolog.Logger {
	if o.Writer == nil {
		o.Writer = os.Stderr
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	level, err := zerolog.ParseLevel(o.Level)
	if err != nil || o.Level == "" {
		level = zerolog.InfoLevel
	}
	fields := zerolog.New(form(o)).Level(level).With()
	if o.Role != "" {
		fields = fields.Str("role", Clip(o.Role, MaxField))
	}
	if o.Node != "" {
		fields = fields.Str("node", Clip(o.Node, MaxField))
	}
	return fields.Logger().Hook(stamp{now: o.Now})
}

// stamp writes the time of each event.
type stamp struct{ now func() time.Time }

// Run implements zerolog.Hook.
func (s stamp) Run(e *zerolog.Event, _ zerolog.Level, _ string) {
	var text [len(timeFormat)]byte
	e.Bytes(fieldTimestamp, s.now().UTC().AppendFormat(text[:0], timeFormat))
}

func form(o Options) io.Writer {
	terminal := isTerminal(o.Writer)
	if o.Format == "json" || o.Format != "console" && !terminal {
		return o.Writer
	}
	return zerolog.NewConsoleWriter(func(w *zerolog.ConsoleWriter) {
		w.Out = o.Writer
		w.NoColor = !terminal
		w.PartsOrder = []string{fieldTimestamp, zerolog.LevelFieldName, zerolog.MessageFieldName}
		w.FieldsExclude = []string{fieldTimestamp}
		w.FormatMessage = message // zerolog's own writes control characters as they are
	})
}

func message(v any) string {
	text, ok := v.(string)
	if !ok {
		return ""
	}
	return Clip(text, 4*MaxField)
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(interface{ Fd() uintptr })
	return ok && isatty.IsTerminal(f.Fd())
}
