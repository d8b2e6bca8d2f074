package contracts

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

// KeyModels is the key, in BucketConfig, of the ModelTable that holds. Its
// revision in the bucket is the revision of the table.
const KeyModels = "models"

// ModelTable says which models there are and which one answers. It holds names
// and limits; the providers behind them, with their keys, are in the
// configuration of each process with the workers role.
type ModelTable struct {
	Version int                   `json:"v"`
	Default string                `json:"default"`
	Routes  []ModelRoute          `json:"routes,omitempty"` // the first that matches holds
	Models  map[string]ModelEntry `json:"models"`
	// Sources are the digests of the files that it was imported from, newest
	// first. An operator's change leaves them.
	Sources []string  `json:"sources,omitempty"`
	By      string    `json:"by,omitempty"` // who made the change
	At      time.Time `json:"at"`
}

// ModelRoute sends what matches Pattern, a Go regular expression, to Model.
type ModelRoute struct {
	Pattern string `json:"pattern"`
	Model   string `json:"model"`
}

// ModelEntry is one model of the table. Zero means: as its provider has it.
type ModelEntry struct {
	Provider    string   `json:"provider"`
	Model       string   `json:"model"`              // as the provider knows it
	Fallback    []string `json:"fallback,omitempty"` // names of the table, in order
	MaxTokens   int      `json:"max_tokens,omitempty"`
	Temperature *float64 `json:"temperature,omitempty"`
	// MaxConcurrent is how many calls run at a time, by all processes together.
	MaxConcurrent int `json:"max_concurrent,omitempty"`
	// InputPrice and OutputPrice are for a million tokens, in the operator's currency.
	InputPrice  float64 `json:"input_price,omitempty"`
	OutputPrice float64 `json:"output_price,omitempty"`
	// AnyModel lets callers name "<this name>/<model>", or without a model of that
	// name in the table any model, which the provider then gets as it is.
	AnyModel bool `json:"any_model,omitempty"`
	// Vision says whether the model sees images; nil: it does.
	Vision *bool `json:"vision,omitempty"`
}

// Sees reports whether the model is given images.
func (m ModelEntry) Sees() bool { return m.Vision == nil || *m.Vision }

// Limits of a table.
const (
	MaxModels   = 256
	maxRoutes   = 256
	maxPattern  = 512
	maxFallback = 8
	MaxTable    = 256 << 10 // bytes of an encoded table
)

