package keyring

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
)

const (
	keySize     = 32
	maxKeyFile  = 64 << 10
	fewSymbols  = 10 // fewer different bytes than this in a key are no accident; 32 random ones have 30
	initAdvice  = "make the keys with: moltbot key init"
	closeAdvice = "close it with: chmod go-rwx"
)

// checkDir refuses a directory in which others could put a key of their own.
func checkDir(dir string, readOnlySecrets bool) error {
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s does not exist; %s", dir, initAdvice)
	case err != nil:
		return fmt.Errorf("look at the key directory: %w", err)
	case !info.IsDir():
		return fmt.Errorf("%s is not a directory; %s", dir, initAdvice)
	case info.Mode().Perm()&0o022 != 0 && !readOnlySecrets:
		return fmt.Errorf("%s (mode %04o) can be changed by others; %s %s", dir, info.Mode().Perm(), closeAdvice, dir)
	}
	return nil
}

// readKeyFile reads a key file that nobody but its owner may read.
func readKeyFile(path string, readOnlySecrets bool) ([]byte, error) {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path) // and opening a pipe would block
	}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s is missing; %s, or restore it from a backup if there is stored data", path, initAdvice)
	}
	if err != nil {
		return nil, fmt.Errorf("open key file: %w", err)
	}
	defer func() { _ = f.Close() }() // only read from
	info, err := f.Stat()            // of what was opened, not of what lies there by now
	if err != nil {
		return nil, fmt.Errorf("look at key file: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 && !readOnlySecrets {
		return nil, fmt.Errorf("%s (mode %04o) is open to others; %s %s", path, info.Mode().Perm(), closeAdvice, path)
	}
	content, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	if err != nil {
		return nil, fmt.Errorf("read key file: %w", err)
	}
	if len(content) > maxKeyFile {
		return nil, fmt.Errorf("%s is larger than %d bytes: not a key file", path, maxKeyFile)
	}
	return content, nil
}

func parseIDKey(content []byte) ([]byte, error) {
	key, err := hex.DecodeString(strings.TrimSpace(string(content)))
	if err != nil {
		return nil, errors.New("is damaged: not a key in hex; restore it from a backup")
	}
	return key, checkSecret(key)
}

// checkSecret refuses keys that are short, or that a person typed or copied
// from a manual. Its errors never hold the key.
func checkSecret(key []byte) error {
	if len(key) == 0 {
		return fmt.Errorf("the key is empty; %s", initAdvice)
	}
	if len(key) < keySize {
		return fmt.Errorf("the key has %d bytes, needs at least %d; %s", len(key), keySize, initAdvice)
	}
	symbols := map[byte]bool{}
	for _, b := range key {
		symbols[b] = true
	}
	sample := len(symbols) < fewSymbols
	for _, word := range []string{"secret", "password", "changeme", "change-me", "example", "sample", "your-", "your_", "moltbot"} {
		sample = sample || bytes.Contains(bytes.ToLower(key), []byte(word))
	}
	if sample {
		return fmt.Errorf("the key is a sample, not a random one; %s", initAdvice)
	}
	return nil
}
