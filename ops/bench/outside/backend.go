// Package outside stands in for what an operator brings: a NATS server, a Redis
// and a model provider, on loopback, for the scenarios of a bench that run roles
// as processes of their own. It is never part of a production process.
package outside

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/redis/go-redis/v9"

	"moltbot/ops/embedded"
)

// BackendOptions of a NATS with a Redis beside it.
type BackendOptions struct {
	// Dir holds their data. Required.
	Dir string
	// Durability is embedded.DurabilityFsync or embedded.DurabilityOS.
	Durability string
	// Ready is called with both addresses. Required.
	Ready func(nats, redis string)
}

const (
	natsReady = 10 * time.Second
	stopWait  = 10 * time.Second
	// Every worker slot may hold a connection; the default of Redis is 10000.
	redisClients = "18000"
)

// RunBackend serves until ctx ends.
func RunBackend(ctx context.Context, o BackendOptions) (err error) {
	store, err := embedded.StartRedis(ctx, embedded.RedisOptions{Dir: filepath.Join(o.Dir, "redis"), Durability: o.Durability})
	if err != nil {
		return fmt.Errorf("backend: redis: %w", err)
	}
	defer func() {
		stop, cancel := context.WithTimeout(context.Background(), stopWait)
		defer cancel()
		err = errors.Join(err, store.Close(stop))
	}()
	if err := admit(ctx, store.URL()); err != nil {
		return err
	}
	s, err := server.NewServer(&server.Options{
		ServerName: "bench", Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, JetStream: true,
		StoreDir: filepath.Join(o.Dir, "nats"), SyncAlways: o.Durability == embedded.DurabilityFsync, DisableJetStreamBanner: true,
	})
	if err != nil {
		return fmt.Errorf("backend: nats: %w", err)
	}
	s.Start()
	defer func() {
		s.Shutdown()
		s.WaitForShutdown()
	}()
	if !s.ReadyForConnections(natsReady) {
		return fmt.Errorf("backend: nats is not ready after %s", natsReady)
	}
	o.Ready(s.ClientURL(), store.URL())
	select {
	case <-ctx.Done():
		return nil
	case <-store.Done():
		return store.Err()
	}
}

// admit lets Redis take more clients. One that refuses keeps its own limit, and
// the load shows whether that is enough.
func admit(ctx context.Context, address string) error {
	o, err := redis.ParseURL(address)
	if err != nil {
		return fmt.Errorf("backend: redis address: %w", err)
	}
	rdb := redis.NewClient(o)
	var refused redis.Error
	if err := rdb.ConfigSet(ctx, "maxclients", redisClients).Err(); err != nil && !errors.As(err, &refused) {
		return errors.Join(fmt.Errorf("backend: redis: %w", err), rdb.Close())
	}
	return rdb.Close()
}
