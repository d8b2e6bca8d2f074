package contracts

import (
	"errors"
	"strings"
	"testing"
)

func TestPools(t *testing.T) {
	for _, p := range Pools() {
		if !p.Known() || KeyPoolSlots(p) != "pool."+string(p)+".slots" {
			t.Errorf("%s: known %v, key %s", p, p.Known(), KeyPoolSlots(p))
		}
	}
	if Pool("chats").Known() || strings.Contains(KeyPoolSlots("a.>"), ">") {
		t.Error("any name is a pool")
	}
}

func TestDecodePoolSlotsIsStrict(t *testing.T) {
	for _, text := range []string{
		``, `64`, `null`, `{}`, `{"v":1}`, `{"v":1,"slots":-1}`, `{"v":1,"slots":100001}`, `{"v":1,"slots":1.5}`, `{"v":1,"slots":"4"}`,
		`{"v":1,"slots":4,"more":1}`, `{"v":1,"slots":4}{}`, `{"v":1,"slots":4} x`, `{"slots":4}`, `[{"v":1,"slots":4}]`, `{"v":1,"slots":4}]`,
		`{"v":1,"slots":4,"slots":5}`, `{"v":1,"SLOTS":4}`, `{"v":1,"slots":null}`, ` {"v":1,"slots":4}`,
	} {
		if s, err := DecodePoolSlots([]byte(text)); err == nil {
			t.Errorf("%s gives %+v", text, s)
		}
	}
	if _, err := DecodePoolSlots([]byte(`{"v":9,"slots":4}`)); !errors.Is(err, ErrVersion) {
		t.Error(err)
	}
	for text, want := range map[string]int{`{"v":4,"slots":0}`: 0, `{"v":4,"slots":100000}`: MaxSlots} {
		if s, err := DecodePoolSlots([]byte(text)); err != nil || s.Slots != want {
			t.Errorf("%s gives %+v, %v", text, s, err)
		}
	}
}

func FuzzDecodePoolSlots(f *testing.F) {
	seeds(f, "pool_slots")
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := DecodePoolSlots(b)
		if err != nil {
			return
		}
		if CheckSlots(s.Slots) != nil {
			t.Fatalf("%d slots were taken", s.Slots)
		}
		again(t, s, EncodePoolSlots, DecodePoolSlots)
	})
}

func FuzzDecodeWorkerStatus(f *testing.F) {
	seeds(f, "worker_status")
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := DecodeWorkerStatus(b)
		if err != nil {
			return
		}
		if s.Node == "" {
			t.Fatal("a worker without a name was taken")
		}
		if _, err := EncodeWorkerStatus(s); err != nil {
			t.Fatal(err)
		}
	})
}
