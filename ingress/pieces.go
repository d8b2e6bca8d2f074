package ingress

import "moltbot/contracts"

// follow registers a waiter that takes the pieces of the answer, too.
func (r *replies) follow(id string) *waiter { return r.add(id, newShown(r.metrics.lapsed.Inc)) }

// takeDelta opens a piece for those who read along. The pieces of one message
// come in order, and before its reply.
func (r *replies) takeDelta(b []byte) {
	sealed, err := contracts.SealedDelta(b)
	if err != nil {
		r.log.Warn().Err(err).Msg("piece of an answer that cannot be read")
		return
	}
	if !r.followed(sealed.ID) {
		return
	}
	d, err := contracts.OpenDelta(sealed, r.sealer)
	if err != nil {
		r.log.Warn().Err(err).Str("message_id", sealed.ID).Msg("piece of an answer that does not open")
		return
	}
	r.show(d)
}

func (r *replies) followed(id string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, w := range r.waiting[id] {
		if w.shown != nil {
			return true
		}
	}
	return false
}

func (r *replies) show(d contracts.Delta) {
	r.metrics.pieces.Inc()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, w := range r.waiting[d.ID] {
		if w.shown != nil {
			w.shown.put(d)
		}
	}
}

// attachDeltas asks whoever runs the message for the answer so far and for what
// follows. Nobody may run it at the moment, or the pieces may get lost, so it is
// asked again while none come.
func (r *replies) attachDeltas(id *contracts.ID) {
	r.ask(*id, contracts.Attach{ReplyTo: r.subject, Deltas: true})
}

// TakeDelta gives a piece of an answer to the requests that read along, if
// subject is this process' inbox. Workers in the same process call it instead
// of publishing.
func (in *Ingress) TakeDelta(subject string, d contracts.Delta) bool {
	if subject != in.replies.subject {
		return false
	}
	in.replies.show(d)
	return true
}
