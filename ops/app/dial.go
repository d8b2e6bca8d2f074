package app

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/redis/go-redis/v9"

	"moltbot/ops/config"
	"moltbot/ops/embedded"
	"moltbot/workers/session"
)

func (a *App) openRedis(ctx context.Context) error {
	c := a.o.Config
	address, err := withPassword(c.Redis.URL, c.Redis.Password)
	if err != nil {
		return err
	}
	if address == "" {
		if !a.o.Embedded {
			return errors.New(`redis.url is not set; name a Redis, or use "moltbot up", which brings its own`)
		}
		child, err := embedded.StartRedis(ctx, embedded.RedisOptions{
			Dir: filepath.Join(c.DataDir, "redis"), Durability: c.Durability, PathLookup: a.o.PathLookup,
			Log: a.o.Log.With().Str("part", "redis").Logger(),
		})
		if err != nil {
			return err
		}
		a.redis = child
		a.onClose("redis", func() error {
			stop, cancel := context.WithTimeout(context.Background(), 15*time.Second)
			defer cancel()
			return child.Close(stop)
		})
		address = child.URL()
	}
	rdb, err := newRedis(address, c.Pool)
	if err != nil {
		return err
	}
	a.rdb = rdb
	a.onClose("redis client", rdb.Close)
	if err := a.openTasks(address); err != nil {
		return err
	}
	a.watchStores()
	a.store = session.New(session.Options{
		Redis: rdb, Sealer: a.keys.Sealer(), Namer: a.namer, ResultTTL: c.Reply.ResultTTL, BoxTTL: c.Reply.DoneTTL, DoneTTL: c.Reply.DoneTTL,
		SessionTTL: c.Session.TTL, KeepTurns: c.Session.KeepRounds, KeepBytes: c.Session.MaxBytes,
	})
	return nil
}

// pipelined gives rdb with the commands that wait at the same moment sent as one
// pipeline, which spares this process and Redis most of their system calls. Its
// calls heed no context, only the client's time-outs; it is for the workers.
//
// To one server the pipeline is full duplex: nobody waits for the answers of the
// pipeline before, which brought a tenth more throughput (ops/docs/performance.md).
func (a *App) pipelined(rdb redis.UniversalClient) (redis.UniversalClient, error) {
	var pipe *redis.AutoPipeliner
	var err error
	switch c := rdb.(type) {
	case *redis.Client:
		pipe, err = c.AutoPipelineWithOptions(&redis.AutoPipelineOptions{FullDuplex: true})
	case *redis.ClusterClient:
		pipe, err = c.AutoPipeline()
	default:
		return rdb, nil
	}
	if err != nil {
		return nil, fmt.Errorf("pipeline: %w", err)
	}
	a.onClose("redis pipeline", pipe.Close)
	return pipe, nil
}

// redisPool bounds the connections to each Redis server. It does not follow the
// slots, which can grow while the process runs: every call is one short exchange,
// so that a hundred connections carry thousands of slots, and those that are not
// needed are never opened.
const redisPool = 128

// newRedis takes one address, or several with commas between for a cluster;
// ?master_name= at any of them makes them sentinels. The pool is that of each
// server: a command that finds all connections busy waits for one, 4s at most.
func newRedis(address string, pool config.Pool) (redis.UniversalClient, error) {
	return newBoundedRedis(address, pool, false)
}

