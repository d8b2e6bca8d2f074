// Package im says what an IM message is, whichever platform it came from, and
// what a platform's callback asks for. It decides nothing and stores nothing.
package im

import (
	"context"
	"errors"
	"net/http"
	"time"

	"moltbot/contracts"
)

// Incoming is what a user wrote in an IM chat.
type Incoming struct {
	contracts.Origin
	// Unique names what the user did where MessageID is the message that it was done
	// to, as with a click on a card; empty: MessageID does.
	Unique string
	// Vague: At may be another one when the platform repeats the message.
	Vague      bool
	SenderName string
	// Stranger is how the platform calls a sender whom Sender does not name.
	Stranger string
	// Outsider: the sender is of another organization than the one that the
	// application takes messages of.
	Outsider bool
	// Text is what the user wrote; mentions in it are names, and that of the bot is
	// cut off at its beginning.
	Text   string
	Images []contracts.Image
	// Unread is the kind of a message that cannot be read, such as "file", which is
	// answered politely; empty: it can.
	Unread    string
	Mentioned bool // the bot is mentioned by name
	AtAll     bool // everybody is
	FromBot   bool // by this bot or another one: never answered
}

// Kinds of events.
const (
	KindMessage   = "message"
	KindChallenge = "challenge" // the platform checks the callback's URL
	KindCard      = "card"      // a click on a card
)

// UnreadQuota is the kind of a message whose text the platform kept to itself,
// because the bot's quota is used up.
const UnreadQuota = "quota"

// Event is what a callback asks for.
type Event struct {
	// Kind is a word for metrics and logs: message, challenge, card, or the
	// platform's own name of an event that is not for us, cut to 64 characters.
	Kind string
	// Messages are stored before the callback is answered.
	Messages []Incoming
	// Body is the answer's body, JSON. Empty: there is none.
	Body []byte
}

// Webhook reads the callbacks of one application.
type Webhook interface {
	// Check looks at the header before the body is read.
	Check(h http.Header, now time.Time) error
	// Read verifies, decrypts and parses, in this order.
	Read(h http.Header, body []byte, now time.Time) (Event, error)
}

// Take stores the messages of an event that an application got. Nothing is
// acknowledged to the platform before it gave nil.
type Take func(ctx context.Context, e Event) error

// Connection is the long connection of one application.
type Connection interface {
	// Run connects, receives and reconnects until ctx ends. It returns early only
	// with an error that no new try can mend.
	Run(ctx context.Context, take Take) error
	// State is a word for /readyz and metrics: connected, or why not.
	State() string
}

// Errors of a Webhook. They say no more than this, whatever was wrong.
var (
	ErrSignature = errors.New("the callback is not signed by the platform") // 401
	ErrForeign   = errors.New("the callback is for another application")    // 403
	ErrMalformed = errors.New("the callback has not the platform's form")   // 400
)
