package contracts

import (
	"slices"
	"testing"
	"time"
)

func TestDays(t *testing.T) {
	days, err := Days("2026-02-27", "2026-03-01")
	if err != nil || !slices.Equal(days, []string{"2026-02-27", "2026-02-28", "2026-03-01"}) {
		t.Errorf("%v, %v", days, err)
	}
	if days, err := Days("2026-10-01", "2026-10-31"); err != nil || len(days) != MaxUsageDays {
		t.Errorf("%d days, %v", len(days), err)
	}
	for _, bad := range [][2]string{{"2026-03-01", "2026-02-28"}, {"2026-10-01", "2026-11-01"}, {"", "2026-01-01"}, {"2026-01-01", "x"}, {"0001-01-01", "9999-12-31"}} {
		if days, err := Days(bad[0], bad[1]); err == nil {
			t.Errorf("%v gave %v", bad, days)
		}
	}
}

// One day for all processes, wherever they run.
func TestDayIsOfUTC(t *testing.T) {
	if d := Day(time.Date(2026, 11, 20, 1, 0, 0, 0, time.FixedZone("", 2*3600))); d != "2026-11-19" {
		t.Error(d)
	}
}
