package config

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"time"

	"moltbot/contracts"
)

// Models is the model section: a file to read, and the keys of that file.
type Models struct {
	File    string `koanf:"file" doc:"Path of a model_config.yaml; empty means none. Its keys yield to those given here."`
	Model   `koanf:",squash"`
	Catalog Catalog `koanf:"-"`
}

// Catalog is what a model file names beside its flat keys. The zero value names
// nothing: then the flat keys are the one provider with its one model.
type Catalog struct {
	Providers map[string]Provider
	Models    map[string]Entry
	Default   string
	Routes    []contracts.ModelRoute
}

// The kinds of providers.
const (
	KindOpenAI    = "openai"
	KindAnthropic = "anthropic"
	KindDemo      = "demo"
)

// Provider is one entry of providers. What it leaves out of times and limits is
// as the flat keys have it.
type Provider struct {
	Kind              string        `koanf:"kind" doc:"Protocol: openai, anthropic or demo; empty means that of the same name, else openai."`
	Endpoint          string        `koanf:"endpoint" secret:"url" doc:"Base URL of the API; needed unless it is OpenAI's own (a provider called openai), Anthropic's own, or the demo."`
	APIKey            string        `koanf:"api_key" secret:"value" doc:"Key for the provider."`
	APIKeys           []string      `koanf:"api_keys" secret:"value" doc:"Further keys, for a provider that limits each; one that is refused or over its limit rests for a while."`
	Stream            bool          `koanf:"stream" doc:"Ask for a stream of tokens."`
	FirstTokenTimeout time.Duration `koanf:"first_token_timeout" doc:"Longest wait for the first token; at most timeout."`
	IdleTimeout       time.Duration `koanf:"idle_timeout" doc:"Longest silence between two tokens."`
	Timeout           time.Duration `koanf:"timeout" doc:"Longest time of a whole answer."`
	MaxResponseBytes  int64         `koanf:"max_response_bytes" doc:"Largest answer read, in bytes."`
	QuotaTokens       int64         `koanf:"quota_tokens" zero:"off" doc:"Tokens a day that the provider is meant to be used for; 0 means no quota."`
}

// Keys are all keys, none twice.
func (p Provider) Keys() []string {
	var keys []string
	for _, k := range append([]string{p.APIKey}, p.APIKeys...) {
		if k != "" && !slices.Contains(keys, k) {
			keys = append(keys, k)
		}
	}
	return keys
}

// String hides the settings, because a careless %v would print the keys.
func (Provider) String() string { return "provider configuration" }

// GoString hides the settings from %#v too.
func (p Provider) GoString() string { return p.String() }

// Entry is one entry of models.
type Entry struct {
	Provider      string   `koanf:"provider" doc:"Name of one of providers, or model_provider; demo is always there."`
	Model         string   `koanf:"model" doc:"Model as the provider knows it; empty means the name of the entry."`
	MaxTokens     int      `koanf:"max_tokens" doc:"Most tokens of one answer."`
	Temperature   float64  `koanf:"temperature" doc:"Sampling temperature, from 0 to 2."`
	MaxConcurrent int      `koanf:"max_concurrent" zero:"off" doc:"Most calls of this model at a time, by all processes together; 0 means no limit."`
	Fallback      []string `koanf:"fallback" doc:"Models that are asked instead, in this order, when this one fails; at most 8."`
	InputPrice    float64  `koanf:"input_price" doc:"Price of a million tokens of a prompt, in your currency."`
	OutputPrice   float64  `koanf:"output_price" doc:"Price of a million tokens of an answer."`
	AnyModel      bool     `koanf:"any_model" doc:"Callers may name any model of the provider, as name/model, and without the name too where this is the default."`
	Vision        bool     `koanf:"vision" doc:"Whether the model sees images. One that does not is asked with the text alone, and the user is told."`
}

func defaultProvider(flat Model) Provider {
	return Provider{
		Stream: flat.Stream, FirstTokenTimeout: flat.FirstTokenTimeout, IdleTimeout: flat.IdleTimeout,
		Timeout: flat.Timeout, MaxResponseBytes: flat.MaxResponseBytes,
	}
}

func defaultEntry(flat Model) Entry {
	return Entry{MaxTokens: flat.MaxTokens, Temperature: flat.Temperature, MaxConcurrent: flat.MaxConcurrent, Vision: flat.Vision}
}

// kindOf is the kind of a provider that gives none.
func kindOf(name string) string {
	if oneOf(name, KindDemo, KindAnthropic) {
		return name
	}
	return KindOpenAI
}

