package embedded

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const (
	// maxSocketPath is below what any system allows (104 on macOS, 108 on Linux).
	maxSocketPath = 100
	askWait       = time.Second
	pollEvery     = 10 * time.Millisecond
	orphanWait    = 10 * time.Second
)

// socketPath is where the child for dir listens. A path that is too long for a
// socket moves to a private directory among the temporary files, whose name
// depends on dir alone: the next start has to find an orphan there.
func socketPath(dir string) (string, error) {
	if path := filepath.Join(dir, "redis.sock"); len(path) <= maxSocketPath {
		return path, nil
	}
	sum := sha256.Sum256([]byte(dir))
	for _, temp := range []string{os.TempDir(), "/tmp"} {
		private := filepath.Join(temp, "moltbot-"+hex.EncodeToString(sum[:8]))
		path := filepath.Join(private, "redis.sock")
		if len(path) > maxSocketPath {
			continue
		}
		return path, claimDir(private)
	}
	return "", fmt.Errorf("no directory for a socket: %s and the temporary directory have too long a name", dir)
}

// claimDir creates dir or finds it ours. Anyone can create a directory among
// the temporary files, so one that others own or can enter is refused.
func claimDir(dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("create socket directory: %w", err)
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return fmt.Errorf("check socket directory: %w", err)
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !info.IsDir() || info.Mode().Perm() != 0o700 || int(stat.Uid) != os.Getuid() {
		return fmt.Errorf("socket directory %s is not private to this user; remove it", dir)
	}
	return nil
}

// ask sends one command without arguments and returns the first line of the
// answer.
func ask(ctx context.Context, socket, command string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, askWait)
	defer cancel()
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unix", socket)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return "", err
	}
	if _, err := conn.Write([]byte(command + "\r\n")); err != nil {
		return "", err
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	return strings.TrimSpace(line), err
}

// retireOrphan ends a server that an earlier run left behind on socket. Two
// servers on one append-only file would destroy it, and a new one takes over
// the socket of an old one without asking.
func retireOrphan(ctx context.Context, socket string) error {
	ctx, cancel := context.WithTimeout(ctx, orphanWait)
	defer cancel()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		// A server that obeys closes the connection instead of answering, and
		// closes its socket only once its data is on disk.
		_, err := ask(ctx, socket, "SHUTDOWN")
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("a redis left by an earlier run does not stop on %s; stop it by hand: %w", socket, ctx.Err())
		case <-tick.C:
		}
	}
}
