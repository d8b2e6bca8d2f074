package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

const canary = "s3cr3t-canary"

func TestSecretsFromFiles(t *testing.T) {
	key, url := write(t, "key", "sk-1\n"), write(t, "url", "redis://:p@h/0\r\n")
	file := write(t, "config.yaml", "model: {api_key_file: "+key+"}\nredis: {url: redis://lower}\n")
	c, err := Load(file, []string{"MOLTBOT_REDIS_URL_FILE=" + url})
	if err != nil || c.Model.APIKey != "sk-1" || c.Redis.URL != "redis://:p@h/0" {
		t.Errorf("from files: %q, %q, %v", c.Model.APIKey, c.Redis.URL, err)
	}
	m, err := LoadModels(write(t, "m.yaml", "api_key_file: "+key))
	if err != nil || m.APIKey != "sk-1" {
		t.Errorf("model file: %q, %v", m.APIKey, err)
	}
	for want, environ := range map[string][]string{
		"the file it names is empty": {"MOLTBOT_NATS_URL_FILE=" + write(t, "empty", "\n")},
		"no such file":               {"MOLTBOT_NATS_URL_FILE=" + filepath.Join(t.TempDir(), "none")},
		"is larger than":             {"MOLTBOT_NATS_URL_FILE=" + write(t, "big", strings.Repeat("x", maxSecretFile+1))},
		"is given twice":             {"MOLTBOT_MODEL_API_KEY=a", "MOLTBOT_MODEL_API_KEY_FILE=" + key},
	} {
		if _, err := Load("", environ); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v", environ, err)
		}
	}
}

// No way of getting a secret wrong may print it.
func TestNoErrorHoldsASecret(t *testing.T) {
	for i, content := range []string{
		"model: {api_key: [CANARY]}",
		"model: {api_key: {CANARY: x}}",
		"model: {api_key: !!int CANARY}",
		"model: {api_key: !CANARY x}",
		"model: {api_key: *CANARY}",
		"model: {api_key: &CANARY x}",
		"model: {api_key:CANARY}",
		"model:\n  api_key:CANARY\n",
		"model:\n  api_key:CANARY\n  stream: true\n",
		"model: {api_key: \"CANARY}",
		"model: {api_key: 'CANARY\n\n}",
		"model: {api_key: CANARY, api_key: CANARY2}",
		"model: {api_key: CANARY, api_key_file: CANARY}",
		"model: {api_key_file: /CANARY}",
		"model: {api_key: \"CANARY\\n\"}",
		"model: {api_key: \"CANARY\\0\", endpoint: 'https://u:CANARY@h:x'}",
		"model: {endpoint: CANARY}",
		"redis: {url: CANARY}",
		"redis: {url: 'redis://u:CANARY@h:port'}",
		"redis: {url: 'redis://u:%zzCANARY@h'}",
		"nats: {url: 'nats://CANARY@h, nats://x:CANARY@'}",
		"nats: {monitor_url: 'http://u:CANARY'}",
		"nats: 'nats://CANARY@h'",
		"model: CANARY",
		"CANARY",
		"- CANARY",
		"\tCANARY: x",
		"api_key: |CANARY",
	} {
		for _, source := range []string{"config", "model"} {
			path := write(t, "config.yaml", strings.ReplaceAll(content, "CANARY", canary))
			var err error
			if source == "config" {
				_, err = Load(path, nil)
			} else {
				_, err = LoadModels(path)
			}
			// In the model file some of these are a strange model name, which is no mistake.
			if source == "config" && err == nil || err != nil && strings.Contains(err.Error(), canary) {
				t.Errorf("%d as %s: %s\ngives: %v", i, source, content, err)
			}
		}
	}
	for _, s := range newBook(Default()).settings {
		if s.secret == "" {
			continue
		}
		for _, value := range []string{canary + " ", "x://" + canary, canary + "\n", ":" + canary + "@%"} {
			for _, name := range []string{envName(s.path), envName(s.path + fileSuffix)} {
				_, err := Load("", []string{name + "=" + value})
				if err == nil && (s.secret == "url" || value[0] != 'x' && value[0] != ':') {
					t.Errorf("%s=%q was accepted", name, value)
				}
				if err != nil && strings.Contains(err.Error(), canary) {
					t.Errorf("%s=%q gives: %v", name, value, err)
				}
			}
		}
	}
}

