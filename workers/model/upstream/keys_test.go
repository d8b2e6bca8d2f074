package upstream_test

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"moltbot/contracts"
	"moltbot/workers/model"
	"moltbot/workers/model/modeltest"
	"moltbot/workers/model/upstream"
)

// doorman treats every key as he is told, by default well.
type doorman struct {
	*modeltest.Server
	client *upstream.Client
	log    *bytes.Buffer

	mu     sync.Mutex
	treat  map[string]modeltest.Behavior
	clock  time.Time
	before int // requests that were counted
}

func (d *doorman) now() time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.clock
}

func (d *doorman) pass(t time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.clock = d.clock.Add(t)
}

func (d *doorman) say(key string, status int, header map[string]string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.treat[key] = modeltest.Behavior{Kind: modeltest.Status, Status: status, Header: header, Body: `{"error":{"message":"not {key}"}}`}
}

func (d *doorman) good(key string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.treat, key)
}

// asked are the keys of the requests since it was asked last, as "a b".
func (d *doorman) asked() string {
	all := d.Requests()
	var keys []string
	for _, r := range all[d.before:] {
		keys = append(keys, strings.TrimSuffix(r.Key, "-0123456789"))
	}
	d.before = len(all)
	return strings.Join(keys, " ")
}

func key(name string) string { return name + "-0123456789" }

func newDoorman(t *testing.T, w way, keys ...string) *doorman {
	t.Helper()
	d := &doorman{treat: map[string]modeltest.Behavior{}, clock: noon, log: &bytes.Buffer{}}
	d.Server = modeltest.New(modeltest.Options{Behave: func(r modeltest.Request) modeltest.Behavior {
		d.mu.Lock()
		defer d.mu.Unlock()
		return d.treat[r.Key]
	}})
	t.Cleanup(d.Close)
	all := make([]string, len(keys))
	for i, k := range keys {
		all[i] = key(k)
	}
	d.client = w.connect(t, upstream.Options{Endpoint: d.URL, Keys: all, Now: d.now, Log: zerolog.New(zerolog.SyncWriter(d.log))})
	return d
}

func (d *doorman) ask(t *testing.T) error {
	t.Helper()
	_, err := d.client.Complete(t.Context(), prompt("hi"))
	for _, secret := range []string{"-0123456", "1234567"} {
		if err != nil && strings.Contains(err.Error(), secret) {
			t.Errorf("the error leaks a key: %v", err)
		}
		if strings.Contains(d.log.String(), secret) {
			t.Errorf("the log leaks a key: %s", d.log)
		}
	}
	return err
}

func (d *doorman) expect(t *testing.T, keys string, w want) {
	t.Helper()
	err := d.ask(t)
	if got := d.asked(); got != keys {
		t.Errorf("asked with %q, want %q", got, keys)
	}
	if w.kind == model.KindNone {
		if err != nil {
			t.Errorf("err = %v", err)
		}
		return
	}
	w.check(t, model.Answer{}, err, "")
}

func everyWay(t *testing.T, f func(t *testing.T, w way)) {
	t.Helper()
	for _, w := range ways() {
		t.Run(w.name, func(t *testing.T) { f(t, w) })
	}
}

func TestKeysTakeTurns(t *testing.T) {
	everyWay(t, func(t *testing.T, w way) {
		d := newDoorman(t, w, "a", "b", "c")
		for _, k := range []string{"a", "b", "c", "a"} {
			d.expect(t, k, want{})
		}
	})
}

