package dingtalk

import (
	"encoding/json"
	"os"
	"reflect"
	"testing"
)

// We go round the official SDK; what arrives is what it would send. The vectors
// were recorded from it: as a dependency of the tests it would bring 14 modules, and
// one of them another version of cloud.google.com/go, which `go mod tidy` refuses.
func TestWeSendWhatTheOfficialSDKSends(t *testing.T) {
	p := newPlatform(t)
	c := p.client(Options{})
	m := content{kind: "markdown", key: "sampleMarkdown", fields: titled{Title: "done", Text: `**done** "q" <b> 字`}}
	do := map[string]func() error{
		pathToken: func() error { _, err := c.Check(t.Context()); return err },
		pathUser:  func() error { _, err := c.toUser(t.Context(), "staff1", m); return err },
		pathGroup: func() error { _, err := c.toGroup(t.Context(), "cidGroup==", m); return err },
		pathDownload: func() error {
			return c.api(t.Context(), pathDownload, map[string]string{"downloadCode": "code==", "robotCode": robot}, &struct{}{})
		},
	}
	for _, want := range vectors(t) {
		if err := do[want.URL](); err != nil {
			t.Fatal(want.URL, err)
		}
		got := p.last()
		var body map[string]any
		if err := json.Unmarshal([]byte(want.Body), &body); err != nil {
			t.Fatal(err)
		}
		if got.path != want.URL || !reflect.DeepEqual(got.body, body) {
			t.Errorf("we send %s %s, the SDK %s %s", got.path, got.raw, want.URL, want.Body)
		}
		for name, value := range want.Headers {
			if got.header.Get(name) != value {
				t.Errorf("%s: we send %q, the SDK %q", name, got.header.Get(name), value)
			}
		}
	}
}

type vector struct {
	URL, Body string
	Headers   map[string]string
}

func vectors(t *testing.T) []vector {
	b, err := os.ReadFile("testdata/sdk-requests.json")
	if err != nil {
		t.Fatal(err)
	}
	var all struct{ Requests []vector }
	if err := json.Unmarshal(b, &all); err != nil || len(all.Requests) != 4 {
		t.Fatal(err, len(all.Requests))
	}
	return all.Requests
}
