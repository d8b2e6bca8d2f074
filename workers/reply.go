package workers

import (
	"slices"
	"sync"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"moltbot/contracts"
	"moltbot/workers/mailbox"
)

// maxAttached is how many may wait for one message beside its first waiter.
const maxAttached = 16

// replies sends results to waiting ingress processes, and knows who else wants
// the answer of a message that runs here.
type replies struct {
	conn *nats.Conn
	log  zerolog.Logger
	here func(subject string, reply contracts.Reply) bool // see Options.Here

	mu       sync.Mutex
	attached map[string][]string // by message id; an entry exists while the message runs
}

func newReplies(conn *nats.Conn, log zerolog.Logger) *replies {
	return &replies{conn: conn, log: log, attached: make(map[string][]string)}
}

// begin says that id runs here, so that waiters may attach.
func (r *replies) begin(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.attached[id] = nil
}

// end gives the inboxes that attached while id ran. Who attaches later finds
// the parked result.
func (r *replies) end(id string) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	inboxes := r.attached[id]
	delete(r.attached, id)
	return inboxes
}

// listen takes attach requests until the subscription is drained.
func (r *replies) listen() (*nats.Subscription, error) {
	return r.conn.Subscribe(contracts.SubjectsAttach, func(m *nats.Msg) {
		a, err := contracts.DecodeAttach(m.Data)
		if err != nil {
			r.log.Debug().Err(err).Msg("attach request ignored")
			return
		}
		r.attach(m.Subject[len(contracts.SubjectsAttach)-1:], a.ReplyTo)
	})
}

func (r *replies) attach(id, replyTo string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	inboxes, here := r.attached[id]
	if here && len(inboxes) < maxAttached && !slices.Contains(inboxes, replyTo) {
		r.attached[id] = append(inboxes, replyTo)
	}
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
