package contracts

import "time"

// DeadLetter is what operators are shown of a dead letter; nothing that was said.
// Of one that nobody can read it is what the stream knows of it.
type DeadLetter struct {
	Sequence     uint64    `json:"sequence"` // in StreamDead; its name for operators
	ID           string    `json:"id"`       // of the message
	Conversation string    `json:"conversation"`
	Role         string    `json:"role"` // who gave it up
	Code         Code      `json:"code"`
	Channel      Channel   `json:"channel,omitempty"` // where it came from, or was to go
	Attempts     int       `json:"attempts"`
	Stream       string    `json:"stream"` // it lay in
	At           time.Time `json:"at"`     // it was given up
	Bytes        int       `json:"bytes"`  // of the original
	// Trouble says why it cannot be replayed; empty: it can.
	Trouble string `json:"trouble,omitempty"`
}

// DeadCount is how many dead letters have a role and code.
type DeadCount struct {
	Role  string `json:"role"`
	Code  Code   `json:"code"`
	Count int    `json:"count"`
}

// DeadFilter chooses dead letters; the zero value takes all. It is the body of
// POST /admin/dead/replay and POST /admin/dead/drop.
type DeadFilter struct {
	Role         string    `json:"role,omitempty"`
	Code         Code      `json:"code,omitempty"`
	Channel      Channel   `json:"channel,omitempty"`
	Conversation string    `json:"conversation,omitempty"`
	Since        time.Time `json:"since,omitzero"`
	// Limit is how many at most; 0: as many as one request may have.
	Limit int `json:"limit,omitempty"`
	// After and Until are the sequences between which they lie; Until is one of them.
	After uint64 `json:"after,omitempty"`
	Until uint64 `json:"until,omitempty"`
}

// AdminDead is the answer of GET /admin/dead, the newest first.
type AdminDead struct {
	Letters []DeadLetter `json:"letters"`
	// Counts are of all that the filter takes, on the first page only.
	Counts []DeadCount `json:"counts"`
	// Partial says that there are more letters than were counted.
	Partial bool   `json:"partial"`
	Total   uint64 `json:"total"` // in StreamDead, whatever the filter
	// Next is the cursor of the page behind it; 0: there is none.
	Next uint64 `json:"next,omitempty"`
}

// DeadDetail is the answer of GET /admin/dead/{letter}.
type DeadDetail struct {
	Letter DeadLetter `json:"letter"`
	Reason string     `json:"reason"` // for the operator; may quote what was said
	// ReplayID is the message that a replay makes; empty: it cannot be replayed.
	ReplayID string    `json:"replay_id,omitempty"`
	Body     *DeadBody `json:"body,omitempty"` // when it was asked for
}

// DeadBody is what was said.
type DeadBody struct {
	Caller   string    `json:"caller"`
	Session  string    `json:"session_id,omitempty"`
	Accepted time.Time `json:"accepted"`
	Text     string    `json:"text"` // of the user, or the answer that was to be sent
	Model    string    `json:"model,omitempty"`
	Prompt   string    `json:"prompt,omitempty"` // the client's own context
	App      string    `json:"app,omitempty"`
	Chat     string    `json:"chat,omitempty"`
	Sender   string    `json:"sender,omitempty"`
	SentAt   time.Time `json:"sent_at,omitzero"` // by the user, of an IM channel
	Callback string    `json:"callback,omitempty"`
}

// What an operator can do with dead letters.
const (
	DeadActReplay = "replay"
	DeadActDrop   = "drop"
)

// DeadChange is what an operator wants done: with one letter, named by its sequence
// or its message's id, or with those that the filter takes.
type DeadChange struct {
	Action string
	Letter string // empty: Filter
	Filter DeadFilter
}

// DeadDone is a letter that is dealt with.
type DeadDone struct {
	Sequence uint64 `json:"sequence"`
	ID       string `json:"id"`
	ReplayID string `json:"replay_id,omitempty"` // the message that it became
	// Known says that an earlier replay of the same letter had stored that message.
	Known bool `json:"known,omitempty"`
}

// DeadRefused is a letter that stays, and why.
type DeadRefused struct {
	Sequence uint64 `json:"sequence"`
	ID       string `json:"id"`
	Reason   string `json:"reason"`
}

// DeadReply is the answer to a change. Many letters take several requests: as long
// as More, After and Until go into the filter of the next one.
type DeadReply struct {
	Action  string        `json:"action"`
	Done    []DeadDone    `json:"done"`
	Refused []DeadRefused `json:"refused"`
	More    bool          `json:"more"`
	After   uint64        `json:"after"`
	Until   uint64        `json:"until"`
}
