package ingress

import (
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"moltbot/contracts"
)

// replies hands results that workers send to the requests that wait for them.
type replies struct {
	conn    *nats.Conn
	subject string
	log     zerolog.Logger
	sealer  contracts.Sealer // opens pieces
	sub     *nats.Subscription
	metrics *metrics

	mu      sync.Mutex
	waiting map[string][]*waiter // by message id; several may wait for one
	count   int
}

// waiter is one request that waits.
type waiter struct {
	id     string
	result chan contracts.Reply // holds one, so that the sender never waits
	shown  *shown               // nil: it wants no pieces
	from   *replies
}

func newReplies(conn *nats.Conn, node string, log zerolog.Logger, sealer contracts.Sealer) *replies {
	return &replies{conn: conn, subject: contracts.SubjectReply(node), log: log, sealer: sealer, waiting: make(map[string][]*waiter)}
}

const flushWait = 2 * time.Second

func (r *replies) listen() (err error) {
	r.sub, err = r.conn.Subscribe(r.subject, r.take)
	if err != nil {
		return err
	}
	if !r.conn.IsConnected() {
		return nil // the library subscribes when the connection is there
	}
	// A worker that answers at once must find us. Where this fails, the
	// connection was lost just now, and what is above holds.
	if err := r.conn.FlushTimeout(flushWait); err != nil {
		r.log.Warn().Err(err).Msg("subscription for replies not confirmed")
	}
	return nil
}

func (r *replies) close() {
	if r.sub != nil {
		_ = r.sub.Unsubscribe() // the connection is closed next
	}
}

// take answers a worker's request: taken when somebody waited, else gone. A
// piece of an answer is not answered.
func (r *replies) take(m *nats.Msg) {
	if contracts.IsDelta(m.Data) {
		r.takeDelta(m.Data)
		return
	}
	reply, err := contracts.DecodeReply(m.Data)
	if err != nil {
		r.log.Warn().Err(err).Msg("reply that cannot be read")
		return
	}
	answer := contracts.ReplyGone
	if r.deliver(reply) {
		answer = contracts.ReplyTaken
	}
	if m.Reply == "" { // a worker of an earlier version asks for it
		return
	}
	if err := m.Respond([]byte(answer)); err != nil {
		r.log.Debug().Err(err).Msg("reply not confirmed")
	}
}

func (r *replies) deliver(reply contracts.Reply) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	waiters := r.waiting[reply.ID]
	r.metrics.replied(len(waiters) > 0)
	for _, w := range waiters {
		select {
		case w.result <- reply:
		default: // it has one already: a redelivered message replies twice
		}
	}
	return len(waiters) > 0
}

// expect registers a waiter. Register before publishing: a fast worker may
// answer before the publish returns.
func (r *replies) expect(id string) *waiter { return r.add(id, nil) }

func (r *replies) add(id string, s *shown) *waiter {
	w := &waiter{id: id, result: make(chan contracts.Reply, 1), shown: s, from: r}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.waiting[id] = append(r.waiting[id], w)
	r.count++
	return w
}

// cancel ends the waiting. It may be called once.
func (w *waiter) cancel() {
	r := w.from
	r.mu.Lock()
	defer r.mu.Unlock()
	r.count--
	rest := r.waiting[w.id]
	for i := range rest {
		if rest[i] == w {
			rest = append(rest[:i:i], rest[i+1:]...)
			break
		}
	}
	if len(rest) == 0 {
		delete(r.waiting, w.id)
		return
	}
	r.waiting[w.id] = rest
}

func (r *replies) load() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.count
}

// attach asks whoever runs the message to reply here as well. Nobody may run it
// at the moment, so it is asked again with every look at the parked result.
func (r *replies) attach(id contracts.ID) { r.ask(id, contracts.Attach{ReplyTo: r.subject}) }

func (r *replies) ask(id contracts.ID, a contracts.Attach) {
	if err := r.conn.Publish(contracts.SubjectAttach(id), contracts.EncodeAttach(a)); err != nil {
		r.log.Debug().Err(err).Msg("attach not sent")
	}
}
