package ingress

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"moltbot/contracts"
	"moltbot/ingress/im"
	"moltbot/ingress/link"
	"moltbot/ingress/owner"
)

// How messages of an application come, beside what its connection says.
const (
	stateWebhook = "webhook"
	stateStandby = "standby (another process has it)"
	stateAsking  = "standby (Redis does not say who has it)"
	stateNone    = "nothing is received"
)

// Waits before a connection that ended for good is tried once more.
const (
	reconnectMin = time.Second
	reconnectMax = 5 * time.Minute
)

// channels runs the long connections of all applications.
type channels struct {
	in      *Ingress
	all     []*connection
	cancel  context.CancelFunc // nil: not started
	running sync.WaitGroup
}

// connection is one application, with or without a long connection.
type connection struct {
	app    *ChannelApp
	name   string       // platform/name
	owner  *owner.Owner // nil: nobody else can have it
	failed atomic.Bool  // it ended with an error that no new try mends
	counts eventCounts
}

func newChannels(in *Ingress) (*channels, error) {
	c := &channels{in: in}
	for i := range in.o.Apps {
		app := &in.o.Apps[i]
		n := &connection{app: app, name: string(app.Channel) + "/" + app.Name}
		if app.Connection != nil && in.o.Owners != nil {
			var err error
			n.owner, err = owner.New(owner.Options{
				Redis: in.o.Owners, Key: contracts.KeyOwner(app.Channel, app.Name), Token: in.o.Node, Log: in.o.Log,
				TTL: in.o.Lease.TTL, Renew: in.o.Lease.Renew, Retry: in.o.Lease.Retry,
			})
			if err != nil {
				return nil, err
			}
		}
		c.all = append(c.all, n)
	}
	countChannels(in.o.Metrics, c.all)
	return c, nil
}

// Lease bounds who has a long connection, and for how long nobody may. Zero
// values: the defaults of owner.Options.
type Lease struct{ TTL, Renew, Retry time.Duration }

// start begins to receive.
func (c *channels) start(ctx context.Context) {
	ctx, c.cancel = context.WithCancel(ctx)
	if c.in.o.Bots != nil {
		c.running.Go(func() { c.in.o.Bots.learn(ctx) })
	}
	for _, n := range c.all {
		if n.app.Connection == nil {
			continue
		}
		c.running.Go(func() {
			keep := func(ctx context.Context) { c.keep(ctx, n) }
			if n.owner == nil {
				keep(ctx)
				return
			}
			n.owner.Run(ctx, keep) // releases the lease last
		})
	}
}

// stop ends receiving. What it gives is closed once all that came in is stored.
func (c *channels) stop() <-chan struct{} {
	done := make(chan struct{})
	if c.cancel != nil {
		c.cancel()
	}
	go func() { defer close(done); c.running.Wait() }()
	return done
}

// keep runs a connection until ctx ends, again after a growing while where it
// gave up.
func (c *channels) keep(ctx context.Context, n *connection) {
	log := c.in.o.Log.With().Str("channel", string(n.app.Channel)).Str("app", n.app.Name).Logger()
	take := func(ctx context.Context, e im.Event) error {
		err := c.in.takeEvent(ctx, n.app, e)
		n.counts.count(err)
		return err
	}
	for wait := reconnectMin; ; wait = min(2*wait, reconnectMax) {
		err := n.app.Connection.Run(ctx, take)
		n.failed.Store(err != nil && ctx.Err() == nil)
		if ctx.Err() != nil {
			return
		}
		log.Error().Err(err).Msg("a long connection gave up, and is tried again later")
		later := time.NewTimer(wait/2 + rand.N(wait/2+1))
		select {
		case <-later.C:
			n.failed.Store(false)
		case <-ctx.Done():
			later.Stop()
			return
		}
	}
}

// state says how messages come, or why they do not.
func (n *connection) state() string {
	switch {
	case n.app.Connection == nil && n.app.Webhook == nil:
		return stateNone
	case n.app.Connection == nil:
		return stateWebhook
	case n.owner != nil && !n.owner.Held() && n.owner.Away():
		return stateAsking
	case n.owner != nil && !n.owner.Held():
		return stateStandby
	case n.failed.Load():
		return "disconnected: it gave up, and is tried again later"
	default:
		return n.app.Connection.State()
	}
}

// stats are the counts of a connection that keeps some.
func (n *connection) stats() link.Stats {
	if s, ok := n.app.Connection.(interface{ Stats() link.Stats }); ok {
		return s.Stats()
	}
	return link.Stats{}
}

// states gives the state of every application for /readyz; nil: there is none.
func (c *channels) states() map[string]string {
	if len(c.all) == 0 {
		return nil
	}
	out := make(map[string]string, len(c.all))
	for _, n := range c.all {
		out[n.name] = n.state()
		if b := c.in.o.Bots; b != nil && b.unknown(n.app.Channel, n.app.Name) {
			out[n.name] += "; mentions in groups are not seen: the bot's open_id is not known yet"
		}
	}
	return out
}

// Channels says of each application, as platform/name, how its messages come.
func (in *Ingress) Channels() map[string]string { return maps.Clone(in.channels.states()) }

// checkApps refuses what would share a lease or a name.
func checkApps(apps []ChannelApp) error {
	seen := map[string]bool{}
	for _, a := range apps {
		name := string(a.Channel) + "/" + a.Name
		if a.Channel == "" || a.Name == "" || seen[name] {
			return fmt.Errorf("the application %q is given twice or has no name", name)
		}
		seen[name] = true
	}
	return nil
}
