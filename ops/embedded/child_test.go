package embedded

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"
)

// mortal gives the process behind r, for tests that kill it.
func mortal(t *testing.T, r *Redis) (pid int) {
	t.Helper()
	info, err := client(t, r.URL()).InfoMap(t.Context(), "server").Result()
	must(t, err)
	for _, c := range info["Server"]["process_id"] {
		pid = pid*10 + int(c-'0')
	}
	if pid < 2 {
		t.Fatalf("no process id in %v", info)
	}
	return pid
}

func TestChildSurvivesRestartWithData(t *testing.T) {
	needRedis(t)
	dir := filepath.Join(t.TempDir(), "with space")
	for _, durability := range []string{DurabilityFsync, DurabilityOS} {
		began := time.Now()
		r := startRedis(t, RedisOptions{Dir: dir, Durability: durability})
		t.Logf("%s ready after %s", r.Kind(), time.Since(began))
		must(t, client(t, r.URL()).Incr(t.Context(), "starts").Err())
		must(t, r.Close(t.Context()))
	}
	r := startRedis(t, RedisOptions{Dir: dir})
	if n, err := client(t, r.URL()).Get(t.Context(), "starts").Int(); err != nil || n != 2 {
		t.Errorf("starts = %d, %v", n, err)
	}
	if !strings.Contains(r.Kind(), "-server ") || r.Warning() != "" {
		t.Errorf("kind = %q, warning = %q", r.Kind(), r.Warning())
	}
	must(t, r.Close(t.Context()))
	if _, open := <-r.Done(); open || r.Err() != nil {
		t.Errorf("after close: %v", r.Err())
	}
}

func TestChildIsConfiguredToKeepEverything(t *testing.T) {
	needRedis(t)
	r := startRedis(t, RedisOptions{Dir: t.TempDir()})
	rdb := client(t, r.URL())
	for name, want := range map[string]string{
		"port": "0", "save": "", "appendonly": "yes", "appendfsync": "always",
		"maxmemory-policy": "noeviction", "unixsocketperm": "700",
	} {
		if got := rdb.ConfigGet(t.Context(), name).Val()[name]; got != want {
			t.Errorf("%s = %q, want %q", name, got, want)
		}
	}
}

// hold opens a connection that ends when the server behind it does.
func hold(t *testing.T, url string) net.Conn {
	t.Helper()
	conn, err := net.Dial("unix", client(t, url).Options().Addr)
	must(t, err)
	t.Cleanup(func() { conn.Close() })
	must(t, conn.SetDeadline(time.Now().Add(patience)))
	return conn
}

func TestChildDiesWithItsKilledParent(t *testing.T) {
	needRedis(t)
	dir := t.TempDir()
	parent := startActor(t, "redis", dir)
	must(t, client(t, parent.said).Set(t.Context(), "k", "v", 0).Err())
	conn := hold(t, parent.said)
	t.Cleanup(func() { _, _ = ask(context.Background(), conn.RemoteAddr().String(), "SHUTDOWN") })
	must(t, parent.cmd.Process.Signal(syscall.SIGKILL))
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Fatalf("the child did not die: %v", err)
	}
	r := startRedis(t, RedisOptions{Dir: dir})
	if v := client(t, r.URL()).Get(t.Context(), "k").Val(); v != "v" {
		t.Errorf("k = %q", v)
	}
}

func TestChildOutlivesTheThreadThatAskedForIt(t *testing.T) {
	needRedis(t)
	var r *Redis
	onDyingThread(t, func() { r = startRedis(t, RedisOptions{Dir: t.TempDir()}) })
	conn := hold(t, r.URL())
	// Redis looks for signals ten times a second, so an answer to this means
	// that none came.
	_, err := conn.Write([]byte("BLPOP none 0.5\r\n"))
	must(t, err)
	answer := make([]byte, len("*-1\r\n"))
	if _, err := io.ReadFull(conn, answer); err != nil || string(answer) != "*-1\r\n" {
		t.Fatalf("answer = %q, %v", answer, err)
	}
}

