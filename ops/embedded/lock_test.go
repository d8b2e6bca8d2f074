package embedded

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

func TestLockKeepsASecondProcessOut(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	other := startActor(t, "lock", dir)
	_, err := Lock(dir)
	want := "data directory " + dir + " is in use by process " + strconv.Itoa(other.cmd.Process.Pid) +
		"; stop it or use another --data-dir"
	if err == nil || err.Error() != want {
		t.Fatalf("error = %v, want %s", err, want)
	}
	must(t, other.cmd.Process.Kill())
	_ = other.cmd.Wait() // killed: the error is expected
	lock, err := Lock(dir)
	must(t, err)
	must(t, lock.Unlock())
}

func TestLockCreatesAPrivateDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	lock, err := Lock(dir)
	must(t, err)
	defer lock.Unlock()
	info, err := os.Stat(dir)
	must(t, err)
	if info.Mode().Perm() != 0o700 {
		t.Errorf("mode = %o, want 700", info.Mode().Perm())
	}
	if _, err := Lock(dir); err == nil || !strings.Contains(err.Error(), "in use by process") {
		t.Errorf("second lock: %v", err)
	}
}

func TestLockRefusesNoPath(t *testing.T) {
	if _, err := Lock(""); err == nil {
		t.Fatal("no error")
	}
}
