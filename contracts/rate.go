package contracts

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Rate is how often a caller may call. The zero Rate says nothing: whoever
// reads it applies its default.
type Rate struct {
	PerSecond float64
	Burst     int  // how many at once, after a pause
	Off       bool // no limit; the numbers are 0
}

// What a rate may be. The bounds keep every time that follows from one within
// what Redis and a float64 count exactly in microseconds.
const (
	MinRate  = 0.01
	MaxRate  = 1e6
	MaxBurst = 1_000_000
)

const rateOff = "off"

// maxRateText is longer than any rate in bounds with three digits after the point.
const maxRateText = 24

// ErrRate is in every error of ParseRate and of Rate.Check.
var ErrRate = errors.New("a rate limit is requests per second and burst, like 10/20 or 0.5/3, or off")

// ParseRate reads "10/20" or "off". It is the only reader of rates: of the
// configuration, the command line and the tokens.
func ParseRate(text string) (Rate, error) {
	if text == rateOff {
		return Rate{Off: true}, nil
	}
	left, right, ok := strings.Cut(text, "/")
	if len(text) > maxRateText || !ok || !decimal(left, true) || !decimal(right, false) {
		return Rate{}, ErrRate
	}
	perSecond, err1 := strconv.ParseFloat(left, 64)
	burst, err2 := strconv.Atoi(right)
	if err1 != nil || err2 != nil {
		return Rate{}, ErrRate
	}
	r := Rate{PerSecond: perSecond, Burst: burst}
	return r, r.Check()
}

// Check says what is wrong with a rate that was set.
func (r Rate) Check() error {
	switch {
	case r.Off && (r.PerSecond != 0 || r.Burst != 0):
		return fmt.Errorf("%w: off has no numbers", ErrRate)
	case r.Off:
		return nil
	case !(r.PerSecond >= MinRate && r.PerSecond <= MaxRate): // so that NaN is refused
		return fmt.Errorf("%w: the rate must be from %v to %.0f", ErrRate, MinRate, MaxRate)
	case r.Burst < 1 || r.Burst > MaxBurst:
		return fmt.Errorf("%w: the burst must be from 1 to %d", ErrRate, MaxBurst)
	}
	return nil
}

// IsZero reports whether r says nothing.
func (r Rate) IsZero() bool { return r == Rate{} }

// String is the text that ParseRate reads; empty for the zero Rate.
func (r Rate) String() string {
	switch {
	case r.Off:
		return rateOff
	case r.IsZero():
		return ""
	}
	return strconv.FormatFloat(r.PerSecond, 'f', -1, 64) + "/" + strconv.Itoa(r.Burst)
}

// decimal reports whether s is digits, with digits after a point where allowed:
// no sign, exponent, underscore, hexadecimal, infinity or leading zero.
func decimal(s string, point bool) bool {
	whole, fraction, pointed := strings.Cut(s, ".")
	if pointed && (!point || !digits(fraction)) {
		return false
	}
	return digits(whole) && (len(whole) == 1 || whole[0] != '0')
}

func digits(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return r < '0' || r > '9' })
}
