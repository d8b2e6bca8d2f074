package scheduler

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
)

// schedule gives due times in one place of the earth. A line for certain hours
// is read off the clock on the wall: an hour that daylight saving skips is made
// up for at the moment of the change, and of one that comes twice the first
// counts. A line for every hour goes by the time that passes instead.
type schedule struct {
	spec   *cron.SpecSchedule
	loc    *time.Location
	hourly bool
}

// everyHour is how the parser marks a * in a field.
const everyHour = 1 << 63

var errSpec = errors.New("its times must be five fields as in crontab, or @hourly, @daily, @weekly, @monthly or @yearly")

func parseSchedule(spec string, loc *time.Location) (schedule, error) {
	if strings.Contains(spec, "=") { // a time zone in the line; there is one for all
		return schedule{}, errSpec
	}
	parsed, err := cron.NewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow | cron.Descriptor).Parse(spec)
	if err != nil {
		return schedule{}, fmt.Errorf("%w: %w", errSpec, err)
	}
	s, ok := parsed.(*cron.SpecSchedule)
	if !ok { // @every counts from the start of each process: replicas would not agree
		return schedule{}, errSpec
	}
	hourly := s.Hour&everyHour != 0
	s.Location = time.UTC
	if hourly {
		s.Location = loc
	}
	if s.Next(time.Unix(0, 0)).IsZero() {
		return schedule{}, fmt.Errorf("%w: it is never due", errSpec)
	}
	return schedule{spec: s, loc: loc, hourly: hourly}, nil
}

// next gives the first due time after t.
func (s schedule) next(t time.Time) time.Time {
	if s.hourly {
		return s.spec.Next(t.In(s.loc))
	}
	wall := onWall(t.In(s.loc), time.UTC)
	for {
		wall = s.spec.Next(wall)
		if wall.IsZero() {
			return wall
		}
		if due := s.moment(wall); due.After(t) {
			return due
		}
	}
}

// around gives the last due time after from and not after now, if there is one,
// and the one that follows.
func (s schedule) around(from, now time.Time) (due, next time.Time) {
	for next = s.next(from); !next.IsZero() && !next.After(now); next = s.next(next) {
		due = next
	}
	return due, next
}

// moment is when the clock on the wall shows wall: the first time, or the end of
// the gap that it falls into.
func (s schedule) moment(wall time.Time) time.Time {
	t := onWall(wall, s.loc)
	start, end := t.ZoneBounds()
	if !onWall(t, time.UTC).Equal(wall) { // in a gap; time.Date chose one side
		if onWall(t, time.UTC).Before(wall) {
			return end
		}
		return start
	}
	if start.IsZero() {
		return t
	}
	_, after := start.Zone()
	_, before := start.Add(-time.Nanosecond).Zone()
	if earlier := t.Add(time.Duration(after-before) * time.Second); earlier.Before(start) && onWall(earlier, time.UTC).Equal(wall) {
		return earlier
	}
	return t
}

// onWall gives the moment at which a clock in loc shows what t shows.
func onWall(t time.Time, loc *time.Location) time.Time {
	return time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), loc)
}
