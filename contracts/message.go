package contracts

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Channel is where a message came from and where its reply goes.
type Channel string

// ChannelAPI is POST /api/chat.
const ChannelAPI Channel = "api"

// Message is one message of a conversation on its way to the workers. What is
// personal or content travels sealed; the rest of the envelope is in the clear
// so that a message can be routed, counted and dead-lettered without a key.
type Message struct {
	ID           string    // see NewID
	Conversation string    // see Namer.Conversation
	Channel      Channel   // never empty
	RequestID    string    // of the HTTP request or webhook, for logs
	ReplyTo      string    // core NATS subject of the process that waits; empty: nobody does
	Accepted     time.Time // when ingress accepted it, to the millisecond

	// The sealed part.
	Caller    string // user id for logs, such as "api:admin"
	SessionID string // the caller's own name of the conversation
	Text      string
	Model     string // explicit model, or empty
}

// envelope is Message on the wire.
type envelope struct {
	Version      int     `json:"v"`
	ID           string  `json:"id"`
	Conversation string  `json:"conversation"`
	Channel      Channel `json:"channel"`
	RequestID    string  `json:"request_id,omitempty"`
	ReplyTo      string  `json:"reply_to,omitempty"`
	Accepted     int64   `json:"accepted"` // Unix milliseconds
	Body         []byte  `json:"body"`     // sealed messageBody
}

type messageBody struct {
	Caller    string `json:"caller"`
	SessionID string `json:"session_id"`
	Text      string `json:"text"`
	Model     string `json:"model,omitempty"`
}

// EncodeMessage seals m and gives the bytes to publish on its subject.
func EncodeMessage(m Message, sealer Sealer) ([]byte, error) {
	plain, err := json.Marshal(messageBody{Caller: m.Caller, SessionID: m.SessionID, Text: m.Text, Model: m.Model})
	if err != nil {
		return nil, fmt.Errorf("encode message body: %w", err)
	}
	sealed, err := sealer.Seal(plain, KindMessage, m.Conversation, m.ID)
	if err != nil {
		return nil, fmt.Errorf("seal message: %w", err)
	}
	return json.Marshal(envelope{
		Version: Version, ID: m.ID, Conversation: m.Conversation, Channel: m.Channel,
		RequestID: m.RequestID, ReplyTo: m.ReplyTo, Accepted: m.Accepted.UnixMilli(), Body: sealed,
	})
}

// Letter is a message as it lies in the stream: readable as far as routing
// goes, its body still sealed.
type Letter struct {
	Message
	body []byte
}

// DecodeLetter reads the clear part of what EncodeMessage wrote. An unknown
// version gives an error that wraps ErrVersion.
func DecodeLetter(b []byte) (Letter, error) {
	var e envelope
	if err := json.Unmarshal(b, &e); err != nil {
		return Letter{}, fmt.Errorf("decode message: %w", err)
	}
	if !supported(e.Version) {
		return Letter{}, fmt.Errorf("decode message: %w %d", ErrVersion, e.Version)
	}
	id, err := ParseID(e.ID)
	if err != nil {
		return Letter{}, fmt.Errorf("decode message: %w", err)
	}
	if id.Conversation != e.Conversation || e.Channel == "" {
		return Letter{}, errors.New("decode message: the envelope contradicts its id")
	}
	return Letter{
		Message: Message{
			ID: e.ID, Conversation: e.Conversation, Channel: e.Channel, RequestID: e.RequestID, ReplyTo: e.ReplyTo,
			Accepted: time.UnixMilli(e.Accepted).UTC(),
		},
		body: e.Body,
	}, nil
}

// Open unseals the body. It fails for a body that was sealed for another id.
func (l Letter) Open(sealer Sealer) (Message, error) {
	plain, err := sealer.Open(l.body, KindMessage, l.Conversation, l.ID)
	if err != nil {
		return Message{}, fmt.Errorf("open message: %w", err)
	}
	var body messageBody
	if err := json.Unmarshal(plain, &body); err != nil {
		return Message{}, fmt.Errorf("decode message body: %w", err)
	}
	m := l.Message
	m.Caller, m.SessionID, m.Text, m.Model = body.Caller, body.SessionID, body.Text, body.Model
	return m, nil
}
