package main

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"moltbot/contracts"
)

func TestCallbackSecret(t *testing.T) {
	dir := t.TempDir()
	must(t, "key", "init", filepath.Join(dir, "keys"))
	secret := func(args ...string) contracts.CallbackSecretReply {
		t.Helper()
		var reply contracts.CallbackSecretReply
		if err := json.Unmarshal([]byte(must(t, append([]string{"callback", "secret", "--json", "--data-dir", dir}, args...)...)), &reply); err != nil {
			t.Fatal(err)
		}
		return reply
	}
	first, next := secret("-u", "ann"), secret("-u", "ann", "--next")
	if first.User != "ann" || first.Generation != 1 || next.Generation != 2 || first.Secret == next.Secret || secret("-u", "bob").Secret == first.Secret {
		t.Errorf("%+v, %+v", first, next)
	}
	code, out, errOut := call(t, "callback", "secret", "-u", "ann", "--data-dir", dir)
	if code != exitOK || strings.TrimSpace(out) != first.Secret || strings.Contains(errOut, "whsec_") {
		t.Errorf("%d %q %q", code, out, errOut)
	}
	t.Setenv("MOLTBOT_CALLBACK_GENERATIONS", "ann=2")
	if rolled := secret("-u", "ann"); rolled != next {
		t.Errorf("%+v, want %+v", rolled, next)
	}
	contains(t, fails(t, exitFailure, "callback", "secret", "-u", "a b", "--data-dir", dir), "user must be")
	contains(t, fails(t, exitFailure, "callback", "secret", "-u", "ann", "--data-dir", t.TempDir()), "moltbot key init", "no process seems to run")
}
