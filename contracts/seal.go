package contracts

import (
	"encoding/binary"
	"errors"
)

// Kind names what a sealed value is. It is part of the associated data, so a
// ciphertext moved from one place to another does not open there.
type Kind string

// The kinds of sealed values.
const (
	KindMessage Kind = "message" // the body of a Message on CHAT
	KindTurn    Kind = "turn"    // one round of a conversation in Redis
	KindResult  Kind = "result"  // the answer parked in Redis and sent to the waiter
	KindSummary Kind = "summary" // what stands for turns that left the window
	KindAbout   Kind = "about"   // whose session a conversation is
	KindDelta   Kind = "delta"   // a piece of an answer on its way to a client that reads along
	KindCache   Kind = "cache"   // an answer kept for identical requests
	KindName    Kind = "name"    // whose usage a record counts
	KindSend    Kind = "send"    // the Answer in an outgoing message on SEND
	KindDead    Kind = "dead"    // a dead letter's reason and body
)

// Sealer protects conversation content before it leaves the process. Open
// fails unless kind, conversation and id are those it was sealed with.
type Sealer interface {
	Seal(plain []byte, kind Kind, conversation, id string) ([]byte, error)
	Open(sealed []byte, kind Kind, conversation, id string) ([]byte, error)
}

// ErrNoKey is in the error of Open for what a key sealed that this process does not
// hold: it may get it with the next look at its key file, and others may hold it.
var ErrNoKey = errors.New("this process does not hold the key it was sealed with")

// AssociatedData binds a ciphertext to its place. The parts may hold anything:
// each is preceded by its length, so no two places give the same bytes.
func AssociatedData(kind Kind, conversation, id string) []byte {
	ad := make([]byte, 0, 24+len(kind)+len(conversation)+len(id))
	for _, part := range []string{"moltbot", string(kind), conversation, id} {
		ad = binary.BigEndian.AppendUint32(ad, uint32(len(part)))
		ad = append(ad, part...)
	}
	return ad
}
