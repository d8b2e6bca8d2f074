package contracts

import "time"

// ChatRequest is the body of POST /api/chat.
type ChatRequest struct {
	Message     string `json:"message"`
	Token       string `json:"token,omitempty"`      // instead of "Authorization: Bearer"
	SessionID   string `json:"session_id,omitempty"` // 1 to 64 of A-Z a-z 0-9 _ -
	Model       string `json:"model,omitempty"`
	Stream      bool   `json:"stream,omitempty"`
	Timeout     *int   `json:"timeout,omitempty"`      // seconds the client waits; 0: answer 202 at once
	CallbackURL string `json:"callback_url,omitempty"` // https; the answer is sent there, and the request gets 202
	Cache       *bool  `json:"cache,omitempty"`        // false: no answer that was made for another message
}

// Statuses of a ChatReply.
const (
	StatusPending = "pending"
	StatusDone    = "done"
)

// ChatReply is the answer of POST /api/chat and GET /api/chat/{id}. A pending
// one has no reply yet and is found under Location.
type ChatReply struct {
	ID           string     `json:"id"`
	SessionID    string     `json:"session_id,omitempty"`
	Status       string     `json:"status"`
	Reply        string     `json:"reply,omitempty"`
	Model        string     `json:"model,omitempty"`
	ModelVersion string     `json:"model_version,omitempty"`
	ModelTable   int64      `json:"model_table,omitempty"` // revision of the table that chose the model
	FinishReason string     `json:"finish_reason,omitempty"`
	Usage        *Usage     `json:"usage,omitempty"`
	Cached       bool       `json:"cached,omitempty"` // it was made for an earlier, identical request
	AnsweredAt   *time.Time `json:"answered_at,omitempty"`
	Location     string     `json:"location,omitempty"` // in events, which have no headers
	Delivery     *Delivery  `json:"delivery,omitempty"` // to callback_url; nil: there is none
}

// StreamDelta is the data of a "delta" event: the next piece of the answer.
type StreamDelta struct {
	Text string `json:"text"`
}

// StreamReset is the data of a "reset" event: the message is run again, and what
// was shown of its answer is void.
type StreamReset struct {
	Attempt int `json:"attempt,omitempty"`
}

// Problem is an RFC 9457 problem document with the members this API adds.
type Problem struct {
	Type      string `json:"type"` // "about:blank": Code tells the kinds apart
	Title     string `json:"title"`
	Status    int    `json:"status"`
	Detail    string `json:"detail,omitempty"`
	Code      Code   `json:"code"`
	RequestID string `json:"request_id"`
	ID        string `json:"id,omitempty"` // the message, where one was accepted
	// Delivery is that to callback_url; nil: there is none.
	Delivery *Delivery `json:"delivery,omitempty"`
}

// ProblemType is the media type of a Problem.
const ProblemType = "application/problem+json"

// Health is the answer of /api/health.
type Health struct {
	Status string `json:"status"`
	Uptime int64  `json:"uptime"` // whole seconds
}

// What a Ready says.
const (
	StatusReady    = "ready"
	StatusNotReady = "not_ready"
)

// Ready is the answer of /readyz: each dependency with "ok" or what is wrong.
type Ready struct {
	Status string            `json:"status"`
	Checks map[string]string `json:"checks"`
}

// AdminStatus is the answer of GET /admin/status.
type AdminStatus struct {
	Version  string            `json:"version"`
	Node     string            `json:"node"`
	Roles    []string          `json:"roles"`
	Uptime   int64             `json:"uptime"` // whole seconds
	Checks   map[string]string `json:"checks"`
	Model    string            `json:"model"`
	Store    string            `json:"store"`             // which Redis
	Metrics  string            `json:"metrics,omitempty"` // address of metrics and probes
	Queue    QueueStatus       `json:"queue"`
	Slots    int               `json:"slots"`
	SlotsUse int               `json:"slots_in_use"`
	// SlotsWanted is what operators asked for, where they did.
	SlotsWanted *int `json:"slots_wanted,omitempty"`
	Waiting     int  `json:"requests_waiting"`
}

// QueueStatus is the state of the stream of messages.
type QueueStatus struct {
	Waiting    uint64 `json:"waiting"`     // stored and not yet delivered
	InProgress int    `json:"in_progress"` // delivered and not yet acknowledged
	Dead       uint64 `json:"dead_letters"`
	// Sending are answers on their way to IM platforms and callback URLs.
	Sending uint64 `json:"sending"`
}

// TokenRequest is the body of POST /admin/token.
type TokenRequest struct {
	User   string   `json:"user"`
	Days   int      `json:"days"`
	Scopes []string `json:"scopes"`
	Rate   string   `json:"rate,omitempty"` // 10/20 or off; empty: what http.rate_limit says
	// Models that the user may use; a name ending in * stands for all that begin
	// so. None: every model.
	Models ModelNames `json:"models,omitempty"`
	// Budget is tokens a day; 0: what http.daily_tokens says.
	Budget int64 `json:"budget,omitempty"`
}

// TokenReply is its answer.
type TokenReply struct {
	Token   string     `json:"token"`
	User    string     `json:"user"`
	Scopes  []string   `json:"scopes"`
	Rate    string     `json:"rate,omitempty"`
	Models  ModelNames `json:"models,omitempty"`
	Budget  int64      `json:"budget,omitempty"`
	Expires time.Time  `json:"expires"`
}