// onDyingThread runs f on a thread that ends with it. The first thread of a
// process does not end before the process, so it is kept out of the way.
func onDyingThread(t *testing.T, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked: the thread ends with this goroutine
		if os.Getpid() == threadID() {
			onDyingThread(t, f) // on another thread, while this one waits
			runtime.UnlockOSThread()
		} else {
			f()
		}
	}()
	<-done
}

func TestChildStopsWithItsParent(t *testing.T) {
	needRedis(t)
	parent := startActor(t, "redis", t.TempDir())
	conn := hold(t, parent.said)
	must(t, parent.stdin.Close())
	must(t, parent.cmd.Wait())
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Fatalf("the child is still there: %v", err)
	}
}

func TestOrphanIsRetired(t *testing.T) {
	bin := needRedis(t)
	dir := t.TempDir()
	opts, err := RedisOptions{Dir: dir}.withDefaults()
	must(t, err)
	socket, err := socketPath(opts.Dir)
	must(t, err)
	orphan := exec.Command(bin, childArgs(opts, socket)...)
	must(t, orphan.Start())
	t.Cleanup(func() { _ = orphan.Process.Kill() })
	eventually(t, "orphan answers", func() bool {
		answer, _ := ask(t.Context(), socket, "PING")
		return answer == "+PONG"
	})
	must(t, client(t, "unix://"+socket).Set(t.Context(), "k", "v", 0).Err())

	r := startRedis(t, opts)
	must(t, orphan.Wait()) // asked to stop, not killed
	if v := client(t, r.URL()).Get(t.Context(), "k").Val(); v != "v" {
		t.Errorf("k = %q", v)
	}
}

func TestMuteOrphanIsNotOverrun(t *testing.T) {
	dir := t.TempDir()
	ln, err := net.Listen("unix", filepath.Join(dir, "redis.sock"))
	must(t, err)
	defer ln.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	err = retireOrphan(ctx, ln.Addr().String())
	if err == nil || !strings.Contains(err.Error(), "stop it by hand") {
		t.Fatalf("error = %v", err)
	}
}

func TestKilledChildIsRestarted(t *testing.T) {
	needRedis(t)
	log := &lines{got: make(chan string, 10)}
	r := startRedis(t, RedisOptions{Dir: t.TempDir(), Log: zerolog.New(log)})
	rdb := client(t, r.URL())
	must(t, rdb.Set(t.Context(), "k", "v", 0).Err())
	pid := mortal(t, r)
	must(t, syscall.Kill(pid, syscall.SIGKILL))
	if line := log.next(t); !strings.Contains(line, "signal: killed") || !strings.Contains(line, `"warn"`) {
		t.Errorf("log = %s", line)
	}
	eventually(t, "a new child answers", func() bool { return rdb.Ping(t.Context()).Err() == nil })
	if v := rdb.Get(t.Context(), "k").Val(); v != "v" {
		t.Errorf("k = %q", v)
	}
	if again := mortal(t, r); again == pid {
		t.Error("the same process")
	}
	must(t, r.Close(t.Context()))
}

func TestChildThatKeepsDyingIsGivenUp(t *testing.T) {
	bin := needRedis(t)
	dir := t.TempDir()
	script := filepath.Join(dir, "redis-server")
	must(t, os.WriteFile(script, []byte("#!/bin/sh\nexec "+bin+" \"$@\"\n"), 0o700))
	r := startRedis(t, RedisOptions{Dir: dir, PathLookup: func(string) (string, error) { return script, nil }})
	must(t, os.WriteFile(script+".new", []byte("#!/bin/sh\necho no more >&2\nexit 7\n"), 0o700))
	must(t, os.Rename(script+".new", script))
	if err := r.Err(); err != nil {
		t.Errorf("early error: %v", err)
	}
	must(t, syscall.Kill(mortal(t, r), syscall.SIGKILL))
	select {
	case <-r.Done():
	case <-time.After(patience):
		t.Fatal("not given up")
	}
	if err := r.Err(); err == nil || !strings.Contains(err.Error(), "exit status 7") || !strings.Contains(err.Error(), "no more") {
		t.Errorf("error = %v", err)
	}
	must(t, r.Close(t.Context()))
}

