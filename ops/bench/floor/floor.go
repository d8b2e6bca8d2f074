// Package floor is the bare pipeline that speed is compared with: HTTP handler,
// stream, worker, Redis context, reply, acknowledgement, on the same embedded
// servers as the product and with none of its promises. It must never be used
// for anything but measuring: it loses, doubles and reorders messages.
package floor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/redis/go-redis/v9"

	"moltbot/ops/embedded"
)

// Options of the pipeline.
type Options struct {
	// Dir holds its data. Required.
	Dir string
	// Durability is embedded.DurabilityFsync or embedded.DurabilityOS, as for the
	// product.
	Durability string
	// Slots is how many messages are worked on at once. Required.
	Slots int
	// Ready is called with the address once requests are served. Required.
	Ready func(address string)
}

// Names in the stream.
const (
	stream   = "FLOOR"
	consumer = "workers"
	subjects = "floor.in.>"
	inbound  = "floor.in."
	replies  = "floor.reply."
)

// Run serves until ctx ends.
func Run(ctx context.Context, o Options) (err error) {
	var undo []func() error
	defer func() {
		for i := len(undo) - 1; i >= 0; i-- {
			err = errors.Join(err, undo[i]())
		}
	}()
	store, err := embedded.StartRedis(ctx, embedded.RedisOptions{Dir: filepath.Join(o.Dir, "redis"), Durability: o.Durability})
	if err != nil {
		return fmt.Errorf("floor: redis: %w", err)
	}
	undo = append(undo, func() error { return bounded(store.Close) })
	queue, err := embedded.StartNATS(embedded.NATSOptions{
		StoreDir: filepath.Join(o.Dir, "nats"), Sync: o.Durability == embedded.DurabilityFsync,
	})
	if err != nil {
		return fmt.Errorf("floor: nats: %w", err)
	}
	undo = append(undo, func() error { return bounded(queue.Shutdown) })
	front, err := queue.Connect()
	if err != nil {
		return err
	}
	undo = append(undo, func() error { front.Close(); return nil })
	back, err := queue.Connect()
	if err != nil {
		return err
	}
	undo = append(undo, func() error { back.Close(); return nil })
	at, err := redis.ParseURL(store.URL())
	if err != nil {
		return fmt.Errorf("floor: redis address: %w", err)
	}
	at.PoolSize = o.Slots + 16
	at.Protocol = 2                          // in 3, the client looks for pushed messages before every command
	at.ReadTimeout, at.WriteTimeout = -2, -2 // no deadlines to set: it is our own child
	rdb := redis.NewClient(at)
	undo = append(undo, rdb.Close)
	return serve(ctx, o, front, back, rdb)
}

func bounded(stop func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return stop(ctx)
}

// serve makes the stream and runs both ends of it.
func serve(ctx context.Context, o Options, front, back *nats.Conn, rdb *redis.Client) error {
	pull, err := makeStream(ctx, back)
	if err != nil {
		return fmt.Errorf("floor: %w", err)
	}
	in, err := newIngress(front)
	if err != nil {
		return fmt.Errorf("floor: %w", err)
	}
	e := echo.New()
	e.HideBanner, e.HidePort = true, true
	e.POST("/api/chat", in.chat)
	var listen net.ListenConfig
	l, err := listen.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("floor: listen: %w", err)
	}
	server := &http.Server{Handler: e}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	o.Ready(l.Addr().String())
	w := worker{conn: back, rdb: rdb, pull: pull, free: make(chan struct{}, o.Slots)}
	err = w.run(ctx)
	err = errors.Join(err, server.Close())
	if e := <-served; !errors.Is(e, http.ErrServerClosed) {
		err = errors.Join(err, e)
	}
	return err
}

func makeStream(ctx context.Context, nc *nats.Conn) (jetstream.Consumer, error) {
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, err
	}
	_, err = js.CreateStream(ctx, jetstream.StreamConfig{
		Name: stream, Subjects: []string{subjects}, Retention: jetstream.WorkQueuePolicy, Storage: jetstream.FileStorage,
	})
	if err != nil {
		return nil, fmt.Errorf("make stream: %w", err)
	}
	c, err := js.CreateConsumer(ctx, stream, jetstream.ConsumerConfig{
		Durable: consumer, AckPolicy: jetstream.AckExplicitPolicy, MaxAckPending: -1,
	})
	if err != nil {
		return nil, fmt.Errorf("make consumer: %w", err)
	}
	return c, nil
}