// Today every secret is a text, which cannot be mistyped; a later one may be.
func TestMistypedSecretIsNotQuoted(t *testing.T) {
	b := newBook(struct {
		Pin int `koanf:"pin" secret:"value"`
	}{})
	l := readEnviron([]string{"MOLTBOT_PIN=" + canary}, b)
	if got := fmt.Sprint(l.mistakes); got != "[MOLTBOT_PIN: pin: the value is not a whole number (like 64)]" {
		t.Error(got)
	}
}

func TestShowMasksSecrets(t *testing.T) {
	c := Default()
	c.Model.APIKey = canary
	c.Model.Endpoint = "https://user:" + canary + "@host/v1?key=" + canary
	c.NATS.URL = "nats://" + canary + "@a:4222,nats://b:4222"
	c.Redis.URL = "redis://:" + canary + "@h:6379/2"
	for _, format := range []string{"yaml", "json"} {
		var out bytes.Buffer
		if err := c.Show(&out, format); err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"https://***@host/v1?***", "nats://***@a:4222,nats://b:4222", "redis://***@h:6379/2", "30m"} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("%s lacks %q:\n%s", format, want, out.String())
			}
		}
		if strings.Contains(out.String(), canary) {
			t.Errorf("%s leaks:\n%s", format, out.String())
		}
		if _, err := Load(write(t, "config.yaml", out.String()), nil); err == nil || !strings.Contains(err.Error(), "is a masked value") {
			t.Errorf("masked values were loaded: %v", err)
		}
	}
	if text := fmt.Sprintf("%v %+v %#v %v %#v %+v", c, c, c, c.Model, c.Model, &c); strings.Contains(text, canary) {
		t.Errorf("printing leaks: %s", text)
	}
	if err := c.Show(&bytes.Buffer{}, "toml"); err == nil {
		t.Error("an unknown format was accepted")
	}
}

func TestShowReadsBack(t *testing.T) {
	changed := Default()
	changed.Session.System, changed.HTTP.TrustedProxies = "off: \"it\"\n", []string{"10.0.0.0/8"}
	var out bytes.Buffer
	if err := Default().Show(&out, "json"); err != nil || strings.Contains(out.String(), "null") {
		t.Errorf("null is no value that can be read back: %s, %v", out.String(), err)
	}
	empty := Default()
	empty.HTTP.TrustedProxies = []string{}
	for format, c := range map[string]Config{"yaml": changed, "json": empty} {
		var out bytes.Buffer
		if err := c.Show(&out, format); err != nil {
			t.Fatal(err)
		}
		if format == "json" && !json.Valid(out.Bytes()) {
			t.Errorf("not JSON: %s", out.String())
		}
		if back, err := Load(write(t, "config.yaml", out.String()), nil); err != nil || fmt.Sprint(flat(back)) != fmt.Sprint(flat(c)) {
			t.Errorf("%s reads back as %v, %v", format, flat(back), err)
		}
	}
}

func TestMaskURL(t *testing.T) {
	for text, want := range map[string]string{
		"redis://h:1/0":             "redis://h:1/0",
		"redis://u:p@h:1/0":         "redis://***@h:1/0",
		"redis://u@h":               "redis://***@h",
		"redis://u:12/34@h":         mask,
		"redis://u:12?34@h":         mask,
		"redis://u:12#34@h":         mask,
		"redis://u:1@2@h":           mask,
		"redis://u:12,34@h":         mask,
		"u:pass@h":                  mask,
		"http://h/?token=x":         "http://h/?***",
		"http://h/#x":               "http://h/?***",
		"nats://a:1,nats://u:p@b:2": "nats://a:1,nats://***@b:2",
		"":                          "",
	} {
		if got := masked(text, "url"); got != want {
			t.Errorf("masked(%q) = %q, want %q", text, got, want)
		}
	}
}
