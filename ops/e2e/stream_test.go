package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"moltbot/contracts"
	"moltbot/workers/model/modeltest"
)

// event is one server-sent event.
type event struct{ id, name, data string }

// readAlong opens a stream of events; the channel is closed at its end.
func (y *system) readAlong(base, method, path, body string, header ...string) chan event {
	y.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	req, err := http.NewRequestWithContext(ctx, method, base+path, strings.NewReader(body))
	if err != nil {
		y.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+y.token)
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := describe(y.t, http.DefaultTransport).RoundTrip(req)
	if err != nil {
		y.t.Fatal(err)
	}
	if res.StatusCode != http.StatusOK {
		y.t.Fatalf("%s %s: %d", method, path, res.StatusCode)
	}
	events, ended := make(chan event, 1000), make(chan struct{})
	go func() {
		defer close(ended)
		defer close(events)
		var e event
		for lines := bufio.NewScanner(res.Body); lines.Scan(); {
			name, value, _ := strings.Cut(lines.Text(), ": ")
			switch name {
			case "id":
				e.id = value
			case "event":
				e.name = value
			case "data":
				e.data = value
			case "":
				if e.name != "" {
					events <- e
				}
				e = event{}
			}
		}
	}()
	y.t.Cleanup(func() { cancel(); <-ended; _ = res.Body.Close() })
	return events
}

// view is what a client shows: all pieces since the last reset.
type view struct {
	text   string
	id     string // of the last event that had one
	resets int
	reply  *contracts.ChatReply
}

// until reads events until ok.
func (v *view) until(t *testing.T, events chan event, what string, ok func() bool) {
	t.Helper()
	late := time.After(30 * time.Second)
	for !ok() {
		select {
		case e, more := <-events:
			if !more {
				t.Fatalf("%s: the stream ended after %+v", what, v)
			}
			v.take(t, e)
		case <-late:
			t.Fatalf("%s: not within 30s; seen %+v", what, v)
		}
	}
}

func (v *view) take(t *testing.T, e event) {
	t.Helper()
	if e.id != "" {
		v.id = e.id
	}
	switch e.name {
	case "delta":
		var d contracts.StreamDelta
		if err := json.Unmarshal([]byte(e.data), &d); err != nil {
			t.Fatal(err)
		}
		v.text += d.Text
	case "reset":
		v.text = ""
		v.resets++
	case "done":
		v.reply = &contracts.ChatReply{}
		if err := json.Unmarshal([]byte(e.data), v.reply); err != nil {
			t.Fatal(err)
		}
	case "accepted":
	default:
		t.Fatalf("event %+v", e)
	}
}

// A worker is killed in the middle of an answer: whoever reads along, at the
// replica that took the message or at another one, is reset and gets it whole.
func TestStreamOutlivesItsWorker(t *testing.T) {
	t.Parallel() // it waits more than it works
	model := modeltest.New(modeltest.Options{Behave: func(modeltest.Request) modeltest.Behavior {
		return modeltest.Behavior{Kind: modeltest.Stall}
	}})
	defer model.Close()
	y := build(t, shape{workers: 1, model: model})
	port := freePort(t)
	other := newProcess(t, y.dir, "ingress2", y.bin, "--config", y.config, "serve", "ingress", "--listen", local(port))
	other.start()
	eventually(t, 10*time.Second, "the other replica listens: "+other.tail(), func() bool { return other.lines("ingress ready") > 0 })

	first := y.readAlong(y.base, "POST", "/api/chat", `{"message":"Viele Grüße","stream":true}`)
	var path string
	select {
	case e := <-first:
		var c contracts.ChatReply
		if err := json.Unmarshal([]byte(e.data), &c); err != nil || e.name != "accepted" {
			t.Fatalf("%+v, %v", e, err)
		}
		path = c.Location
	case <-time.After(30 * time.Second):
		t.Fatal("not accepted")
	}
	here := &view{}
	here.until(t, first, "the first half", func() bool { return here.text != "" })
	there := &view{}
	fresh := y.readAlong("http://"+local(port), "GET", path, "", "Accept", "text/event-stream")
	there.until(t, fresh, "the first half at the other replica", func() bool { return there.text == here.text })
	if there.id != here.id || !strings.HasSuffix(here.id, fmt.Sprintf("-%d", len(here.text))) {
		t.Errorf("ids %q and %q of %q", here.id, there.id, here.text)
	}
	resumed := &view{text: here.text}
	behind := y.readAlong("http://"+local(port), "GET", path, "", "Accept", "text/event-stream", "Last-Event-ID", here.id)

	model.Behave(func(modeltest.Request) modeltest.Behavior { return modeltest.Behavior{} })
	y.workers[0].crash()
	for name, c := range map[string]struct {
		v      *view
		events chan event
	}{"first": {here, first}, "fresh": {there, fresh}, "resumed": {resumed, behind}} {
		c.v.until(t, c.events, name, func() bool { return c.v.reply != nil })
		if c.v.text != "echo: Viele Grüße" || c.v.reply.Reply != c.v.text || c.v.resets > 1 {
			t.Errorf("%s: %+v, reply %q", name, c.v, c.v.reply.Reply)
		}
	}
	if here.resets != 1 {
		t.Errorf("%d resets", here.resets)
	}
}