var modelName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:/@-]{0,127}$`)

// Check reports everything that is wrong with t at once.
func (t ModelTable) Check() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if len(t.Models) == 0 || len(t.Models) > MaxModels {
		bad("models: there must be 1 to %d", MaxModels)
	}
	known := func(name string) bool { _, ok := t.Models[name]; return ok }
	if !known(t.Default) {
		bad("default: there is no model %q", t.Default)
	}
	for name, m := range t.Models {
		if !modelName.MatchString(name) {
			bad("models: %.80q is not a name", name)
		}
		if m.Provider == "" || m.Model == "" {
			bad("models.%s: provider and model are required", name)
		}
		if m.MaxTokens < 0 || m.MaxConcurrent < 0 || !(m.InputPrice >= 0) || !(m.OutputPrice >= 0) {
			bad("models.%s: a number is negative", name)
		}
		if v := m.Temperature; v != nil && !(*v >= 0 && *v <= 2) {
			bad("models.%s: temperature must be from 0 to 2", name)
		}
		if len(m.Fallback) > maxFallback {
			bad("models.%s: fallback: at most %d", name, maxFallback)
		}
		for _, f := range m.Fallback {
			if !known(f) || f == name {
				bad("models.%s: fallback: there is no other model %q", name, f)
			}
		}
	}
	if len(t.Routes) > maxRoutes {
		bad("routes: at most %d", maxRoutes)
	}
	for i, r := range t.Routes {
		if !known(r.Model) {
			bad("routes[%d]: there is no model %q", i, r.Model)
		}
		if _, err := regexp.Compile(r.Pattern); err != nil || r.Pattern == "" || len(r.Pattern) > maxPattern {
			bad("routes[%d]: pattern: must be a regular expression of 1 to %d characters: %v", i, maxPattern, err)
		}
	}
	return errors.Join(errs...)
}

// EncodeModelTable writes the value of KeyModels.
func EncodeModelTable(t ModelTable) ([]byte, error) {
	if err := t.Check(); err != nil {
		return nil, fmt.Errorf("encode model table: %w", err)
	}
	b, err := encode(&t, &t.Version)
	if err == nil && len(b) > MaxTable {
		return nil, fmt.Errorf("encode model table: it takes %d bytes, and at most %d are kept", len(b), MaxTable)
	}
	return b, err
}

// DecodeModelTable reads the value of KeyModels, and takes no table that Check refuses.
func DecodeModelTable(b []byte) (t ModelTable, err error) {
	if len(b) > MaxTable {
		return t, errors.New("decode model table: it is too large")
	}
	if err := decode(b, &t, &t.Version, "model table"); err != nil {
		return ModelTable{}, err
	}
	if err := t.Check(); err != nil {
		return ModelTable{}, fmt.Errorf("decode model table: %w", err)
	}
	return t, nil
}

// Router chooses by a table. It is safe for concurrent use.
type Router struct {
	Table    ModelTable
	Revision int64 // of the table in its bucket; 0: it is in none
	patterns []*regexp.Regexp
}

// NewRouter checks t. Nothing may change t any more.
func NewRouter(t ModelTable, revision int64) (*Router, error) {
	if err := t.Check(); err != nil {
		return nil, fmt.Errorf("model table: %w", err)
	}
	r := &Router{Table: t, Revision: revision}
	for _, route := range t.Routes {
		r.patterns = append(r.patterns, regexp.MustCompile(route.Pattern))
	}
	return r, nil
}

// Routed is what a Router chose.
type Routed struct {
	Name  string // of the table
	Entry ModelEntry
	Text  string // without the route that led it
	Route string // that matched, be it the given one or the one that led; empty: none did
}

// leading is a route at the beginning of a text, such as "/zh/".
var leading = regexp.MustCompile(`^\s*(/[A-Za-z0-9_-]{1,32}/)\s*`)

// CutRoute takes the route off that leads a text such as "/zh/ hello". A text of
// nothing else has none.
func CutRoute(text string) (route, rest string, ok bool) {
	m := leading.FindStringSubmatchIndex(text)
	if m == nil || strings.TrimSpace(text[m[1]:]) == "" {
		return "", text, false
	}
	return text[m[2]:m[3]], text[m[1]:], true
}

// Choose finds the model for a message: the explicit one, else the first whose
// pattern matches route, else the first whose pattern matches the leading /xx/ of
// the text, else the default. It fails for an explicit model that does not exist.
func (r *Router) Choose(explicit, route, text string) (Routed, error) {
	if explicit != "" {
		name, entry, ok := r.Find(explicit)
		if !ok {
			return Routed{}, &Error{Code: CodeModelUnknown, Message: fmt.Sprintf("there is no model %q", explicit)}
		}
		return Routed{Name: name, Entry: entry, Text: text}, nil
	}
	if name := r.match(route); name != "" {
		return Routed{name, r.Table.Models[name], text, route}, nil
	}
	if led, rest, ok := CutRoute(text); ok {
		if name := r.match(led); name != "" {
			return Routed{name, r.Table.Models[name], rest, led}, nil
		}
	}
	return Routed{Name: r.Table.Default, Entry: r.Table.Models[r.Table.Default], Text: text}, nil
}

func (r *Router) match(route string) string {
	if route == "" {
		return ""
	}
	for i, p := range r.patterns {
		if p.MatchString(route) {
			return r.Table.Routes[i].Model
		}
	}
	return ""
}

// Find gives the model that a caller names: one of the table, or one that a model
// with AnyModel lets through.
func (r *Router) Find(explicit string) (name string, entry ModelEntry, ok bool) {
	if m, ok := r.Table.Models[explicit]; ok {
		return explicit, m, true
	}
	if !modelName.MatchString(explicit) {
		return "", ModelEntry{}, false
	}
	if of, model, cut := strings.Cut(explicit, "/"); cut && model != "" {
		if m, ok := r.Table.Models[of]; ok && m.AnyModel {
			return explicit, passed(m, model), true
		}
	}
	if m := r.Table.Models[r.Table.Default]; m.AnyModel {
		return explicit, passed(m, explicit), true
	}
	return "", ModelEntry{}, false
}

// passed is the entry for a model that is not in the table. Prices and limits are
// those of another model, so it has none.
func passed(m ModelEntry, model string) ModelEntry {
	return ModelEntry{Provider: m.Provider, Model: model, AnyModel: true, MaxTokens: m.MaxTokens, Temperature: m.Temperature, Vision: m.Vision}
}

// Names lists the models of the table in order.
func (r *Router) Names() []string {
	names := make([]string, 0, len(r.Table.Models))
	for name := range r.Table.Models {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
