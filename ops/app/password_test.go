package app

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/rs/zerolog"

	"moltbot/ops/config"
)

func TestWithPassword(t *testing.T) {
	for in, want := range map[string]string{
		"redis://a:1/2":           "redis://:p%40%2F@a:1/2",
		"redis://user@a:1":        "redis://user:p%40%2F@a:1",
		"redis://a:1,redis://b:2": "redis://:p%40%2F@a:1,redis://b:2",
		"unix:///run/redis.sock":  "unix://:p%40%2F@/run/redis.sock",
	} {
		if got, err := withPassword(in, "p@/"); got != want || err != nil {
			t.Errorf("withPassword(%s) = %s, %v", in, got, err)
		}
		if got, err := withPassword(in, ""); got != in || err != nil {
			t.Errorf("without a password: %s, %v", got, err)
		}
	}
	if _, err := withPassword("redis://s3cret:%zz", "s3cret"); err == nil || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("a broken address: %v", err)
	}
}

// One secret file, without the address around it, opens a server that asks for it.
func TestPasswordsApartFromTheAddresses(t *testing.T) {
	m := miniredis.RunT(t)
	m.RequireAuth("p@/")
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte("p@/\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	n, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: -1, NoLog: true, NoSigs: true, Username: "moltbot", Password: "p@/"})
	if err != nil {
		t.Fatal(err)
	}
	n.Start()
	defer func() { n.Shutdown(); n.WaitForShutdown() }()
	if !n.ReadyForConnections(5 * time.Second) {
		t.Fatal("NATS does not start")
	}
	c, err := config.Load("", []string{
		"MOLTBOT_REDIS_URL=redis://" + m.Addr() + "/0", "MOLTBOT_REDIS_PASSWORD_FILE=" + file,
		"MOLTBOT_NATS_URL=" + n.ClientURL(), "MOLTBOT_NATS_USER=moltbot", "MOLTBOT_NATS_PASSWORD_FILE=" + file,
	})
	if err != nil {
		t.Fatal(err)
	}
	address, err := withPassword(c.Redis.URL, c.Redis.Password)
	if err != nil {
		t.Fatal(err)
	}
	rdb, err := newRedis(address, c.Pool)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rdb.Close() }()
	if err := rdb.Ping(t.Context()).Err(); err != nil {
		t.Errorf("Redis: %v", err)
	}
	a := &App{o: Options{Config: c, Log: zerolog.Nop()}}
	nc, err := a.dialNATS("test")
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if err := nc.FlushTimeout(5 * time.Second); err != nil {
		t.Errorf("NATS: %v", err)
	}
}
