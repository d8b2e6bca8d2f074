package app

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"moltbot/contracts"
	"moltbot/ops/config"
	"moltbot/workers/workerstest"
)

// answering lets a process answer the roll.
func answering(t *testing.T, nc *nats.Conn, pid int) {
	t.Helper()
	_, err := nc.Subscribe(contracts.SubjectWorkersStatus(), func(m *nats.Msg) {
		b, err := contracts.EncodeWorkerStatus(contracts.WorkerStatus{
			Node: fmt.Sprint("n", pid), Host: "h", PID: pid, Started: time.Now(),
			Pools: map[contracts.Pool]contracts.PoolStatus{contracts.PoolChat: {Slots: 4}},
		})
		if err == nil {
			_ = m.Respond(b)
		}
	})
	must(t, err)
	must(t, nc.Flush())
}

func TestRollIsCalled(t *testing.T) {
	n := workerstest.StartNATS(t)
	nc := n.Connect(t)
	all, err := callRoll(t.Context(), nc)
	must(t, err)
	equal(t, "nobody", len(all), 0)
	for _, pid := range []int{9, 3, 5} {
		answering(t, n.Connect(t), pid)
	}
	_, err = nc.Subscribe(contracts.SubjectWorkersStatus(), func(m *nats.Msg) { _ = m.Respond([]byte(`{"v":99}`)) })
	must(t, err)
	all, err = callRoll(t.Context(), nc)
	must(t, err)
	equal(t, "processes", len(all), 3)
	for i, pid := range []int{3, 5, 9} {
		equal(t, "process", all[i].PID, pid)
	}
	equal(t, "with the pool", runningPool(all, contracts.PoolChat), 3)
	equal(t, "with the other", runningPool(all, contracts.PoolDeliver), 0)
	nc.Close()
	if _, err := callRoll(t.Context(), nc); err == nil {
		t.Error("a roll without a connection")
	}
}

func TestResizeFitsTheQueue(t *testing.T) {
	n := workerstest.StartNATS(t)
	c := config.Default()
	c.Queue.MaxAckPending = 100
	lines := &book{}
	top, err := newTopology(n.Connect(t), c, zerolog.Nop())
	must(t, err)
	must(t, top.ensure(t.Context()))
	a := &App{o: Options{Config: c, Log: lines.log()}, topology: top}
	slots := func(n int) contracts.PoolRequest { return contracts.PoolRequest{Slots: &n} }
	wants := func(p contracts.Pool, r contracts.PoolRequest, note bool) {
		t.Helper()
		got, err := a.resize(t.Context(), p, r, "operator")
		must(t, err)
		equal(t, "noted", got.Note != "", note)
	}
	refuses := func(n int) {
		t.Helper()
		_, err := a.resize(t.Context(), contracts.PoolChat, slots(n), "operator")
		var e *contracts.Error
		if !errors.As(err, &e) || e.Code != contracts.CodeBadRequest {
			t.Errorf("%d slots: %v", n, err)
		}
	}
	wants(contracts.PoolChat, slots(100), true) // no process yet
	refuses(101)
	answering(t, n.Connect(t), 1)
	answering(t, n.Connect(t), 2)
	wants(contracts.PoolChat, slots(50), false)
	refuses(51)
	wants(contracts.PoolDeliver, slots(90), true)
	if _, err := a.resize(t.Context(), contracts.PoolDeliver, slots(101), "operator"); err == nil {
		t.Error("more answers at a time than the queue delivers")
	}
	wanted, err := top.wanted(t.Context())
	must(t, err)
	equal(t, "chat", wanted[contracts.PoolChat], 50)
	equal(t, "deliver", wanted[contracts.PoolDeliver], 90)
	wants(contracts.PoolChat, contracts.PoolRequest{Default: true}, false)
	if wanted, err = top.wanted(t.Context()); err != nil || len(wanted) != 1 {
		t.Errorf("wanted are %v, %v", wanted, err)
	}
	equal(t, "lines", len(lines.errorsOf(t, "slots wanted by an operator")), 4)

	// The bucket was deleted: it is made again.
	must(t, top.js.DeleteKeyValue(t.Context(), contracts.BucketConfig))
	wants(contracts.PoolChat, slots(7), false)

	n.Stop()
	_, err = a.resize(t.Context(), contracts.PoolChat, slots(8), "operator")
	var e *contracts.Error
	if !errors.As(err, &e) || e.Code != contracts.CodeQueueDown {
		t.Errorf("without a broker: %v", err)
	}
}
