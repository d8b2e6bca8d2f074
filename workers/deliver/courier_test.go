package deliver_test

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"moltbot/contracts"
	"moltbot/workers/deliver"
	"moltbot/workers/deliver/delivertest"
	"moltbot/workers/mailbox"
	"moltbot/workers/workerstest"
)

func TestPartsGoOutInOrderOnce(t *testing.T) {
	onEach(t, func(t *testing.T, p *post) {
		a := p.answer("c", 1, "one|two|three")
		must(t, p.run(p.task(a, 1, 0)))
		must(t, p.run(p.task(a, 2, 0))) // the commit got lost
		if got := p.platform.Texts(); !slices.Equal(got, []string{"one", "two", "three"}) {
			t.Fatalf("shown %v", got)
		}
		d := p.record(a)
		if d.Status != contracts.DeliverySent || len(d.Attempts) != 3 || d.Attempts[2].Part != 3 || d.Attempts[2].Outcome != contracts.DeliverySent || time.Since(d.Attempts[2].At) > time.Minute {
			t.Fatalf("record %+v", d)
		}
	})
}

// What each verdict makes of an answer of two parts, whose first call fails.
func TestVerdicts(t *testing.T) {
	hour := time.Hour
	for name, c := range map[string]struct {
		repeat    time.Duration
		shown     bool
		err       error
		code      contracts.Code // of the first run; empty: an error without a code
		retryable bool
		wait      time.Duration
		second    contracts.Code // of a second run, which nothing spoils; empty: it goes well
		texts     string         // after it
		status    string
	}{
		"retry":             {err: delivertest.Fail(deliver.VerdictRetry, 7*time.Second), code: contracts.CodeChannelDown, retryable: true, wait: 7 * time.Second, texts: "one two", status: "sent"},
		"final":             {err: delivertest.Fail(deliver.VerdictFinal, 0), code: contracts.CodeUndelivered, second: contracts.CodeUndelivered, status: "failed"},
		"uncertain":         {shown: true, err: delivertest.Fail(deliver.VerdictUncertain, 0), code: contracts.CodeUncertain, second: contracts.CodeUncertain, texts: "one two", status: "uncertain"},
		"uncertain, unseen": {err: delivertest.Fail(deliver.VerdictUncertain, 0), code: contracts.CodeUncertain, second: contracts.CodeUncertain, texts: "two", status: "uncertain"},
		"repeatable":        {repeat: hour, shown: true, err: delivertest.Fail(deliver.VerdictUncertain, 0), code: contracts.CodeChannelDown, retryable: true, texts: "one two", status: "sent"},
		"no failure":        {shown: true, err: errors.New("reset"), code: contracts.CodeUncertain, second: contracts.CodeUncertain, texts: "one two", status: "uncertain"},
		"no cause":          {err: &deliver.Failure{Verdict: deliver.VerdictFinal}, code: contracts.CodeUncertain, second: contracts.CodeUncertain, texts: "two", status: "uncertain"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPost(t, workerstest.MiniRedis(t))
			p.platform.Repeat = c.repeat
			p.platform.Act = func(call delivertest.Call) (bool, error) {
				if call.Part == 1 && call.Nth == 1 {
					return c.shown, c.err
				}
				return true, nil
			}
			a := p.answer("c", 1, "one|two")
			err := p.run(p.task(a, 1, 0))
			wantCode(t, err, c.code, c.retryable)
			if got := contracts.Public(err).RetryAfter; got != c.wait {
				t.Errorf("wait %s", got)
			}
			if c.wait > 0 { // the platform's word holds for all; here it is over
				p.rdb.FlushDB(t.Context())
			}
			err = p.run(p.task(a, 2, 0))
			if c.second != "" {
				wantCode(t, err, c.second, false)
			} else {
				must(t, err)
			}
			if got := strings.Join(p.platform.Texts(), " "); got != c.texts {
				t.Errorf("shown %q", got)
			}
			if d := p.record(a); d.Status != c.status {
				t.Errorf("record %+v", d)
			}
		})
	}
}

// A sender that panics uses up an attempt, and what it did may have arrived.
func TestPanics(t *testing.T) {
	p := newPost(t, workerstest.MiniRedis(t))
	p.platform.Act = func(delivertest.Call) (bool, error) { panic("odd") }
	a := p.answer("c", 1, "one")
	wantCode(t, p.run(p.task(a, 1, 0)), contracts.CodeUncertain, false)
	p.platform.Repeat = time.Hour
	err := p.run(p.task(p.answer("c", 2, "one"), 2, 0))
	var e *contracts.Error
	if err == nil || errors.As(err, &e) {
		t.Errorf("a panic that may be repeated gives %v", err)
	}
}

