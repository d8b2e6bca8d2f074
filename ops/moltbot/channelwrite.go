package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"moltbot/contracts"
	"moltbot/ops/config"
)

// setting is one line of an application's section.
type setting struct {
	key, value string
	secret     bool
}

// section is what is known of an application.
type section struct {
	channel  contracts.Channel
	app      string
	settings []setting
}

func (s section) path() []string {
	if s.app == contracts.DefaultApp {
		return []string{string(s.channel)}
	}
	return []string{string(s.channel), "apps", s.app}
}

// secretFile is the file of a secret beside the configuration.
func (s section) secretFile(dir, key string) string {
	name := string(s.channel) + "."
	if s.app != contracts.DefaultApp {
		name += s.app + "."
	}
	return filepath.Join(dir, name+key)
}

// pairs are the lines of the file. Where secrets lie in files of their own, the
// lines name those.
func (s section) pairs(dir string, inline bool) []config.Pair {
	var all []config.Pair
	for _, v := range s.settings {
		switch {
		case v.value == "":
		case v.secret && !inline:
			all = append(all, config.Pair{Key: v.key + "_file", Value: s.secretFile(dir, v.key)})
		default:
			all = append(all, config.Pair{Key: v.key, Value: v.value})
		}
	}
	return all
}

// write puts the section into the configuration file and its secrets beside it.
// The secrets come first: a section that names files that are not there keeps the
// process from starting.
func (s section) write(file string, inline, replace bool) (written []string, err error) {
	if file, err = filepath.Abs(file); err != nil {
		return nil, err
	}
	if real, err := filepath.EvalSymlinks(file); err == nil {
		file = real // what a link leads to is replaced, not the link
	}
	content, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	dir := filepath.Dir(file)
	text, err := config.Insert(content, s.path(), s.pairs(dir, inline), replace)
	if errors.Is(err, config.ErrSection) {
		return nil, fmt.Errorf("%s: %w; change it with --replace, or add another application with --name", file, err)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	was, _ := os.Stat(file) // nil: it is made now
	if !inline {
		if written, err = s.writeSecrets(dir, was); err != nil {
			return written, err
		}
	}
	mode := os.FileMode(0o600)
	if was != nil && !inline {
		mode = was.Mode().Perm() // whoever reads it today has to go on
	}
	if err := replaceFile(file, text, mode, was); err != nil {
		return written, err
	}
	return append(written, file), nil
}

func (s section) writeSecrets(dir string, was os.FileInfo) (written []string, err error) {
	for _, v := range s.settings {
		if !v.secret || v.value == "" {
			continue
		}
		name := s.secretFile(dir, v.key)
		if err := replaceFile(name, []byte(v.value+"\n"), 0o600, was); err != nil {
			return written, err
		}
		written = append(written, name)
	}
	return written, nil
}

// replaceFile writes all of a file or nothing. It belongs to whoever owns the
// configuration: the service does not run as the operator.
func replaceFile(name string, content []byte, mode os.FileMode, like os.FileInfo) error {
	tmp, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*") // mode 0600
	if err != nil {
		return err
	}
	_, err = tmp.Write(content)
	if err == nil {
		err = tmp.Sync()
	}
	err = errors.Join(err, tmp.Close(), os.Chmod(tmp.Name(), mode))
	if like != nil && err == nil {
		if owner, is := like.Sys().(*syscall.Stat_t); is && (int(owner.Uid) != os.Getuid() || int(owner.Gid) != os.Getgid()) {
			err = os.Chown(tmp.Name(), int(owner.Uid), int(owner.Gid))
		}
	}
	if err == nil {
		err = os.Rename(tmp.Name(), name)
	}
	if err != nil {
		_ = os.Remove(tmp.Name()) // the first error is the one that counts
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

// shown is the section as text, without a secret.
func (s section) shown() (string, error) {
	text, err := config.Insert(nil, s.path(), s.pairs("/etc/moltbot", false), false)
	if err != nil {
		return "", err
	}
	return strings.TrimRight(string(text), "\n"), nil
}
