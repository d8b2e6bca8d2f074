package embedded

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"

	"github.com/rs/zerolog"
)

// natsLog hands the server's lines to zerolog. Notices become debug lines: the
// server is a part of ours and its start and stop are no news.
type natsLog struct {
	log   zerolog.Logger
	cause atomic.Pointer[string]
}

func (l *natsLog) Noticef(format string, v ...any) { l.write(zerolog.DebugLevel, format, v) }
func (l *natsLog) Warnf(format string, v ...any)   { l.write(zerolog.WarnLevel, format, v) }
func (l *natsLog) Errorf(format string, v ...any)  { l.write(zerolog.ErrorLevel, format, v) }
func (l *natsLog) Debugf(format string, v ...any)  { l.write(zerolog.DebugLevel, format, v) }

// Tracef drops its line: traces hold message bodies.
func (l *natsLog) Tracef(string, ...any) {}

// Fatalf keeps the first text for StartNATS; this process decides about its
// own end.
func (l *natsLog) Fatalf(format string, v ...any) {
	text := l.write(zerolog.ErrorLevel, format, v)
	l.cause.CompareAndSwap(nil, &text)
}

func (l *natsLog) fatal() error {
	if text := l.cause.Load(); text != nil {
		return errors.New(*text)
	}
	return nil
}

func (l *natsLog) write(level zerolog.Level, format string, v []any) string {
	text := fmt.Sprintf(format, v...)
	// A parser error quotes what was on the wire, which can be a message body.
	if head, _, found := strings.Cut(text, "proto="); found {
		text = head + "(left out)"
	}
	l.log.WithLevel(level).Str("text", text).Msg("nats server")
	return text
}
