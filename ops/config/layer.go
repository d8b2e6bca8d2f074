package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/knadh/koanf/maps"
)

const maxSecretFile = 64 << 10

// Mistake is one thing that is wrong in one place.
type Mistake struct {
	Where string // "config.yaml:7", "MOLTBOT_SESSION_TTL", or empty for a default
	Key   string // "session.ttl"; empty if the text names it
	Text  string
}

// Error is the place, the key and what is wrong, with the parts that are known.
func (m *Mistake) Error() string {
	parts := make([]string, 0, 3)
	for _, part := range []string{m.Where, m.Key, m.Text} {
		if part != "" {
			parts = append(parts, part)
		}
	}
	return strings.Join(parts, ": ")
}

// layer is what one source says: typed values by key, where each was said, and
// the mistakes. It is a koanf.Provider.
type layer struct {
	values   map[string]any
	where    map[string]string
	broken   map[string]bool // keys that were given but could not be read
	mistakes []error
	// unread says that the source as a whole could not be read, so the absence
	// of a key means nothing.
	unread bool
	// catalog is what a file names beside the keys of the book; nil where it may not.
	catalog *catalogLayer
	systems []System
	apps    map[string]map[string]*layer // by section and name, what a file says of applications
}

func newLayer() *layer {
	return &layer{values: map[string]any{}, where: map[string]string{}, broken: map[string]bool{}}
}

// Read gives the values as the nested maps that koanf merges.
func (l *layer) Read() (map[string]any, error) { return maps.Unflatten(l.values, "."), nil }

// ReadBytes is the other half of koanf.Provider; a layer is already parsed.
func (l *layer) ReadBytes() ([]byte, error) { return nil, errors.New("a layer has no bytes") }

// fail notes a mistake about key, or about something that is no key if empty.
func (l *layer) fail(where, key, text string) {
	if key != "" {
		l.broken[key] = true
	}
	l.mistakes = append(l.mistakes, &Mistake{Where: where, Key: key, Text: text})
}

// put stores the text that was given for e under the name key.
func (l *layer) put(where, key string, e entry, text string) {
	if e.fromFile {
		_, list := e.value.([]string)
		secret, err := readSecret(text)
		if err != nil {
			l.broken[e.path] = true
			l.fail(where, key, err.Error())
			return
		}
		if text = secret; list { // one in each line
			text = strings.Join(strings.Fields(secret), ",")
		}
	}
	v, err := parse(text, e.value)
	if err != nil {
		quoted := "the value "
		if e.secret == "" {
			quoted = fmt.Sprintf("%.80q ", text)
		}
		l.fail(where, key, quoted+err.Error())
		return
	}
	l.set(where, key, e, v)
}

// set stores a value unless this source already gave one: a key and its _file
// sibling are two answers to one question.
func (l *layer) set(where, key string, e entry, v any) {
	if first, ok := l.where[e.path]; ok {
		l.fail(where, key, "is given twice (first at "+first+")")
		return
	}
	l.values[e.path], l.where[e.path] = v, where
}

// under gives the same layer with every key below prefix.
func (l *layer) under(prefix string) *layer {
	moved := newLayer()
	moved.mistakes, moved.unread, moved.catalog = l.mistakes, l.unread, l.catalog
	for key, v := range l.values {
		moved.values[prefix+key] = v
	}
	for key, place := range l.where {
		moved.where[prefix+key] = place
	}
	for key := range l.broken {
		moved.broken[prefix+key] = true
	}
	return moved
}

// readSecret reads the file that a _file key names. The error leaves the name
// out: people put the secret itself there by mistake.
func readSecret(path string) (string, error) {
	content, err := readLimited(path, maxSecretFile)
	if err != nil {
		return "", fmt.Errorf("read the file it names: %w", withoutPath(err))
	}
	secret := strings.TrimRight(string(content), "\r\n")
	if secret == "" {
		return "", errors.New("the file it names is empty")
	}
	return secret, nil
}

func readLimited(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // only read from
	content, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(content)) > limit {
		return nil, fmt.Errorf("is larger than %d bytes", limit)
	}
	return content, nil
}

func withoutPath(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}
