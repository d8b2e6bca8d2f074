package e2e

import (
	"bytes"
	"encoding/base64"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"moltbot/workers/model/modeltest"
)

// TestCanary writes a text that can be found again through every path, and then
// looks for it in everything that was written to disk: the NATS store, Redis'
// files, the logs at debug level.
func TestCanary(t *testing.T) {
	t.Parallel() // it waits more than it works
	const canary = "CANARY7kQ2xWv9Zp"
	l := newLedger(t, 0)
	l.model.Behave(func(r modeltest.Request) modeltest.Behavior {
		switch {
		case strings.Contains(r.LastUser(), "refuse"):
			return modeltest.Behavior{Kind: modeltest.Status, Status: 400, Body: `{"error":{"message":"` + canary + `"}}`}
		case strings.Contains(r.LastUser(), "garbage"):
			return modeltest.Behavior{Kind: modeltest.Raw, Body: canary}
		}
		return modeltest.Behavior{Kind: modeltest.Raw, Body: `{"choices":[{"message":{"role":"assistant","content":"` + canary +
			`"},"finish_reason":"stop"}]}`, Header: map[string]string{"Content-Type": "application/json"}}
	})
	y := build(t, shape{workers: 1, model: l.model, settings: "session: {system: " + canary + "}\n"})
	c, ctx := y.client(), timeLimit(t)
	for _, text := range []string{"good", "good again", "refuse", "garbage"} {
		r, err := c.chat(ctx, "s", text+" "+canary, canary+text[:4], 50)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: %d %s", text, r.status, r.problem.Code)
		if text == "good" && !strings.Contains(r.reply.Reply, canary) {
			t.Fatalf("the model's canary did not arrive: %+v", r)
		}
	}
	for _, body := range []any{map[string]any{"message": canary, canary: 1}, map[string]any{"message": []string{canary}}, canary} {
		r, err := c.do(ctx, http.MethodPost, "/api/chat", "", body)
		if err != nil || r.status != http.StatusBadRequest {
			t.Fatalf("bad body: %d %v", r.status, err)
		}
	}
	if r, err := c.do(ctx, http.MethodGet, "/api/chat/"+canary+"?wait="+canary, "", nil); err != nil || r.status != http.StatusBadRequest {
		t.Fatalf("bad id: %d %v", r.status, err)
	}
	if y.redis != nil {
		if err := y.rdb.Save(ctx).Err(); err != nil {
			t.Fatal(err)
		}
	}
	secrets := map[string][]byte{"canary": []byte(canary), "token": []byte(y.token), "model key": []byte("test-key")}
	for i := range 3 { // the text as base64 would hold it, at each alignment
		b := base64.StdEncoding.EncodeToString(append(make([]byte, i), canary...))
		secrets["canary in base64"+strings.Repeat("'", i)] = []byte(b[4 : len(b)-4])
	}
	files, bytesSeen := y.search(t, secrets)
	t.Logf("%d files, %d bytes searched", files, bytesSeen)
	if files < 8 || bytesSeen < 10_000 {
		t.Error("too little was searched: the test looks in the wrong place")
	}
}

// search fails the test for every file, except those that are to hold them, in
// which one of the secrets stands.
func (y *system) search(t *testing.T, secrets map[string][]byte) (files, size int) {
	t.Helper()
	err := filepath.WalkDir(y.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || path == y.config {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		files, size = files+1, size+len(b)
		for name, s := range secrets {
			if i := bytes.Index(b, s); i >= 0 {
				t.Errorf("%s stands in %s: %q", name, path, b[max(0, i-100):min(len(b), i+100)])
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files, size
}
