package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"moltbot/contracts"
	"moltbot/ingress"
	"moltbot/ingress/filter"
	"moltbot/ops/apidoc"
	"moltbot/ops/config"
	"moltbot/ops/embedded"
	"moltbot/ops/keyring"
	"moltbot/workers"
	"moltbot/workers/deliver"
	"moltbot/workers/mailbox"
	"moltbot/workers/prompt"
)

func (a *App) openWorkers(context.Context) error {
	nc, err := a.connect("workers")
	if err != nil {
		return err
	}
	c := a.o.Config
	if a.topology, err = newTopology(nc, c, a.o.Log); err != nil {
		return err
	}
	a.follower = newFollower(a.topology, a.o.Log)
	if err := a.answerKeys(nc); err != nil {
		return err
	}
	if !a.asksModels() {
		return a.openModels(nil)
	}
	var models *answerer
	if err := a.openCost(func(provider string) bool { return models.streams(provider) }); err != nil {
		return err
	}
	if models, err = a.openChain(); err != nil {
		return fmt.Errorf("model: %w", err)
	}
	if err := a.openModels(models); err != nil {
		return err
	}
	if err := a.openSummarizer(models); err != nil || !a.has(RoleWorkers) {
		return err
	}
	first := c.Model.First()
	builder, err := prompt.New(prompt.Options{
		Rounds: c.Session.Rounds, Tokens: c.Session.Tokens, MessageTokens: c.Session.MessageTokens,
		System: c.Session.System, Systems: systems(c.Session.Systems),
	})
	if err != nil {
		return err
	}
	go builder.For(first.Model).Warm() // reads a table in memory and ends by itself
	pipe, err := a.pipelined(a.rdb)
	if err != nil {
		return err
	}
	a.workers, err = workers.New(workers.Options{
		Node: a.node, Conn: nc, Redis: pipe, Here: a.takeReply, HereDelta: a.takeDelta, Alone: a.nats != nil, Sealer: a.keys.Sealer(), Store: a.store, Models: models,
		Prompt: builder, Log: a.o.Log, Consumer: a.topology.consumer, Slots: c.Workers.Slots,
		SoftStop: c.Workers.SoftStop, Mailbox: mailboxOptions(c), PurgeEvery: c.Queue.PurgeEvery,
		MaxFinished: uint64(keptTotal(c.Queue)), Metrics: a.registerer(), Traces: a.tracerProvider(),
		Chores: a.summarized(a.chores, models), SummarizeAfter: c.Session.Summary.After,
		Delivery: a.delivery(), Senders: a.senders, Media: a.platforms, Signs: a.platforms, MaxAge: maxAge(c),
	})
	if err != nil {
		return err
	}
	a.follower.addPool(contracts.PoolChat, c.Workers.Slots, a.workers.SetSlots)
	a.follower.addPool(contracts.PoolDeliver, c.Deliver.Slots, a.workers.SetDeliverySlots)
	return a.answerRoll(nc)
}

func mailboxOptions(c config.Config) mailbox.Options {
	q := c.Queue
	return mailbox.Options{
		Window: c.Session.Rounds, KeepTurns: c.Session.KeepRounds, KeepBytes: c.Session.MaxBytes, MaxAge: c.Session.MaxAge, Lease: q.Lease, AckWait: q.AckWait, Beat: q.Beat,
		BusyDelay: q.BusyDelay, MaxAttempts: q.MaxAttempts, RetryBase: q.RetryBase, RetryMax: q.RetryMax,
		RetryFor: q.RetryFor, MaxKept: int(keptPerConversation(q)), ContextTTL: c.Session.TTL,
		BoxTTL: c.Reply.DoneTTL, DoneTTL: c.Reply.DoneTTL, ResultTTL: c.Reply.ResultTTL, Crash: crashPoint(),
	}
}