// A refused key is set aside for 5 min, then twice as long each time, at most
// an hour; another one is tried at once, and the operator is told once.
func TestARefusedKeyIsSetAside(t *testing.T) {
	everyWay(t, func(t *testing.T, w way) {
		d := newDoorman(t, w, "a", "b")
		d.say(key("a"), 401, nil)
		d.expect(t, "a b", want{})
		for _, aside := range []time.Duration{5, 10, 20, 40, 60, 60} {
			until := d.now().Add(aside * time.Minute)
			if got := d.client.Keys(); !reflect.DeepEqual(got, []model.KeyState{{Ordinal: 1, Until: until, Refused: true}, {Ordinal: 2}}) {
				t.Fatalf("after %d min: keys = %+v", aside, got)
			}
			d.expect(t, "b", want{})
			d.pass(aside*time.Minute - 1)
			d.expect(t, "b", want{})
			d.pass(1)
			d.expect(t, "a b", want{})
		}
		if n := strings.Count(d.log.String(), "model key is refused"); n != 1 {
			t.Errorf("told %d times: %s", n, d.log)
		}
		var line struct {
			Level, Provider string
			Key             int
		}
		if err := json.Unmarshal(bytes.SplitN(d.log.Bytes(), []byte("\n"), 2)[0], &line); err != nil || line.Level != "error" || line.Provider != "acme" || line.Key != 1 {
			t.Errorf("line = %+v, %v", line, err)
		}
		d.good(key("a"))
		d.pass(time.Hour)
		d.expect(t, "a", want{})
		d.say(key("a"), 403, nil)
		d.expect(t, "b", want{})
		d.expect(t, "a b", want{})
		if got := d.client.Keys()[0].Until; !got.Equal(d.now().Add(5 * time.Minute)) {
			t.Errorf("it begins anew: until %s, now %s", got, d.now())
		}
	})
}

func TestABusyKeyCools(t *testing.T) {
	everyWay(t, func(t *testing.T, w way) {
		d := newDoorman(t, w, "a", "b")
		d.say(key("a"), 429, map[string]string{"Retry-After": "20"})
		d.say(key("b"), 429, map[string]string{"Retry-After": "86400"})
		d.expect(t, "a b", busy.after(20*time.Second).saying("429"))
		d.expect(t, "", busy.after(20*time.Second))
		d.pass(5 * time.Second)
		d.expect(t, "", busy.after(15*time.Second))
		d.good(key("a"))
		d.pass(15 * time.Second)
		d.expect(t, "a", want{})
		d.expect(t, "a", want{})
		d.good(key("b"))
		d.pass(40 * time.Second) // a minute is the most
		d.expect(t, "b", want{})
		if d.log.Len() != 0 {
			t.Errorf("a busy key is no news: %s", d.log)
		}
	})
}

func TestAnUnpaidKeyCools(t *testing.T) {
	everyWay(t, func(t *testing.T, w way) {
		for asked, aside := range map[int]time.Duration{0: time.Minute, 120: 2 * time.Minute, 86400: 10 * time.Minute} {
			d := newDoorman(t, w, "a", "b")
			d.say(key("a"), 402, map[string]string{"Retry-After": strconv.Itoa(asked)})
			d.expect(t, "a b", want{})
			if got := d.client.Keys()[0]; !got.Until.Equal(noon.Add(aside)) || !got.Refused {
				t.Errorf("asked for %d s: %+v", asked, got)
			}
		}
	})
}

// When no key is left the message waits for whichever comes first; where only
// the operator can help, as long as for any of his doing.
func TestNoKeyIsLeft(t *testing.T) {
	everyWay(t, func(t *testing.T, w way) {
		d := newDoorman(t, w, "a", "b")
		d.say(key("a"), 401, nil)
		d.say(key("b"), 401, nil)
		d.expect(t, "a b", operator.saying("401"))
		d.expect(t, "", operator)
		d = newDoorman(t, w, "a", "b")
		d.say(key("a"), 401, nil)
		d.say(key("b"), 429, nil)
		d.expect(t, "a b", busy.after(time.Second))
		d = newDoorman(t, w, "a")
		d.say(key("a"), 401, nil)
		d.expect(t, "a", operator.saying("401"))
		d.expect(t, "", operator.saying("no key"))
	})
}

// What is not the key's fault sets no key aside and asks no second time.
func TestOtherFaultsAreNotTheKeys(t *testing.T) {
	everyWay(t, func(t *testing.T, w way) {
		for status, w2 := range map[int]want{500: down, 529: down, 400: refused, 404: unknown, 413: tooLong, 307: operator} {
			d := newDoorman(t, w, "a", "b")
			d.say(key("a"), status, nil)
			d.expect(t, "a", w2)
			if got := d.client.Keys(); !got[0].Until.IsZero() {
				t.Errorf("%d: %+v", status, got)
			}
		}
	})
}

