package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// write puts content into a new file and gives its path.
func write(t testing.TB, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// lines are the texts of all mistakes in err, directories removed.
func lines(err error, dirs ...string) string {
	if err == nil {
		return ""
	}
	text := err.Error()
	for _, path := range dirs {
		text = strings.ReplaceAll(text, filepath.Dir(path)+"/", "")
	}
	return text
}

func TestLoadNothingGivesTheDefaults(t *testing.T) {
	c, err := Load("", []string{"PATH=/bin", "MOLTBOTX=1"})
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(c, Default()) {
		t.Errorf("Load = %#v\nwant %#v", flat(c), flat(Default()))
	}
	for name, content := range map[string]string{"empty": "", "comment": "# nothing\n", "null": "---\n", "section": "session:\n"} {
		if c, err := Load(write(t, "c.yaml", content), nil); err != nil || !reflect.DeepEqual(c, Default()) {
			t.Errorf("%s file: %v", name, err)
		}
	}
}

func flat(v any) map[string]any {
	m := map[string]any{}
	for _, s := range newBook(v).settings {
		m[s.path] = s.value
	}
	return m
}

func TestLoadLaterSourcesWin(t *testing.T) {
	model := write(t, "model_config.yaml", "model_provider: azure\nendpoint: https://from-model\nmodel: 'from model'\nmax_tokens: 7\ntemperature: 0.7\n")
	file := write(t, "config.yaml", strings.ReplaceAll(`
listen: "0.0.0.0:80"
durability: os
connection_pool: {max_size: 20, idle_timeout: 5m, max_lifetime: 1h}
nats: {url: "nats://a:4222", replicas: 3, allow_unproven_sync: true}
session:
  ttl: 1h
  rounds: 3
  system: |
    be brief
http:
  trusted_proxies: [10.0.0.0/8, "::1/128"]
  rate_limit: off
model:
  file: MODEL
  model: from config
  max_tokens: 8
  stream: false
`, "MODEL", model))
	c, err := Load(file, []string{
		"MOLTBOT_SESSION_TTL=2h", "MOLTBOT_MODEL_MAX_TOKENS=9", "MOLTBOT_MODEL_TEMPERATURE=1.5",
		"MOLTBOT_QUEUE_MAX_PER_CONVERSATION=5", "MOLTBOT_HTTP_TRUSTED_PROXIES=192.0.2.0/24, 198.51.100.0/24",
	})
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.Listen, want.Durability = "0.0.0.0:80", "os"
	want.NATS = NATS{URL: "nats://a:4222", Replicas: 3, AllowUnprovenSync: true}
	want.Session.TTL, want.Session.Rounds, want.Session.System = 2*time.Hour, 3, "be brief\n"
	want.Pool = Pool{MaxSize: 20, IdleTimeout: 5 * time.Minute, MaxLifetime: time.Hour}
	want.Queue.MaxPerConversation = 5
	want.HTTP.TrustedProxies, want.HTTP.RateLimit = []string{"192.0.2.0/24", "198.51.100.0/24"}, "off"
	want.Model.File, want.Model.Provider, want.Model.Endpoint = model, "azure", "https://from-model"
	want.Model.Name, want.Model.MaxTokens, want.Model.Temperature, want.Model.Stream = "from config", 9, 1.5, false
	if !reflect.DeepEqual(c, want) {
		t.Errorf("Load = %v\nwant   %v", flat(c), flat(want))
	}
}

func TestLoadReportsEveryMistakeWithItsLine(t *testing.T) {
	file := write(t, "config.yaml", `listen: 127.0.0.1:1
sesion:
  ttl: 5m
  deep: {er: 1}
log:
  level: loud
session:
  ttl: "abc"
  rounds: 1.5
  rounds: 2
  tokens:
  system: [a]
queue:
  beat: 20s
  ack_wait: oops
reply:
  done_ttl: 30m
workers: 7
http:
  trusted_proxies: 10.0.0.0/8
nats:
  allow_unproven_sync: yes
  replicas: 2
session.keep_rounds: 5
log:
  format: json
`)
	want := `config.yaml:3: key "sesion.ttl" is unknown; did you mean "session.ttl"?
config.yaml:4: key "sesion.deep.er" is unknown; did you mean "session.system"?
config.yaml:8: session.ttl: "abc" is not a duration (like 30m)
config.yaml:9: session.rounds: "1.5" is not a whole number (like 64)
config.yaml:10: session.rounds: is given twice (first in line 9)
config.yaml:11: session.tokens: has no value; remove the line to get the default
config.yaml:12: session.system: must be a single value (text)
config.yaml:15: queue.ack_wait: "oops" is not a duration (like 30m)
config.yaml:18: workers: must hold keys, each as "name: value"
config.yaml:20: http.trusted_proxies: must be a list, like [a, b]
config.yaml:22: nats.allow_unproven_sync: "yes" is not true or false
config.yaml:24: key "session.keep_rounds" must be written as nested keys: a line for each part, indented
config.yaml:25: log: is given twice (first in line 5)
MOLTBOT_QUEUE_LEASE: queue.lease: "1" is not a duration (like 30m)
variable "MOLTBOT_SESION_TTL" is unknown; did you mean MOLTBOT_SESSION_TTL?
config.yaml:23: nats.replicas: must be 1, 3 or 5
config.yaml:23: nats.replicas: needs nats.url: an embedded server is alone
config.yaml:17: reply.done_ttl: (30m) must be at least reply.result_ttl (1h)
config.yaml:6: log.level: must be trace, debug, info, warn or error`
	_, err := Load(file, []string{"MOLTBOT_SESION_TTL=1h", "MOLTBOT_QUEUE_LEASE=1"})
	if got := lines(err, file); got != want {
		t.Errorf("mistakes:\n%s\nwant:\n%s", got, want)
	}
	var m *Mistake
	if !errors.As(err, &m) {
		t.Errorf("no *Mistake in %T", err)
	}
}

func TestLoadRefusesWholeFiles(t *testing.T) {
	for name, tt := range map[string]struct {
		content, want string
		unread        bool
	}{
		"too large":  {"#" + strings.Repeat("x", maxFile), "config.yaml: read configuration: is larger than 1048576 bytes", true},
		"syntax":     {"listen: x\n  a: b\n", "config.yaml:2: is not valid YAML: mapping values are not allowed in this context", true},
		"second":     {"listen: a:1\n---\nlisten: b:2\n", "config.yaml:2: holds a second document", true},
		"list":       {"- a\n", "config.yaml:1: must hold keys, each as \"name: value\"", false},
		"text":       {"hello", "config.yaml:1: must hold keys, each as \"name: value\"", false},
		"alias":      {"listen: a:1\nlog: *x", "config.yaml: is not valid YAML: anchors, aliases and tags are not supported", true},
		"tag":        {"log: {level: !!str info}", "config.yaml:1: log.level: tags are not supported", false},
		"anchor":     {"log: {level: &a info}", "config.yaml:1: log.level: anchors and aliases are not supported", false},
		"merge":      {"log: {<<: {level: info}}", "config.yaml:1: key \"log....\" is unknown; did you mean \"log.level\"?", false},
		"list item":  {"http: {trusted_proxies: [[a]]}", "config.yaml:1: http.trusted_proxies: must be a list of plain texts", false},
		"mapped key": {"{[a]: b}", "config.yaml:1: a key must be a plain name", false},
	} {
		t.Run(name, func(t *testing.T) {
			file := write(t, "config.yaml", tt.content)
			// nats.creds_file needs nats.url, which may well be in what could not be read.
			_, err := Load(file, []string{"MOLTBOT_NATS_CREDS_FILE=x"})
			got, rest, _ := strings.Cut(lines(err, file), "\n")
			if got != tt.want || (rest == "") != tt.unread {
				t.Errorf("got  %s\nrest %s\nwant %s", got, rest, tt.want)
			}
		})
	}
	missing := filepath.Join(t.TempDir(), "none.yaml")
	for _, environ := range [][]string{nil, {"MOLTBOT_MODEL_FILE=" + missing}} {
		path := missing
		if environ != nil {
			path = ""
		}
		if _, err := Load(path, environ); err == nil || !strings.Contains(err.Error(), "no such file") {
			t.Errorf("a missing file: %v", err)
		}
	}
}

func TestLoadStopsCountingMistakes(t *testing.T) {
	var b strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&b, "key%d: 1\n", i)
	}
	_, err := Load(write(t, "config.yaml", b.String()), nil)
	if got := strings.Count(err.Error(), "\n") + 1; got != maxMistakes {
		t.Errorf("%d mistakes reported, want %d", got, maxMistakes)
	}
}

