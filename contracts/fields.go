package contracts

import (
	"encoding/binary"
	"errors"
	"time"
)

// Records that every message makes and reads are written as fields in a fixed
// order, each text behind its length: a tenth of JSON's work. The first byte is
// the version; a later one adds fields at the end.

// errFields says that bytes are not a record of the kind that was looked for.
var errFields = errors.New("not a record of this kind")

// fieldWriter appends fields to a record.
type fieldWriter struct{ b []byte }

// newFields begins a record; size is about what it will take.
func newFields(size int) *fieldWriter {
	return &fieldWriter{append(make([]byte, 0, size), Version)}
}

func (w *fieldWriter) text(texts ...string) {
	for _, s := range texts {
		w.b = append(binary.AppendUvarint(w.b, uint64(len(s))), s...)
	}
}

func (w *fieldWriter) number(numbers ...int) {
	for _, n := range numbers {
		w.b = binary.AppendVarint(w.b, int64(n))
	}
}

// bit is a truth as a number.
func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}

// time is written to the nanosecond; its zone is not.
func (w *fieldWriter) time(t time.Time) {
	w.b = binary.AppendVarint(w.b, t.Unix())
	w.b = binary.AppendUvarint(w.b, uint64(t.Nanosecond()))
}

// fieldReader takes a record apart and remembers whether it had the form.
type fieldReader struct {
	b       []byte
	version int
	bad     bool
}

// readFields begins behind the version, which the caller has looked at.
func readFields(b []byte) *fieldReader { return &fieldReader{b: b[1:], version: int(b[0])} }

func (r *fieldReader) text() string {
	n, size := binary.Uvarint(r.b)
	if size <= 0 || n > uint64(len(r.b)-size) || size > 1 && r.b[size-1] == 0 {
		r.fail()
		return ""
	}
	s := string(r.b[size : size+int(n)])
	r.b = r.b[size+int(n):]
	return s
}

func (r *fieldReader) number() int {
	n, size := binary.Varint(r.b)
	if size <= 0 || int64(int(n)) != n || size > 1 && r.b[size-1] == 0 {
		r.fail()
		return 0
	}
	r.b = r.b[size:]
	return int(n)
}

func (r *fieldReader) bit() bool {
	n := r.number()
	if n != 0 && n != 1 {
		r.fail()
	}
	return n == 1
}

func (r *fieldReader) time() time.Time {
	seconds := r.number()
	n, size := binary.Uvarint(r.b)
	if size <= 0 || n >= uint64(time.Second) || size > 1 && r.b[size-1] == 0 {
		r.fail()
		return time.Time{}
	}
	r.b = r.b[size:]
	return time.Unix(int64(seconds), int64(n)).UTC()
}

// fail leaves nothing to read.
func (r *fieldReader) fail() { r.b, r.bad = nil, true }

// end gives an error unless everything was read and had the form. A longer
// record is of another kind: fields are added by a new version only.
func (r *fieldReader) end() error {
	if r.bad || len(r.b) > 0 {
		return errFields
	}
	return nil
}

// versioned checks the version of a record of fields.
func versioned(b []byte) error {
	if len(b) == 0 {
		return errFields
	}
	if !supported(int(b[0])) {
		return versionError(int(b[0]))
	}
	return nil
}
