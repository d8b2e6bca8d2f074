package contracts

import (
	"errors"
	"math"
	"strings"
	"testing"
)

func TestParseRate(t *testing.T) {
	for text, want := range map[string]Rate{
		"10/20": {PerSecond: 10, Burst: 20}, "500/1000": {PerSecond: 500, Burst: 1000}, "0.5/3": {PerSecond: 0.5, Burst: 3},
		"0.01/1": {PerSecond: 0.01, Burst: 1}, "1000000/1000000": {PerSecond: 1e6, Burst: 1e6}, "off": {Off: true},
	} {
		got, err := ParseRate(text)
		if err != nil || got != want || got.String() != text {
			t.Errorf("%s = %+v (%s), %v", text, got, got, err)
		}
	}
	for _, text := range []string{
		"", "10", "10/", "/20", "10/20/30", "10/0", "0/20", "0.009/1", "1000001/1", "1/1000001", "-1/1", "1/-1", "+1/1", "1/+1",
		"1e3/5", "1/1e3", "0x10/5", "1_0/5", "1/1_0", "Inf/1", "NaN/1", "inf/1", " 10/20", "10 /20", "10/20 ", "10/20\n", "10/2.5",
		"1./2", ".5/2", "01/2", "1/02", "Off", "OFF", "off ", "１０/20", "99999999999999999999/1", "1/99999999999999999999",
		"0.010000000000000000000000000/1", "1/" + strings.Repeat("9", 5000), "\x00/1",
	} {
		got, err := ParseRate(text)
		if !errors.Is(err, ErrRate) {
			t.Errorf("%.40q is taken as %+v (%v)", text, got, err)
		}
		if err != nil && len(err.Error()) > 200 {
			t.Errorf("the error of %.40q is long: %d", text, len(err.Error()))
		}
	}
}

func TestRateCheck(t *testing.T) {
	for _, r := range []Rate{
		{}, {PerSecond: math.NaN(), Burst: 1}, {PerSecond: math.Inf(1), Burst: 1}, {PerSecond: 1}, {Burst: 1},
		{PerSecond: 1, Burst: 1, Off: true}, {PerSecond: -1, Burst: 1}, {PerSecond: 1, Burst: -1},
	} {
		if r.Check() == nil {
			t.Errorf("%+v passes", r)
		}
	}
	if !(Rate{}).IsZero() || (Rate{Off: true}).IsZero() || (Rate{}).String() != "" {
		t.Error("the zero rate is not off, and off is not the zero rate")
	}
}

func FuzzParseRate(f *testing.F) {
	for _, s := range []string{"10/20", "off", "0.01/1", "1e6/1", "1/1/1", "-0/1", "NaN/1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := ParseRate(text)
		if err != nil {
			return
		}
		again, err := ParseRate(r.String())
		if err != nil || again != r || r.Check() != nil || r.IsZero() {
			t.Errorf("%q = %+v, whose text %q = %+v, %v", text, r, r, again, err)
		}
	})
}
