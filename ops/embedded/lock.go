package embedded

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// DirLock is the right to use a data directory. The kernel takes it back when
// the process ends, however it ends, so there are no stale locks to clear.
type DirLock struct {
	file *os.File
}

// Lock creates dir if need be, readable by its owner only, and locks it. A nil
// error means that no other process uses the directory until Unlock.
func Lock(dir string) (*DirLock, error) {
	dir, err := privateDir(dir)
	if err != nil {
		return nil, err
	}
	file, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(refusal(dir, file, err), file.Close())
	}
	if err := writePid(file); err != nil {
		return nil, errors.Join(fmt.Errorf("write lock: %w", err), file.Close())
	}
	return &DirLock{file: file}, nil
}

// Unlock gives the directory back. The file stays: removing it would let two
// processes hold locks on two files of the same name.
func (l *DirLock) Unlock() error {
	if err := l.file.Close(); err != nil {
		return fmt.Errorf("unlock data directory: %w", err)
	}
	return nil
}

func refusal(dir string, file *os.File, err error) error {
	if !errors.Is(err, syscall.EWOULDBLOCK) {
		return fmt.Errorf("lock data directory %s: %w", dir, err)
	}
	holder := "another process" // it has the lock, but has not written its id yet
	if pid := readPid(file); pid > 0 {
		holder = "process " + strconv.Itoa(pid)
	}
	return fmt.Errorf("data directory %s is in use by %s; stop it or use another --data-dir", dir, holder)
}

func writePid(file *os.File) error {
	if err := file.Truncate(0); err != nil {
		return err
	}
	_, err := file.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	return err
}

func readPid(file *os.File) int {
	text, err := io.ReadAll(io.LimitReader(file, 32))
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(string(bytes.TrimSpace(text)))
	if err != nil {
		return 0
	}
	return pid
}

// privateDir creates dir for its owner only and returns its absolute path.
func privateDir(dir string) (string, error) {
	if dir == "" {
		return "", errors.New("data directory: no path given")
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("data directory: %w", err)
	}
	if err := os.MkdirAll(abs, 0o700); err != nil {
		return "", fmt.Errorf("create data directory: %w", err)
	}
	return abs, nil
}