// newBoundedRedis is newRedis; bounded, a call ends with its context, too, and
// not only with the time-outs of the connection.
func newBoundedRedis(address string, pool config.Pool, bounded bool) (redis.UniversalClient, error) {
	parts := strings.Split(address, ",")
	first, master, err := cutMaster(parts[0])
	if err != nil {
		return nil, err
	}
	o, err := redis.ParseURL(first)
	if err != nil {
		return nil, errors.New("redis.url is not an address such as redis://user:password@host:6379/0")
	}
	u := &redis.UniversalOptions{
		Addrs: []string{o.Addr}, DB: o.DB, Username: o.Username, Password: o.Password, TLSConfig: o.TLSConfig,
		Protocol:   2, // with 3 the client looks for pushed messages before every command
		MasterName: master, PoolSize: cmp.Or(pool.MaxSize, redisPool),
		PipelinePoolSize: 1, // beside it, for the workers' pipeline
		ConnMaxIdleTime:  pool.IdleTimeout, ConnMaxLifetime: pool.MaxLifetime, ConnMaxLifetimeJitter: pool.MaxLifetime / 10,
		DialTimeout: 2 * time.Second, ReadTimeout: 3 * time.Second, WriteTimeout: 3 * time.Second,
		PoolTimeout: 4 * time.Second, MaxRetries: 2, ContextTimeoutEnabled: bounded,
	}
	for _, p := range parts[1:] {
		if !strings.Contains(p, "://") {
			p = "redis://" + p
		}
		p, master, err := cutMaster(p)
		if err != nil {
			return nil, err
		}
		more, err := redis.ParseURL(p)
		if err != nil {
			return nil, errors.New("redis.url names an address that cannot be read")
		}
		u.Addrs = append(u.Addrs, more.Addr)
		u.MasterName = cmp.Or(u.MasterName, master)
	}
	if u.TLSConfig != nil && (len(u.Addrs) > 1 || u.MasterName != "") {
		u.TLSConfig.ServerName = "" // each server is held to its own name, not to that of the first
	}
	if o.Network == "unix" {
		o.PoolSize, o.DialTimeout, o.ReadTimeout, o.WriteTimeout = u.PoolSize, u.DialTimeout, u.ReadTimeout, u.WriteTimeout
		o.Protocol, o.PoolTimeout, o.MaxRetries, o.PipelinePoolSize = u.Protocol, u.PoolTimeout, u.MaxRetries, u.PipelinePoolSize
		o.ContextTimeoutEnabled = bounded
		o.ConnMaxIdleTime, o.ConnMaxLifetime, o.ConnMaxLifetimeJitter = u.ConnMaxIdleTime, u.ConnMaxLifetime, u.ConnMaxLifetimeJitter
		return redis.NewClient(o), nil
	}
	return redis.NewUniversalClient(u), nil
}

func cutMaster(address string) (rest, master string, err error) {
	u, err := url.Parse(address)
	if err != nil {
		return "", "", errors.New("redis.url cannot be read") // the cause would quote the password
	}
	q := u.Query()
	master = q.Get("master_name")
	q.Del("master_name")
	u.RawQuery = q.Encode()
	return u.String(), master, nil
}

func (a *App) openNATS(context.Context) error {
	c := a.o.Config
	if c.NATS.URL != "" {
		return nil // dialed by each role, and waited for in prepare
	}
	if !a.o.Embedded {
		return errors.New(`nats.url is not set; name a NATS server, or use "moltbot up", which brings its own`)
	}
	n, err := embedded.StartNATS(embedded.NATSOptions{
		StoreDir: filepath.Join(c.DataDir, "nats"), Sync: c.Durability == embedded.DurabilityFsync,
		MaxStore: 2*c.Queue.MaxBytes + sendBytes(c.Queue), Log: a.o.Log.With().Str("part", "nats").Logger(),
	})
	if err != nil {
		return err
	}
	a.nats = n
	a.onClose("nats", func() error {
		stop, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		return n.Shutdown(stop)
	})
	return nil
}

// dialNATS gives a connection that never gives up, and buffers nothing while it
// is down: a publish without a server is an error at once.
func (a *App) dialNATS(name string) (*nats.Conn, error) {
	log := a.o.Log.With().Str("connection", name).Logger()
	options := []nats.Option{
		nats.Name("moltbot-" + name + "-" + a.node),
		nats.MaxReconnects(-1), nats.ReconnectWait(200 * time.Millisecond), nats.ReconnectBufSize(-1),
		nats.RetryOnFailedConnect(true), nats.Timeout(2 * time.Second),
		nats.IgnoreAuthErrorAbort(), // a password that is being changed must not close it for good
		nats.PingInterval(10 * time.Second), nats.MaxPingsOutstanding(2),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			log.Warn().Err(err).Msg("nats reports")
		}),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				log.Warn().Err(err).Msg("nats connection lost")
			}
		}),
		nats.ReconnectHandler(func(*nats.Conn) { log.Info().Msg("nats connection is back") }),
	}
	if a.nats != nil {
		return a.nats.Connect(options...)
	}
	if n := a.o.Config.NATS; n.User != "" {
		options = append(options, nats.UserInfo(n.User, n.Password))
	}
	if f := a.o.Config.NATS.CredsFile; f != "" {
		options = append(options, nats.UserCredentials(f))
	}
	nc, err := nats.Connect(a.o.Config.NATS.URL, options...)
	if quoting := (*url.Error)(nil); errors.As(err, &quoting) { // with the password
		return nil, errors.New("nats.url is not an address such as nats://host:4222")
	}
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	return nc, nil
}

// closeConn lets what is written leave first. A connection that is down has
// nothing that could leave.
func closeConn(nc *nats.Conn) error {
	if nc.IsConnected() {
		_ = nc.FlushTimeout(time.Second) // what is lost here comes again after the ack wait
	}
	nc.Close()
	return nil
}

