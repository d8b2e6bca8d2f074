package workers

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/rs/zerolog"

	"moltbot/contracts"
	"moltbot/workers/deliver"
	"moltbot/workers/model"
	"moltbot/workers/prompt"
)

// album has images by their keys.
type album struct {
	mu      sync.Mutex
	asked   []string
	fails   map[string][]error // by key, in turn
	data    map[string][]byte
	kind    string
	waiting func(ctx context.Context)
}

func (a *album) Image(ctx context.Context, i contracts.Image) ([]byte, string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked = append(a.asked, i.Key)
	if a.waiting != nil {
		a.waiting(ctx)
	}
	if f := a.fails[i.Key]; len(f) > 0 {
		a.fails[i.Key] = f[1:]
		return nil, "", f[0]
	}
	if a.kind == "" {
		a.kind = "image/png"
	}
	if d, ok := a.data[i.Key]; ok {
		return d, a.kind, nil
	}
	return []byte("bytes of " + i.Key), a.kind, nil
}

func imagesOf(keys ...string) (all []contracts.Image) {
	for _, k := range keys {
		all = append(all, contracts.Image{Channel: contracts.ChannelFeishu, App: "default", MessageID: "om_1", Key: k})
	}
	return all
}

func addressOf(key string) string {
	return "data:image/png;base64," + base64.StdEncoding.EncodeToString([]byte("bytes of "+key))
}

// shown lists the images of a prompt, by message.
func shownTo(r *model.Request) (all []string) {
	for i, m := range r.Messages {
		for _, p := range m.Parts {
			all = append(all, fmt.Sprint(i, " ", p.Image))
		}
	}
	return all
}

func (p *plant) seeing(a Media) (*turn, *model.Request) {
	p.t.Helper()
	tn, asked := p.answering(prompt.Options{Tokens: 8000})
	m, err := newMedia(a, zerolog.Nop(), nil)
	must(p.t, err)
	m.wait = time.Millisecond
	tn.media = m
	return tn, asked
}

func (p *plant) runs(tn *turn, m contracts.Message) (contracts.Result, bool) {
	p.t.Helper()
	o, err := tn.Run(p.t.Context(), p.task(m))
	must(p.t, err)
	return p.open(m, o), o.Turn != nil
}

func TestModelSeesImages(t *testing.T) {
	p := newPlant(t)
	a := &album{}
	tn, asked := p.seeing(a)
	m := p.message("s", 1, "what is it?", "")
	m.Images = imagesOf("a", "b")
	kept := p.turnOf(tn, m)
	if got, want := shownTo(asked), []string{"0 " + addressOf("a"), "0 " + addressOf("b")}; !slices.Equal(got, want) {
		t.Errorf("the model was shown %q", got)
	}
	if !asked.Fresh || kept.User != "what is it?" || !slices.Equal(kept.Images, m.Images) || kept.Tokens < 2*765 {
		t.Errorf("fresh %v, kept %+v", asked.Fresh, kept)
	}
	// Of what came before the newest four are shown, and none is fetched twice.
	before := []contracts.Turn{
		{ID: "x", User: "old", Assistant: "o", Images: imagesOf("z", "y")}, kept, {ID: "y", User: "no image", Assistant: "n"},
	}
	next := p.message("s", 2, "and this?", "")
	next.Images = imagesOf("c")
	p.turnOf(tn, next, before...)
	if got, want := shownTo(asked), []string{"0 " + addressOf("y"), "2 " + addressOf("a"), "2 " + addressOf("b"), "6 " + addressOf("c")}; !slices.Equal(got, want) {
		t.Errorf("the model was shown %q", got)
	}
	slices.Sort(a.asked)
	if want := []string{"a", "b", "c", "y"}; !slices.Equal(a.asked, want) {
		t.Errorf("fetched %v", a.asked)
	}
}

func TestImageAlone(t *testing.T) {
	p := newPlant(t)
	tn, asked := p.seeing(&album{})
	m := p.message("s", 1, "", "")
	m.Images = imagesOf("a")
	if kept := p.turnOf(tn, m); kept.User != onlyImages {
		t.Errorf("kept as %q", kept.User)
	}
	if got := shownTo(asked); len(got) != 1 {
		t.Errorf("the model was shown %q", got)
	}
}

func TestModelThatSeesNoImages(t *testing.T) {
	p := newPlant(t)
	a := &album{}
	tn, asked := p.seeing(a)
	tn.models = blind{tn.models}
	m := p.message("s", 1, "what is it?", "")
	m.Images = imagesOf("a")
	r, kept := p.runs(tn, m)
	if want := imageWordsFor(&m, false).blind + "\n\nwell"; r.Reply != want || !kept || len(shownTo(asked)) != 0 {
		t.Errorf("reply %q, kept %v, shown %q", r.Reply, kept, shownTo(asked))
	}
	*asked = model.Request{}
	m = p.message("s", 2, " ", "")
	m.Images = imagesOf("a")
	r, kept = p.runs(tn, m)
	if !strings.Contains(r.Reply, "看不到图片") || !strings.Contains(r.Reply, "cannot see images") || kept || asked.Messages != nil {
		t.Errorf("reply %q, kept %v, asked %v", r.Reply, kept, asked.Messages)
	}
	if len(a.asked) != 0 || testutil.ToFloat64(tn.media.metrics[imageUnseen]) != 2 {
		t.Errorf("fetched %v", a.asked)
	}
	tn.media = nil // nobody fetches
	if r, _ = p.runs(tn, m); !strings.Contains(r.Reply, "cannot see images") {
		t.Errorf("reply %q", r.Reply)
	}
}

