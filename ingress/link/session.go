package link

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"

	"moltbot/ingress/im"
)

var (
	errSilent = errors.New("the platform was silent for too long")
	errClosed = errors.New("the connection was closed")
)

const (
	lanes     = 8  // events stored at the same time
	laneQueue = 32 // and waiting, in each lane
)

// session is one connection. One goroutine reads; what is to be stored goes to a
// lane, so that messages of one chat are stored in the order they came in.
type session struct {
	o       *Options
	refused *atomic.Int64
	conn    *websocket.Conn
	wire    Wire
	take    im.Take

	storing    context.Context // of what is stored; ends when draining takes too long
	stopStores context.CancelFunc
	jobs       [lanes]chan Frame
	stores     sync.WaitGroup

	writing sync.Mutex
	silence atomic.Int64 // time.Duration of allowed silence
	last    atomic.Int64 // unix ns after which nothing is read any more; 0: none

	leave     chan struct{} // closed when the platform asked to leave
	leaveOnce sync.Once
	ended     chan struct{} // closed when reading ended, with err
	err       error
	pinging   sync.WaitGroup
}

func newSession(o *Options, refused *atomic.Int64, conn *websocket.Conn, w Wire, ctx context.Context, take im.Take) *session {
	s := &session{o: o, refused: refused, conn: conn, wire: w, take: take, leave: make(chan struct{}), ended: make(chan struct{})}
	s.storing, s.stopStores = context.WithCancel(ctx)
	for i := range s.jobs {
		s.jobs[i] = make(chan Frame, laneQueue)
	}
	return s
}

func (s *session) start() {
	for _, jobs := range s.jobs {
		s.stores.Go(func() {
			for f := range jobs {
				s.store(f)
			}
		})
	}
	next := s.ping() // sets the allowed silence before the first read
	s.pinging.Go(func() { s.pingOn(next) })
	go func() { defer close(s.ended); s.err = s.read() }()
}

// leaveBy reads on until the platform closes, Grace has passed or ctx ended.
func (s *session) leaveBy(ctx context.Context) {
	s.readUntil(time.Now().Add(s.o.Grace))
	select {
	case <-s.ended:
	case <-ctx.Done():
	}
	_ = s.finish() // it had to end
}

// finish stops receiving, lets what came in be stored and answered, and closes.
func (s *session) finish() error {
	s.readUntil(time.Now())
	<-s.ended
	for _, jobs := range s.jobs {
		close(jobs)
	}
	drained := time.AfterFunc(s.o.Drain, s.stopStores)
	s.stores.Wait()
	drained.Stop()
	s.stopStores()
	bye := websocket.FormatCloseMessage(websocket.CloseNormalClosure, "")
	_ = s.conn.WriteControl(websocket.CloseMessage, bye, time.Now().Add(time.Second)) // politeness
	_ = s.conn.Close()                                                                // it may be broken already
	s.pinging.Wait()
	return s.err
}

// readUntil lets no read last beyond t. The reader looks at last after it has
// set a deadline of its own, so that this one cannot be undone.
func (s *session) readUntil(t time.Time) {
	s.last.Store(t.UnixNano())
	_ = s.conn.NetConn().SetReadDeadline(t) // fails only where reads do
}

// listen sets the deadline of the next read.
func (s *session) listen() {
	until := time.Now().Add(time.Duration(s.silence.Load()))
	_ = s.conn.NetConn().SetReadDeadline(until)
	if last := s.last.Load(); last != 0 {
		_ = s.conn.NetConn().SetReadDeadline(time.Unix(0, last))
	}
}

func (s *session) read() error {
	s.conn.SetPongHandler(func(string) error { s.listen(); return nil })
	s.conn.SetPingHandler(func(data string) error {
		s.listen()
		_ = s.conn.WriteControl(websocket.PongMessage, []byte(data), time.Now().Add(s.o.Write)) // a broken connection shows at the next read
		return nil
	})
	for {
		s.listen()
		kind, raw, err := s.conn.ReadMessage()
		if err != nil {
			return s.why(err)
		}
		if kind == s.o.Kind {
			s.frame(raw)
		}
	}
}

// why is what a failed read says of the connection.
func (s *session) why(err error) error {
	var wait net.Error
	switch {
	case errors.As(err, &wait) && wait.Timeout():
		return errSilent
	default:
		return fmt.Errorf("%w: %w", errClosed, err)
	}
}

func (s *session) frame(raw []byte) {
	f, err := s.wire.Read(raw)
	if err != nil {
		s.refused.Add(1)
		s.o.Log.Warn().Err(err).Int("bytes", len(raw)).Msg("a frame of the platform was not taken")
		s.answer(f, err)
		return
	}
	if f.Leave {
		s.leaveOnce.Do(func() { close(s.leave) })
	}
	if f.Event == nil {
		s.answer(f, nil)
		return
	}
	s.jobs[lane(f.Event)] <- f // a full lane holds back the platform, too
}

// lane is the same for all events of a chat.
func lane(e *im.Event) uint32 {
	h := fnv.New32a()
	for _, m := range e.Messages {
		_, _ = h.Write([]byte(m.Chat)) // never fails
	}
	return h.Sum32() % lanes
}

func (s *session) store(f Frame) {
	ctx, cancel := context.WithTimeout(s.storing, s.o.Store)
	defer cancel()
	err := s.take(ctx, *f.Event)
	if err != nil {
		s.o.Log.Warn().Err(err).Str("kind", f.Event.Kind).Msg("an event was not stored, and the platform is told so")
	}
	s.answer(f, err)
}

func (s *session) answer(f Frame, err error) {
	if f.Answer == nil {
		return
	}
	if b := f.Answer(err); b != nil {
		s.write(s.o.Kind, b)
	}
}

// write ends the connection where it fails: a frame that is cut off cannot be mended.
func (s *session) write(kind int, b []byte) {
	s.writing.Lock()
	defer s.writing.Unlock()
	_ = s.conn.SetWriteDeadline(time.Now().Add(s.o.Write)) // never fails
	if err := s.conn.WriteMessage(kind, b); err != nil {
		_ = s.conn.NetConn().Close() // wakes the reader
	}
}

// ping gives a sign of life and the wait until the next.
func (s *session) ping() time.Duration {
	kind, data, next := s.wire.Ping()
	s.silence.Store(int64(time.Duration(s.o.Pings)*next + s.o.Slack))
	s.write(kind, data)
	return next
}

func (s *session) pingOn(next time.Duration) {
	t := time.NewTimer(next)
	defer t.Stop()
	for {
		select {
		case <-s.ended:
			return
		case <-t.C:
			t.Reset(s.ping())
		}
	}
}
