package config

import (
	"fmt"
	"time"
	_ "time/tzdata" // the image has no files of time zones
)

// mostTaskSlots is far beyond what tasks in the background should take.
const mostTaskSlots = 1000

func (f *findings) scheduler(s Scheduler) {
	f.want(s.Slots <= mostTaskSlots, fmt.Sprintf("(%d) must be at most %d", s.Slots, mostTaskSlots), "scheduler.slots")
	_, err := s.Location()
	f.want(err == nil, "must be UTC or the name of a time zone, like Europe/Berlin", "scheduler.timezone")
	f.want(s.RetryBase <= s.RetryMax,
		fmt.Sprintf("(%s) must be at most scheduler.retry_max (%s)", show(s.RetryBase), show(s.RetryMax)),
		"scheduler.retry_base", "scheduler.retry_max")
	f.want(s.Timeout >= time.Second, fmt.Sprintf("(%s) must be at least 1s", show(s.Timeout)), "scheduler.timeout")
	f.want(s.Retention >= time.Second, fmt.Sprintf("(%s) must be at least 1s", show(s.Retention)), "scheduler.retention")
	f.want(s.LookBack <= 31*24*time.Hour, fmt.Sprintf("(%s) must be at most 744h", show(s.LookBack)), "scheduler.look_back")
}

// Location is Timezone as what it names. "Local" is refused: processes on two
// machines would mean two things, and run what is due twice.
func (s Scheduler) Location() (*time.Location, error) {
	if s.Timezone == "" || s.Timezone == "Local" {
		return nil, fmt.Errorf("%q names no time zone", s.Timezone)
	}
	return time.LoadLocation(s.Timezone)
}
