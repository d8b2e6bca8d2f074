package contracts

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// envelope is a message of version 1, which is read and no longer written.
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

func decodeLetterJSON(b []byte) (Letter, error) {
	var e envelope
	if err := json.Unmarshal(b, &e); err != nil {
		return Letter{}, fmt.Errorf("decode message: %w", err)
	}
	if e.Version != 1 {
		return Letter{}, fmt.Errorf("decode message: %w %d", ErrVersion, e.Version)
	}
	id, err := ParseID(e.ID)
	if err != nil {
		return Letter{}, fmt.Errorf("decode message: %w", err)
	}
	if id.Conversation != e.Conversation || !isWord(string(e.Channel)) || !isWord(orNone(e.RequestID)) || !isWord(orNone(e.ReplyTo)) {
		return Letter{}, errors.New("decode message: the envelope contradicts its id, or a field is no word")
	}
	return Letter{
		Message: Message{
			ID: e.ID, Conversation: e.Conversation, Channel: e.Channel, RequestID: orEmpty(e.RequestID), ReplyTo: orEmpty(e.ReplyTo),
			Accepted: time.UnixMilli(e.Accepted).UTC(),
		},
		body: e.Body, json: true,
	}, nil
}

func openBodyJSON(plain []byte, m *Message) error {
	var body messageBody
	if err := json.Unmarshal(plain, &body); err != nil {
		return fmt.Errorf("decode message body: %w", err)
	}
	m.Caller, m.SessionID, m.Text, m.Model = body.Caller, body.SessionID, body.Text, body.Model
	return nil
}