// blind gives models that see nothing.
type blind struct{ Models }

func (b blind) Choose(m contracts.Message) (model.Choice, error) {
	c, err := b.Models.Choose(m)
	c.Blind = true
	return c, err
}

func TestImagesThatAreNotToBeHad(t *testing.T) {
	later := &deliver.Failure{Verdict: deliver.VerdictRetry, Err: errors.New("busy")}
	never := &deliver.Failure{Verdict: deliver.VerdictFinal, Err: errors.New("gone")}
	for name, c := range map[string]struct {
		text  string
		a     *album
		shown int
		reply string // contained
		asks  int
	}{
		"it passes":       {"what?", &album{fails: map[string][]error{"a": {later, later}}}, 1, "well", 3},
		"it does not":     {"what?", &album{fails: map[string][]error{"a": {later, later, later}}}, 0, "could not be loaded", 3},
		"never":           {"这是什么", &album{fails: map[string][]error{"a": {never}}}, 0, "图片没有取到", 1},
		"alone":           {"", &album{fails: map[string][]error{"a": {never}}}, 0, "could not be loaded", 1},
		"no kind we take": {"what?", &album{kind: "text/html"}, 0, "could not be loaded", 1},
		"too large":       {"what?", &album{data: map[string][]byte{"a": make([]byte, imageBytes+1)}}, 0, "could not be loaded", 1},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlant(t)
			tn, asked := p.seeing(c.a)
			m := p.message("s", 1, c.text, "")
			m.Images = imagesOf("a")
			r, _ := p.runs(tn, m)
			if got := len(shownTo(asked)); got != c.shown || !strings.Contains(r.Reply, c.reply) || len(c.a.asked) != c.asks {
				t.Errorf("%d shown, reply %q, asked %v", got, r.Reply, c.a.asked)
			}
			if (asked.Messages == nil) != (c.text == "") {
				t.Errorf("the model was asked %v", asked.Messages)
			}
		})
	}
}

func TestImagesShareABudget(t *testing.T) {
	p := newPlant(t)
	large := make([]byte, imageBytes-1)
	tn, asked := p.seeing(&album{data: map[string][]byte{"a": large, "b": large, "c": large}})
	m := p.message("s", 1, "what?", "")
	m.Images = imagesOf("a", "b", "c", "d", "e")
	r, _ := p.runs(tn, m)
	if got := shownTo(asked); len(got) != 3 || !strings.HasSuffix(got[2], addressOf("e")[8:]) || !strings.Contains(r.Reply, "only 3 could") {
		t.Errorf("%d shown, reply %q", len(got), r.Reply)
	}
}

func TestShutdownIsNoReasonToAnswerWithoutImages(t *testing.T) {
	p := newPlant(t)
	ctx, cancel := context.WithCancel(t.Context())
	tn, asked := p.seeing(&album{waiting: func(c context.Context) { cancel(); <-c.Done() }, fails: map[string][]error{"a": {context.Canceled}}})
	m := p.message("s", 1, "what?", "")
	m.Images = imagesOf("a")
	if _, err := tn.Run(ctx, p.task(m)); !errors.Is(err, context.Canceled) || asked.Messages != nil {
		t.Errorf("error %v, asked %v", err, asked.Messages)
	}
}

// Images of prompts that are answered at the same time have a limit together: who
// comes when it is reached waits, and in the end is answered without.
func TestImagesHaveRoomTogether(t *testing.T) {
	m, err := newMedia(&album{}, zerolog.Nop(), nil)
	must(t, err)
	const one = 4*(imageBytes+2)/3 + addressStart
	must(t, m.room.Acquire(t.Context(), imagesAsked-one))
	first, done, err := m.addresses(t.Context(), imagesOf("a"))
	must(t, err)
	if first[0] != addressOf("a") {
		t.Fatal(first)
	}
	waited := make(chan []string)
	go func() {
		out, done, err := m.addresses(t.Context(), imagesOf("b"))
		if err == nil {
			done()
		}
		waited <- out
	}()
	select {
	case out := <-waited:
		t.Fatalf("%q has room beside the first", out)
	case <-time.After(20 * time.Millisecond):
	}
	done()
	if out := <-waited; out[0] != addressOf("b") {
		t.Error(out)
	}
	if !m.room.TryAcquire(one) {
		t.Error("room is lost")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, done, err := m.addresses(ctx, imagesOf("c")); err == nil {
		t.Error("an answer after its end")
	} else {
		done()
	}
	m.room.Release(imagesAsked)
	if !m.room.TryAcquire(imagesAsked) {
		t.Error("room is lost")
	}
}
