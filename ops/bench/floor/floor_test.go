package floor

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"moltbot/contracts"
	"moltbot/ops/embedded"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func ask(t *testing.T, address, text string) contracts.ChatReply {
	t.Helper()
	body := fmt.Sprintf(`{"message":%q,"session_id":"s"}`, text)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+address+"/api/chat", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Close = true
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	var reply contracts.ChatReply
	if err := json.NewDecoder(res.Body).Decode(&reply); err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("%s: %v", res.Status, err)
	}
	return reply
}

// The yard-stick does what the product does: it goes through the queue and the
// store, and says what it found there.
func TestFloorAnswersWithContext(t *testing.T) {
	for _, durability := range []string{embedded.DurabilityOS, embedded.DurabilityFsync} {
		ctx, cancel := context.WithCancel(t.Context())
		ready, done := make(chan string, 1), make(chan error, 1)
		go func() {
			done <- Run(ctx, Options{Dir: t.TempDir(), Durability: durability, Slots: 4, Ready: func(a string) { ready <- a }})
		}()
		select {
		case address := <-ready:
			first := ask(t, address, "one")
			if !strings.Contains(first.Reply, `You wrote: "one". Before it came 0 messages`) || first.SessionID != "s" {
				t.Errorf("%s: %+v", durability, first)
			}
			for _, text := range []string{"two", "three", "four", "five", "six", "seven"} {
				ask(t, address, text)
			}
			if last := ask(t, address, "eight"); !strings.Contains(last.Reply, `10 messages: your first was "three", your previous one "seven"`) {
				t.Errorf("%s: %s", durability, last.Reply)
			}
			cancel()
			if err := <-done; err != nil {
				t.Errorf("%s: %v", durability, err)
			}
		case err := <-done:
			t.Errorf("%s: %v", durability, err)
		}
		cancel()
	}
}

func TestFloorSaysWhatItCannotUse(t *testing.T) {
	err := Run(t.Context(), Options{Dir: t.TempDir(), Durability: "nonsense", Slots: 1})
	if err == nil || !strings.Contains(err.Error(), "floor: redis") {
		t.Errorf("error %v", err)
	}
}
