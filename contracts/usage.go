package contracts

import (
	"fmt"
	"time"
)

// Day is the day of t in KeyUsage: that of UTC, so that all processes agree.
func Day(t time.Time) string { return t.UTC().Format(time.DateOnly) }

// UsageRow is what one caller used of one model.
type UsageRow struct {
	// Caller is who it was, such as "api:alice", or a digest where the name is
	// not known any more.
	Caller           string  `json:"caller"`
	Model            string  `json:"model"`
	Calls            int64   `json:"calls"`
	PromptTokens     int64   `json:"prompt_tokens"`
	CompletionTokens int64   `json:"completion_tokens"`
	Cost             float64 `json:"cost"`
	Cached           int64   `json:"cached"` // answers that cost no call
}

// Add sums up two rows; caller and model stay.
func (r *UsageRow) Add(o UsageRow) {
	r.Calls += o.Calls
	r.PromptTokens += o.PromptTokens
	r.CompletionTokens += o.CompletionTokens
	r.Cost += o.Cost
	r.Cached += o.Cached
}

// AdminUsage is the answer of GET /admin/usage: rows over the whole span.
type AdminUsage struct {
	From  string     `json:"from"` // days, 2006-01-02, in UTC
	To    string     `json:"to"`
	Rows  []UsageRow `json:"rows"`
	Total UsageRow   `json:"total"`
}

// MaxUsageDays is the longest span of an AdminUsage.
const MaxUsageDays = 31

// Days lists the days from the first to the last, both included.
func Days(from, to string) ([]string, error) {
	first, err := time.Parse(time.DateOnly, from)
	if err != nil {
		return nil, fmt.Errorf("%.20q is not a day like 2026-11-20", from)
	}
	last, err := time.Parse(time.DateOnly, to)
	if err != nil {
		return nil, fmt.Errorf("%.20q is not a day like 2026-11-20", to)
	}
	n := int(last.Sub(first)/(24*time.Hour)) + 1
	if n < 1 || n > MaxUsageDays {
		return nil, fmt.Errorf("from %s to %s is not 1 to %d days", from, to, MaxUsageDays)
	}
	days := make([]string, n)
	for i := range days {
		days[i] = first.AddDate(0, 0, i).Format(time.DateOnly)
	}
	return days, nil
}

// CachePurged is the answer of DELETE /admin/cache.
type CachePurged struct {
	Model string `json:"model,omitempty"` // empty: of all models
}
