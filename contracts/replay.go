package contracts

// A message that is run again makes an answer of its own, which goes through SEND
// under the message's id. An answer that is only sent again goes there, too. The
// two must not have one id, so runs count in ones and sendings in hundreds.
const (
	resend     = 100
	mostReruns = resend - 1
	mostReplay = 9999 // maxReplayLen digits
)

// Rerun is the id under which a dead letter of StreamChat is replayed: always the
// same for the same letter. ok is false where the digits end.
func (id ID) Rerun() (next ID, ok bool) {
	next = id
	next.Replay++
	return next, id.Replay%resend < mostReruns
}

// Resend is the same for a dead letter of StreamSend.
func (id ID) Resend() (next ID, ok bool) {
	next = id
	next.Replay += resend
	return next, next.Replay <= mostReplay
}

// Resent reports whether an operator had the answer sent again.
func (id ID) Resent() bool { return id.Replay >= resend }

// Run is the id of the message whose answer goes under id, however often it was sent.
func (id ID) Run() ID {
	id.Replay %= resend
	return id
}
