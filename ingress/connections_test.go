package ingress_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"moltbot/contracts"
	"moltbot/ingress"
	"moltbot/ingress/dingtalk"
	"moltbot/ingress/feishu"
	"moltbot/ingress/im"
	"moltbot/ingress/imtest"
	"moltbot/ingress/link"
)

const appSecret = "app-secret-of-tests-CANARY"

// quickLink has waits that a test can bear.
func quickLink() link.Options {
	return link.Options{WaitMin: 10 * time.Millisecond, WaitMax: 50 * time.Millisecond, Store: 500 * time.Millisecond}
}

func socket(t testing.TB, f *imtest.Feishu) ingress.ChannelApp {
	t.Helper()
	c, err := feishu.NewSocket(feishu.SocketOptions{
		Identity: feishu.Identity{App: contracts.DefaultApp, AppID: feishuApp, TenantKey: "t1"}, AppSecret: appSecret, Endpoint: f.URL, Link: quickLink(),
	})
	if err != nil {
		t.Fatal(err)
	}
	return ingress.ChannelApp{Channel: contracts.ChannelFeishu, Name: contracts.DefaultApp, Connection: c, Policy: mentionPolicy()}
}

func dingStream(t testing.TB, d *imtest.DingTalk) ingress.ChannelApp {
	t.Helper()
	c, err := dingtalk.NewStream(dingtalk.StreamOptions{
		Identity: dingtalk.Identity{App: contracts.DefaultApp, RobotCode: "robot1", CorpID: "corp1"}, ClientID: "robot1", ClientSecret: appSecret, Endpoint: d.URL, Link: quickLink(),
	})
	if err != nil {
		t.Fatal(err)
	}
	return ingress.ChannelApp{Channel: contracts.ChannelDingTalk, Name: contracts.DefaultApp, Connection: c, Policy: mentionPolicy()}
}

func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patient)
	t.Cleanup(cancel)
	return ctx
}

// R16: what came over a long connection is acknowledged only once it is stored.
// Sent again by the platform, it is stored once.
func TestLongConnectionsAcknowledgeWhatIsStored(t *testing.T) {
	d, f := imtest.NewDingTalk("robot1", appSecret), imtest.NewFeishu(feishuApp, appSecret)
	t.Cleanup(d.Close)
	t.Cleanup(f.Close)
	r := newAppRig(t, func(o *ingress.Options) { o.Apps = []ingress.ChannelApp{dingStream(t, d), socket(t, f)} })
	push := map[string]func(id string) imtest.Ack{
		"dingtalk": func(id string) imtest.Ack {
			a, err := d.Push(within(t), []byte(r.dingtalkText(id, "hello")))
			return acked(t, a, err)
		},
		"feishu": func(id string) imtest.Ack {
			a, err := f.Push(within(t), []byte(r.feishuText(id, "hello")), 2)
			return acked(t, a, err)
		},
	}
	want := uint64(0)
	for name, send := range push {
		if a := send("one"); a.Code != 200 {
			t.Fatalf("%s: answered %d", name, a.Code)
		}
		r.broker.stop()
		if a := send("two"); a.Code != 500 {
			t.Fatalf("%s: answered %d with the queue away", name, a.Code)
		}
		r.broker.start()
		for deadline := within(t); ; { // the connection to NATS comes back by itself
			if a := send("two"); a.Code == 200 {
				break
			}
			if deadline.Err() != nil {
				t.Fatalf("%s: never answered well", name)
			}
		}
		if a := send("two"); a.Code != 200 { // the platform did not see the answer
			t.Fatalf("%s: answered %d", name, a.Code)
		}
		want += 2
		if n := r.stored(); uint64(n) != want {
			t.Fatalf("%s: %d messages are stored, want %d", name, n, want)
		}
	}
	if m := r.last(); m.Origin == nil || m.Origin.MessageID != "two" {
		t.Errorf("the last message is %+v", m.Origin)
	}
}

func acked(t testing.TB, a imtest.Ack, err error) imtest.Ack {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func redisClient(t testing.TB, addr string) *redis.Client {
	t.Helper()
	rdb := redis.NewClient(&redis.Options{Addr: addr, MaxRetries: -1, DialerRetries: 1})
	t.Cleanup(func() { _ = rdb.Close() })
	return rdb
}

func TestOneOfTwoReplicasHasTheConnection(t *testing.T) {
	d := imtest.NewDingTalk("robot1", appSecret)
	t.Cleanup(d.Close)
	rdb := redisClient(t, miniredis.RunT(t).Addr())
	reg := prometheus.NewRegistry()
	with := func(node string) func(*ingress.Options) {
		return func(o *ingress.Options) {
			o.Node, o.Apps, o.Owners = node, []ingress.ChannelApp{dingStream(t, d)}, rdb
			o.Lease = ingress.Lease{TTL: time.Hour, Renew: 20 * time.Millisecond, Retry: 20 * time.Millisecond}
			if node == "n2" {
				o.Metrics = reg
			}
		}
	}
	one := newAppRig(t, with("n1"))
	if err := d.WaitConnected(within(t), 1); err != nil {
		t.Fatal(err)
	}
	other := *one
	two := &other
	two.run(withApps(t, mentionPolicy()), with("n2"))
	until(t, "the second stands by", func() bool { return two.in.Channels()["dingtalk/default"] == "standby (another process has it)" })
	until(t, "the first says so", func() bool { return one.in.Channels()["dingtalk/default"] == im.Connected })
	if n := d.Connected(); n != 1 {
		t.Fatalf("%d are connected", n)
	}
	if err := one.stop(); err != nil {
		t.Fatal(err)
	}
	until(t, "the second is connected", func() bool { return two.in.Channels()["dingtalk/default"] == im.Connected })
	if a, err := d.Push(within(t), []byte(two.dingtalkText("m1", "hello"))); err != nil || a.Code != 200 || d.Connected() != 1 {
		t.Fatalf("answered %d, %v; %d are connected", a.Code, err, d.Connected())
	}
	all := gathered(t, reg)
	for name, want := range map[string]float64{"moltbot_channel_connected": 1, "moltbot_channel_events_total/stored": 1, "moltbot_channel_reconnects_total": 0} {
		if got, ok := all[name]; !ok || got != want {
			t.Errorf("%s is %v, %v", name, got, ok)
		}
	}
	if err := two.stop(); err != nil {
		t.Fatal(err)
	}
	if n := rdb.Exists(within(t), contracts.KeyOwner(contracts.ChannelDingTalk, contracts.DefaultApp)).Val(); n != 0 {
		t.Error("the lease was left behind")
	}
}

// gathered gives the values of a registry by name and outcome.
func gathered(t testing.TB, reg *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := f.GetName()
			for _, l := range m.GetLabel() {
				if l.GetName() == "outcome" {
					name += "/" + l.GetValue()
				}
			}
			out[name] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	return out
}

// until polls, for what gives no signal of its own.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	over := time.After(patient)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-over:
			t.Fatalf("not in time: %s", what)
		case <-tick.C:
		}
	}
}

