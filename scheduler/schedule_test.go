package scheduler

import (
	"testing"
	"time"
	_ "time/tzdata"
)

func place(t *testing.T, name string) *time.Location {
	t.Helper()
	loc, err := time.LoadLocation(name)
	must(t, err)
	return loc
}

func TestDueTimes(t *testing.T) {
	for name, c := range map[string]struct {
		zone, spec, from string
		want             []string // UTC
	}{
		"every day": {"UTC", "0 3 * * *", "2026-11-20T02:59:59Z", []string{"2026-11-20T03:00:00Z", "2026-11-21T03:00:00Z"}},
		"not now":   {"UTC", "@daily", "2026-11-20T00:00:00Z", []string{"2026-11-21T00:00:00Z"}},
		"in a place without daylight saving": {"Asia/Shanghai", "0 3 * * *", "2026-11-20T00:00:00Z",
			[]string{"2026-11-20T19:00:00Z", "2026-11-21T19:00:00Z"}},
		"an hour that is skipped": {"Europe/Berlin", "30 2 * * *", "2026-03-28T00:00:00Z",
			[]string{"2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"}},
		"an hour that comes twice": {"Europe/Berlin", "30 2 * * *", "2026-10-24T00:00:00Z",
			[]string{"2026-10-24T00:30:00Z", "2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"}},
		"within the second of the two": {"Europe/Berlin", "45 2 * * *", "2026-10-25T01:30:00Z", []string{"2026-10-26T01:45:00Z"}},
		"every hour, one skipped": {"Europe/Berlin", "0 * * * *", "2026-03-29T00:00:00Z",
			[]string{"2026-03-29T01:00:00Z", "2026-03-29T02:00:00Z"}},
		"every hour, one twice": {"Europe/Berlin", "0 * * * *", "2026-10-24T23:30:00Z",
			[]string{"2026-10-25T00:00:00Z", "2026-10-25T01:00:00Z", "2026-10-25T02:00:00Z"}},
		"midnight that is skipped": {"America/Sao_Paulo", "@daily", "2018-11-03T12:00:00Z",
			[]string{"2018-11-04T03:00:00Z", "2018-11-05T02:00:00Z"}},
		"half an hour": {"Australia/Lord_Howe", "15 2 * * *", "2026-10-03T00:00:00Z",
			[]string{"2026-10-03T15:30:00Z", "2026-10-04T15:15:00Z"}},
		"a day that is rare": {"UTC", "0 0 29 2 *", "2026-01-01T00:00:00Z", []string{"2028-02-29T00:00:00Z"}},
	} {
		s, err := parseSchedule(c.spec, place(t, c.zone))
		must(t, err)
		at, err := time.Parse(time.RFC3339, c.from)
		must(t, err)
		for _, want := range c.want {
			at = s.next(at)
			if got := at.UTC().Format(time.RFC3339); got != want {
				t.Errorf("%s: %s, want %s", name, got, want)
				break
			}
		}
	}
}

// What replicas would not agree on, or would never come, is refused at start.
func TestTimesThatAreRefused(t *testing.T) {
	for _, spec := range []string{
		"", "@every 1m", "TZ=UTC 0 3 * * *", "CRON_TZ=", "0 3 * *", "0 0 3 * * *", "60 3 * * *", "0 3 30 2 *", "@reboot",
	} {
		if _, err := parseSchedule(spec, time.UTC); err == nil {
			t.Errorf("%q was accepted", spec)
		}
	}
}

// Due times only ever go on, and each is a whole minute.
func FuzzDueTimes(f *testing.F) {
	f.Add("30 2 * * *", int64(1774700000))
	f.Add("*/5 * * * *", int64(1793000000))
	f.Add("0 3 1-7 * 1", int64(0))
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, spec string, unix int64) {
		s, err := parseSchedule(spec, berlin)
		if err != nil {
			t.Skip()
		}
		at := time.Unix(unix%(1<<32), 0)
		for range 3 {
			next := s.next(at)
			if next.IsZero() {
				return
			}
			if !next.After(at) || next.Second() != 0 {
				t.Fatalf("%q: %s comes after %s", spec, next, at)
			}
			at = next
		}
	})
}
