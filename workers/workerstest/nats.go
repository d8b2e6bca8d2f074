package workerstest

import (
	"context"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"moltbot/contracts"
)

// NATS is a JetStream server in this process that can be stopped, rolled back
// and started again. Its connections find the new server by themselves.
type NATS struct {
	dir string

	mu     sync.Mutex
	server *server.Server
}

// StartNATS gives a server that listens nowhere and ends with the test.
func StartNATS(t testing.TB) *NATS {
	t.Helper()
	n := &NATS{dir: t.TempDir()}
	n.Start(t)
	t.Cleanup(n.Stop)
	return n
}

// Start starts the server over its directory.
func (n *NATS) Start(t testing.TB) {
	t.Helper()
	s, err := server.NewServer(&server.Options{
		ServerName: "workerstest", DontListen: true, NoSigs: true, NoLog: true,
		JetStream: true, StoreDir: n.dir, DisableJetStreamBanner: true,
	})
	Must(t, err)
	s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("the embedded nats-server is not ready after 10s")
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.server = s
}

// Stop stops the server if it runs.
func (n *NATS) Stop() {
	n.mu.Lock()
	s := n.server
	n.server = nil
	n.mu.Unlock()
	if s != nil {
		s.Shutdown()
		s.WaitForShutdown()
	}
}

// InProcessConn connects to the server that runs now.
func (n *NATS) InProcessConn() (net.Conn, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.server == nil {
		return nil, nats.ErrNoServers
	}
	return n.server.InProcessConn()
}

// Connect gives a connection that ends with the test, before the server does.
func (n *NATS) Connect(t testing.TB) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect("", nats.InProcessServer(n), nats.MaxReconnects(-1),
		nats.ReconnectWait(5*time.Millisecond), nats.ReconnectJitter(0, 0), nats.ReconnectBufSize(-1))
	Must(t, err)
	t.Cleanup(nc.Close)
	return nc
}

// Copy copies the store of the running server, as a backup tool would that
// stops it first.
func (n *NATS) Copy(t testing.TB) string {
	t.Helper()
	to := t.TempDir() + "/copy"
	n.Stop()
	Must(t, os.CopyFS(to, os.DirFS(n.dir)))
	n.Start(t)
	return to
}

// Restore replaces the store by a copy.
func (n *NATS) Restore(t testing.TB, copied string) {
	t.Helper()
	n.Stop()
	Must(t, os.RemoveAll(n.dir))
	Must(t, os.CopyFS(n.dir, os.DirFS(copied)))
	n.Start(t)
}

// Queue are the settings that tests shorten. They mean what they mean in
// ops/app/topology.go.
type Queue struct {
	AckWait         time.Duration // default 30s
	MaxPerSubject   int64         // default: none
	MaxSend         int64         // messages in SEND; default: none
	WithoutConsumer bool
}

// MakeStreams makes CHAT with its consumer, SEND and DEAD.
func MakeStreams(t testing.TB, js jetstream.JetStream, q Queue) {
	t.Helper()
	if q.AckWait == 0 {
		q.AckWait = 30 * time.Second
	}
	for _, c := range []jetstream.StreamConfig{ChatStream(q), sendStream(q), deadStream()} {
		_, err := js.CreateStream(t.Context(), c)
		Must(t, err)
	}
	if !q.WithoutConsumer {
		MakeConsumer(t, js, q)
	}
}

// MakeConsumer makes the consumer of CHAT.
func MakeConsumer(t testing.TB, js jetstream.JetStream, q Queue) jetstream.Consumer {
	t.Helper()
	c, err := js.CreateOrUpdateConsumer(t.Context(), contracts.StreamChat, ChatConsumer(q))
	Must(t, err)
	return c
}

// ChatConsumer is the consumer of CHAT.
func ChatConsumer(q Queue) jetstream.ConsumerConfig {
	return jetstream.ConsumerConfig{
		Durable: contracts.ConsumerChat, AckPolicy: jetstream.AckExplicitPolicy, DeliverPolicy: jetstream.DeliverAllPolicy,
		AckWait: q.AckWait, MaxDeliver: -1, MaxAckPending: 10000, MaxWaiting: 2048,
	}
}

// SendConsumer is the consumer of SEND.
func SendConsumer(q Queue) jetstream.ConsumerConfig {
	c := ChatConsumer(q)
	c.Durable = contracts.ConsumerSend
	return c
}

// ChatStream is CHAT.
func ChatStream(q Queue) jetstream.StreamConfig {
	c := jetstream.StreamConfig{
		Name: contracts.StreamChat, Subjects: []string{contracts.SubjectsChat}, Retention: jetstream.LimitsPolicy,
		Storage: jetstream.FileStorage, Discard: jetstream.DiscardNew, MaxMsgsPerSubject: -1,
		MaxMsgSize: 1 << 20, Duplicates: 2 * time.Minute, AllowDirect: true, AllowAtomicPublish: true,
	}
	if q.MaxPerSubject > 0 {
		c.MaxMsgsPerSubject, c.DiscardNewPerSubject = q.MaxPerSubject, true
	}
	return c
}

func sendStream(q Queue) jetstream.StreamConfig {
	c := jetstream.StreamConfig{
		Name: contracts.StreamSend, Subjects: []string{contracts.SubjectsSend}, Retention: jetstream.LimitsPolicy,
		Storage: jetstream.FileStorage, Discard: jetstream.DiscardNew, MaxMsgs: -1, Duplicates: 2 * time.Minute, AllowDirect: true,
	}
	if q.MaxSend > 0 {
		c.MaxMsgs = q.MaxSend
	}
	return c
}

func deadStream() jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: contracts.StreamDead, Subjects: []string{contracts.SubjectsDead}, Retention: jetstream.LimitsPolicy,
		Storage: jetstream.FileStorage, Duplicates: time.Hour, AllowDirect: true,
	}
}

// Contents reads a stream from its first message to its last.
func Contents(t testing.TB, js jetstream.JetStream, stream string) []*jetstream.RawStreamMsg {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	s, err := js.Stream(ctx, stream)
	Must(t, err)
	state := s.CachedInfo().State
	var out []*jetstream.RawStreamMsg
	for seq := state.FirstSeq; seq != 0 && seq <= state.LastSeq; seq++ {
		m, err := s.GetMsg(ctx, seq)
		if err != nil {
			continue // deleted
		}
		out = append(out, m)
	}
	return out
}

// Settled reports whether everything in a stream was delivered and acknowledged. The
// server counts what is pending behind the acknowledgement of a publish, so the last
// sequence is asked for as well.
func Settled(t testing.TB, js jetstream.JetStream, stream, consumer string) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	s, err := js.Stream(ctx, stream)
	if err != nil {
		return false
	}
	c, err := s.Consumer(ctx, consumer)
	if err != nil {
		return false
	}
	i := c.CachedInfo()
	return i.NumPending == 0 && i.NumAckPending == 0 && i.Delivered.Stream >= s.CachedInfo().State.LastSeq
}
