package embedded

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

func sample() snapshot {
	return snapshot{at: time.UnixMilli(1764000000123), entries: []entry{
		{key: "s", kind: kindString, values: []string{""}},
		{key: binary256(), kind: kindHash, expireAt: 1764000009999, values: []string{"f", binary256()}},
		{key: "", kind: kindList, values: []string{"b", "", "b"}},
		{key: "m", kind: kindSet, values: []string{strings.Repeat("long", 500)}},
		{key: "z", kind: kindSorted, values: []string{"member", "-inf"}},
	}}
}

func TestSnapshotRoundTrip(t *testing.T) {
	for name, want := range map[string]snapshot{"full": sample(), "empty": {at: time.UnixMilli(0)}} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "snapshot")
			must(t, writeSnapshot(path, sample())) // replaced by the next
			must(t, writeSnapshot(path, want))
			got, err := readSnapshot(path)
			must(t, err)
			if !reflect.DeepEqual(*got, want) {
				t.Errorf("got %v, want %v", *got, want)
			}
		})
	}
}

func TestNoSnapshotIsNoError(t *testing.T) {
	if s, err := readSnapshot(filepath.Join(t.TempDir(), "none")); s != nil || err != nil {
		t.Fatalf("%v, %v", s, err)
	}
}

func TestTruncatedSnapshotIsRefusedAtEveryBorder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "snapshot")
	file := encodeSnapshot(sample())
	for n := 0; n < len(file); n += 64 {
		must(t, os.WriteFile(path, file[:n], 0o600))
		if _, err := readSnapshot(path); err == nil || !strings.Contains(err.Error(), "move it away") {
			t.Errorf("%d of %d bytes: %v", n, len(file), err)
		}
	}
}

func TestTruncatedBodyIsRefusedAtEveryByte(t *testing.T) {
	body := encodeBody(sample())
	for n := range body {
		if _, err := decodeBody(body[:n]); err == nil {
			t.Errorf("%d of %d bytes were accepted", n, len(body))
		}
	}
}

func TestFlippedBitIsRefused(t *testing.T) {
	file := encodeSnapshot(sample())
	for i := range file {
		file[i] ^= 1
		if _, err := decodeSnapshot(file); err == nil {
			t.Errorf("a flipped bit in byte %d was accepted", i)
		}
		file[i] ^= 1
	}
}

func TestOtherVersionIsNamed(t *testing.T) {
	_, err := decodeSnapshot([]byte(snapshotPrefix + "2\nwhatever"))
	if err == nil || !strings.Contains(err.Error(), "another version") {
		t.Fatalf("error = %v", err)
	}
}

func TestFailedWriteKeepsTheOldSnapshot(t *testing.T) {
	path := filepath.Join(t.TempDir(), "snapshot")
	must(t, writeSnapshot(path, sample()))
	must(t, os.Mkdir(path+".new", 0o700))
	if err := writeSnapshot(path, snapshot{}); err == nil {
		t.Fatal("no error")
	}
	got, err := readSnapshot(path)
	must(t, err)
	if len(got.entries) != len(sample().entries) {
		t.Errorf("%d entries", len(got.entries))
	}
}

// FuzzSnapshotBody feeds the decoder behind the checksum, where a fuzzer would
// not come by itself.
func FuzzSnapshotBody(f *testing.F) {
	f.Add(encodeBody(sample()))
	f.Add(encodeBody(snapshot{}))
	f.Add([]byte{0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, body []byte) {
		s, err := decodeBody(body)
		if err != nil {
			return
		}
		again, err := decodeBody(encodeBody(*s))
		if err != nil || !reflect.DeepEqual(again, s) {
			t.Fatalf("does not come round: %v", err)
		}
	})
}

func FuzzSnapshotFile(f *testing.F) {
	f.Add(encodeSnapshot(sample()))
	f.Add([]byte(snapshotHeader))
	f.Fuzz(func(t *testing.T, file []byte) {
		if s, err := decodeSnapshot(file); err == nil && !bytes.HasPrefix(file, []byte(snapshotHeader)) {
			t.Fatalf("accepted %v", s)
		}
	})
}
