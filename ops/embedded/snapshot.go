package embedded

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// A snapshot file is the header line, the SHA-256 of header and body, and the
// body: the time, the number of entries and the entries, numbers as varints and
// texts preceded by their length.
const (
	snapshotHeader = "moltbot redis snapshot 1\n"
	snapshotPrefix = "moltbot redis snapshot "
)

// kind is the type of a key, as one byte of the file.
type kind byte

const (
	kindString kind = 's'
	kindHash   kind = 'h' // values: field, value, ...
	kindList   kind = 'l'
	kindSet    kind = 'm'
	kindSorted kind = 'z' // values: member, score, ...
)

func kindNamed(redisType string) (kind, error) {
	switch redisType {
	case "string":
		return kindString, nil
	case "hash":
		return kindHash, nil
	case "list":
		return kindList, nil
	case "set":
		return kindSet, nil
	case "zset":
		return kindSorted, nil
	}
	return 0, fmt.Errorf("type %q cannot be kept", redisType)
}

// check refuses what Redis could not hold.
func (k kind) check(values int) error {
	switch k {
	case kindString:
		if values != 1 {
			return fmt.Errorf("a string of %d values", values)
		}
	case kindHash, kindSorted:
		if values == 0 || values%2 != 0 {
			return fmt.Errorf("pairs of %d values", values)
		}
	case kindList, kindSet:
		if values == 0 {
			return errors.New("an empty collection")
		}
	default:
		return fmt.Errorf("unknown kind %d", byte(k))
	}
	return nil
}

// entry is one key. expireAt is in Unix milliseconds, 0 for never.
type entry struct {
	key      string
	kind     kind
	expireAt int64
	values   []string
}

// snapshot is everything a Redis held at one moment.
type snapshot struct {
	at      time.Time
	entries []entry
}

func encodeSnapshot(s snapshot) []byte {
	body := encodeBody(s)
	sum := checksum(body)
	file := make([]byte, 0, len(snapshotHeader)+len(sum)+len(body))
	file = append(file, snapshotHeader...)
	file = append(file, sum...)
	return append(file, body...)
}

func encodeBody(s snapshot) []byte {
	body := binary.AppendVarint(nil, s.at.UnixMilli())
	body = binary.AppendUvarint(body, uint64(len(s.entries)))
	for _, e := range s.entries {
		body = append(body, byte(e.kind))
		body = binary.AppendVarint(body, e.expireAt)
		body = appendText(body, e.key)
		body = binary.AppendUvarint(body, uint64(len(e.values)))
		for _, v := range e.values {
			body = appendText(body, v)
		}
	}
	return body
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func checksum(body []byte) []byte {
	h := sha256.New()
	h.Write([]byte(snapshotHeader))
	h.Write(body)
	return h.Sum(nil)
}

func decodeSnapshot(file []byte) (*snapshot, error) {
	rest, found := bytes.CutPrefix(file, []byte(snapshotHeader))
	if !found {
		if bytes.HasPrefix(file, []byte(snapshotPrefix)) {
			return nil, errors.New("it was written by another version")
		}
		return nil, errors.New("it does not begin like a snapshot")
	}
	if len(rest) < sha256.Size {
		return nil, errors.New("it ends too soon")
	}
	sum, body := rest[:sha256.Size], rest[sha256.Size:]
	if !bytes.Equal(sum, checksum(body)) {
		return nil, errors.New("its checksum is wrong")
	}
	return decodeBody(body)
}

func decodeBody(body []byte) (*snapshot, error) {
	r := &reader{rest: body}
	s := &snapshot{at: time.UnixMilli(r.signed())}
	for n := r.count(); n > 0 && r.err == nil; n-- {
		s.entries = append(s.entries, r.entry())
	}
	if r.err == nil && len(r.rest) > 0 {
		r.err = fmt.Errorf("%d bytes are left over", len(r.rest))
	}
	if r.err != nil {
		return nil, r.err
	}
	return s, nil
}

// reader takes the body apart. After the first error it returns zero values.
type reader struct {
	rest []byte
	err  error
}

func (r *reader) fail(err error) {
	if r.err == nil {
		r.err, r.rest = err, nil
	}
}

func (r *reader) entry() entry {
	e := entry{kind: kind(r.oneByte()), expireAt: r.signed(), key: r.text()}
	n := r.count()
	if err := e.kind.check(n); err != nil {
		r.fail(err)
	}
	for ; n > 0 && r.err == nil; n-- {
		e.values = append(e.values, r.text())
	}
	return e
}

func (r *reader) oneByte() byte {
	if len(r.rest) == 0 {
		r.fail(errors.New("it ends too soon"))
		return 0
	}
	b := r.rest[0]
	r.rest = r.rest[1:]
	return b
}

func (r *reader) signed() int64 {
	v, n := binary.Varint(r.rest)
	if n <= 0 {
		r.fail(errors.New("a number is broken"))
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

// count reads how many bytes or items follow. Each takes a byte at least, so a
// count beyond the rest is refused before anything is allocated for it.
func (r *reader) count() int {
	v, n := binary.Uvarint(r.rest)
	if n <= 0 || v > uint64(len(r.rest)-n) {
		r.fail(errors.New("a length is broken"))
		return 0
	}
	r.rest = r.rest[n:]
	return int(v)
}

func (r *reader) text() string {
	n := r.count()
	s := string(r.rest[:n])
	r.rest = r.rest[n:]
	return s
}

// readSnapshot returns nil where there is none. A damaged one is an error that
// says what to do: starting empty over it would lose it for good.
func readSnapshot(path string) (*snapshot, error) {
	file, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read snapshot: %w", err)
	}
	s, err := decodeSnapshot(file)
	if err != nil {
		return nil, fmt.Errorf("the snapshot %s cannot be used: %w; move it away to start empty", path, err)
	}
	return s, nil
}

// writeSnapshot replaces the file at path. A nil error means that the new one
// survives a power cut; after any other outcome the old one is still there.
func writeSnapshot(path string, s snapshot) error {
	temp := path + ".new" // the directory is locked: nobody else writes here
	if err := writeSynced(temp, encodeSnapshot(s)); err != nil {
		return fmt.Errorf("write snapshot: %w", err)
	}
	if err := os.Rename(temp, path); err != nil {
		return fmt.Errorf("replace snapshot: %w", err)
	}
	if err := syncDir(filepath.Dir(path)); err != nil {
		return fmt.Errorf("sync snapshot directory: %w", err)
	}
	return nil
}

func writeSynced(path string, content []byte) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(content)
	if err == nil {
		err = file.Sync()
	}
	return errors.Join(err, file.Close())
}

func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
