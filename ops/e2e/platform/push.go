package platform

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"
)

const (
	// ackLimit is how long Feishu waits for an acknowledgement (facts).
	ackLimit = 3 * time.Second
	// ackWanted is how long we may take.
	ackWanted = time.Second
)

// errUnacked is of a message that the platform gave up on.
var errUnacked = errors.New("not acknowledged")

// push calls the webhook until it says 200, as often as the schedule allows. sign
// makes the headers of each call.
func (s *side) push(ctx context.Context, in *Incoming, sign func() http.Header) error {
	once := func() error { return s.post(ctx, in, sign()) }
	if s.o.Over != nil {
		once = func() error { return s.o.Over(ctx, in.plain) }
	}
	var last error
	for try := 0; ; try++ {
		if last = once(); last == nil {
			s.Ledger.acked(in)
			return nil
		}
		if try >= len(s.o.Redeliver) || !s.pause(ctx, s.o.Redeliver[try]) {
			return fmt.Errorf("%s %s: %w: %w", s.name, in.ID, errUnacked, last)
		}
	}
}

// post makes one call, times the acknowledgement and judges it.
func (s *side) post(ctx context.Context, in *Incoming, header http.Header) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.endpoint(), bytes.NewReader(in.body))
	if err != nil {
		return err
	}
	req.Header = header.Clone()
	began := time.Now()
	res, err := s.client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(res.Body, largestBody))
	took := time.Since(began)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if res.StatusCode != http.StatusOK {
		if res.StatusCode < 500 && res.StatusCode != http.StatusTooManyRequests {
			s.badAcks = append(s.badAcks, fmt.Sprintf("status %d: %.200s", res.StatusCode, body))
		}
		return fmt.Errorf("status %d", res.StatusCode)
	}
	s.acks = append(s.acks, took)
	if len(body) > 0 && !json.Valid(body) {
		s.badAcks = append(s.badAcks, fmt.Sprintf("no JSON: %.200s", body))
	}
	return nil
}

// Acks are the acknowledgements of all webhook calls.
type Acks struct {
	Count         int
	Late          int // took more than a second
	P50, P99, Max time.Duration
	Bad           []string // refusals of genuine calls, and bodies that no platform takes
}

// Acks sums them up.
func (s *side) Acks() Acks {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := Acks{Count: len(s.acks), Bad: slices.Clone(s.badAcks)}
	if a.Count == 0 {
		return a
	}
	all := slices.Sorted(slices.Values(s.acks))
	a.P50, a.P99, a.Max = all[len(all)/2], all[len(all)*99/100], all[len(all)-1]
	for _, took := range all {
		if took > ackWanted {
			a.Late++
		}
	}
	return a
}
