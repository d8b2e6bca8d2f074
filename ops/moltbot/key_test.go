package main

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"moltbot/contracts"
)

// listed gives the keys of a directory by their states.
func listed(t *testing.T, args ...string) (l keyList, byState map[string]uint32) {
	t.Helper()
	if err := json.Unmarshal([]byte(must(t, append([]string{"key", "list", "--json"}, args...)...)), &l); err != nil {
		t.Fatal(err)
	}
	byState = map[string]uint32{}
	for _, k := range l.Keys {
		byState[k.State] = k.ID
	}
	return l, byState
}

// Without a process each step that could cost data wants to be told that none runs.
func TestKeyCommandsWithoutProcess(t *testing.T) {
	dir := t.TempDir()
	must(t, "key", "init", filepath.Join(dir, "keys"))
	l, keys := listed(t, "--data-dir", dir)
	if len(l.Keys) != 1 || l.Running != nil || !strings.Contains(l.Unasked, "no process seems to run") {
		t.Fatalf("%+v", l)
	}
	first := fmt.Sprint(keys["primary"])
	var added keyChanged
	if err := json.Unmarshal([]byte(must(t, "key", "add", "--json", "--data-dir", dir)), &added); err != nil || added.Done != "added" {
		t.Fatalf("%+v, %v", added, err)
	}
	second := fmt.Sprint(added.Key)
	contains(t, fails(t, exitFailure, "key", "promote", second, "--data-dir", dir), "--unchecked", "no process seems to run")
	contains(t, must(t, "key", "promote", second, "--unchecked", "--data-dir", dir), "seals from now on")
	contains(t, fails(t, exitFailure, "key", "retire", first, "--data-dir", dir), "--unchecked")
	contains(t, must(t, "key", "retire", first, "--unchecked", "--data-dir", dir), "can be destroyed from 20", " UTC")
	contains(t, fails(t, exitFailure, "key", "destroy", first, "--unchecked", "--data-dir", dir), "may still be needed", "70 days", "backups", "can be destroyed from 20")
	contains(t, fails(t, exitFailure, "key", "destroy", second, "--unchecked", "--data-dir", dir), "promote another one first")
	contains(t, fails(t, exitFailure, "key", "promote", "x", "--data-dir", dir), "moltbot key list")
	contains(t, fails(t, exitFailure, "key", "promote", "1", "--data-dir", dir), "there is no key 1") // and nobody was asked
	contains(t, fails(t, exitFailure, "key", "reseal", "--data-dir", dir), "no process seems to run")
	_, keys = listed(t, "--data-dir", dir)
	if fmt.Sprint(keys["primary"]) != second || fmt.Sprint(keys["retired"]) != first {
		t.Errorf("%v", keys)
	}
	contains(t, must(t, "key", "list", "--data-dir", dir), "DESTROYABLE", first, second, "no process was asked")
	contains(t, fails(t, exitFailure, "key", "wrap", "--data-dir", dir), "keys.root is file")
}

// The keyset of a directory is wrapped, and only the root key opens it then.
func TestKeyWrap(t *testing.T) {
	dir := t.TempDir()
	must(t, "key", "init", filepath.Join(dir, "keys"))
	_, before := listed(t, "--data-dir", dir)
	t.Setenv("MOLTBOT_KEYS_ROOT", "env")
	t.Setenv("MOLTBOT_KEYS_ROOT_KEY", "b7d1e4f20a9c8b7d6e5f4a3b2c1d0e9f8a7b6c5d4e3f2a1b0c9d8e7f6a5b4c3d")
	contains(t, fails(t, exitFailure, "key", "list", "--data-dir", dir), "moltbot key wrap")
	must(t, "key", "wrap", "--data-dir", dir)
	if _, after := listed(t, "--data-dir", dir); after["primary"] != before["primary"] {
		t.Errorf("%v, before %v", after, before)
	}
	must(t, "token", "-u", "ann", "--data-dir", dir)
	if text := contents(t, filepath.Join(dir, "keys"))["seal.json"]; strings.Contains(text, "keyData") {
		t.Error("it lies in the clear")
	}
	t.Setenv("MOLTBOT_KEYS_ROOT_KEY", "00d1e4f20a9c8b7d6e5f4a3b2c1d0e9f8a7b6c5d4e3f2a1b0c9d8e7f6a5b4c3d")
	contains(t, fails(t, exitFailure, "key", "list", "--data-dir", dir), "not the root key of this file")
}

func TestLacking(t *testing.T) {
	holds := func(p contracts.KeyStatus) bool { return p.Holds(7) }
	all := &contracts.AdminKeys{Processes: []contracts.KeyStatus{{Node: "a", Keys: []uint32{6, 7}}}}
	if err := lacking(all, holds); err != nil {
		t.Error(err)
	}
	all.Processes = append(all.Processes, contracts.KeyStatus{Node: "b", Host: "h", PID: 12, Roles: []string{"workers"}, Keys: []uint32{6}})
	if err := lacking(all, holds); err == nil || !strings.Contains(err.Error(), "b (h, pid 12, workers)") || strings.Contains(err.Error(), "a (") {
		t.Errorf("%v", err)
	}
	seals := &contracts.AdminKeys{Processes: []contracts.KeyStatus{{Node: "a", Primary: 7}}}
	if err := lacking(seals, sealsWithout(6)); err != nil {
		t.Error(err)
	}
	seals.Processes = append(seals.Processes, contracts.KeyStatus{Node: "unread"})
	if lacking(seals, sealsWithout(6)) == nil || lacking(seals, sealsWithout(7)) == nil {
		t.Error("a process that seals with the key, or of which that is not known, is let pass")
	}
	if err := lacking(&contracts.AdminKeys{}, holds); err == nil {
		t.Error("nobody answered, and it is let pass")
	}
}

func TestKeyListText(t *testing.T) {
	now := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	s := &contracts.Resealing{Key: 7, State: contracts.ResealRunning, Began: now.Add(-time.Minute), At: now.Add(-30 * time.Second), Keys: 500, Total: 1000, Sealed: 40}
	contains(t, sayReseal(s, now), "key 7", "running", "500 of about 1000", "40 values")
	contains(t, sayReseal(s, now.Add(time.Hour)), "silent since")
	contains(t, sayReseal(nil, now), "never")
	contains(t, barOf(s, true), "[===============               ]", " 50%", "about 30s left")
	contains(t, barOf(s, false), "waiting")
	if newer(s, &contracts.Resealing{Began: s.Began, State: contracts.ResealDone}) || !newer(s, nil) || !newer(s, s) {
		t.Error("which pass is meant")
	}
	s.State = contracts.ResealDone
	if resealed(s, 7, s.Began) != nil || resealed(s, 7, s.Began.Add(1)) == nil || resealed(s, 8, s.Began) == nil || resealed(nil, 7, s.Began) == nil {
		t.Error("which pass is enough to destroy a key")
	}
	if s.Bad = 1; resealed(s, 7, s.Began) == nil {
		t.Error("what a pass could not read may need the key")
	}
	var id uint32
	for text, want := range map[string]uint32{"7": 7, "0": 0, "-1": 0, "4294967296": 0, "": 0, strconv.Itoa(1 << 31): 1 << 31} {
		if id, _ = keyID(text); id != want {
			t.Errorf("%q is %d", text, id)
		}
	}
}
