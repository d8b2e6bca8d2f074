package embedded

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"
)

func startNATS(t *testing.T, dir string) (*NATS, jetstream.JetStream, func()) {
	t.Helper()
	began := time.Now()
	n, err := StartNATS(NATSOptions{StoreDir: dir, Sync: true})
	must(t, err)
	t.Logf("ready after %s", time.Since(began))
	nc, err := n.Connect()
	must(t, err)
	js, err := jetstream.New(nc)
	must(t, err)
	return n, js, func() {
		nc.Close()
		must(t, n.Shutdown(context.Background()))
	}
}

func TestNATSStreamSurvivesRestart(t *testing.T) {
	dir := t.TempDir()
	_, js, stop := startNATS(t, dir)
	_, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s.>"}})
	must(t, err)
	_, err = js.Publish(t.Context(), "s.a", []byte("kept"))
	must(t, err)
	stop()

	n, js, stop := startNATS(t, dir)
	defer stop()
	stream, err := js.Stream(t.Context(), "S")
	must(t, err)
	msg, err := stream.GetMsg(t.Context(), 1)
	must(t, err)
	if string(msg.Data) != "kept" {
		t.Errorf("message = %q", msg.Data)
	}
	if n.Server().Name() != "moltbot" || n.Server().Addr() != nil {
		t.Errorf("name = %q, addr = %v", n.Server().Name(), n.Server().Addr())
	}
	if size := js.Conn().MaxPayload(); size != natsMaxPayload {
		t.Errorf("max payload = %d", size)
	}
}

func TestNATSNamesTheCauseOfAFailedStart(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "jetstream"), nil, 0o600)) // where a directory has to be
	_, err := StartNATS(NATSOptions{StoreDir: dir})
	if err == nil || !strings.Contains(err.Error(), "JetStream") {
		t.Fatalf("error = %v", err)
	}
}

func TestNATSReportsAllOptionMistakes(t *testing.T) {
	_, err := StartNATS(NATSOptions{MaxStore: -1})
	if err == nil || !strings.Contains(err.Error(), "max store") || !strings.Contains(err.Error(), "no path") {
		t.Fatalf("error = %v", err)
	}
}

func TestNATSLogLeavesOutBodies(t *testing.T) {
	var out bytes.Buffer
	l := &natsLog{log: zerolog.New(&out)}
	l.Errorf("client parser ERROR, state=%d: proto='%s...'", 3, "secret")
	l.Tracef("secret")
	l.Warnf("watch out")
	l.Fatalf("first")
	l.Fatalf("second")
	if text := out.String(); strings.Contains(text, "secret") || !strings.Contains(text, "watch out") {
		t.Errorf("log = %s", text)
	}
	if l.fatal().Error() != "first" {
		t.Errorf("cause = %v", l.fatal())
	}
}
