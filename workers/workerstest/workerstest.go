// Package workerstest gives tests of the workers a real broker and real stores:
// an embedded JetStream, a miniredis and a redis-server. It judges nothing.
package workerstest

import (
	"context"
	"crypto/sha256"
	"errors"
	"testing"
	"time"

	"moltbot/contracts"
)

// Patience is how long a test waits for what must happen.
const Patience = 30 * time.Second

// Eventually polls until ok, for what gives no signal of its own.
func Eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-ctx.Done():
			t.Fatalf("not in time: %s", what)
		case <-tick.C:
		}
	}
}

// Await waits for an event.
func Await[T any](t testing.TB, what string, c <-chan T) T {
	t.Helper()
	limit := time.NewTimer(Patience)
	defer limit.Stop()
	select {
	case v := <-c:
		return v
	case <-limit.C:
		t.Fatalf("not in time: %s", what)
		panic("unreachable")
	}
}

// Must ends the test on an error.
func Must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Sealer binds a value to its place as a real one does, but hides nothing and
// gives the same bytes every time.
type Sealer struct{}

const sealSum = 8

// Seal gives a sum over place and plain text, then the text.
func (Sealer) Seal(plain []byte, kind contracts.Kind, conversation, id string) ([]byte, error) {
	return append(sum(plain, kind, conversation, id), plain...), nil
}

// Open fails for another place and for changed bytes.
func (Sealer) Open(sealed []byte, kind contracts.Kind, conversation, id string) ([]byte, error) {
	if len(sealed) < sealSum {
		return nil, errors.New("sealed value is cut")
	}
	plain := sealed[sealSum:]
	if string(sum(plain, kind, conversation, id)) != string(sealed[:sealSum]) {
		return nil, errors.New("sealed for another place, or changed")
	}
	return plain, nil
}

func sum(plain []byte, kind contracts.Kind, conversation, id string) []byte {
	h := sha256.New()
	h.Write(contracts.AssociatedData(kind, conversation, id))
	h.Write(plain)
	return h.Sum(nil)[:sealSum]
}

// Namer makes names with a fixed key.
func Namer(t testing.TB) *contracts.Namer {
	t.Helper()
	n, err := contracts.NewNamer(make([]byte, 32))
	Must(t, err)
	return n
}