// Wherever a run dies, a receiver that drops repeats shows each part once, and
// another one at most once: then the answer ends as uncertain.
func TestCrashes(t *testing.T) {
	onEach(t, func(t *testing.T, p *post) {
		n := 0
		for _, repeat := range []time.Duration{time.Hour, 0} {
			for _, point := range []string{"recorded", "sent", "recorded sent"} {
				n++
				p.platform = &delivertest.Platform{Repeat: repeat}
				p.options.Senders[contracts.ChannelFeishu] = p.platform
				a := p.answer("c", n, "one|two")
				died := false
				p.options.Crash = func(at string) {
					if at == point && !died {
						died = true
						runtime.Goexit()
					}
				}
				task := p.task(a, 1, 0)
				c := p.courier()
				over := make(chan struct{})
				go func() {
					defer close(over)
					_, _ = c.Run(context.Background(), task)
				}()
				workerstest.Await(t, "the run dies", over)
				err := p.run(p.task(a, 2, 0))
				shown := p.platform.Texts()
				switch {
				case repeat > 0 || point == "recorded sent":
					if err != nil || !slices.Equal(shown, []string{"one", "two"}) || p.record(a).Status != "sent" {
						t.Errorf("%s: shown %v, %v", point, shown, err)
					}
				default:
					wantCode(t, err, contracts.CodeUncertain, false)
					want := []string{"one", "two"}
					if point == "recorded" {
						want = want[1:] // nobody knows that it was not sent
					}
					if !slices.Equal(shown, want) || p.record(a).Status != "uncertain" {
						t.Errorf("%s: shown %v", point, shown)
					}
				}
			}
		}
	})
}

// Where an earlier call may have arrived, a later one that certainly did not
// proves nothing of it.
func TestDoubtStays(t *testing.T) {
	onEach(t, func(t *testing.T, p *post) {
		p.platform.Repeat = time.Hour
		errs := []error{
			delivertest.Fail(deliver.VerdictUncertain, 0), delivertest.Fail(deliver.VerdictRetry, 0), delivertest.Fail(deliver.VerdictFinal, 0),
		}
		p.platform.Act = func(c delivertest.Call) (bool, error) { return c.Nth == 1, errs[c.Nth-1] }
		a := p.answer("c", 1, "one")
		wantCode(t, p.run(p.task(a, 1, 0)), contracts.CodeChannelDown, true)
		wantCode(t, p.run(p.task(a, 2, 0)), contracts.CodeChannelDown, true)
		wantCode(t, p.run(p.task(a, 3, 0)), contracts.CodeUncertain, false)
		d := p.record(a)
		if d.Status != "uncertain" || len(d.Attempts) != 3 || d.Attempts[1].Detail != "code_retry" || d.Attempts[2].Outcome != "uncertain" {
			t.Errorf("record %+v", d)
		}
		// The first try counts, whatever was tried since.
		if c := p.platform.Calls(); len(c) != 3 || c[0].Key != c[2].Key {
			t.Errorf("calls %+v", c)
		}
	})
}

// A replayed answer sends what was not sent. One that was made anew is all new.
func TestReplays(t *testing.T) {
	onEach(t, func(t *testing.T, p *post) {
		p.platform.Act = func(c delivertest.Call) (bool, error) {
			if c.Part == 2 && c.Nth == 1 {
				return false, errors.New("reset")
			}
			return true, nil
		}
		a := p.answer("c", 1, "one|two|three")
		wantCode(t, p.run(p.task(a, 1, 0)), contracts.CodeUncertain, false)
		must(t, p.run(p.task(a, 2, 1)))
		must(t, p.run(p.task(a, 3, 1)))
		if got := p.platform.Texts(); !slices.Equal(got, []string{"one", "three", "two"}) {
			t.Fatalf("shown %v", got)
		}
		if d := p.record(a); d.Status != "sent" {
			t.Errorf("record %+v", d)
		}
		a.Result.Run = 9
		must(t, p.run(p.task(a, 4, 2)))
		if got := p.platform.Texts(); len(got) != 6 {
			t.Fatalf("shown %v", got)
		}
	})
}

