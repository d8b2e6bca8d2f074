package contracts

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// ModelNames says which models a caller may use. A name that ends in "*" stands
// for all that begin like it. None at all: every model.
type ModelNames []string

// Limits of ModelNames, so that a token stays within a header.
const (
	maxModelNames     = 32
	maxModelNamesText = 2 << 10
)

var modelNames = regexp.MustCompile(`^(?:\*|[A-Za-z0-9][A-Za-z0-9._:/@-]{0,127}\*?)$`)

// Allow reports whether name is among them.
func (n ModelNames) Allow(name string) bool {
	if len(n) == 0 {
		return true
	}
	for _, may := range n {
		begin, any := strings.CutSuffix(may, "*")
		if name == may || any && strings.HasPrefix(name, begin) {
			return true
		}
	}
	return false
}

// Check reports what is wrong with them.
func (n ModelNames) Check() error {
	if len(n) > maxModelNames || len(strings.Join(n, ",")) > maxModelNamesText {
		return fmt.Errorf("models: at most %d names and %d characters", maxModelNames, maxModelNamesText)
	}
	var errs []error
	for _, may := range n {
		if !modelNames.MatchString(may) {
			errs = append(errs, fmt.Errorf("models: %.80q is neither the name of a model nor the beginning of one with a * behind it", may))
		}
	}
	return errors.Join(errs...)
}
