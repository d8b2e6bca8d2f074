// Package call makes one HTTP call to a platform and says what is known of whether
// it arrived. It repeats nothing, and its errors hold no URL, header or body.
package call

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"moltbot/workers/deliver"
	"moltbot/workers/deliver/egress"
)

// longestWait is the most that a platform is believed about when to come again.
const longestWait = 5 * time.Minute

// Reply is what came back.
type Reply struct {
	Status int
	Header http.Header
	Body   []byte
	// Broken is why Body is not whole; nil: it is.
	Broken error
}

// Do sends req, whose client must follow no redirect and bound time and size. An
// error is a *deliver.Failure: of a call without an answer.
func Do(client *http.Client, req *http.Request) (Reply, error) {
	var written egress.Written
	req = req.WithContext(written.Follow(req.Context()))
	res, err := client.Do(req)
	if err != nil {
		return Reply{}, Unanswered(err, written.May())
	}
	defer func() { _ = res.Body.Close() }()
	r := Reply{Status: res.StatusCode, Header: res.Header}
	r.Body, r.Broken = io.ReadAll(res.Body)
	return r, nil
}

// Unanswered judges a call that got no answer.
func Unanswered(err error, written bool) *deliver.Failure {
	f := &deliver.Failure{Verdict: deliver.VerdictRetry, Detail: "no_connection", Err: egress.Plain(err)}
	if written {
		f.Verdict, f.Detail = deliver.VerdictUncertain, "no_answer"
	}
	if errors.Is(err, egress.ErrAddress) {
		f.Detail = "address_refused"
	}
	return f
}

// JSON reports whether the body says of itself that it is JSON.
func (r *Reply) JSON() bool {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return err == nil && (kind == "application/json" || strings.HasSuffix(kind, "+json"))
}

// Failed judges by the status alone, for an answer that says nothing more. Even
// with 200 it is a failure: the platform always says more.
func (r *Reply) Failed(platform string) *deliver.Failure {
	f := &deliver.Failure{
		Verdict: deliver.VerdictUncertain, Detail: strconv.Itoa(r.Status),
		Err: fmt.Errorf("%s answered status %d with something unreadable", platform, r.Status),
	}
	switch {
	case r.Status == http.StatusTooManyRequests:
		f.Verdict, f.Wait = deliver.VerdictRetry, r.Wait("Retry-After")
	case r.Status == http.StatusRequestTimeout:
		f.Verdict = deliver.VerdictRetry
	case r.Status >= 300 && r.Status < 400:
		// Whoever sends us elsewhere has not taken it. We do not go there.
		f.Verdict = deliver.VerdictRetry
	case r.Status >= 400 && r.Status < 500:
		f.Verdict = deliver.VerdictFinal
	case r.Broken != nil:
		f.Err = fmt.Errorf("read the answer of %s, status %d: %w", platform, r.Status, r.Broken)
	}
	return f
}

// Wait is the number of seconds in a header, within reason; zero: it says none.
func (r *Reply) Wait(header string) time.Duration {
	seconds, err := strconv.ParseFloat(r.Header.Get(header), 64)
	if err != nil || !(seconds > 0) { // NaN too
		return 0
	}
	return time.Duration(min(seconds, longestWait.Seconds()) * float64(time.Second))
}

// Unsent makes what a failed preparation (a token) means for the call behind it:
// that one was never made, so it cannot have arrived.
func Unsent(err error) error {
	var f *deliver.Failure
	if !errors.As(err, &f) {
		return &deliver.Failure{Verdict: deliver.VerdictRetry, Detail: "unsent", Err: err}
	}
	if f.Verdict != deliver.VerdictUncertain {
		return err
	}
	g := *f
	g.Verdict = deliver.VerdictRetry
	return &g
}
