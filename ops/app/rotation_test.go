package app

import (
	"testing"

	"github.com/nats-io/nats.go"

	"moltbot/contracts"
)

// A process that this build does not understand is there all the same: nobody
// knows what it holds, so nothing goes on that depends on it.
func TestKeysOfAnUnreadProcess(t *testing.T) {
	a, _, err := up(t, settings(t))
	must(t, err)
	r := run(t, a)
	await(t, "ready", r.Ready())
	nc := a.topology.js.Conn()
	must(t, a.resealNow(t.Context(), "ann"))
	_, err = nc.Subscribe(contracts.SubjectKeysStatus(), func(m *nats.Msg) {
		if err := m.Respond([]byte(`{"v":999,"node":"new","primary":7}`)); err != nil {
			t.Error(err)
		}
	})
	must(t, err)
	must(t, nc.Flush())
	k, err := a.showKeys(t.Context())
	must(t, err)
	equal(t, "processes", len(k.Processes), 2)
	if e := contracts.Public(a.resealNow(t.Context(), "ann")); e == nil || e.Code != contracts.CodeConflict {
		t.Errorf("reseal beside it: %v", e)
	}
}
