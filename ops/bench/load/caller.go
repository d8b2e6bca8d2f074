package load

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/valyala/fasthttp"
)

// caller is one client with one connection. Requests and answers are read and
// written in its own goroutine: a client library's pool and timers would take
// the processor that is to be measured.
type caller struct {
	r       *run
	address string
	req     *fasthttp.Request
	res     *fasthttp.Response

	conn net.Conn
	in   *bufio.Reader
	out  *bufio.Writer
	used time.Time // when the connection was last known to be good

	mu     sync.Mutex // guards conn against interrupt
	closed bool
}

func newCaller(r *run, i int) *caller {
	c := &caller{
		r: r, address: r.o.Addresses[i%len(r.o.Addresses)],
		req: &fasthttp.Request{}, res: &fasthttp.Response{},
	}
	c.req.Header.SetHost(c.address)
	r.o.Target.Init(c.req)
	return c
}

// Kinds of faults that the connection brings.
const (
	faultConnect = "connect"
	faultTimeout = "timeout"
	faultBroken  = "broken connection"
	maxAnswer    = 1 << 20
	dialWait     = 10 * time.Second
	// Servers end connections that are idle for long; a request must not meet that.
	stale = 2 * time.Second
)

// ask sends request n and names what went wrong, if anything did.
func (c *caller) ask(ctx context.Context, now time.Time, n uint64) (fault string) {
	c.r.enter()
	defer c.r.o.Live.InFlight.Add(-1)
	if c.conn != nil && now.Sub(c.used) > stale {
		c.hangUp()
	}
	if c.conn == nil {
		if err := c.dial(ctx); err != nil {
			return faultConnect
		}
	}
	c.r.o.Target.Prepare(c.req, n)
	deadline := now.Add(c.r.o.Timeout)
	if err := c.exchange(deadline); err != nil {
		c.hangUp()
		if !time.Now().Before(deadline) { // the library does not wrap the cause
			return faultTimeout
		}
		return faultBroken
	}
	c.used = now
	if c.res.ConnectionClose() {
		c.hangUp()
	}
	if status := c.res.StatusCode(); status != c.r.o.Status && status != c.r.o.Also {
		return "status " + strconv.Itoa(status)
	}
	return c.r.o.Target.Judge(c.res, n)
}

func (c *caller) exchange(deadline time.Time) error {
	if err := c.conn.SetDeadline(deadline); err != nil {
		return err
	}
	if err := c.req.Write(c.out); err != nil {
		return err
	}
	if err := c.out.Flush(); err != nil {
		return err
	}
	return c.res.ReadLimitBody(c.in, maxAnswer)
}

func (c *caller) dial(ctx context.Context) error {
	d := net.Dialer{Timeout: min(dialWait, c.r.o.Timeout)}
	conn, err := d.DialContext(ctx, "tcp", c.address)
	if err != nil {
		return err
	}
	if c.r.o.TLS != nil {
		conn = tls.Client(conn, c.r.o.TLS)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return errors.Join(net.ErrClosed, conn.Close())
	}
	c.used = time.Now()
	c.conn, c.in, c.out = conn, bufio.NewReaderSize(conn, 4096), bufio.NewWriterSize(conn, 4096)
	return nil
}

func (c *caller) hangUp() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn != nil {
		_ = c.conn.Close() // nothing is read from it any more
		c.conn = nil
	}
}

// interrupt ends a request under way, from another goroutine.
func (c *caller) interrupt() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	if c.conn != nil {
		_ = c.conn.Close() // its user meets the error
	}
}

func (c *caller) close() { c.hangUp() }
