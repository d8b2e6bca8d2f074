package workers

import (
	"context"
	"slices"
	"sync"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"moltbot/contracts"
	"moltbot/workers/mailbox"
)

// maxAttached is how many may wait for one message beside its first waiter.
const maxAttached = 16

// replies sends answers to waiting ingress processes, and knows who else wants
// the answer of a message that runs here.
type replies struct {
	conn      *nats.Conn
	log       zerolog.Logger
	sealer    contracts.Sealer                                     // of pieces
	here      func(subject string, reply contracts.Reply) bool     // see Options.Here
	hereDelta func(subject string, d contracts.Delta) bool         // see Options.HereDelta
	stops     func(conversation string, before uint64, life int64) // see mailbox.Mailbox.Stop
	metrics   *metrics

	mu   sync.Mutex
	runs map[string]*running // by message id
}

// running is a message that runs here.
type running struct {
	cancel  context.CancelCauseFunc
	pieces  *pieces  // nil: nobody reads along
	inboxes []string // that attached
}

func newReplies(conn *nats.Conn, log zerolog.Logger) *replies {
	return &replies{conn: conn, log: log, runs: make(map[string]*running)}
}

// begin says that id runs here, so that waiters may attach.
func (r *replies) begin(id string, run *running) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.runs[id] = run
}

// end gives the inboxes that attached while id ran. Who attaches later finds
// the parked result. All pieces are on their way when it returns.
func (r *replies) end(id string) []string {
	r.mu.Lock()
	run := r.runs[id]
	delete(r.runs, id)
	r.mu.Unlock()
	if run == nil {
		return nil
	}
	if run.pieces != nil {
		run.pieces.end()
	}
	return run.inboxes
}

// listen takes attach requests until the subscription is drained.
func (r *replies) listen() (*nats.Subscription, error) {
	return r.conn.Subscribe(contracts.SubjectsAttach, func(m *nats.Msg) {
		a, err := contracts.DecodeAttach(m.Data)
		if err != nil {
			r.log.Debug().Err(err).Msg("attach request ignored")
			return
		}
		if p := r.attach(m.Subject[len(contracts.SubjectsAttach)-1:], a.ReplyTo); p != nil && a.Deltas {
			p.attach(a.ReplyTo)
		}
	})
}

// attach notes one more inbox for the reply, and gives the pieces that it may have.
func (r *replies) attach(id, replyTo string) *pieces {
	r.mu.Lock()
	defer r.mu.Unlock()
	run := r.runs[id]
	if run == nil {
		return nil
	}
	if !slices.Contains(run.inboxes, replyTo) {
		if len(run.inboxes) >= maxAttached {
			return nil
		}
		run.inboxes = append(run.inboxes, replyTo)
	}
	return run.pieces
}

// send gives the result to every ingress that waits. That nobody takes it is no
// error: the result is parked, and whoever asks for it finds it. So nothing
// would be done with a confirmation, and none is waited for.
func (r *replies) send(m contracts.Message, o mailbox.Outcome) {
	inboxes := o.Waiters
	if contracts.IsReplySubject(m.ReplyTo) && !slices.Contains(inboxes, m.ReplyTo) {
		inboxes = append(inboxes, m.ReplyTo)
	}
	if len(inboxes) == 0 {
		return
	}
	sealed, err := contracts.DecodeSealed(o.Result)
	if err != nil {
		r.log.Error().Err(err).Str("message_id", m.ID).Msg("parked result cannot be read")
		return
	}
	reply := contracts.Reply{ID: m.ID, Data: sealed.Data}
	var body []byte
	for _, inbox := range inboxes {
		if r.here != nil && r.here(inbox, reply) {
			continue
		}
		if body == nil {
			body = contracts.EncodeReply(reply)
		}
		if err := r.conn.Publish(inbox, body); err != nil {
			r.log.Debug().Err(err).Str("message_id", m.ID).Str("inbox", inbox).Msg("reply not sent")
		}
	}
}
