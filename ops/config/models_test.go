package config

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"moltbot/contracts"
)

const catalogFile = `
timeout: 90s
temperature: 0.3
providers:
  deepseek: {endpoint: "https://api.deepseek.com/v1", api_key: k1, api_keys: [k2, k1, k3], timeout: 2m, quota_tokens: 5000}
  claude:
    kind: anthropic
    api_key_file: KEY
models:
  fast:
    provider: deepseek
    model: deepseek-chat
    max_tokens: 77
    max_concurrent: 100
    fallback: [claude-sonnet, demo]
    input_price: 0.27
    output_price: 1.1
    any_model: true
  claude-sonnet: {provider: claude, temperature: 0}
model_routing:
  default: fast
  routes:
    - {pattern: "^/zh/", model: claude-sonnet}
    - pattern: "^/test/"
      model: demo
on_failure: apologize
`

func loadCatalog(t *testing.T) Models {
	t.Helper()
	key := write(t, "key", "claude-key\n")
	m, err := LoadModels(write(t, "m.yaml", strings.ReplaceAll(catalogFile, "KEY", key)))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestCatalogGivesProvidersAndTable(t *testing.T) {
	providers, table, digest := loadCatalog(t).All()
	deepseek, claude := providers["deepseek"], providers["claude"]
	if deepseek.Kind != KindOpenAI || deepseek.Timeout != 2*time.Minute || deepseek.QuotaTokens != 5000 || !deepseek.Stream ||
		!reflect.DeepEqual(deepseek.Keys(), []string{"k1", "k2", "k3"}) {
		t.Errorf("deepseek: %+v, %v", flat(deepseek), deepseek.Keys())
	}
	if claude.Kind != KindAnthropic || claude.Timeout != 90*time.Second || !reflect.DeepEqual(claude.Keys(), []string{"claude-key"}) {
		t.Errorf("claude: %+v", flat(claude))
	}
	if len(providers) != 3 || providers["demo"].Kind != KindDemo {
		t.Errorf("providers: %v", sorted(providers))
	}
	want := contracts.ModelTable{
		Version: contracts.Version, Default: "fast",
		Routes: []contracts.ModelRoute{{Pattern: "^/zh/", Model: "claude-sonnet"}, {Pattern: "^/test/", Model: "demo"}},
		Models: map[string]contracts.ModelEntry{
			"fast": {
				Provider: "deepseek", Model: "deepseek-chat", Fallback: []string{"claude-sonnet", "demo"}, MaxTokens: 77,
				Temperature: new(0.3), MaxConcurrent: 100, InputPrice: 0.27, OutputPrice: 1.1, AnyModel: true,
			},
			"claude-sonnet": {Provider: "claude", Model: "claude-sonnet", MaxTokens: 1024, Temperature: new(0.0)},
			"demo":          {Provider: "demo", Model: "demo"},
		},
	}
	if !reflect.DeepEqual(table, want) {
		t.Errorf("table: %+v", table)
	}
	if err := table.Check(); err != nil || len(digest) != 64 {
		t.Errorf("table: %v, digest %q", err, digest)
	}
}

func TestDigestIsOfTheTableAlone(t *testing.T) {
	digest := func(change func(string) string) string {
		m, err := LoadModels(write(t, "m.yaml", change(strings.ReplaceAll(catalogFile, "api_key_file: KEY", "api_key: x"))))
		if err != nil {
			t.Fatal(err)
		}
		_, _, d := m.All()
		return d
	}
	same := func(s string) string { return s }
	secrets := func(s string) string {
		return strings.NewReplacer("k1", "other", "api.deepseek.com", "elsewhere", "timeout: 2m", "timeout: 3m", "api_key: x", "api_key: y").Replace(s)
	}
	limit := func(s string) string { return strings.Replace(s, "max_concurrent: 100", "max_concurrent: 99", 1) }
	if digest(same) != digest(secrets) {
		t.Error("another key or endpoint is another digest")
	}
	if digest(same) == digest(limit) {
		t.Error("another limit is the same digest")
	}
	_, table, d := loadCatalog(t).All()
	table.By, table.At, table.Sources = "admin", time.Unix(1, 0), []string{"a"}
	if Digest(table) != d {
		t.Error("who made a table and when is part of its digest")
	}
}

func TestFlatKeysAreATableOfOne(t *testing.T) {
	for content, want := range map[string]contracts.ModelEntry{
		"": {Provider: "demo", Model: "demo", MaxTokens: 1024, Temperature: new(0.7)},
		"model_provider: openai\napi_key: k\nmax_concurrent: 3": {
			Provider: "openai", Model: "gpt-4o-mini", MaxTokens: 1024, Temperature: new(0.7), MaxConcurrent: 3, AnyModel: true,
		},
		"model_provider: deepseek\nendpoint: https://d\nmodel: deepseek-chat": {
			Provider: "deepseek", Model: "deepseek-chat", MaxTokens: 1024, Temperature: new(0.7), AnyModel: true,
		},
		"model_provider: local\nendpoint: http://l\nmodel: my own model": {
			Provider: "local", Model: "my own model", MaxTokens: 1024, Temperature: new(0.7), AnyModel: true,
		},
	} {
		m, err := LoadModels(write(t, "m.yaml", content))
		if err != nil {
			t.Fatal(err)
		}
		providers, table, _ := m.All()
		if err := table.Check(); err != nil {
			t.Errorf("%q: %v", content, err)
		}
		if got := table.Models[table.Default]; len(table.Models) != 1 || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %+v", content, got)
		}
		if p := providers[want.Provider]; p.Endpoint != m.Endpoint || p.Kind == "" {
			t.Errorf("%q: provider %+v", content, flat(p))
		}
	}
}

