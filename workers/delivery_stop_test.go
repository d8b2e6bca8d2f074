package workers

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"moltbot/contracts"
	"moltbot/workers/deliver/delivertest"
	"moltbot/workers/model"
	"moltbot/workers/workerstest"
)

// Both pools together get SoftStop, not each of them: who kills after a while must
// know after which. The part that is being sent is finished; no further one is begun.
func TestOneTimeToStop(t *testing.T) {
	p := newPlant(t)
	platform := &delivertest.Platform{}
	sending, entered := make(chan struct{}), make(chan struct{})
	var once sync.Once
	platform.Act = func(c delivertest.Call) (bool, error) {
		once.Do(func() { close(sending) })
		<-time.After(100 * time.Millisecond) // a slow platform
		return true, nil
	}
	o := p.delivering(completer(func(ctx context.Context, r model.Request) (model.Answer, error) {
		if r.Messages[len(r.Messages)-1].Text == "hang" {
			close(entered)
			<-ctx.Done()
			return model.Answer{}, ctx.Err()
		}
		return said(strings.Repeat("part|", 99) + "part"), nil
	}), platform)
	o.SoftStop = time.Second
	_, stop, done := p.start(o)
	m := p.im("c", 1, "long")
	p.publish(m)
	workerstest.Await(t, "the long answer is sent", sending)
	p.publish(p.im("d", 1, "hang"))
	workerstest.Await(t, "a model hangs", entered)
	began := time.Now()
	stop()
	must(t, workerstest.Await(t, "ends", done))
	if took := time.Since(began); took < 900*time.Millisecond || took > 2700*time.Millisecond { // each fetch that waits takes up to a second more
		t.Errorf("it took %s to stop, with a soft stop of 1s", took)
	}
	key := contracts.KeyDelivery(m.Conversation, m.ID)
	for field, value := range p.rdb.HGetAll(t.Context(), key).Val() {
		if strings.HasPrefix(value, "sending ") {
			t.Errorf("%s is left as %q", field, value)
		}
	}
	if n := len(platform.Shown()); n == 0 || n > 90 {
		t.Errorf("%d parts are shown", n)
	}
}
