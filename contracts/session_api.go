package contracts

import "time"

// SessionItem is what a list says of a session.
type SessionItem struct {
	ID      string  `json:"id"`
	Channel Channel `json:"channel"`
	// Conversation is the session's name in logs and Redis; for operators only.
	Conversation string    `json:"conversation,omitempty"`
	Began        time.Time `json:"began"`
	LastActivity time.Time `json:"last_activity"`
	Rounds       int       `json:"rounds"` // that are stored
	HasSummary   bool      `json:"has_summary"`
	ExpiresIn    int64     `json:"expires_in"` // whole seconds, if nothing more is said
}

// SessionPage is the answer of GET /api/sessions, the latest first. Next is the
// cursor of the page behind it.
type SessionPage struct {
	Sessions []SessionItem `json:"sessions"`
	Next     string        `json:"next,omitempty"`
}

// SessionTurn is one round of a session.
type SessionTurn struct {
	ID        string    `json:"id"` // of the message
	User      string    `json:"user"`
	Assistant string    `json:"assistant"`
	Stopped   bool      `json:"stopped,omitempty"` // the user stopped the answer
	At        time.Time `json:"at"`
}

// SessionSummary stands for the rounds before the stored ones.
type SessionSummary struct {
	Text   string    `json:"text"`
	Rounds int       `json:"rounds"` // that it stands for
	Model  string    `json:"model"`
	At     time.Time `json:"at"`
}

// SessionDetail is the answer of GET /api/sessions/{id}, the newest round last.
// Before is the cursor of the page of older ones.
type SessionDetail struct {
	Session SessionItem     `json:"session"`
	Summary *SessionSummary `json:"summary,omitempty"`
	Turns   []SessionTurn   `json:"turns"`
	// Unreadable counts stored rounds that do not open and are left out.
	Unreadable int    `json:"unreadable,omitempty"`
	Before     string `json:"before,omitempty"`
}

// SessionExportVersion is the version of SessionExport.
const SessionExportVersion = 1

// SessionExport is a whole session as a document.
type SessionExport struct {
	Version    int             `json:"version"`
	ExportedAt time.Time       `json:"exported_at"`
	Session    SessionItem     `json:"session"`
	Summary    *SessionSummary `json:"summary,omitempty"`
	Turns      []SessionTurn   `json:"turns"`
	Unreadable int             `json:"unreadable,omitempty"`
}

// SessionSpan says which rounds of a session are wanted: the newest Limit of those
// before the one that Before names. Limit 0 is all of them, Before "" the end.
type SessionSpan struct {
	Before string
	Limit  int
}
