package app

import (
	"context"
	"fmt"

	"moltbot/contracts"
	"moltbot/scheduler"
)

// tasksPool is what the background tasks need of connections beside one for each
// slot: to ask for tasks, to take them and to renew their leases.
const tasksPool = 8

// openTasks gives the tasks a client of Redis of their own: where the other is
// full of messages, leases must still be renewed.
func (a *App) openTasks(address string) error {
	c := a.o.Config
	pool := c.Pool
	pool.MaxSize = c.Scheduler.Slots + tasksPool
	rdb, err := newBoundedRedis(address, pool, true)
	if err != nil {
		return err
	}
	a.tasks = rdb
	a.onClose("redis client of the tasks", rdb.Close)
	a.chores = scheduler.NewClient(scheduler.ClientOptions{
		Redis: rdb, Timeout: c.Scheduler.Timeout, Retention: c.Scheduler.Retention, Retries: c.Scheduler.Retries,
	})
	return nil
}

func (a *App) openScheduler(context.Context) error {
	if !a.has(RoleScheduler) {
		return nil
	}
	s := a.o.Config.Scheduler
	where, err := s.Location()
	if err != nil {
		return fmt.Errorf("scheduler.timezone: %w", err)
	}
	a.scheduler, err = scheduler.New(scheduler.Options{
		Redis: a.tasks, Client: a.chores, Handlers: a.handlers(), Timetable: a.timetable(), Location: where, LookBack: s.LookBack,
		Slots: s.Slots, SoftStop: s.SoftStop, RetryBase: s.RetryBase, RetryMax: s.RetryMax,
		Log: a.o.Log, Metrics: a.registerer(), Crash: crashPoint(),
	})
	return err
}

// handlers says who does which task.
func (a *App) handlers() map[contracts.TaskType]scheduler.Handler {
	return map[contracts.TaskType]scheduler.Handler{contracts.TaskSummarize: a.summarize}
}

// timetable is what is due at which times.
func (a *App) timetable() []scheduler.Entry { return nil }

// runScheduler waits for the store to be found in order first.
func (a *App) runScheduler(ctx context.Context) error {
	select {
	case <-a.prepared:
	case <-ctx.Done():
		return nil
	}
	return a.scheduler.Run(ctx)
}
