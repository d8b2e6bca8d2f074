package contracts

import "testing"

func FuzzKeyRecords(f *testing.F) {
	status, err := EncodeKeyStatus(KeyStatus{Node: "n", Keys: []uint32{1, 2}, Primary: 2})
	if err != nil {
		f.Fatal(err)
	}
	record, err := EncodeResealing(Resealing{Key: 2, State: ResealDone})
	if err != nil {
		f.Fatal(err)
	}
	for _, b := range [][]byte{status, record, []byte("{}"), []byte(`{"v":999}`)} {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := DecodeKeyStatus(b); err == nil && (s.Node == "" || !supported(s.Version)) {
			t.Errorf("%q is %+v", b, s)
		}
		if r, err := DecodeResealing(b); err == nil && !supported(r.Version) {
			t.Errorf("%q is %+v", b, r)
		}
	})
}

func TestCovers(t *testing.T) {
	var none *Resealing
	done := &Resealing{Key: 7, State: ResealDone}
	if none.Covers(0) || !done.Covers(7) || done.Covers(8) || (&Resealing{Key: 7, State: ResealRunning}).Covers(7) || (&Resealing{Key: 7, State: ResealFailed}).Covers(7) {
		t.Error("a pass that is not done, or of another key, covers")
	}
}
