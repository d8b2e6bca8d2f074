package keyring

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// replaceFile gives a file other content, whole or not at all: whoever opens it
// reads the old or the new one, also after a crash.
func replaceFile(dir, name string, content []byte) error {
	temporary, err := writeTemporary(dir, name, content)
	if err == nil {
		err = os.Rename(temporary, filepath.Join(dir, name))
	}
	if err != nil {
		if temporary != "" {
			_ = os.Remove(temporary) // the first error counts
		}
		return fmt.Errorf("write %s: %w", filepath.Join(dir, name), err)
	}
	return syncDir(dir)
}

// lockDir lets one command at a time change a key directory. The kernel takes
// the lock back when the process ends, however it ends.
func lockDir(dir string) (unlock func() error, err error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("open key directory: %w", err)
	}
	if err := syscall.Flock(int(d.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		if errors.Is(err, syscall.EWOULDBLOCK) {
			err = fmt.Errorf("another command is changing the keys in %s", dir)
		}
		return nil, errors.Join(err, d.Close())
	}
	return d.Close, nil
}
