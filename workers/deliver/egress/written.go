package egress

import (
	"context"
	"net/http/httptrace"
	"sync/atomic"
)

// Written tells of one POST that failed whether it may have arrived. The zero value
// is ready; it is for one request.
type Written struct{ may atomic.Bool }

// Follow gives the context that the request must be made with.
func (w *Written) Follow(ctx context.Context) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		// The transport asks for a second connection only after the first, an idle
		// one, was closed before anything of a POST went out.
		GetConn: func(string) { w.may.Store(false) },
		GotConn: func(httptrace.GotConnInfo) { w.may.Store(true) },
	})
}

// May reports whether something of the request may have arrived. False: nothing
// has left.
func (w *Written) May() bool { return w.may.Load() }
