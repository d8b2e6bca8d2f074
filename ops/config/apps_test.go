package config

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"
)

const appsFile = `
dingtalk:
  client_id: dingdefault
  client_secret: default-secret-0123456789
  scope: thread
  apps:
    ops-2:
      client_id: ding2
      client_secret_file: KEY
      mode: stream
      max_age: 1h
      allow_users: [u1, u2]
feishu:
  apps:
    lark: {app_id: cli_1, app_secret: lark-secret-0123456789, mode: websocket, endpoint: "https://open.larksuite.com"}
`

func loadApps(t *testing.T, file string) (Config, error) {
	t.Helper()
	key := write(t, "key", "second-secret-0123456789\n")
	return Load(write(t, "c.yaml", strings.ReplaceAll(file, "KEY", key)), nil)
}

func TestNamedAppsAreReadOverThePlainDefaults(t *testing.T) {
	c, err := loadApps(t, appsFile)
	if err != nil {
		t.Fatal(err)
	}
	d := c.DingTalk.Apps()
	two := d["ops-2"]
	if len(d) != 2 || d["default"].ClientID != "dingdefault" || two.ClientSecret != "second-secret-0123456789" || two.Mode != ModeStream ||
		two.MaxAge != time.Hour || len(two.AllowUsers) != 2 || two.Scope != ScopeChat || two.Rate != 20 || two.Endpoint != "https://api.dingtalk.com" {
		t.Errorf("read %d applications, and of ops-2: mode %s, max_age %s, scope %s", len(d), two.Mode, two.MaxAge, two.Scope)
	}
	f := c.Feishu.Apps()
	if len(f) != 1 || f["lark"].AppID != "cli_1" || f["lark"].Endpoint != "https://open.larksuite.com" || f["lark"].ChatRate != 5 {
		t.Error("the application of Feishu was not read")
	}
}

func TestNamedAppsAreShownWithoutSecrets(t *testing.T) {
	c, err := loadApps(t, appsFile)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := c.Show(&out, "yaml"); err != nil {
		t.Fatal(err)
	}
	text := out.String() + fmt.Sprintf("%v %+v %#v", c.DingTalk.Named, c.DingTalk.Named, c.Feishu.Named)
	if strings.Contains(text, "-secret-") || !strings.Contains(text, "ops-2:") || !strings.Contains(text, "client_secret: '***'") {
		t.Errorf("shown: %s", text)
	}
}

func TestMistakesInNamedApps(t *testing.T) {
	const good = "client_id: d2, client_secret: second-secret-0123456789"
	for name, test := range map[string]struct{ file, want string }{
		"unknown key":   {"dingtalk:\n  apps:\n    a: {" + good + ", colour: red}", "c.yaml:3: key \"colour\" is unknown"},
		"key twice":     {"dingtalk:\n  apps:\n    a:\n      client_id: x\n      client_id: y", "c.yaml:5: dingtalk.apps.a.client_id: is given twice"},
		"name twice":    {"dingtalk:\n  apps:\n    a: {" + good + "}\n    a: {" + good + "}", "c.yaml:4: dingtalk.apps.a: is given twice"},
		"name":          {"feishu:\n  apps:\n    A b: {app_id: x}", "c.yaml:3: feishu.apps: \"A...\" is not a name"},
		"long name":     {"feishu:\n  apps:\n    " + strings.Repeat("a", 33) + ": {app_id: x}", "is not a name"},
		"default":       {"feishu:\n  apps:\n    default: {app_id: x}", "c.yaml:3: feishu.apps.default: is the application whose keys stand in feishu itself"},
		"no mapping":    {"feishu:\n  apps: [a]", "c.yaml:2: feishu.apps: must hold applications"},
		"no keys":       {"feishu:\n  apps:\n    a: b", "c.yaml:3: feishu.apps.a: must hold keys"},
		"no id":         {"dingtalk:\n  apps:\n    a: {client_secret: second-secret-0123456789}", "c.yaml:3: dingtalk.apps.a: needs client_id"},
		"no secret":     {"dingtalk:\n  apps:\n    a: {client_id: x}", "dingtalk.apps.a.client_secret: must not be empty"},
		"sample secret": {"feishu:\n  apps:\n    a: {app_id: x, app_secret: your_app_secret, mode: websocket}", "c.yaml:3: feishu.apps.a.app_secret: is"},
		"same secret": {"dingtalk:\n  apps:\n    a: {" + good + "}\n    b: {client_id: x, client_secret: second-secret-0123456789}",
			"c.yaml:4: dingtalk.apps.b.client_secret: is the same secret as dingtalk.apps.a.client_secret"},
		"mode":       {"dingtalk:\n  apps:\n    a: {" + good + ", mode: websocket}", "c.yaml:3: dingtalk.apps.a.mode: must be webhook or stream"},
		"number":     {"dingtalk:\n  apps:\n    a: {" + good + ", rate: 0}", "c.yaml:3: dingtalk.apps.a.rate: must be greater than 0"},
		"secret":     {"dingtalk:\n  apps:\n    a: {client_id: x, client_secret: \"second secret 0123456789\"}", "c.yaml:3: dingtalk.apps.a.client_secret: holds a space"},
		"anchor":     {"dingtalk:\n  apps:\n    a: &x {" + good + "}\n    b: *x", "c.yaml:4: dingtalk.apps.b: must hold keys"},
		"model file": {"model:\n  dingtalk:\n    apps: {}", "is unknown"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := loadApps(t, test.file)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %s", err, test.want)
			}
			if err != nil && strings.Contains(err.Error(), "second") {
				t.Error("the mistake holds a secret")
			}
		})
	}
}

func TestNamedAppsAreInTheReference(t *testing.T) {
	found := map[string]bool{}
	for _, k := range NamedKeys() {
		found[k.Path] = true
		if k.Env != "" {
			t.Errorf("%s has a variable", k.Path)
		}
	}
	if !found["dingtalk.apps.<name>.client_secret"] || !found["feishu.apps.<name>.allow_chats"] {
		t.Error("the reference lacks the named applications")
	}
}