// A hundred calls that learn of the same refusal are one refusal.
func TestOneRefusalIsCountedOnce(t *testing.T) {
	gate := modeltest.NewGate()
	d := newDoorman(t, ways()[0], "a")
	d.mu.Lock()
	d.treat[key("a")] = modeltest.Behavior{Kind: modeltest.Status, Status: 401, Gate: gate}
	d.mu.Unlock()
	var wg sync.WaitGroup
	const calls = 20
	for range calls {
		wg.Go(func() { _, _ = d.client.Complete(t.Context(), prompt("hi")) })
	}
	for range calls {
		<-gate.Entered()
	}
	gate.Release()
	wg.Wait()
	if got := d.client.Keys()[0].Until; !got.Equal(noon.Add(5 * time.Minute)) {
		t.Errorf("until %s", got)
	}
	if n := strings.Count(d.log.String(), "refused"); n != 1 {
		t.Errorf("told %d times", n)
	}
}

func TestAProviderWithoutKeys(t *testing.T) {
	s := modeltest.New(modeltest.Options{Behave: func(modeltest.Request) modeltest.Behavior {
		return modeltest.Behavior{Kind: modeltest.Status, Status: 429}
	}})
	defer s.Close()
	c := ways()[0].connect(t, upstream.Options{Endpoint: s.URL, Keys: []string{}})
	for range 2 {
		_, err := c.Complete(t.Context(), prompt("hi"))
		busy.check(t, model.Answer{}, err, "")
	}
	if got := s.Requests(); len(got) != 2 || got[0].Header.Get("Authorization") != "" || c.Keys() != nil {
		t.Errorf("requests %d, keys %v", len(got), c.Keys())
	}
}

func TestKeysAreChecked(t *testing.T) {
	everyWay(t, func(t *testing.T, w way) {
		for name, keys := range map[string][]string{
			"empty": {canary, ""}, "space": {canary + "\n"}, "twice": {canary, canary}, "umlaut": {"ä" + canary},
		} {
			_, err := w.open(upstream.Options{Provider: "acme", Endpoint: "https://h", Keys: keys})
			if err == nil || strings.Contains(err.Error(), canary[:8]) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if _, err := w.open(upstream.Options{Provider: strings.Fields(w.name)[0]}); err == nil || !strings.Contains(err.Error(), "key") {
			t.Errorf("the provider itself without a key: %v", err)
		}
	})
}

// All keys are redacted, not only the one that was sent.
func TestEveryKeyIsRedacted(t *testing.T) {
	everyWay(t, func(t *testing.T, w way) {
		s := modeltest.New(modeltest.Options{Behave: func(modeltest.Request) modeltest.Behavior {
			return modeltest.Behavior{Kind: modeltest.Status, Status: 500, Body: `{"error":{"code":"` + canary + `"}}`}
		}})
		defer s.Close()
		_, err := w.connect(t, upstream.Options{Endpoint: s.URL, Keys: []string{key("other"), canary}}).Complete(t.Context(), prompt("hi"))
		down.check(t, model.Answer{}, err, "")
		if contracts.Public(err).Code != contracts.CodeModelFailed {
			t.Errorf("err = %v", err)
		}
	})
}

// A model that a key may not use is no fault of the key: whoever may name a model
// could set all keys aside.
func TestAModelThatIsNotForTheKeyLeavesTheKey(t *testing.T) {
	everyWay(t, func(t *testing.T, w way) {
		d := newDoorman(t, w, "a", "b")
		d.mu.Lock()
		d.treat[key("a")] = modeltest.Behavior{Kind: modeltest.Status, Status: 403, Body: `{"error":{"code":"model_not_found"}}`}
		d.mu.Unlock()
		d.expect(t, "a", unknown)
		d.good(key("a"))
		d.expect(t, "b", want{})
		d.expect(t, "a", want{})
	})
}
