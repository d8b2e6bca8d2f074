package app

import (
	"net/http"
	"testing"
)

// In one process pieces go from the worker to the client without NATS.
func TestStreamInOneProcess(t *testing.T) {
	a, _, err := up(t, settings(t))
	must(t, err)
	r := run(t, a)
	await(t, "ready", r.Ready())
	token, err := a.Token("ann", 1, "chat")
	must(t, err)
	status, body := ask(t, a, token, map[string]any{"message": "hi", "stream": true})
	equal(t, "status", status, http.StatusOK)
	hasText(t, string(body), "event: accepted\n", "id: 1-", "event: delta\ndata: {\"text\":\"This is the demo", "event: done\n", `"reply":"This is the demo`)
	r.stop(t)
}
