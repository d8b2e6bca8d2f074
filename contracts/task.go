package contracts

import "fmt"

// Queues of the background tasks. Each is served by the scheduler role.
const (
	QueueChores  = "chores"  // what nobody waits for: summaries
	QueueNightly = "nightly" // what a timetable calls for
)

// TaskType says what a background task does.
type TaskType string

// TaskSummarize folds turns that left the window into the summary.
const TaskSummarize TaskType = "summarize"

// Summarize is the payload of TaskSummarize. It holds no content: the task reads
// the turns from where they lie.
type Summarize struct {
	Version      int    `json:"v"`
	Conversation string `json:"conversation"`
	// Upto is the id of the newest turn to be folded in.
	Upto string `json:"upto"`
}

// SummarizeID is the id of the task that folds turns up to upto; try counts on
// when an earlier one was given up.
func SummarizeID(conversation, upto string, try int) string {
	return fmt.Sprintf("sum:%s:%s:%d", conversation, upto, try)
}

// EncodeSummarize gives the bytes of a payload.
func EncodeSummarize(s Summarize) ([]byte, error) { return encode(&s, &s.Version) }

// DecodeSummarize reads what EncodeSummarize wrote.
func DecodeSummarize(b []byte) (s Summarize, err error) {
	err = decode(b, &s, &s.Version, "summarize task")
	return s, err
}