// All gives the providers with their keys, the table of the models without any,
// and the table's digest, which names and endpoints of providers, times and keys
// do not change.
func (m Models) All() (map[string]Provider, contracts.ModelTable, string) {
	providers, table := m.providers(), m.table()
	return providers, table, Digest(table)
}

// First is who answers where nothing else is said.
type First struct {
	Model    string // as its provider knows it
	Provider string
	Demo     bool
}

// First is the default of the table.
func (m Models) First() First {
	table := m.table()
	e := table.Models[table.Default]
	return First{Model: e.Model, Provider: e.Provider, Demo: m.providers()[e.Provider].Kind == KindDemo}
}

// providers are those that are named, the one of the flat keys, and the demo.
func (m Models) providers() map[string]Provider {
	all := map[string]Provider{}
	if m.Provider != "" {
		p := defaultProvider(m.Model)
		p.Kind, p.Endpoint, p.APIKey = kindOf(m.Provider), m.Endpoint, m.APIKey
		all[m.Provider] = p
	}
	if _, ok := all[KindDemo]; !ok {
		all[KindDemo] = Provider{Kind: KindDemo}
	}
	for name, p := range m.Catalog.Providers {
		p.Kind = cmp.Or(p.Kind, kindOf(name))
		all[name] = p
	}
	return all
}

func (m Models) table() contracts.ModelTable {
	if len(m.Catalog.Models) == 0 {
		return m.flatTable()
	}
	t := contracts.ModelTable{
		Version: contracts.Version, Default: m.fallbackDefault(), Routes: m.Catalog.Routes, Models: map[string]contracts.ModelEntry{},
	}
	for name, e := range m.Catalog.Models {
		t.Models[name] = contracts.ModelEntry{
			Provider: e.Provider, Model: cmp.Or(e.Model, name), Fallback: e.Fallback, MaxTokens: e.MaxTokens,
			Temperature: new(e.Temperature), MaxConcurrent: e.MaxConcurrent, InputPrice: e.InputPrice, OutputPrice: e.OutputPrice,
			AnyModel: e.AnyModel, Vision: visionOf(e.Vision),
		}
	}
	if m.wantsDemo() {
		t.Models[KindDemo] = contracts.ModelEntry{Provider: KindDemo, Model: KindDemo}
	}
	return t
}

// visionOf says it only where a model does not see: what tables said before stays
// as it was, and so do their digests.
func visionOf(sees bool) *bool {
	if sees {
		return nil
	}
	return new(false)
}

// fallbackDefault: where there is one model, it need not be said.
func (m Models) fallbackDefault() string {
	if m.Catalog.Default == "" && len(m.Catalog.Models) == 1 {
		for name := range m.Catalog.Models {
			return name
		}
	}
	return m.Catalog.Default
}

// wantsDemo reports whether a model called demo is named that has no entry.
func (m Models) wantsDemo() bool {
	c := m.Catalog
	if _, ok := c.Models[KindDemo]; ok {
		return false
	}
	wants := c.Default == KindDemo || slices.ContainsFunc(c.Routes, func(r contracts.ModelRoute) bool { return r.Model == KindDemo })
	for _, e := range c.Models {
		wants = wants || slices.Contains(e.Fallback, KindDemo)
	}
	return wants
}

// nameable is a model's name that can stand in a table as it is.
var nameable = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:/@-]{0,127}$`)

// flatTable is the table of a file with flat keys alone.
func (m Models) flatTable() contracts.ModelTable {
	name := cmp.Or(m.Name, m.Provider)
	if m.Name == "" && m.Provider == KindOpenAI {
		name = "gpt-4o-mini"
	}
	e := contracts.ModelEntry{
		Provider: m.Provider, Model: name, MaxTokens: m.MaxTokens, Temperature: new(m.Temperature),
		MaxConcurrent: m.MaxConcurrent, AnyModel: kindOf(m.Provider) != KindDemo, Vision: visionOf(m.Vision),
	}
	if !nameable.MatchString(name) {
		name = "default"
	}
	return contracts.ModelTable{
		Version: contracts.Version, Default: name, Routes: m.Catalog.Routes, Models: map[string]contracts.ModelEntry{name: e},
	}
}

// Digest is the same for tables that say the same, whoever made them and when.
func Digest(t contracts.ModelTable) string {
	t.Sources, t.By, t.At = nil, "", time.Time{}
	b, err := contracts.EncodeModelTable(t)
	if err != nil {
		return "" // a table that Load would not have let through
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// sorted gives the names of a map in order, so that reports are always the same.
func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// at is the key of a setting of a named entry.
func at(prefix, section, name, key string) string {
	return fmt.Sprintf("%s%s.%s.%s", prefix, section, name, key)
}
