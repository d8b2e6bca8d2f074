package contracts

import "testing"

func TestReplayNumbers(t *testing.T) {
	id, err := ParseID(anID)
	if err != nil {
		t.Fatal(err)
	}
	run, ok := id.Rerun()
	if !ok || run.Replay != 1 || run.Resent() || run.Run() != run {
		t.Errorf("rerun %s, %v", run, ok)
	}
	sent, ok := run.Resend()
	if !ok || sent.Replay != 101 || !sent.Resent() || sent.Run() != run {
		t.Errorf("resend %s, %v", sent, ok)
	}
	for replay, want := range map[int][2]bool{98: {true, true}, 99: {false, true}, 199: {false, true}, 9898: {true, true}, 9899: {false, true}, 9900: {true, false}, 9999: {false, false}} {
		id.Replay = replay
		next, reruns := id.Rerun()
		again, resends := id.Resend()
		if reruns != want[0] || resends != want[1] {
			t.Errorf("%d: rerun %v, resend %v", replay, reruns, resends)
		}
		for ok, id := range map[bool]ID{reruns: next, resends: again} {
			if _, err := ParseID(id.String()); ok && err != nil {
				t.Errorf("%s: %v", id, err)
			}
		}
	}
}