func TestChildThatCannotStartSaysWhy(t *testing.T) {
	needRedis(t)
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, aofName), nil, 0o600)) // where a directory has to be
	_, err := StartRedis(t.Context(), RedisOptions{Dir: dir})
	if err == nil || !strings.Contains(err.Error(), "last lines") || !strings.Contains(err.Error(), aofName) {
		t.Fatalf("error = %v", err)
	}
}

func TestLongDirectoryNameMovesTheSocket(t *testing.T) {
	needRedis(t)
	dir := filepath.Join(t.TempDir(), strings.Repeat("x", 120))
	r := startRedis(t, RedisOptions{Dir: dir})
	rdb := client(t, r.URL())
	must(t, rdb.Ping(t.Context()).Err())
	private := filepath.Dir(rdb.Options().Addr)
	if strings.HasPrefix(private, dir) {
		t.Errorf("socket in %s", private)
	}
	must(t, r.Close(t.Context()))
	if _, err := os.Stat(private); !os.IsNotExist(err) {
		t.Errorf("left behind: %v", err)
	}
}

func TestForeignSocketDirectoryIsRefused(t *testing.T) {
	dir := t.TempDir()
	must(t, os.Chmod(dir, 0o755))
	if err := claimDir(dir); err == nil {
		t.Fatal("an open directory was accepted")
	}
	link := filepath.Join(t.TempDir(), "link")
	must(t, os.Symlink(dir, link))
	if err := claimDir(link); err == nil {
		t.Fatal("a link was accepted")
	}
}

func TestCloseWithNoTimeLeftKills(t *testing.T) {
	needRedis(t)
	r := startRedis(t, RedisOptions{Dir: t.TempDir()})
	must(t, syscall.Kill(mortal(t, r), syscall.SIGSTOP)) // deaf to SIGTERM
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.Close(ctx); err == nil || !strings.Contains(err.Error(), "was killed") {
		t.Fatalf("error = %v", err)
	}
}

func TestLogIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	must(t, os.WriteFile(path, bytes.Repeat([]byte("x\n"), maxLog), 0o600))
	file, offset, err := openLog(path)
	must(t, err)
	defer file.Close()
	_, err = file.WriteString("a\nb\n")
	must(t, err)
	if got := lastLines(path, offset); offset != 0 || got != "a | b" {
		t.Errorf("offset = %d, lines = %q", offset, got)
	}
}

func TestSnapshotMovesIntoARealServer(t *testing.T) {
	needRedis(t)
	dir := t.TempDir()
	small := startRedis(t, RedisOptions{Dir: dir, PathLookup: noServer})
	fill(t, client(t, small.URL()))
	want := contents(t, small)
	must(t, small.Close(t.Context()))

	big := startRedis(t, RedisOptions{Dir: dir})
	rdb := client(t, big.URL())
	for _, e := range want.entries {
		if n := rdb.Exists(t.Context(), e.key).Val(); n != 1 {
			t.Errorf("%q is missing", e.key)
		}
	}
	must(t, big.Close(t.Context()))

	// and the stand-in does not start empty beside what the server holds
	_, err := StartRedis(t.Context(), RedisOptions{Dir: dir, PathLookup: noServer})
	if err == nil || !strings.Contains(err.Error(), aofName) {
		t.Fatalf("error = %v", err)
	}
}

// lines is a log writer that hands each line to the test.
type lines struct{ got chan string }

func (l *lines) Write(p []byte) (int, error) {
	l.got <- string(p)
	return len(p), nil
}

func (l *lines) next(t *testing.T) string {
	t.Helper()
	select {
	case line := <-l.got:
		return line
	case <-time.After(patience):
		t.Fatal("no log line")
		return ""
	}
}