func TestEnvironmentOfKubernetesIsExplained(t *testing.T) {
	_, err := Load("", []string{"MOLTBOT_SERVICE_HOST=10.0.0.1", "MOLTBOT_PORT_80_TCP=x"})
	if got := strings.Count(fmt.Sprint(err), "enableServiceLinks: false"); got != 2 {
		t.Errorf("%d hints in %v", got, err)
	}
}

func TestKeysAreComplete(t *testing.T) {
	seen := map[string]string{}
	byPath := map[string]Key{}
	for _, k := range Keys() {
		byPath[k.Path] = k
		for _, name := range []string{k.Env, k.FileEnv} {
			if other, ok := seen[name]; ok && name != "" {
				t.Errorf("%s belongs to %s and %s", name, other, k.Path)
			}
			seen[name] = k.Path
		}
		if !strings.HasSuffix(k.Doc, ".") || k.Type == "" {
			t.Errorf("%s: type %q, doc %q", k.Path, k.Type, k.Doc)
		}
	}
	for _, s := range newBook(Default()).settings {
		back, err := parse(show(s.value), s.value)
		if list, ok := s.value.([]string); err != nil || !reflect.DeepEqual(back, s.value) && (!ok || len(list) > 0) {
			t.Errorf("%s: default %v reads back as %v (%v)", s.path, s.value, back, err)
		}
	}
	want := Key{
		Path: "session.ttl", Type: "duration", Default: "30m", Env: "MOLTBOT_SESSION_TTL",
		Doc: "How long a silent conversation is remembered.",
	}
	if got := byPath["session.ttl"]; got != want {
		t.Errorf("session.ttl = %+v", got)
	}
	for _, path := range []string{"redis.url", "nats.url", "model.api_key"} {
		if k := byPath[path]; !k.Secret || k.FileEnv != k.Env+"_FILE" || k.FileKey != path+"_file" {
			t.Errorf("%s is not a secret with a file: %+v", path, k)
		}
	}
}

