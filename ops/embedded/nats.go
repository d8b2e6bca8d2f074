package embedded

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"
)

const (
	natsReadyWait  = 10 * time.Second
	natsMaxPayload = 1 << 20
)

// NATSOptions says where the embedded server keeps its streams and how hard.
type NATSOptions struct {
	// StoreDir is where the streams live. Required. One process at a time: see Lock.
	StoreDir string
	// Sync puts every message on disk before it is acknowledged. Without it a
	// power cut can cost what came in since the last background sync.
	Sync bool
	// MaxStore bounds the streams on disk, in bytes. Default: 4 GiB.
	MaxStore int64
	// MaxMemory bounds the streams in memory, in bytes. Default: 64 MiB.
	MaxMemory int64
	// ServerName must not change between starts. Default: "moltbot".
	ServerName string
	// Log gets the server's own lines. The zero value discards them.
	Log zerolog.Logger
}

func (o NATSOptions) withDefaults() (NATSOptions, error) {
	if o.MaxStore == 0 {
		o.MaxStore = 4 << 30
	}
	if o.MaxMemory == 0 {
		o.MaxMemory = 64 << 20
	}
	if o.ServerName == "" {
		o.ServerName = "moltbot"
	}
	var errs []error
	if o.MaxStore < 0 || o.MaxMemory < 0 {
		errs = append(errs, fmt.Errorf("max store (%d) and max memory (%d) must not be negative", o.MaxStore, o.MaxMemory))
	}
	dir, err := privateDir(o.StoreDir)
	o.StoreDir = dir
	return o, errors.Join(append(errs, err)...)
}

// NATS is a JetStream server in this process. It listens nowhere.
type NATS struct {
	server *server.Server
}

// StartNATS returns once the server takes connections. Reading the store back
// takes as long as the store is large; what follows is bounded by 10 s.
func StartNATS(opts NATSOptions) (*NATS, error) {
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("nats options: %w", err)
	}
	s, err := server.NewServer(serverOptions(opts))
	if err != nil {
		return nil, fmt.Errorf("create nats server: %w", err)
	}
	lines := &natsLog{log: opts.Log}
	s.SetLoggerV2(lines, false, false, false)
	s.Start() // returns by itself: there is no listener to serve
	if err := awaitNATS(s, lines); err != nil {
		s.Shutdown()
		s.WaitForShutdown()
		return nil, err
	}
	return &NATS{server: s}, nil
}

// awaitNATS asks for the cause first: a server that failed to start would
// otherwise only be seen by its silence.
func awaitNATS(s *server.Server, lines *natsLog) error {
	if cause := lines.fatal(); cause != nil {
		return fmt.Errorf("start nats server: %w", cause)
	}
	if !s.ReadyForConnections(natsReadyWait) {
		return fmt.Errorf("start nats server: not ready after %s", natsReadyWait)
	}
	if !s.JetStreamEnabled() {
		return errors.New("start nats server: JetStream did not start")
	}
	return nil
}

func serverOptions(o NATSOptions) *server.Options {
	return &server.Options{
		ServerName:             o.ServerName,
		DontListen:             true,
		NoSigs:                 true, // else the library takes SIGINT from main
		JetStream:              true,
		StoreDir:               o.StoreDir,
		SyncAlways:             o.Sync,
		JetStreamMaxStore:      o.MaxStore,
		JetStreamMaxMemory:     o.MaxMemory,
		MaxPayload:             natsMaxPayload,
		DisableJetStreamBanner: true,
	}
}

// Connect opens a connection inside this process. The caller closes it, and
// does so before Shutdown: else the client goes on trying to reconnect.
func (n *NATS) Connect(opts ...nats.Option) (*nats.Conn, error) {
	nc, err := nats.Connect("", append([]nats.Option{nats.InProcessServer(n.server)}, opts...)...)
	if err != nil {
		return nil, fmt.Errorf("connect to embedded nats: %w", err)
	}
	return nc, nil
}

// Server is the server itself, for tests that ask it or break it.
func (n *NATS) Server() *server.Server { return n.server }

// Shutdown flushes the streams and stops the server. When ctx ends first, the
// server goes on stopping by itself.
func (n *NATS) Shutdown(ctx context.Context) error {
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		n.server.Shutdown()
		n.server.WaitForShutdown()
	}()
	select {
	case <-stopped:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("stop embedded nats: %w", context.Cause(ctx))
	}
}
