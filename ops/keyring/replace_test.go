package keyring

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// Whoever changes the keys, the processes that read them still can: root on a
// directory of theirs, or one that their group may read.
func TestFilesKeepTheirOwner(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can give files away")
	}
	ctx, dir, c := t.Context(), newDir(t), &clock{noon}
	path := filepath.Join(dir, sealFile)
	must(t, os.Chown(path, 4321, 1234))
	must(t, os.Chmod(path, 0o440))
	r := rotation(dir, c)
	r.Root, r.ReadOnlySecrets = DirRoot(dir, nil, true), true
	must(t, r.Promote(ctx, mustAdd(t, r)))
	for _, name := range []string{sealFile, historyFile} {
		info, err := os.Stat(filepath.Join(dir, name))
		must(t, err)
		if s, ok := info.Sys().(*syscall.Stat_t); !ok || s.Uid != 4321 || s.Gid != 1234 || info.Mode().Perm() != 0o440 {
			t.Errorf("%s: %s of %d:%d", name, info.Mode(), s.Uid, s.Gid)
		}
	}
}

// What a command that was killed left behind goes with the next one.
func TestLeftoversAreRemoved(t *testing.T) {
	dir, c := newDir(t), &clock{noon}
	for _, name := range []string{".seal.json.123", ".seal.history.json.456", ".other"} {
		must(t, os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o400))
	}
	mustAdd(t, rotation(dir, c))
	left := contents(t, dir)
	if _, kept := left[".other"]; len(left) != 5 || !kept { // the three, the history, and what is not ours
		t.Errorf("left are %d files", len(left))
	}
}

// What a command writes the next one reads, whoever runs it and however often.
func TestHistoryStaysReadable(t *testing.T) {
	ctx, dir, c := t.Context(), newDir(t), &clock{noon}
	r := rotation(dir, c)
	for _, by := range []string{"x" + strings.Repeat("é", maxBy), strings.Repeat("\xff", maxBy)} {
		r.By = by
		id := mustAdd(t, r)
		_, err := r.Retire(ctx, id)
		must(t, err)
		must(t, r.Destroy(ctx, id))
	}
	r.By = strings.Repeat("x", maxBy)
	h := history{}
	for id := range uint32(maxHistory) {
		e := &Event{At: noon, By: r.By}
		h.put(Life{ID: id + 1, Created: e, Promoted: e, Retired: e, Destroyed: e})
	}
	lock := &change{Rotation: r, history: h, now: noon}
	must(t, lock.saveHistory())
	mustAdd(t, r)
	got, err := readHistory(dir, false)
	must(t, err)
	if n := len(got.Keys); n > keptHistory || got.Keys[n-1].Created == nil || got.Keys[n-2].ID != maxHistory {
		t.Errorf("%d keys: %+v", n, got.Keys[n-1])
	}
}