// Who lost the conversation sends nothing more, and changes nothing.
func TestZombies(t *testing.T) {
	onEach(t, func(t *testing.T, p *post) {
		a := p.answer("c", 1, "one|two")
		zombie := p.task(a, 1, 0)
		p.platform.Act = func(c delivertest.Call) (bool, error) {
			if c.Nth == 1 { // while it sends, another run takes the conversation
				wantCode(t, p.run(p.task(a, 2, 0)), contracts.CodeUncertain, false)
			}
			return true, nil
		}
		p.platform.Act = once(p.platform.Act)
		err := p.run(zombie)
		if e := contracts.Public(err); e == nil || !e.Retryable {
			t.Fatalf("the zombie ends with %v", err)
		}
		if got := p.platform.Texts(); !slices.Equal(got, []string{"two", "one"}) {
			t.Errorf("shown %v", got)
		}
		if d := p.record(a); d.Status != "uncertain" {
			t.Errorf("the zombie changed the record: %+v", d)
		}
		if part := p.rdb.HGet(t.Context(), contracts.KeyDelivery(a.ID[:26], a.ID), "p1").Val(); !strings.HasPrefix(part, "uncertain ") {
			t.Errorf("the zombie changed its part to %q", part)
		}
		if err := p.run(zombie); err == nil || !contracts.Public(err).Retryable || len(p.platform.Calls()) != 2 {
			t.Errorf("a zombie that begins: %v, %d calls", err, len(p.platform.Calls()))
		}
	})
}

// once lets a script act for the first call only.
func once(f func(delivertest.Call) (bool, error)) func(delivertest.Call) (bool, error) {
	first := true
	return func(c delivertest.Call) (bool, error) {
		if !first {
			return true, nil
		}
		first = false
		return f(c)
	}
}

// What to repeat would tell no more is uncertain at once, although it might be repeated.
func TestNotWorthRepeating(t *testing.T) {
	onEach(t, func(t *testing.T, p *post) {
		p.platform.Repeat = time.Hour
		p.platform.Act = once(func(delivertest.Call) (bool, error) {
			return false, &deliver.Failure{Verdict: deliver.VerdictUncertain, Hold: true, Err: errors.New("still on its way")}
		})
		wantCode(t, p.run(p.task(p.answer("c", 1, "one"), 1, 0)), contracts.CodeUncertain, false)
	})
}

func TestTooLate(t *testing.T) {
	onEach(t, func(t *testing.T, p *post) {
		p.options.MaxAge = func(c contracts.Channel, app string) time.Duration {
			if c != contracts.ChannelFeishu || app != "a" {
				t.Errorf("asked for %s %s", c, app)
			}
			return time.Hour
		}
		a := p.answer("c", 1, "one")
		a.Origin.At = p.now.Add(-2 * time.Hour)
		wantCode(t, p.run(p.task(a, 1, 0)), contracts.CodeStale, false)
		if len(p.platform.Calls()) != 0 || p.record(a).Status != "failed" {
			t.Error("it was sent")
		}
		must(t, p.run(p.task(a, 2, 1))) // an operator wants it
		if len(p.platform.Calls()) != 1 {
			t.Error("the replayed one was not sent")
		}
		fresh := p.answer("c", 2, "one")
		fresh.Origin.At = p.now.Add(-30 * time.Minute)
		must(t, p.run(p.task(fresh, 3, 0)))
	})
}

// An answer that nobody takes is given up after a while, by the channel.
func TestRetriesEnd(t *testing.T) {
	onEach(t, func(t *testing.T, p *post) {
		p.options.RetryFor = func(c contracts.Channel) time.Duration {
			if c == contracts.ChannelCallback {
				return 24 * time.Hour
			}
			return time.Hour
		}
		p.platform.Act = func(delivertest.Call) (bool, error) { return false, delivertest.Fail(deliver.VerdictRetry, 0) }
		a, b := p.answer("c", 1, "one"), p.answer("d", 2, "one")
		b.Origin, b.Callback = nil, "https://example.com/"
		none := p.answer("e", 3, "one")
		since := time.Now()
		p.options.Now = func() time.Time { return since }
		wantCode(t, p.run(p.task(a, 1, 0)), contracts.CodeChannelDown, true)
		wantCode(t, p.run(p.task(b, 1, 0)), contracts.CodeChannelDown, true)
		delete(p.options.Senders, contracts.ChannelFeishu)
		wantCode(t, p.run(p.task(none, 1, 0)), contracts.CodeChannelDown, true)
		p.options.Senders[contracts.ChannelFeishu] = p.platform

		past := func(a contracts.Answer, d time.Duration) { // as if it had begun earlier
			must(t, p.rdb.HSet(t.Context(), contracts.KeyDelivery(a.ID[:26], a.ID), "since", since.Add(-d).UnixMilli()).Err())
		}
		past(a, 2*time.Hour)
		past(b, 2*time.Hour)
		past(none, 2*time.Hour)
		wantCode(t, p.run(p.task(a, 2, 0)), contracts.CodeUndelivered, false)
		p.platform.Act = func(delivertest.Call) (bool, error) {
			return false, delivertest.Fail(deliver.VerdictRetry, time.Hour)
		}
		err := p.run(p.task(b, 2, 0))
		wantCode(t, err, contracts.CodeChannelDown, true)
		if wait := contracts.Public(err).RetryAfter; wait != time.Hour {
			t.Errorf("a callback waits %s, its sender said an hour", wait)
		}
		delete(p.options.Senders, contracts.ChannelFeishu)
		wantCode(t, p.run(p.task(none, 2, 0)), contracts.CodeUndelivered, false)
		past(b, 25*time.Hour)
		wantCode(t, p.run(p.task(b, 3, 0)), contracts.CodeUndelivered, false)
		if p.record(b).Status != "failed" || p.record(a).Status != "failed" {
			t.Error("not recorded")
		}
	})
}

