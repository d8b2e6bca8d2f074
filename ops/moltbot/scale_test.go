package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"moltbot/contracts"
)

func TestParsePools(t *testing.T) {
	asks, err := parsePools([]string{"chat=64", "deliver=default"})
	if err != nil || len(asks) != 2 || *asks[0].request.Slots != 64 || !asks[1].request.Default || asks[1].request.Slots != nil {
		t.Errorf("%+v, %v", asks, err)
	}
	for _, bad := range []string{"chat", "chat=", "chat=many", "chats=4", "=4", "chat=4 chat=5", "chat=1.5", ""} {
		if _, err := parsePools(strings.Split(bad, " ")); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

func TestScale(t *testing.T) {
	dir := t.TempDir()
	contains(t, fails(t, exitFailure, "scale", "chat=4", "--data-dir", dir), "no process seems to run")
	fails(t, exitUsage, "scale")
	r := up(t, dir)
	contains(t, must(t, "workers", "--data-dir", dir), "NODE", "chat", "64", "as each process is configured", "0 waiting")
	contains(t, must(t, "scale", "chat=4", "deliver=16", "--data-dir", dir),
		"chat: 4 slots in each process", "deliver: 16 slots in each process", "every process follows")
	contains(t, must(t, "workers", "--data-dir", dir), "wanted  chat=4 deliver=16")
	contains(t, must(t, "status", "--data-dir", dir), "0 of 4 slots in use, 4 wanted in each process")
	watch := background(t, "workers", "--watch", "--data-dir", dir)
	if !watch.out.await("\n\nNODE") {
		t.Errorf("it does not print again\n%s", watch.out)
	}
	watch.stop(t)
	var w contracts.AdminWorkers
	if err := json.Unmarshal([]byte(must(t, "workers", "--json", "--data-dir", dir)), &w); err != nil {
		t.Fatal(err)
	}
	if len(w.Workers) != 1 || w.Workers[0].Pools[contracts.PoolChat] != (contracts.PoolStatus{Slots: 4, Configured: 64}) ||
		w.Workers[0].Pools[contracts.PoolDeliver] != (contracts.PoolStatus{Slots: 16, Configured: 32}) || w.Workers[0].PID == 0 {
		t.Errorf("workers are %+v", w)
	}
	var s scaled
	if err := json.Unmarshal([]byte(must(t, "scale", "chat=default", "deliver=default", "--json", "--data-dir", dir)), &s); err != nil {
		t.Fatal(err)
	}
	if !s.Followed || len(s.Pools) != 2 || s.Pools[0].Slots != nil {
		t.Errorf("scaled: %+v", s)
	}
	contains(t, must(t, "status", "--data-dir", dir), "0 of 64 slots in use\n")
	for args, want := range map[string]string{
		"chat=-1": "slots must be 0", "chat=100001": "slots must be 0", "chat=20001": "queue.max_ack_pending", "chats=1": "no pool",
	} {
		contains(t, fails(t, exitFailure, "scale", args, "--data-dir", dir), want)
	}
	r.stop(t)
	contains(t, r.log.String(), "slots wanted by an operator", `"user_id":"operator"`)
}

func TestNotYetNamesWhoIsBehind(t *testing.T) {
	four := 4
	workers := []contracts.WorkerStatus{
		{Node: "n1", Pools: map[contracts.Pool]contracts.PoolStatus{contracts.PoolChat: {Slots: 4, Configured: 64}}},
		{Node: "n2", Pools: map[contracts.Pool]contracts.PoolStatus{contracts.PoolChat: {Slots: 64, Configured: 64}}},
	}
	chat := contracts.PoolReply{Pool: contracts.PoolChat, Slots: &four}
	if b := notYet(workers, []contracts.PoolReply{chat, {Pool: contracts.PoolDeliver, Slots: &four}}); len(b) != 1 || !strings.HasPrefix(b[0], "n2 ") {
		t.Errorf("behind: %v", b)
	}
	chat.Slots = nil
	if b := notYet(workers, []contracts.PoolReply{chat}); len(b) != 1 || !strings.HasPrefix(b[0], "n1 ") {
		t.Errorf("behind: %v", b)
	}
}

func TestPrintWorkers(t *testing.T) {
	now := time.Now()
	var b strings.Builder
	if err := printWorkers(&b, contracts.AdminWorkers{Workers: []contracts.WorkerStatus{
		{Node: "n1", Host: "a", PID: 1, Build: "v1", Started: now.Add(-time.Minute), Pools: map[contracts.Pool]contracts.PoolStatus{contracts.PoolChat: {Slots: 4, InUse: 3}}},
		{Node: "n2", Host: "b", PID: 2, Build: "v1", Started: now, Pools: map[contracts.Pool]contracts.PoolStatus{contracts.PoolChat: {Slots: 8, InUse: 1}}},
	}}, now); err != nil {
		t.Fatal(err)
	}
	contains(t, b.String(), "n1     a     1    v1       chat  4      3       1m0s", "total                      chat  12     4")
	b.Reset()
	if err := printWorkers(&b, contracts.AdminWorkers{}, now); err != nil {
		t.Fatal(err)
	}
	contains(t, b.String(), "no process with the workers role answers")
}
