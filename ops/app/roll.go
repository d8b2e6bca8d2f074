package app

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/nats-io/nats.go"

	"moltbot/contracts"
)

// The roll is called over core NATS, on one subject of ours, and not with the
// micro package of nats.go: that one answers on $SRV subjects, which need
// permissions of their own, and brings five subscriptions and statistics of its
// endpoints, where all we want is one record whose form we keep.
const (
	rollQuiet = 300 * time.Millisecond // the roll is complete when nobody answered for so long
	rollMost  = 2 * time.Second
)

// answerRoll answers whoever calls the roll, for as long as nc lives.
func (a *App) answerRoll(nc *nats.Conn) error {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	respond := func(m *nats.Msg) {
		b, err := contracts.EncodeWorkerStatus(a.worker(host))
		if err == nil {
			err = m.Respond(b)
		}
		if err != nil {
			a.o.Log.Debug().Err(err).Msg("roll not answered")
		}
	}
	if _, err = nc.Subscribe(contracts.SubjectWorkersStatus(), respond); err != nil {
		return fmt.Errorf("listen for the roll: %w", err)
	}
	// Reading files takes its time, which the roll must not wait for.
	_, err = nc.Subscribe(contracts.SubjectModelsReload(), func(m *nats.Msg) { a.models.ask(m.Data, func() { respond(m) }) })
	if err != nil {
		return fmt.Errorf("listen for reloads: %w", err)
	}
	return nil
}

func (a *App) worker(host string) contracts.WorkerStatus {
	slots, inUse := a.workers.Slots()
	sending, inDelivery, _ := a.workers.DeliverySlots()
	return contracts.WorkerStatus{
		Node: a.node, Host: host, PID: os.Getpid(), Build: a.o.Version, Started: a.started.UTC(),
		Pools: map[contracts.Pool]contracts.PoolStatus{
			contracts.PoolChat:    {Slots: slots, InUse: inUse, Configured: a.o.Config.Workers.Slots},
			contracts.PoolDeliver: {Slots: sending, InUse: inDelivery, Configured: a.o.Config.Deliver.Slots},
		},
		Models: a.models.status(),
	}
}

// callRoll collects the answers of all processes with the workers role.
func callRoll(ctx context.Context, nc *nats.Conn) ([]contracts.WorkerStatus, error) {
	return pollWorkers(ctx, nc, contracts.SubjectWorkersStatus(), nil, func([]contracts.WorkerStatus) bool { return false })
}

// pollWorkers asks all processes with the workers role, until enough have answered or
// nobody does any more.
func pollWorkers(ctx context.Context, nc *nats.Conn, subject string, question []byte, enough func([]contracts.WorkerStatus) bool) ([]contracts.WorkerStatus, error) {
	all, err := poll(ctx, nc, call[contracts.WorkerStatus]{
		subject: subject, question: question, decode: contracts.DecodeWorkerStatus, enough: enough, quiet: rollQuiet,
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(all, func(a, b contracts.WorkerStatus) int {
		return cmp.Or(cmp.Compare(a.Host, b.Host), cmp.Compare(a.PID, b.PID), cmp.Compare(a.Node, b.Node))
	})
	return all, nil
}

// roll is GET /admin/workers.
func (a *App) roll(ctx context.Context) (contracts.AdminWorkers, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	workers, err := callRoll(ctx, a.topology.js.Conn())
	if err != nil {
		return contracts.AdminWorkers{}, queueDown(err)
	}
	wanted, err := a.topology.wanted(ctx)
	if err != nil {
		return contracts.AdminWorkers{}, queueDown(err)
	}
	queue, err := a.topology.status(ctx)
	if err != nil {
		return contracts.AdminWorkers{}, queueDown(err)
	}
	return contracts.AdminWorkers{Workers: workers, Wanted: wanted, Queue: queue}, nil
}

// resize is PUT /admin/pools/{pool}.
func (a *App) resize(ctx context.Context, pool contracts.Pool, r contracts.PoolRequest, by string) (contracts.PoolReply, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	reply := contracts.PoolReply{Pool: pool, Slots: r.Slots}
	workers, err := callRoll(ctx, a.topology.js.Conn())
	if err != nil {
		return reply, queueDown(err)
	}
	processes := runningPool(workers, pool)
	if r.Slots != nil {
		if err := fitsQueue(*r.Slots, processes, a.o.Config.Queue.MaxAckPending); err != nil {
			return reply, err
		}
	}
	if err := a.topology.want(ctx, pool, r.Slots); err != nil {
		return reply, queueDown(err)
	}
	if processes == 0 {
		reply.Note = fmt.Sprintf("stored, but no process runs the pool %s yet", pool)
	}
	line := a.o.Log.Info().Str("pool", string(pool)).Str("user_id", by).Int("processes", processes)
	if r.Slots != nil {
		line = line.Int("slots", *r.Slots)
	}
	line.Bool("default", r.Slots == nil).Msg("slots wanted by an operator")
	return reply, nil
}

// runningPool counts the processes that have the pool.
func runningPool(workers []contracts.WorkerStatus, pool contracts.Pool) (n int) {
	for _, w := range workers {
		if _, ok := w.Pools[pool]; ok {
			n++
		}
	}
	return n
}

// fitsQueue refuses slots that the queue would never fill: it has no more than
// maxPending messages delivered at a time.
func fitsQueue(slots, processes, maxPending int) error {
	if total := slots * max(1, processes); total > maxPending {
		return &contracts.Error{Code: contracts.CodeBadRequest, Message: fmt.Sprintf(
			"%d slots in %d processes are %d, and queue.max_ack_pending lets only %d messages be worked on at a time",
			slots, max(1, processes), total, maxPending)}
	}
	return nil
}

func queueDown(err error) error {
	return &contracts.Error{Code: contracts.CodeQueueDown, Message: "the queue does not answer", RetryAfter: time.Second, Err: err}
}
