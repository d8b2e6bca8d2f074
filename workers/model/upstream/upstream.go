// Package upstream makes one call to a model provider: it chooses a key, bounds
// the answer in time and size, and says what a failure means. It knows no
// provider's protocol; it never sends a request twice with the same key, never
// follows a redirect, and never lets a provider's text reach a client as an
// error.
package upstream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"mime"
	"net/http"

	"moltbot/workers/model"
)

// Wire speaks the protocol of one provider. It is used concurrently.
type Wire interface {
	// Encode gives the body of a request to the model called name.
	Encode(name string, r *model.Request) ([]byte, error)
	// Post sends a body once, through the link's Doer.
	Post(ctx context.Context, key string, body []byte) (*http.Response, error)
	// Read decodes a good answer.
	Read(res *http.Response, s *Sink) (*Reply, error)
}

// Protocol is what a provider's package says about it.
type Protocol struct {
	Home  string // name of the provider that needs no endpoint, but a key
	Base  string // its endpoint
	Model string // its default model
	// Root is what every base path ends in, such as "/v1"; empty: whatever it is.
	Root string
	Path string // of a call behind the base, such as "/messages"
	// Open gives the wire to one endpoint.
	Open func(Link) Wire
}

// Link is what a wire needs of its client.
type Link struct {
	Base    string // ends in /
	Home    bool   // it is the provider's own endpoint
	Doer    Doer
	Options *Options
}

// Client is a model.Completer for one provider. It is safe for concurrent use.
type Client struct {
	opts   Options
	wire   Wire
	keys   *ring
	doer   Doer
	secret redactor
}

// New checks the options. It opens no connection.
func New(o Options, p Protocol) (*Client, error) {
	o, at, err := o.resolve(p)
	if err != nil {
		return nil, fmt.Errorf("model options: %w", err)
	}
	c := &Client{opts: o, keys: newRing(&o), secret: newRedactor(o.Keys), doer: Doer{o.Transport, at.query.Encode(), o.Now}}
	c.wire = p.Open(Link{Base: at.base, Home: at.home, Doer: c.doer, Options: &c.opts})
	return c, nil
}

// Close gives up idle connections. A call that runs is not disturbed.
func (c *Client) Close() error {
	c.doer.CloseIdleConnections()
	return nil
}

// Keys is the state of the API keys, in their order; none where none is needed.
func (c *Client) Keys() []model.KeyState { return c.keys.state() }

// Complete asks the provider once. What it streamed before an error stays shown,
// and what is known to be paid for is in the answer's Usage even then.
func (c *Client) Complete(ctx context.Context, r model.Request) (model.Answer, error) {
	name := cmp.Or(r.Model, c.opts.Model)
	call, w := newWatch(ctx, &c.opts)
	defer w.end()
	out, err := c.ask(call, w, name, &r)
	if err != nil {
		return c.paid(out, &r), c.failed(ctx, call, w, name, err)
	}
	return out.answer(name, c.opts.Provider, &r), nil
}

// ask keeps the call chain that waits for the provider shallow: a few hundred
// bytes more in it double the stack of every slot (performance.md, Memory).
func (c *Client) ask(ctx context.Context, w *watch, name string, r *model.Request) (*Reply, error) {
	body, err := c.wire.Encode(name, r)
	if err != nil {
		return nil, fmt.Errorf("encode request: %w", err)
	}
	res, err := c.send(ctx, body)
	if err != nil {
		return nil, err
	}
	return c.receive(w, res, r.OnDelta)
}

// send tries one key after the other while it is the key that is refused.
// Nothing has been shown yet: a refusal comes before the first byte.
func (c *Client) send(ctx context.Context, body []byte) (*http.Response, error) {
	var last error
	for range c.keys.len() {
		k, err := c.keys.take(last)
		if err != nil {
			return nil, err
		}
		res, err := c.wire.Post(ctx, k.secret, body)
		if err == nil {
			c.keys.good(k)
			return res, nil
		}
		if !c.keys.blame(k, err) {
			return nil, err
		}
		last = err
	}
	return nil, c.keys.last(last)
}

func (c *Client) receive(w *watch, res *http.Response, onDelta func(string)) (*Reply, error) {
	guarded := w.guard(res.Body)
	res.Body = guarded
	defer res.Body.Close()
	s := &Sink{OnToken: w.begin, OnDelta: onDelta, OnEnd: guarded.hurry}
	// Many compatible servers answer in one piece although asked to stream.
	mediaType, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type"))
	s.Streamed = mediaType == "text/event-stream"
	if !s.Streamed {
		guarded.onBytes = w.begin
	}
	out, err := c.wire.Read(res, s)
	if err == nil {
		err = out.check()
	}
	switch {
	case err == nil && !s.Streamed:
		s.show(out.Text)
	case err != nil && out == nil:
		out = s.cut()
	}
	return out, err
}

// paid is the answer beside an error; out may be nil.
func (c *Client) paid(out *Reply, r *model.Request) (a model.Answer) {
	if out != nil {
		a.Usage = out.used(r)
	}
	return a
}

// failed gives the error of a call that brought no answer. The caller's own
// end of patience is told apart from the provider's faults.
func (c *Client) failed(ctx, call context.Context, w *watch, name string, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("ask model: %w", ctx.Err())
	}
	var slow late
	if errors.As(context.Cause(call), &slow) {
		slow.begun = w.begun && slow.what == wholeAnswer
		err = slow
	}
	v := judge(err)
	e := v.public()
	// Flattened on purpose: every part of the chain may quote the provider's key.
	text := fmt.Sprintf("ask %q: %v", c.opts.Provider+"/"+name, withoutAddress(err))
	e.Err = &model.Failure{Kind: v.kind, Text: c.secret.clean(text)}
	return e
}

var _ model.Completer = (*Client)(nil)
