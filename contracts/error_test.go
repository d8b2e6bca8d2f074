package contracts

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
)

// Every constant of type Code in error.go has a status of its own, and only they.
func TestEveryCodeHasAStatus(t *testing.T) {
	source, err := os.ReadFile("error.go")
	if err != nil {
		t.Fatal(err)
	}
	declared := regexp.MustCompile(`(?m)^\tCode\w+ +(?:Code )?= "(\w+)" +// (\d{3})`).FindAllStringSubmatch(string(source), -1)
	if got := strings.Count(string(source), ` = "`); got != len(declared) {
		t.Fatalf("%d codes declared, %d say their status", got, len(declared))
	}
	all := make(map[Code]bool)
	for _, c := range Codes() {
		all[c] = true
	}
	if len(all) != len(declared) {
		t.Errorf("%d codes have a status, %d are declared", len(all), len(declared))
	}
	for _, d := range declared {
		c := Code(d[1])
		if s := c.Status(); !all[c] || fmt.Sprint(s) != d[2] || http.StatusText(s) == "" {
			t.Errorf("%s has status %d, its comment says %s", c, s, d[2])
		}
	}
	if Code("made up").Status() != http.StatusInternalServerError {
		t.Error("an unknown code must be 500")
	}
}

func TestPublic(t *testing.T) {
	if Public(nil) != nil {
		t.Error("no error has no public form")
	}
	secret := errors.New("dial tcp 10.0.0.1: password hunter2")
	hidden := Public(fmt.Errorf("read: %w", secret))
	if hidden.Code != CodeInternal || strings.Contains(hidden.Message, "hunter2") || !errors.Is(hidden, secret) {
		t.Errorf("%+v", hidden)
	}
	known := &Error{Code: CodeStoreDown, Message: "the store is down", Err: secret, Retryable: true}
	if got := Public(fmt.Errorf("outer hunter3: %w", known)); got != known || strings.Contains(got.Message, "hunter") {
		t.Errorf("%+v", got)
	}
	if !strings.Contains(known.Error(), "hunter2") || !errors.Is(known, secret) {
		t.Error("the operator does not see the chain")
	}
}

func TestRetryable(t *testing.T) {
	passing := fmt.Errorf("step: %w", &Error{Code: CodeStoreDown, Retryable: true})
	for err, want := range map[error]bool{passing: true, &Error{Code: CodeModelAnswer}: false, errors.New("x"): false} {
		if Retryable(err) != want {
			t.Errorf("%v: retryable must be %v", err, want)
		}
	}
	if Retryable(nil) {
		t.Error("no error is nothing to try again")
	}
}
