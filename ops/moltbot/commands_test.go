package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"moltbot/contracts"
	"moltbot/ops/keyring"
)

func verify(t *testing.T, keys, token string) keyring.Claims {
	t.Helper()
	ring, err := keyring.Open(t.Context(), keys, keyring.Options{})
	if err != nil {
		t.Fatal(err)
	}
	c, err := ring.Verify(strings.TrimSpace(token))
	if err != nil {
		t.Fatalf("%v: %q", err, token)
	}
	return c
}

// days is how long c lives, in whole days.
func days(c keyring.Claims) int { return int(c.Expires.Sub(time.Now().Add(-time.Minute)).Hours() / 24) }

func TestToken(t *testing.T) {
	dir := t.TempDir()
	keys := filepath.Join(dir, "keys")
	must(t, "key", "init", keys)

	code, out, errOut := call(t, "token", "-u", "admin", "--data-dir", dir)
	if code != exitOK || strings.Count(out, "\n") != 1 {
		t.Fatalf("exit status %d, output %q, %s", code, out, errOut)
	}
	contains(t, errOut, "user admin", "scope chat", "expires ")
	if c := verify(t, keys, out); c.User != "admin" || !c.Can("chat") || c.Can("admin") || days(c) != 365 {
		t.Errorf("claims are %+v", c)
	}

	out = must(t, "token", "-d", "7", "-u", "bob", "--scope", "chat,admin", "--data-dir", dir)
	if c := verify(t, keys, out); c.User != "bob" || !c.Can("chat") || !c.Can("admin") || days(c) != 7 {
		t.Errorf("claims are %+v", c)
	}

	var reply contracts.TokenReply
	if err := json.Unmarshal([]byte(must(t, "token", "-d", "1", "-u", "eve", "--json", "--data-dir", dir)), &reply); err != nil {
		t.Fatal(err)
	}
	if c := verify(t, keys, reply.Token); c.User != "eve" || !c.Expires.Equal(reply.Expires) || reply.User != "eve" {
		t.Errorf("claims are %+v, the reply is %+v", c, reply)
	}
}

func TestTokenRefusals(t *testing.T) {
	dir := t.TempDir()
	must(t, "key", "init", filepath.Join(dir, "keys"))
	for _, c := range []struct{ args, want string }{
		{"-u a -d 0", "days must be 1 to 3650"},
		{"-u a -d 4000", "days must be 1 to 3650"},
		{"-u a --scope root", `"root" is neither chat nor admin`},
		{"-u a/b", "user must be"},
		{"-u a --rate fast", "like 10/20"},
		{"-u a --models a*b", "neither the name of a model"},
		{"-u a --rate 0/1", "the rate must be from 0.01 to 1000000"},
		{"-u a --rate 1/1000001", "the burst must be from 1 to 1000000"},
	} {
		args := append([]string{"token", "--data-dir", dir}, strings.Fields(c.args)...)
		contains(t, fails(t, exitFailure, args...), c.want)
	}
	// Without keys and without a process, both are named.
	contains(t, fails(t, exitFailure, "token", "-u", "a", "--data-dir", t.TempDir()), "moltbot key init", "no process seems to run")
}

func TestKeyInit(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "deep", "keys")
	contains(t, must(t, "key", "init", dir), dir, "back them up")
	before := contents(t, dir)
	if len(before) != 3 {
		t.Errorf("files: %v", before)
	}
	must(t, "key", "init", dir)
	for name, text := range contents(t, dir) {
		if before[name] != text {
			t.Errorf("%s was replaced", name)
		}
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: mode %v, %v", name, info.Mode(), err)
		}
	}
	data := t.TempDir()
	t.Setenv("MOLTBOT_DATA_DIR", data)
	contains(t, must(t, "key", "init"), filepath.Join(data, "keys"))
}

func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		all[e.Name()] = string(text)
	}
	return all
}

const canary = "canary-9f2c7d1e"

func configFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestConfigCheck(t *testing.T) {
	good := configFile(t, "listen: 127.0.0.1:0\nqueue:\n  lease: 3s\n")
	contains(t, must(t, "config", "check", "-c", good), "in order")

	bad := configFile(t, "listen: here\nqueue:\n  leese: 3s\n  beat: often\nmodel:\n  model_provider: demo\n  api_key: [ "+canary+" ]\n")
	t.Setenv("MOLTBOT_SESSION_TTL", "half an hour")
	t.Setenv("MOLTBOT_SESION_TTL", "30m")
	text := fails(t, exitFailure, "config", "check", "-c", bad)
	contains(t, text, bad+":3: ", `did you mean "queue.lease"`, bad+":4: queue.beat", bad+":7: model.api_key",
		"MOLTBOT_SESSION_TTL: session.ttl", "did you mean MOLTBOT_SESSION_TTL")
	if strings.Contains(text, canary) {
		t.Errorf("a secret in a mistake:\n%s", text)
	}
	contains(t, fails(t, exitFailure, "config", "check", "--config", filepath.Join(t.TempDir(), "none.yaml")), "no such file")
}

func TestConfigShowMasksSecrets(t *testing.T) {
	file := configFile(t, "redis:\n  url: redis://user:"+canary+"@cache:6379/0\nmodel:\n  api_key: "+canary+"\nworkers:\n  slots: 7\n")
	t.Setenv("MOLTBOT_NATS_URL", "nats://user:"+canary+"@queue:4222")
	for _, format := range []string{"yaml", "json"} {
		text := must(t, "config", "show", "--format", format, "-c", file)
		if strings.Contains(text, canary) {
			t.Errorf("a secret in:\n%s", text)
		}
		contains(t, text, "***@cache:6379", "***@queue:4222", "slots")
	}
	var shown struct {
		Workers struct{ Slots int }
		Model   struct {
			Key string `json:"api_key"`
		}
	}
	if err := json.Unmarshal([]byte(must(t, "config", "show", "--format", "json", "-c", file)), &shown); err != nil {
		t.Fatal(err)
	}
	if shown.Workers.Slots != 7 || shown.Model.Key != "***" {
		t.Errorf("shown: %+v", shown)
	}
}

// What show prints is a configuration: the same one, except for the secrets.
func TestConfigShowCanBeLoaded(t *testing.T) {
	first := must(t, "config", "show")
	if second := must(t, "config", "show", "-c", configFile(t, first)); second != first {
		t.Errorf("first:\n%s\nsecond:\n%s", first, second)
	}
}

func TestServeNeedsItsDependencies(t *testing.T) {
	dir := t.TempDir()
	contains(t, fails(t, exitFailure, "serve", "workers", "--data-dir", dir), "moltbot key init")
	must(t, "key", "init", filepath.Join(dir, "keys"))
	contains(t, fails(t, exitFailure, "serve", "workers", "--data-dir", dir), "redis.url is not set")
	t.Setenv("MOLTBOT_REDIS_URL", "redis://127.0.0.1:1/0")
	contains(t, fails(t, exitFailure, "serve", "all", "--data-dir", dir), "nats.url is not set")
	t.Setenv("MOLTBOT_NATS_URL", "nats://127.0.0.1:1")
	contains(t, fails(t, exitFailure, "serve", "workers", "--data-dir", dir, "--log-level", "error"), "nothing proves that NATS syncs")
}

func TestStatusWithoutProcess(t *testing.T) {
	contains(t, fails(t, exitFailure, "status", "--data-dir", t.TempDir()), "no process seems to run")
}
