package upstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// lastWords is how long usage and [DONE] may take after the answer.
const lastWords = 2 * time.Second

// errTooLarge is the error of a read beyond the response limit.
var errTooLarge = errors.New("the response is over its limit")

const wholeAnswer = "complete answer"

// late is the cause a call is cancelled with when the provider is too slow.
type late struct {
	what  string
	limit time.Duration
	begun bool // the answer had, and what was late is the whole of it
}

func (l late) Error() string { return fmt.Sprintf("no %s within %s", l.what, l.limit) }

// watch bounds one call: the first token and the whole answer by timers, the
// pauses and the size at the body's reader.
type watch struct {
	cancel context.CancelCauseFunc
	opts   *Options
	first  *time.Timer
	total  *time.Timer
	begun  bool // the first token is there
}

// newWatch starts the timers. The context it gives ends with the call.
func newWatch(ctx context.Context, o *Options) (context.Context, *watch) {
	ctx, cancel := context.WithCancelCause(ctx)
	w := &watch{opts: o, cancel: cancel}
	w.first = w.after("first token", o.FirstToken)
	w.total = w.after(wholeAnswer, o.Total)
	return ctx, w
}

func (w *watch) after(what string, d time.Duration) *time.Timer {
	return time.AfterFunc(d, func() { w.cancel(late{what: what, limit: d}) })
}

// begin ends the wait for the first token; from here on pauses count.
func (w *watch) begin() {
	if !w.begun {
		w.begun = true
		w.first.Stop()
	}
}

// end releases the timers and the connection.
func (w *watch) end() {
	w.first.Stop()
	w.total.Stop()
	w.cancel(nil)
}

// guard wraps the body of a response.
func (w *watch) guard(rc io.ReadCloser) *body {
	b := &body{ReadCloser: rc, watch: w, left: w.opts.MaxResponse, pause: w.opts.Idle}
	b.idle = w.after("further bytes", w.opts.Idle)
	b.idle.Stop()
	return b
}

// body is a response body under watch. The idle timer runs only inside Read, so
// a slow receiver of the deltas is not taken for a slow provider.
type body struct {
	io.ReadCloser
	watch   *watch
	idle    *time.Timer
	pause   time.Duration
	left    int64
	onBytes func() // called when a read brings something; may be nil
}

func (b *body) Read(p []byte) (int, error) {
	if b.left < 0 {
		return 0, errTooLarge
	}
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	if b.watch.begun {
		b.idle.Reset(b.pause)
		defer b.idle.Stop()
	}
	n, err := b.ReadCloser.Read(p)
	b.left -= int64(n)
	if b.left < 0 {
		return 0, errTooLarge
	}
	if n > 0 && b.onBytes != nil {
		b.onBytes()
	}
	return n, err
}

// hurry shortens the pauses: the answer is complete, and what may still come is
// not worth a long wait.
func (b *body) hurry() { b.pause = min(b.pause, lastWords) }