func TestCatalogMayStandInTheMainFile(t *testing.T) {
	file := write(t, "m.yaml", "providers: {a: {endpoint: 'https://a', api_key: x}}\nmodels: {one: {provider: a, max_tokens: 5}, two: {provider: a}}\nmodel_routing: {default: one}\n")
	c, err := Load(write(t, "c.yaml", "model:\n  file: "+file+"\n  providers: {a: {api_key: y}}\n  models: {one: {max_tokens: 6}}\n  model_routing: {default: two}\n"), nil)
	if err != nil {
		t.Fatal(err)
	}
	providers, table, _ := c.Model.All()
	if p := providers["a"]; p.APIKey != "y" || p.Endpoint != "https://a" {
		t.Errorf("provider: %v", flat(p))
	}
	if e := table.Models["one"]; e.MaxTokens != 6 || e.Provider != "a" || table.Default != "two" {
		t.Errorf("table: %+v", table)
	}
}

func TestCatalogMistakesAreReportedAtOnce(t *testing.T) {
	path := write(t, "m.yaml", `providers:
  a: {kind: telnet, endpoint: "https://a", api_key: "sec ret"}
  b: {endpoint: "https://b", tiemout: 1s}
  c: {}
  a: {}
  "x y": {}
  d: 7
  anthropic: {timeout: 3m}
models:
  one: {provider: a, fallback: [two, one, nobody], temperature: 3}
  two: {provider: nowhere, max_tokens: many}
  three: {model: x}
model_routing:
  default: four
  routes:
    - {pattern: "(", model: one}
    - {pattern: "^/x/", model: none}
    - {pattern: "^/x/", target: one}
    - none
  speed: high
on_failure: panic
model: gpt
`)
	_, err := LoadModels(path)
	got := lines(err, path)
	for _, want := range []string{
		"m.yaml:2: providers.a.kind: must be openai, anthropic or demo",
		"m.yaml:2: providers.a.api_key: holds a space or a control character",
		`m.yaml:3: key "tiemout" is unknown; did you mean "timeout"?`,
		"m.yaml:4: providers.c: needs an endpoint",
		"m.yaml:5: providers.a: is given twice",
		"m.yaml:6: providers: \"x...\" is not a name",
		"m.yaml:7: providers.d: must hold keys",
		"m.yaml:8: providers.anthropic: needs a key",
		`m.yaml:10: models.one.fallback: there is no other model "one"`,
		`m.yaml:10: models.one.fallback: there is no other model "nobody"`,
		"m.yaml:10: models.one.temperature: must be from 0 to 2",
		`m.yaml:11: models.two.provider: there is no provider "nowhere"`,
		`m.yaml:11: models.two.max_tokens: "many" is not a whole number`,
		"m.yaml:12: models.three: needs a provider",
		`m.yaml:14: model_routing.default: there is no model "four"`,
		"m.yaml:16: model_routing.routes[0].pattern: is not a Go regular expression",
		`m.yaml:17: model_routing.routes[1].model: there is no model "none"`,
		`m.yaml:18: key "target" is unknown`,
		"m.yaml:18: model_routing.routes[2]: needs a model",
		"m.yaml:19: model_routing.routes[3]: must hold pattern and model",
		`m.yaml:20: key "speed" is unknown`,
		"m.yaml:21: on_failure: must be retry or apologize",
		"m.yaml:22: model: cannot go with models",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("missing: %s", want)
		}
	}
	if strings.Contains(got, "sec ret") || t.Failed() {
		t.Logf("report:\n%s", got)
	}
}

func TestShowMasksTheKeysOfProviders(t *testing.T) {
	c := Default()
	c.Model = loadCatalog(t)
	for _, format := range []string{"yaml", "json"} {
		var b strings.Builder
		if err := c.Show(&b, format); err != nil {
			t.Fatal(err)
		}
		for _, secret := range []string{"k1", "k2", "k3", "claude-key"} {
			if strings.Contains(b.String(), secret) {
				t.Errorf("%s shows %s", format, secret)
			}
		}
		if !strings.Contains(b.String(), "deepseek-chat") || !strings.Contains(b.String(), "^/zh/") || !strings.Contains(b.String(), mask) {
			t.Errorf("%s lacks the catalog:\n%s", format, b.String())
		}
	}
}

func TestKeysOfAFileAreOneInEachLine(t *testing.T) {
	keys := write(t, "keys", "one\ntwo\n")
	m, err := LoadModels(write(t, "m.yaml", "providers: {openai: {api_keys_file: "+keys+"}}"))
	if err != nil {
		t.Fatal(err)
	}
	if got := m.Catalog.Providers["openai"].Keys(); !reflect.DeepEqual(got, []string{"one", "two"}) {
		t.Errorf("keys: %d", len(got))
	}
}