func TestUnreadableAnswers(t *testing.T) {
	p := newPost(t, workerstest.MiniRedis(t))
	a := p.answer("c", 1, "one")
	other := p.task(p.answer("d", 1, "one"), 1, 0).Letter.(*contracts.Outgoing)
	spoil := map[string]func(o *contracts.Outgoing){
		"sealed for another": func(o *contracts.Outgoing) { o.Data = other.Data },
		"garbage":            func(o *contracts.Outgoing) { o.Data = []byte("x") },
		"another channel":    func(o *contracts.Outgoing) { o.Channel = contracts.ChannelCallback },
	}
	for name, f := range spoil {
		task := p.task(a, 1, 0)
		f(task.Letter.(*contracts.Outgoing))
		if err := p.run(task); contracts.Public(err) == nil || contracts.Public(err).Code != contracts.CodeDead {
			t.Errorf("%s: %v", name, err)
		}
	}
	p.options.Sealer = keyless{}
	wantCode(t, p.run(p.task(a, 1, 0)), contracts.CodeInternal, true)
	p.courier().Fail(mailbox.Task{Raw: true}, &contracts.Error{Code: contracts.CodeDead}) // no envelope
	if len(p.platform.Calls()) != 0 {
		t.Error("sent")
	}
}

type keyless struct{ workerstest.Sealer }

func (keyless) Open([]byte, contracts.Kind, string, string) ([]byte, error) {
	return nil, contracts.ErrNoKey
}

// A call under way is finished when its run ends, and no further part is begun.
func TestShutdownFinishesThePart(t *testing.T) {
	p := newPost(t, workerstest.MiniRedis(t))
	ctx, stop := context.WithCancel(t.Context())
	p.platform.Act = func(delivertest.Call) (bool, error) { stop(); return true, nil }
	a := p.answer("c", 1, "one|two")
	_, err := p.courier().Run(ctx, p.task(a, 1, 0))
	if !errors.Is(err, context.Canceled) || len(p.platform.Calls()) != 1 {
		t.Fatalf("%v, %d calls", err, len(p.platform.Calls()))
	}
	p.platform.Act = nil
	must(t, p.run(p.task(a, 2, 0)))
	if got := p.platform.Texts(); !slices.Equal(got, []string{"one", "two"}) {
		t.Errorf("shown %v", got)
	}
}

func TestTheRecordIsBounded(t *testing.T) {
	onEach(t, func(t *testing.T, p *post) {
		a := p.answer("c", 1, "one")
		p.platform.Act = func(delivertest.Call) (bool, error) {
			return false, &deliver.Failure{Verdict: deliver.VerdictRetry, Detail: "a b\n" + strings.Repeat("x", 200), Err: errors.New("no")}
		}
		for run := range int64(20) {
			wantCode(t, p.run(p.task(a, run+1, 0)), contracts.CodeChannelDown, true)
		}
		d := p.record(a)
		if d.Status != contracts.DeliveryPending || len(d.Attempts) != 16 || len(d.Attempts[0].Detail) != 64 || !strings.HasPrefix(d.Attempts[0].Detail, "a_b_x") {
			t.Errorf("record %+v", d)
		}
		ttl := p.rdb.PTTL(t.Context(), contracts.KeyDelivery(a.ID[:26], a.ID)).Val()
		if ttl < 21*time.Hour || ttl > 27*time.Hour {
			t.Errorf("kept for %s", ttl)
		}
		id, err := contracts.ParseID(p.answer("c", 2, "").ID)
		must(t, err)
		if _, ok, err := deliver.NewRecords(p.rdb).Delivery(t.Context(), id); ok || err != nil {
			t.Errorf("a record of nothing: %v", err)
		}
	})
}
