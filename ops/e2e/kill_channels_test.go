package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"moltbot/contracts"
	"moltbot/ops/e2e/platform"
)

// A message may be cut by many kills: none of them is to make it a dead letter.
const killChannelSettings = "queue: {max_attempts: 60, ack_wait: 3s, beat: 1s, lease: 1500ms, busy_delay: 200ms, retry_base: 100ms, retry_max: 1s}\n"

// TestKillChannels is the promise on the platforms: with ingress and the processes
// that answer and send killed again and again, and platforms that fail by
// themselves, a user of Feishu sees every answer once and in order. DingTalk drops
// no repeats, so there an answer is seen once, or it is listed as uncertain and
// seen at most once.
func TestKillChannels(t *testing.T) {
	aside(t)
	l := newLedger(t, 50*time.Millisecond)
	c := connect(t, shape{workers: 2, model: l.model, settings: killChannelSettings},
		platform.Options{Faults: moody, Redeliver: platform.Redelivery(size(100, 50))}, `received: "off"`)
	s := &chatter{channels: c, chats: size(20, 100), messages: size(5, 10), pace: size(1600*time.Millisecond, 12*time.Second)}
	ctx, cancel := context.WithTimeout(context.Background(), size(90*time.Second, 5*time.Minute))
	defer cancel()
	stop := assault(t, func(ctx context.Context) { c.killBoth(ctx, size(3, 20)) })
	began := time.Now()
	if err := s.run(ctx); err != nil {
		c.dump()
		t.Fatal(err)
	}
	stop()
	c.sent(ctx)
	t.Logf("took %s; %d kills of ingress, %d of each of two workers", time.Since(began).Round(time.Millisecond), size(3, 20), size(3, 20))
	c.judgeFeishu()
	c.judgeDingTalk()
	c.clean()
}

// moody lets calls take their time, so that kills meet them, and some go wrong:
// some of those have had their effect.
func moody(call platform.Call) platform.Fault {
	f := platform.Fault{Delay: rand.N(100 * time.Millisecond)}
	if !call.Sends() {
		return f
	}
	switch n := rand.N(100); {
	case n < 4:
		f.Reset, f.Seen = true, true
	case n < 6:
		f.Reset = true
	case n < 7:
		f = platform.JSON(http.StatusInternalServerError, `{"code":"system.error","message":"busy"}`)
	case n < 8:
		f = platform.HTML()
	case n < 9:
		f = platform.JSON(http.StatusOK, `{"errcode":-1,"errmsg":"busy","code":99991400,"msg":"busy"}`)
	}
	return f
}

// killBoth kills ingress and each worker so many times, side by side. A worker is
// at work again before it is killed again.
func (c *channels) killBoth(ctx context.Context, kills int) {
	var wg sync.WaitGroup
	wg.Go(func() {
		for range kills {
			for ctx.Err() == nil && !c.ready() {
				wait(ctx, 50*time.Millisecond)
			}
			wait(ctx, 300*time.Millisecond+rand.N(500*time.Millisecond))
			c.ingress.crash()
		}
	})
	for _, w := range c.workers {
		wg.Go(func() {
			for round := range kills {
				for ctx.Err() == nil && w.lines("workers ready") <= round {
					wait(ctx, 50*time.Millisecond)
				}
				wait(ctx, 300*time.Millisecond+rand.N(700*time.Millisecond))
				w.crash()
			}
		})
	}
	wg.Wait()
}

// chatter writes on both platforms, into so many chats of each.
type chatter struct {
	*channels
	chats, messages int
	pace            time.Duration // between two messages of a chat
}

// run writes every message once the one before is acknowledged: their order is
// then the platform's, and the user's.
func (s *chatter) run(ctx context.Context) error {
	return each(2*s.chats, func(i int) error {
		chat, p := i/2, platform.Platform(s.feishu)
		if i%2 == 1 {
			p = s.ding
		}
		for n := range s.messages {
			wait(ctx, rand.N(s.pace+1))
			m := platform.Message{Chat: fmt.Sprintf("oc_chat%d", chat), User: fmt.Sprintf("ou_user%d", chat), Direct: chat%2 == 0, Mention: true, Text: text(chat, n)}
			if err := p.Push(ctx, p.Write(m)); err != nil {
				return fmt.Errorf("chat %d message %d: %w", chat, n, err)
			}
		}
		return nil
	})
}

// judgeFeishu wants every message answered once.
func (c *channels) judgeFeishu() {
	c.t.Helper()
	v := c.Check(platform.Feishu, wrote, answers)
	c.t.Logf("feishu: %d messages, %d answered, %d lost, %d doubled, %d out of order; %d calls over a limit",
		v.Acked, v.Answered, len(v.Lost), len(v.Doubled), len(v.Swapped), c.feishu.Limited())
	for _, m := range v.Lost[:min(5, len(v.Lost))] {
		c.t.Errorf("feishu: %s #%d (%s) was never answered", m.Chat, m.Number, m.ID)
	}
	c.never("feishu", v)
}

// judgeDingTalk wants every message answered once, or its answer among the dead
// letters because it may have arrived.
func (c *channels) judgeDingTalk() {
	c.t.Helper()
	v := c.Check(platform.DingTalk, wrote, answers)
	uncertain := c.uncertain()
	c.t.Logf("dingtalk: %d messages, %d answered, %d not seen, %d doubled, %d out of order, %d uncertain; %d calls over a limit",
		v.Acked, v.Answered, len(v.Lost), len(v.Doubled), len(v.Swapped), len(uncertain), c.ding.Limited())
	for _, m := range v.Lost {
		if !uncertain[fmt.Sprintf("%s #%d", m.Chat, m.Number)] {
			c.t.Errorf("dingtalk: %s #%d (%s) was neither answered nor is it listed", m.Chat, m.Number, m.ID)
		}
	}
	c.never("dingtalk", v)
}

// never is what no platform may show.
func (c *channels) never(name string, v platform.Verdict) {
	c.t.Helper()
	for what, all := range map[string][]string{"doubled": v.Doubled, "out of order": v.Swapped, "odd": v.Odd} {
		if len(all) > 0 {
			c.t.Errorf("%s: %d %s:\n%s", name, len(all), what, strings.Join(all[:min(5, len(all))], "\n"))
		}
	}
}

// uncertain lists the answers that may have arrived, as their operator is shown
// them: by chat and number.
func (c *channels) uncertain() map[string]bool {
	c.t.Helper()
	var page struct {
		Letters []struct {
			Sequence uint64         `json:"sequence"`
			Code     contracts.Code `json:"code"`
		} `json:"letters"`
	}
	if err := json.Unmarshal([]byte(c.run("dead", "list", "--json", "--code", string(contracts.CodeUncertain), "--limit", "500")), &page); err != nil {
		c.t.Fatal(err)
	}
	all := map[string]bool{}
	for _, letter := range page.Letters {
		var d struct {
			Body *struct {
				Text string `json:"text"`
				Chat string `json:"chat"`
			} `json:"body"`
		}
		if err := json.Unmarshal([]byte(c.run("dead", "show", fmt.Sprint(letter.Sequence), "--body", "--json")), &d); err != nil || d.Body == nil {
			c.t.Fatalf("%+v: %v", letter, err)
		}
		n, ok := answers(d.Body.Text)
		if !ok || letter.Code != contracts.CodeUncertain {
			c.t.Errorf("dead letter %+v: %q", letter, d.Body.Text)
		}
		all[fmt.Sprintf("%s #%d", d.Body.Chat, n)] = true
	}
	return all
}
