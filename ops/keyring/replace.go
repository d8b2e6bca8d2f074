package keyring

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// replaceFile gives a file other content, whole or not at all: whoever opens it
// reads the old or the new one, also after a crash. Mode and owner stay: the
// processes that read it may run as somebody else than whoever changes it.
func replaceFile(dir, name string, content []byte) error {
	before, err := os.Stat(filepath.Join(dir, name))
	if errors.Is(err, fs.ErrNotExist) { // the first history
		before, err = os.Stat(SealFile(dir))
	}
	temporary := ""
	if err == nil {
		temporary, err = writeTemporary(dir, name, content, before)
	}
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

// keepOwner gives f the mode and the owner of what it replaces.
func keepOwner(f *os.File, before fs.FileInfo) error {
	if err := f.Chmod(before.Mode().Perm()); err != nil {
		return err
	}
	now, err := f.Stat()
	if err != nil {
		return err
	}
	is, known := now.Sys().(*syscall.Stat_t)
	was, knew := before.Sys().(*syscall.Stat_t)
	if !known || !knew || is.Uid == was.Uid && is.Gid == was.Gid {
		return nil
	}
	if err := f.Chown(int(was.Uid), int(was.Gid)); err != nil {
		return fmt.Errorf("it belongs to uid %d and gid %d, run this as they: %w", was.Uid, was.Gid, err)
	}
	return nil
}

// sweep removes the temporary files of commands that were killed: they hold keys,
// also some that are destroyed since. The directory is locked.
func sweep(dir string) error {
	files, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("look for what killed commands left: %w", err)
	}
	for _, f := range files {
		if !strings.HasPrefix(f.Name(), "."+sealFile+".") && !strings.HasPrefix(f.Name(), "."+historyFile+".") {
			continue
		}
		if err := os.Remove(filepath.Join(dir, f.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove what a killed command left: %w", err)
		}
	}
	return nil
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
