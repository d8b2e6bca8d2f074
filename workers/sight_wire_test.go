package workers

import (
	"strings"
	"testing"
	"time"

	"moltbot/workers/model"
	"moltbot/workers/model/modeltest"
	"moltbot/workers/model/openai"
)

// What a platform gave reaches a provider byte by byte.
func TestImagesOnTheWire(t *testing.T) {
	p := newPlant(t)
	s := modeltest.New(modeltest.Options{})
	t.Cleanup(s.Close)
	c, err := openai.New(openai.Options{Provider: "stand-in", Endpoint: s.URL, FirstToken: 10 * time.Second, Total: 20 * time.Second})
	must(t, err)
	t.Cleanup(func() { _ = c.Close() })
	tn, _ := p.seeing(&album{})
	tn.models = model.Only{Completer: c}
	m := p.message("s", 1, "what is it?", "")
	m.Images = imagesOf("a", "b")
	r, _ := p.runs(tn, m)
	got := s.Requests()[0].Messages
	last := got[len(got)-1]
	if want := addressOf("a") + "\n" + addressOf("b") + "\n"; last.Images != want || last.Content != "what is it?" {
		t.Errorf("the provider got %+v", last)
	}
	if r.Reply != "echo: what is it?" {
		t.Errorf("reply %q", r.Reply)
	}
	tn.models = model.Only{Completer: model.Demo{}}
	if r, _ = p.runs(tn, m); !strings.HasSuffix(r.Reply, "Images in this message: 2.") {
		t.Errorf("the demo says %q", r.Reply)
	}
}
