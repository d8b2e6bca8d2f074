package ingress_test

import (
	"context"
	"encoding/json"
	"net/http"
	"testing"

	"moltbot/contracts"
	"moltbot/ingress"
)

func TestAdminKeys(t *testing.T) {
	r := newBareRig(t)
	const token = "admin-token-CANARY-0123456789abcdef"
	l, asked := listen(t), make(chan string, 9)
	r.run(func(o *ingress.Options) {
		o.Admin = &ingress.Admin{
			Listener: l, Token: token, Workers: noWorkers, Resize: noResize,
			Status: func(context.Context) (s contracts.AdminStatus, err error) { return s, nil },
			Mint:   func(contracts.TokenRequest) (m contracts.TokenReply, err error) { return m, nil },
			Keys: func(context.Context) (contracts.AdminKeys, error) {
				return contracts.AdminKeys{Processes: []contracts.KeyStatus{{Node: "n1", Primary: 7, Keys: []uint32{6, 7}}}}, nil
			},
			Reseal: func(_ context.Context, by string) error {
				if asked <- by; len(asked) > 1 {
					return &contracts.Error{Code: contracts.CodeConflict, Message: "not every process seals with it"}
				}
				return nil
			},
		}
	})
	r.base = "http://" + l.Addr().String()
	const good = "Authorization: Bearer " + token
	problem(t, r.get("/admin/keys", "Authorization: Bearer "+ann), contracts.CodeUnauthorized)
	problem(t, r.call(http.MethodPost, "/admin/keys/reseal", "", "Authorization: Bearer x"), contracts.CodeUnauthorized)
	var k contracts.AdminKeys
	if err := json.Unmarshal([]byte(r.get("/admin/keys", good).body), &k); err != nil || len(k.Processes) != 1 || !k.Processes[0].Holds(6) || k.Reseal != nil {
		t.Errorf("%+v, %v", k, err)
	}
	if res := r.call(http.MethodPost, "/admin/keys/reseal", "", good); res.status != http.StatusOK || len(asked) != 1 {
		t.Errorf("reseal: %d %s", res.status, res.body)
	}
	problem(t, r.call(http.MethodPost, "/admin/keys/reseal", "", good), contracts.CodeConflict)
}
