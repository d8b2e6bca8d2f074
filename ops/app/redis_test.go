package app

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"moltbot/ops/config"
)

// client gives what newRedis makes of an address.
func client(t *testing.T, address string) redis.UniversalClient {
	t.Helper()
	rdb, err := newRedis(address, config.Pool{})
	must(t, err)
	t.Cleanup(func() { _ = rdb.Close() })
	return rdb
}

func TestNewRedisOfOneServer(t *testing.T) {
	for address, want := range map[string]struct {
		network, addr string
		db            int
		tls           bool
	}{
		"redis://user:pw@host:7000/3":  {"tcp", "host:7000", 3, false},
		"rediss://user:pw@host:7000/3": {"tcp", "host:7000", 3, true},
		"unix://user:pw@/run/s?db=3":   {"unix", "/run/s", 3, false},
		"redis://user:pw@host/3?x=%20": {},
	} {
		t.Run(address, func(t *testing.T) {
			if want.addr == "" {
				if _, err := newRedis(address, config.Pool{}); err == nil {
					t.Error("an unknown option is passed over")
				}
				return
			}
			c, ok := client(t, address).(*redis.Client)
			if !ok {
				t.Fatalf("client is %T", c)
			}
			o := c.Options()
			equal(t, "network", o.Network, want.network)
			equal(t, "address", o.Addr, want.addr)
			equal(t, "user", o.Username+":"+o.Password, "user:pw")
			equal(t, "database", o.DB, want.db)
			equal(t, "TLS", o.TLSConfig != nil, want.tls)
			equal(t, "pool", o.PoolSize, redisPool)
			if want.tls {
				equal(t, "server name", o.TLSConfig.ServerName, "host")
			}
		})
	}
}

func TestNewRedisOfACluster(t *testing.T) {
	c, ok := client(t, "rediss://user:pw@one:7000,rediss://user:pw@two:7001,three:7002").(*redis.ClusterClient)
	if !ok {
		t.Fatalf("client is %T", c)
	}
	o := c.Options()
	equal(t, "addresses", fmt.Sprint(o.Addrs), "[one:7000 two:7001 three:7002]")
	equal(t, "user", o.Username+":"+o.Password, "user:pw")
	if o.TLSConfig == nil || o.TLSConfig.ServerName != "" {
		t.Errorf("TLS = %+v, want each server held to its own name", o.TLSConfig)
	}
}

func TestNewRedisOfSentinels(t *testing.T) {
	for _, address := range []string{
		"redis://host:26379/3?master_name=main",
		"redis://host:26379/3?master_name=main,redis://other:26379",
		"redis://host:26379/3,redis://other:26379?master_name=main",
	} {
		t.Run(address, func(t *testing.T) {
			c, ok := client(t, address).(*redis.Client)
			if !ok {
				t.Fatalf("client is %T", client(t, address))
			}
			equal(t, "address", c.Options().Addr, "FailoverClient")
			equal(t, "database", c.Options().DB, 3)
		})
	}
}

func TestNewRedisKeepsSecrets(t *testing.T) {
	for _, address := range []string{
		"redis://user:" + canary + "@host:port/0", "redis://user:" + canary + "@host/many", "http://user:" + canary + "@host",
		"redis://user:" + canary + "%zz@host", "redis://host,redis://user:" + canary + "@host:port",
		"redis://host,redis://user:" + canary + "@host/many", "redis://user:" + canary + ",x@host:6379",
		"redis://host?password=" + canary, canary,
	} {
		rdb, err := newRedis(address, config.Pool{})
		if err == nil {
			_ = rdb.Close()
			t.Errorf("%s is taken", address)
			continue
		}
		hasText(t, err.Error(), "redis.url")
	}
}