// refusal is a finding that waiting does not mend.
type refusal struct{ error }

// checkSync proves that an outside NATS writes to disk before it acknowledges.
func checkSync(ctx context.Context, c config.Config) error {
	if c.Durability != embedded.DurabilityFsync || c.NATS.URL == "" || c.NATS.AllowUnprovenSync {
		return nil
	}
	if c.NATS.MonitorURL == "" {
		return refusal{errors.New("durability is fsync, but nothing proves that NATS syncs: set nats.monitor_url to its monitoring " +
			"address, or nats.allow_unproven_sync: true, or durability: os")}
	}
	for m := range strings.SplitSeq(c.NATS.MonitorURL, ",") {
		synced, err := syncsAlways(ctx, strings.TrimSpace(m))
		if err != nil {
			return fmt.Errorf("ask %s whether it syncs: %w", hostOf(m), err)
		}
		if !synced {
			return refusal{fmt.Errorf("NATS at %s acknowledges before it syncs: set \"sync_interval: always\" in its jetstream block, "+
				"or durability: os here", hostOf(m))}
		}
	}
	return nil
}

func syncsAlways(ctx context.Context, monitor string) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimRight(monitor, "/")+"/varz", nil)
	if err != nil {
		return false, errors.New("nats.monitor_url is not an http address")
	}
	req.Close = true // asked once: keep no connection
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return false, errors.Unwrap(err) // the outer error would quote the address
	}
	defer func() { _ = res.Body.Close() }() // read only
	if res.StatusCode != http.StatusOK {
		return false, fmt.Errorf("it answers %d", res.StatusCode)
	}
	var varz struct {
		JetStream struct {
			Config *struct {
				SyncAlways bool `json:"sync_always"`
			} `json:"config"`
		} `json:"jetstream"`
	}
	if err := json.NewDecoder(io.LimitReader(res.Body, 1<<20)).Decode(&varz); err != nil {
		return false, fmt.Errorf("its answer cannot be read: %w", err)
	}
	if varz.JetStream.Config == nil {
		return false, refusal{errors.New("JetStream is not enabled there")}
	}
	return varz.JetStream.Config.SyncAlways, nil
}

// oldestRedis is the oldest version that has what we need.
const oldestRedis = "6.2" // see tooOld

// checkRedis refuses a Redis that would lose what must be kept.
func checkRedis(ctx context.Context, rdb redis.UniversalClient, durability string) (warning string, err error) {
	info, err := rdb.Info(ctx, "server").Result()
	if err != nil && !denied(err) {
		return "", fmt.Errorf("ask Redis for its version: %w", err)
	}
	if v := infoField(info, "redis_version"); tooOld(v) {
		return "", refusal{fmt.Errorf("redis %s is too old, %s or newer is needed", v, oldestRedis)}
	}
	policy, err := rdb.ConfigGet(ctx, "maxmemory-policy").Result()
	if err != nil && !denied(err) {
		return "", fmt.Errorf("ask Redis for its settings: %w", err)
	}
	if err != nil {
		return "the settings of Redis could not be read (CONFIG is not allowed): make sure of maxmemory-policy noeviction", nil
	}
	if p := policy["maxmemory-policy"]; p != "" && p != "noeviction" {
		return "", refusal{fmt.Errorf("redis has maxmemory-policy %s, which drops what must be kept: set noeviction", p)}
	}
	sync, err := rdb.ConfigGet(ctx, "append*").Result()
	if err == nil && durability == embedded.DurabilityFsync && (sync["appendonly"] != "yes" || sync["appendfsync"] != "always") {
		return "Redis does not sync every write: a power cut can cost the last answers and make messages be answered twice; " +
			"set appendonly yes and appendfsync always", nil
	}
	return "", nil
}

// denied reports whether Redis answered that it will not say: the command is
// not allowed, or one that a look-alike does not know. Anything else is no answer.
func denied(err error) bool {
	var answer redis.Error
	return errors.As(err, &answer)
}

// tooOld compares major and minor. A version that is not like 7.0.15 is let pass.
func tooOld(version string) bool {
	var major, minor int
	if _, err := fmt.Sscanf(version, "%d.%d", &major, &minor); err != nil {
		return false
	}
	return major < 6 || major == 6 && minor < 2
}

func infoField(info, name string) string {
	for line := range strings.Lines(info) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), name+":"); ok {
			return v
		}
	}
	return ""
}

// hostOf is an address without what may be secret. Of several it names none.
func hostOf(address string) string {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || strings.Contains(address, ",") {
		return "the configured address"
	}
	return u.Host
}
