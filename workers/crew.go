package workers

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/nats-io/nats.go/jetstream"
)

// crew settles deliveries, each on a goroutine of its own. A goroutine that is
// through stays for the next delivery: a new one would have to grow its stack
// along the whole way of a message again.
type crew struct {
	settle func(take, work context.Context, d jetstream.Msg)

	next    chan job // to who stays
	staying atomic.Int32
	over    chan struct{} // closed by end
	jobs    sync.WaitGroup
	members sync.WaitGroup
}

type job struct {
	take, work context.Context
	d          jetstream.Msg
}

// mostStaying bounds the stacks that are kept for nothing.
const mostStaying = 128

func newCrew(settle func(take, work context.Context, d jetstream.Msg)) *crew {
	return &crew{settle: settle, next: make(chan job), over: make(chan struct{})}
}

func (c *crew) start(j job) {
	c.jobs.Add(1)
	select {
	case c.next <- j:
	default:
		c.members.Go(func() { c.member(j) })
	}
}

func (c *crew) member(j job) {
	for {
		c.settle(j.take, j.work, j.d)
		j = job{} // nothing of it is held while waiting
		c.jobs.Done()
		if c.staying.Add(1) > mostStaying {
			c.staying.Add(-1)
			return
		}
		select {
		case j = <-c.next:
			c.staying.Add(-1)
		case <-c.over:
			return
		}
	}
}

// end waits for what runs. Nothing may be started after it.
func (c *crew) end() {
	c.jobs.Wait()
	close(c.over)
	c.members.Wait()
}