func TestCheckRedis(t *testing.T) {
	ctx := context.Background()
	address := startRedis(t, "--maxmemory-policy", "noeviction", "--appendonly", "yes", "--appendfsync", "always")
	rdb := client(t, address)
	check := func(t *testing.T, durability, want string) {
		t.Helper()
		warning, err := checkRedis(ctx, rdb, durability)
		must(t, err)
		hasText(t, warning, want)
		if want == "" && warning != "" {
			t.Errorf("warning = %q", warning)
		}
	}
	set := func(t *testing.T, name, value string) {
		t.Helper()
		was := rdb.ConfigGet(ctx, name).Val()[name]
		must(t, rdb.ConfigSet(ctx, name, value).Err())
		t.Cleanup(func() { must(t, rdb.ConfigSet(ctx, name, was).Err()) })
	}
	t.Run("in order", func(t *testing.T) { check(t, "fsync", "") })
	t.Run("evicts", func(t *testing.T) {
		set(t, "maxmemory-policy", "allkeys-lru")
		_, err := checkRedis(ctx, rdb, "os")
		refused(t, err, "allkeys-lru", "set noeviction")
	})
	t.Run("syncs once a second", func(t *testing.T) {
		set(t, "appendfsync", "everysec")
		check(t, "fsync", "appendfsync always")
		check(t, "os", "")
	})
	t.Run("no file", func(t *testing.T) {
		set(t, "appendonly", "no")
		check(t, "fsync", "appendonly yes")
	})
	t.Run("settings are secret", func(t *testing.T) {
		must(t, rdb.Do(ctx, "ACL", "SETUSER", "guest", "on", ">pw", "~*", "+@all", "-config").Err())
		o := *rdb.(*redis.Client).Options()
		o.Username, o.Password = "guest", "pw"
		guest := redis.NewClient(&o)
		t.Cleanup(func() { _ = guest.Close() })
		warning, err := checkRedis(ctx, guest, "fsync")
		must(t, err)
		hasText(t, warning, "CONFIG is not allowed", "noeviction")
	})
	t.Run("gone between two questions", func(t *testing.T) {
		o := *rdb.(*redis.Client).Options()
		cut := redis.NewClient(&o)
		cut.AddHook(deaf{"config"})
		t.Cleanup(func() { _ = cut.Close() })
		_, err := checkRedis(ctx, cut, "fsync")
		waits(t, err, "settings")
	})
	t.Run("too old", func(t *testing.T) {
		o := *rdb.(*redis.Client).Options()
		old := redis.NewClient(&o)
		old.AddHook(oldServer{})
		t.Cleanup(func() { _ = old.Close() })
		_, err := checkRedis(ctx, old, "os")
		refused(t, err, "redis 6.0.16 is too old", oldestRedis)
	})
}

func TestCheckRedisWithoutAnAnswer(t *testing.T) {
	_, err := checkRedis(t.Context(), client(t, "unix://"+t.TempDir()+"/none"), "os")
	waits(t, err, "version")
}

// deaf answers one command with a broken connection.
type deaf struct{ command string }

func (d deaf) DialHook(next redis.DialHook) redis.DialHook { return next }
func (d deaf) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (d deaf) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if cmd.Name() == d.command {
			cmd.SetErr(context.DeadlineExceeded)
			return context.DeadlineExceeded
		}
		return next(ctx, cmd)
	}
}

// oldServer says that it is an old one.
type oldServer struct{ deaf }

func (oldServer) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if info, ok := cmd.(*redis.StringCmd); ok && cmd.Name() == "info" {
			info.SetVal("# Server\r\nredis_version:6.0.16\r\n")
			return nil
		}
		return next(ctx, cmd)
	}
}

func TestTooOld(t *testing.T) {
	for version, want := range map[string]bool{
		"5.0.14": true, "6.0.16": true, "6.1": true, "2.8.9": true,
		"6.2.0": false, "6.10.1": false, "7.0.15": false, "7.2": false, "10.1.0": false, "255.255.255": false,
		"": false, "unstable": false,
	} {
		equal(t, version+" is too old", tooOld(version), want)
	}
}

func TestInfoField(t *testing.T) {
	info := "# Server\r\nredis_version_x:1\r\nredis_version:7.0.15\r\nredis_mode:standalone\r\n"
	equal(t, "version", infoField(info, "redis_version"), "7.0.15")
	equal(t, "mode", infoField(info, "redis_mode"), "standalone")
	equal(t, "unknown", infoField(info, "redis"), "")
}

func TestHostOf(t *testing.T) {
	for address, want := range map[string]string{
		"redis://user:" + canary + "@host:6379/0":         "host:6379",
		"redis://user:" + canary + "@one:1,redis://two:2": "the configured address",
		"unix:///run/" + canary:                           "the configured address",
		canary:                                            "the configured address",
		"redis://user:" + canary + "/x@host":              "the configured address",
	} {
		equal(t, "host of "+address, hostOf(address), want)
	}
}

// Two thousand slots at once find their way through the bounded pool of
// connections long before its time-out.
func TestRedisPoolCarriesManySlots(t *testing.T) {
	rdb, err := newRedis(startRedis(t), config.Pool{})
	must(t, err)
	t.Cleanup(func() { _ = rdb.Close() })
	step := redis.NewScript(`redis.call('SET', KEYS[1], ARGV[1], 'PX', 60000) return redis.call('GET', KEYS[1])`)
	errs := make(chan error, 2000)
	for i := range cap(errs) {
		go func() {
			for range 5 {
				if err := step.Run(t.Context(), rdb, []string{fmt.Sprint("k", i)}, "v").Err(); err != nil {
					errs <- err
					return
				}
			}
			errs <- nil
		}()
	}
	began := time.Now()
	for range cap(errs) {
		must(t, await(t, "calls", errs))
	}
	s := rdb.PoolStats()
	t.Logf("10000 calls of 2000 slots took %s over %d connections, %d time-outs", time.Since(began), s.TotalConns, s.Timeouts)
	if s.Timeouts != 0 || s.TotalConns > redisPool {
		t.Errorf("%d calls found no connection, %d connections", s.Timeouts, s.TotalConns)
	}
}