// names is a platform that says what bots are called.
type names struct {
	id    string
	err   error
	asked chan struct{}
}

func (n *names) BotOpenID(_ context.Context, app string) (string, error) {
	n.asked <- struct{}{}
	return n.id + app, n.err
}

func bots(rdb *redis.Client, known string, n *names) *ingress.Bots {
	return ingress.NewBots(ingress.BotOptions{
		Channel: contracts.ChannelFeishu, Known: map[string]string{contracts.DefaultApp: known}, Names: n, Store: rdb,
		WaitMin: 10 * time.Millisecond, WaitMax: 20 * time.Millisecond,
	})
}

func TestTheBotsNameIsLearnedAndKept(t *testing.T) {
	m := miniredis.RunT(t)
	rdb := redisClient(t, m.Addr())
	away := &names{err: errors.New("away"), asked: make(chan struct{}, 1000)}
	b := bots(rdb, "", away)
	r := newAppRig(t, func(o *ingress.Options) { o.Bots = b })
	<-away.asked
	<-away.asked // asked again by itself
	if got := r.call("GET", "/readyz", ""); got.status != 200 || !strings.Contains(got.body, "feishu/default") ||
		!strings.Contains(got.body, "webhook; mentions in groups are not seen") {
		t.Fatalf("%d %s", got.status, got.body)
	}
	_ = r.stop()

	there := &names{id: "ou_", asked: make(chan struct{}, 1000)}
	b = bots(rdb, "", there)
	r = newAppRig(t, func(o *ingress.Options) { o.Bots = b })
	until(t, "the name is learned", func() bool { return b.OpenID(contracts.DefaultApp) == "ou_default" })
	if got := r.in.Channels()["feishu/default"]; got != "webhook" {
		t.Fatalf("the state is %q", got)
	}
	key := contracts.KeyBot(contracts.ChannelFeishu, contracts.DefaultApp)
	until(t, "it is kept", func() bool { return m.Exists(key) })
	if ttl := m.TTL(key); ttl != 30*24*time.Hour {
		t.Errorf("it is kept for %s", ttl)
	}
	_ = r.stop()

	// The next start knows it although the platform is away.
	b = bots(rdb, "", away)
	r = newAppRig(t, func(o *ingress.Options) { o.Bots = b })
	until(t, "the name is recalled", func() bool { return b.OpenID(contracts.DefaultApp) == "ou_default" })
	_ = r.stop()

	// What is configured holds, and nobody is asked.
	silent := &names{asked: make(chan struct{}, 1000)}
	b = bots(rdb, "ou_set", silent)
	r = newAppRig(t, func(o *ingress.Options) { o.Bots = b })
	_ = r.stop()
	if b.OpenID(contracts.DefaultApp) != "ou_set" || len(silent.asked) > 0 {
		t.Error("the configured name does not hold")
	}
}

// gaveUp is a connection that ends by itself.
type gaveUp struct{ runs chan struct{} }

func (g *gaveUp) Run(context.Context, im.Take) error {
	g.runs <- struct{}{}
	return errors.New("it gave up")
}
func (g *gaveUp) State() string { return im.Connected }

func TestAConnectionThatGaveUpIsSaidAndTriedAgain(t *testing.T) {
	g := &gaveUp{runs: make(chan struct{}, 100)}
	r := newBareRig(t)
	r.run(func(o *ingress.Options) {
		o.Apps = []ingress.ChannelApp{{Channel: contracts.ChannelFeishu, Name: "x", Connection: g}}
	})
	<-g.runs
	until(t, "the state says so", func() bool { return strings.HasPrefix(r.in.Channels()["feishu/x"], "disconnected") })
	<-g.runs
	if got := r.call("GET", "/readyz", ""); got.status != 200 {
		t.Errorf("%d: a channel made the process unready", got.status)
	}
}

func TestApplicationsNeedNamesOfTheirOwn(t *testing.T) {
	app := ingress.ChannelApp{Channel: contracts.ChannelFeishu, Name: "x"}
	_, err := ingress.New(ingress.Options{Apps: []ingress.ChannelApp{app, app}})
	if err == nil || !strings.Contains(err.Error(), "given twice") {
		t.Errorf("got %v", err)
	}
}
