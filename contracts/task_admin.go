package contracts

import "time"

// TaskState says how far a background task has come.
type TaskState string

// States of a task. A completed one is remembered for its retention.
const (
	TaskPending   TaskState = "pending"
	TaskActive    TaskState = "active"
	TaskScheduled TaskState = "scheduled" // waits for its time
	TaskRetry     TaskState = "retry"     // failed, waits to be tried again
	TaskArchived  TaskState = "archived"  // given up
	TaskCompleted TaskState = "completed"
)

// TaskStates lists the states in the order in which they are shown.
func TaskStates() []TaskState {
	return []TaskState{TaskActive, TaskPending, TaskScheduled, TaskRetry, TaskArchived, TaskCompleted}
}

// TaskQueues lists the queues of the scheduler role.
func TaskQueues() []string { return []string{QueueChores, QueueNightly} }

// Task is what operators are shown of a background task; never its payload.
type Task struct {
	ID         string     `json:"id"`
	Queue      string     `json:"queue"`
	Type       TaskType   `json:"type"`
	State      TaskState  `json:"state"`
	Failed     int        `json:"failed"` // runs that failed
	Tries      int        `json:"tries"`  // runs it gets at most
	Reason     string     `json:"reason,omitempty"`
	FailedAt   *time.Time `json:"failed_at,omitempty"`
	NextAt     *time.Time `json:"next_at,omitempty"`
	FinishedAt *time.Time `json:"finished_at,omitempty"`
}

// TaskQueue is the state of one queue.
type TaskQueue struct {
	Queue  string            `json:"queue"`
	Counts map[TaskState]int `json:"counts"`
	Paused bool              `json:"paused"`
}

// TaskFilter chooses tasks; the zero value takes those of every queue that are
// not finished.
type TaskFilter struct {
	Queue string
	State TaskState
	Limit int
}

// AdminTasks is the answer of GET /admin/tasks.
type AdminTasks struct {
	Queues []TaskQueue `json:"queues"`
	Tasks  []Task      `json:"tasks"`
	More   bool        `json:"more"` // there are others beyond the limit
}

// What an operator can do with a task.
const (
	TaskActRun    = "run"    // now, what waits for its time or its next try
	TaskActRetry  = "retry"  // what was given up
	TaskActDelete = "delete" // what does not run
)

// TaskRequest is the body of POST /admin/tasks.
type TaskRequest struct {
	ID     string `json:"id"`
	Queue  string `json:"queue,omitempty"` // default: whichever has it
	Action string `json:"action"`
}

// TaskReply is its answer.
type TaskReply struct {
	ID     string    `json:"id"`
	Queue  string    `json:"queue"`
	Action string    `json:"action"`
	Was    TaskState `json:"was"` // its state before
}
