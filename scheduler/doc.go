// Package scheduler does in the background what nobody waits for. It answers no
// message, and what a task does may be done again without harm.
package scheduler
