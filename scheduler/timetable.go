package scheduler

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"time"

	"github.com/rs/zerolog"

	"moltbot/contracts"
)

// Entry is one line of the timetable: what is to be done, and when. Every
// replica keeps the whole timetable and asks for each due time under a name made
// of both, so that the queue takes it once and no replica need be the leader.
type Entry struct {
	Name string // lower-case, unique
	// Spec is the minute, hour, day of month, month and day of week, as in
	// crontab, or @hourly, @daily, @weekly, @monthly, @yearly.
	Spec    string
	Type    contracts.TaskType
	Payload func(due time.Time) ([]byte, error) // default: empty
	Timeout time.Duration                       // of one run; default that of the client
}

// Clock tells the time to the timetable.
type Clock struct {
	Now   func() time.Time
	After func(time.Duration) <-chan time.Time
}

func realClock() Clock { return Clock{Now: time.Now, After: time.After} }

// Times of the timetable.
const (
	longestNap = time.Minute // a clock that was set, or a machine that slept, is noticed within
	askAgain   = 5 * time.Second
	// leastRetention keeps the name of a due time for replicas whose clocks are late.
	leastRetention = time.Hour
)

type timetable struct {
	entries  []*line
	client   *Client
	clock    Clock
	lookBack time.Duration
	log      zerolog.Logger
}

// line is an Entry and how far it has come.
type line struct {
	Entry
	when schedule
	upto time.Time // due times up to here are seen to
}

var entryName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,40}$`)

func newTimetable(o Options) (*timetable, error) {
	t := &timetable{client: o.Client, clock: o.Clock, lookBack: o.LookBack, log: o.Log}
	var errs []error
	for _, e := range o.Timetable {
		when, err := parseSchedule(e.Spec, o.Location)
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("timetable entry %q: %w", e.Name, err))
		case !entryName.MatchString(e.Name):
			errs = append(errs, fmt.Errorf("timetable entry %q: its name must be lower-case letters, digits and dashes", e.Name))
		case slices.ContainsFunc(t.entries, func(l *line) bool { return l.Name == e.Name }):
			errs = append(errs, fmt.Errorf("timetable entry %q is there twice", e.Name))
		case o.Handlers[e.Type] == nil:
			errs = append(errs, fmt.Errorf("timetable entry %q: nobody handles %q", e.Name, e.Type))
		}
		t.entries = append(t.entries, &line{Entry: e, when: when})
	}
	return t, errors.Join(errs...)
}

// run asks for what is due until ctx ends, first of all for the last due time
// that nobody may have been there for.
func (t *timetable) run(ctx context.Context) {
	for ctx.Err() == nil {
		nap := longestNap
		for _, l := range t.entries {
			nap = min(nap, t.look(ctx, l))
		}
		select {
		case <-ctx.Done():
		case <-t.clock.After(nap):
		}
	}
}

// look asks for the latest due time of a line that was not seen to, and tells
// when to look again.
func (t *timetable) look(ctx context.Context, l *line) time.Duration {
	now := t.clock.Now()
	from := now.Add(-t.lookBack)
	if l.upto.After(from) {
		from = l.upto
	}
	due, next := l.when.around(from, now)
	if !due.IsZero() {
		if err := t.ask(ctx, l, due, next); err != nil {
			t.log.Warn().Err(err).Str("entry", l.Name).Time("due", due).Msg("what is due could not be put into its queue, it is tried again")
			return askAgain
		}
		l.upto = due
	}
	if next.IsZero() {
		return longestNap
	}
	return next.Sub(now)
}

// ask puts what is due into its queue. One that is there already, in whatever
// state, was asked for by another replica.
func (t *timetable) ask(ctx context.Context, l *line, due, next time.Time) error {
	var payload []byte
	if l.Payload != nil {
		var err error
		if payload, err = l.Payload(due); err != nil {
			return fmt.Errorf("make the payload: %w", err)
		}
	}
	added, err := t.client.enqueue(ctx, Job{
		Type: l.Type, Queue: contracts.QueueNightly, Payload: payload, Timeout: l.Timeout, Tries: 1,
		ID:        func(int) string { return TimetableID(l.Name, due) },
		Retention: max(leastRetention, 2*next.Sub(due)),
	})
	if e := (*contracts.Error)(nil); errors.As(err, &e) && e.Code == contracts.CodeDead {
		return nil // it was given up: an operator sees to it
	}
	if added {
		t.log.Info().Str("entry", l.Name).Time("due", due).Msg("timetable: due")
	}
	return err
}

// TimetableID is the id of the task of one due time.
func TimetableID(name string, due time.Time) string {
	return name + ":" + due.UTC().Format(time.RFC3339)
}
