package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// packages is what npm installed, exactly as locked, for all tests that need it.
var packages struct {
	once sync.Once
	dir  string
	err  error
}

// clientForJS is a directory with a script and what it needs.
func clientForJS(t *testing.T, script string) string {
	t.Helper()
	programs(t) // their directory is removed at the end
	packages.once.Do(func() { packages.dir, packages.err = install() })
	if packages.err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("%v, and CI must not skip this", packages.err)
		}
		t.Skip(packages.err)
	}
	dir := t.TempDir()
	copyFile(t, "package.json", filepath.Join(dir, "package.json"))
	copyFile(t, script, filepath.Join(dir, script))
	if err := os.Symlink(filepath.Join(packages.dir, "node_modules"), filepath.Join(dir, "node_modules")); err != nil {
		t.Fatal(err)
	}
	return dir
}

func install() (dir string, err error) {
	for _, tool := range []string{"node", "npm"} {
		if _, err := exec.LookPath(tool); err != nil {
			return "", fmt.Errorf("no %s on PATH", tool)
		}
	}
	dir = filepath.Join(built.dir, "npm")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", err
	}
	for _, name := range []string{"package.json", "package-lock.json"} {
		b, err := os.ReadFile(name)
		if err != nil {
			return "", err
		}
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			return "", err
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	npm := exec.CommandContext(ctx, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	npm.Dir = dir
	if out, err := npm.CombinedOutput(); err != nil {
		return "", fmt.Errorf("npm ci: %w\n%s", err, out)
	}
	return dir, nil
}