func TestLoadModels(t *testing.T) {
	m, err := LoadModels(write(t, "model_config.yaml", "model_provider: \"openai\"\nmodel: gpt\napi_key: 'k'\ntemperature: 0.7\nmax_tokens: 512\ntimeout: 1m30s\n"))
	want := DefaultModel()
	want.Provider, want.Name, want.APIKey, want.MaxTokens, want.Timeout = "openai", "gpt", "k", 512, 90*time.Second
	if err != nil || m.Model != want {
		t.Errorf("LoadModels = %v, %v", flat(m), err)
	}
	file := write(t, "model_config.yaml", "model_provider: azure\nmax_token: 5\ntemperature: 2.1\nfile: x\n")
	_, err = LoadModels(file)
	wantText := `model_config.yaml:2: key "max_token" is unknown; did you mean "max_tokens"?
model_config.yaml:4: key "file" is unknown; did you mean "model"?
endpoint: is needed for model_provider "azure"
model_config.yaml:3: temperature: must be from 0 to 2`
	if got := lines(err, file); got != wantText {
		t.Errorf("mistakes:\n%s\nwant:\n%s", got, wantText)
	}
	// The same file as a layer: its mistakes keep their places.
	_, err = Load("", []string{"MOLTBOT_MODEL_FILE=" + file, "MOLTBOT_MODEL_ENDPOINT=https://x"})
	if got := lines(err, file); !strings.Contains(got, "model_config.yaml:3: model.temperature: must be") || strings.Contains(got, "is needed") {
		t.Errorf("mistakes through Load:\n%s", got)
	}
}

func FuzzLoad(f *testing.F) {
	f.Add("session: {ttl: 1h}\n", "MOLTBOT_SESSION_TTL=5m")
	f.Add("? [a]\n: b\n", "MOLTBOT_=")
	f.Add("a: &a [*a]\n", "MOLTBOT_HTTP_RATE_LIMIT=1/0")
	f.Add("model: {providers: {a: {kind: demo}}, models: {x: {provider: a, fallback: [demo]}}, model_routing: {routes: [{pattern: x, model: x}]}}\n", "MOLTBOT_MODEL_APOLOGY=x")
	f.Fuzz(func(t *testing.T, content, variable string) {
		c, err := Load(write(t, "config.yaml", content), []string{variable})
		if err == nil && c.Validate() != nil {
			t.Errorf("Load accepted what Validate refuses: %v", c.Validate())
		}
	})
}