func (a *App) openIngress(ctx context.Context) error {
	if !a.has(RoleIngress) {
		return nil
	}
	c := a.o.Config
	nc, err := a.connect("ingress")
	if err != nil {
		return err
	}
	proxies, err := networks(c.HTTP.TrustedProxies)
	if err != nil {
		return err
	}
	rate, err := c.HTTP.Rate()
	if err != nil {
		return err
	}
	var listen net.ListenConfig
	if a.listener, err = listen.Listen(ctx, "tcp", c.Listen); err != nil {
		return fmt.Errorf("listen on %s (is another program there? choose one with --listen): %w", c.Listen, err)
	}
	a.onClose("listener", closeListener(a.listener))
	a.openUsage()
	admin, err := a.openAdmin(ctx)
	if err != nil {
		return fmt.Errorf("admin API: %w", err)
	}
	if err := a.openChannels(); err != nil {
		return err
	}
	docs, err := apidoc.New()
	if err != nil {
		return err
	}
	hosts, err := contracts.ParseCallbackHosts(c.Callback.Hosts)
	if err != nil {
		return err
	}
	a.ingress, err = ingress.New(ingress.Options{
		Node: a.node, Listener: a.listener, Conn: nc, Store: a.store, Sessions: a.store, Opener: a.store, Sealer: a.keys.Sealer(),
		Namer: a.namer, Verifier: verifier{a.keys}, Log: a.o.Log, Checks: a.checks(nc.IsConnected), Repair: a.repair,
		Models: a.models, MaxOpenAIBody: c.HTTP.MaxOpenAIBody, OpenAICap: c.Reply.OpenAICap,
		Admin: admin, Docs: docs, MaxBody: c.HTTP.MaxBody, MaxChars: c.HTTP.MaxChars, Filter: filter.Mode(c.HTTP.Filter), MaxHeader: c.HTTP.MaxHeader,
		HeaderTimeout: c.HTTP.HeaderTimeout, ReadTimeout: c.HTTP.ReadTimeout, Cap: c.Reply.Cap, StreamCap: c.Reply.StreamCap, Abandoner: a.store, Stopper: a.store,
		Publish: c.Queue.PublishTimeout, GroupCommit: groupCommit(c), DoneTTL: c.Reply.DoneTTL, MaxWaiting: c.HTTP.MaxWaiting,
		Rate: rate, DailyTokens: int64(c.HTTP.DailyTokens), Budget: a.usage, Limits: a.rdb, TrustedProxy: proxies,
		Apps: a.apps, Owners: a.rdb, Bots: a.bots,
		Metrics: a.registerer(), Traces: a.tracerProvider(), Callbacks: hosts, Deliveries: deliver.NewRecords(a.rdb),
	})
	return err
}

// groupCommit reports whether batches save anything: where each publish waits
// for its own write to disk. A replicated stream's log groups by itself (DESIGN 7).
func groupCommit(c config.Config) bool {
	return c.Queue.GroupCommit && c.Durability == embedded.DurabilityFsync && c.NATS.Replicas == 1
}

// takeReply hands a reply to the ingress of this process, which is opened later.
func (a *App) takeReply(subject string, reply contracts.Reply) bool {
	return a.ingress != nil && a.ingress.Take(subject, reply)
}

// takeDelta does the same with a piece of an answer.
func (a *App) takeDelta(subject string, d contracts.Delta) bool {
	return a.ingress != nil && a.ingress.TakeDelta(subject, d)
}

// repair is called when a publish found no stream.
func (a *App) repair(ctx context.Context) error {
	select {
	case <-a.prepared:
	default:
		return nil // prepare is at it
	}
	_, err := a.topology.consumer(ctx)
	if err != nil {
		a.o.Log.Error().Err(err).Msg("the queue could not be made again")
	}
	return err
}

// verifier speaks ingress' language for the keyring.
type verifier struct{ keys *keyring.Keyring }

func (v verifier) Verify(token string) (ingress.Identity, error) {
	c, err := v.keys.Verify(token)
	if err != nil {
		return ingress.Identity{}, err
	}
	return ingress.Identity{User: c.User, Scopes: c.Scopes, Rate: c.Rate, Models: c.Models, Budget: c.Budget}, nil
}

func networks(cidrs []string) ([]*net.IPNet, error) {
	var out []*net.IPNet
	var errs []error
	for _, s := range cidrs {
		_, n, err := net.ParseCIDR(s)
		if err != nil {
			errs = append(errs, fmt.Errorf("http.trusted_proxies: %w", err))
			continue
		}
		out = append(out, n)
	}
	return out, errors.Join(errs...)
}

// closeListener closes a listener that a server may have closed before.
func closeListener(l net.Listener) func() error {
	return func() error {
		if err := l.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			return err
		}
		return nil
	}
}

func uptime(since time.Time) int64 { return int64(time.Since(since).Seconds()) }

func systems(of []config.System) []prompt.System {
	all := make([]prompt.System, len(of))
	for i, s := range of {
		all[i] = prompt.System{Pattern: s.Pattern, Text: s.System}
	}
	return all
}
