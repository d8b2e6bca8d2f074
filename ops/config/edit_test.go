package config

import (
	"errors"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

var somePairs = []Pair{{"app_id", "cli_1"}, {"app_secret_file", "/etc/s"}, {"mode", "webhook"}}

const someLines = "app_id: cli_1\n  app_secret_file: /etc/s\n  mode: webhook\n"

func TestInsert(t *testing.T) {
	named := []string{"feishu", "apps", "help"}
	for name, c := range map[string]struct {
		have    string
		section []string
		replace bool
		want    string
	}{
		"an empty file":     {"", nil, false, "feishu:\n  " + someLines},
		"comments only":     {"# mine\n\n# all of it", nil, false, "# mine\n\n# all of it\nfeishu:\n  " + someLines},
		"behind the others": {"# top\nlisten: \"x:1\" # here\n\n\nmodel:\n    api_key_file: k\n# end\n", nil, false, "# top\nlisten: \"x:1\" # here\n\n\nmodel:\n    api_key_file: k\n# end\nfeishu:\n  " + someLines},
		"no last line end":  {"listen: x:1", nil, false, "listen: x:1\nfeishu:\n  " + someLines},
		"an empty section":  {"feishu: # soon\n\nlisten: x:1\n", nil, false, "feishu: # soon\n  " + someLines + "\nlisten: x:1\n"},
		"commented keys":    {"feishu:\n  # app_id: cli_0\nlisten: x:1\n", nil, false, "feishu:\n  " + someLines + "  # app_id: cli_0\nlisten: x:1\n"},
		"a section with others": {"feishu:\n    # slow\n    rate: 3\n", nil, false,
			"feishu:\n    app_id: cli_1\n    app_secret_file: /etc/s\n    mode: webhook\n    # slow\n    rate: 3\n"},
		"named, alone": {"listen: x:1\n", named, false, "listen: x:1\nfeishu:\n  apps:\n    help:\n      app_id: cli_1\n      app_secret_file: /etc/s\n      mode: webhook\n"},
		"named, beside the default": {"feishu:\n  app_id: cli_0 # mine\n", named, false,
			"feishu:\n  apps:\n    help:\n      app_id: cli_1\n      app_secret_file: /etc/s\n      mode: webhook\n  app_id: cli_0 # mine\n"},
		"named, beside another": {"feishu:\n  apps:\n    # old\n    first:\n      app_id: cli_0\n", named, false,
			"feishu:\n  apps:\n    help:\n      app_id: cli_1\n      app_secret_file: /etc/s\n      mode: webhook\n    # old\n    first:\n      app_id: cli_0\n"},
		"flow":     {"feishu: {rate: 3} # short\n", nil, false, "feishu: {rate: 3, app_id: cli_1, app_secret_file: /etc/s, mode: webhook} # short\n"},
		"replaced": {"feishu:\n  # the id\n  app_id: cli_0 # old\n  app_secret: in-the-clear\n  rate: 3\n", nil, true, "feishu:\n  # the id\n  app_id: cli_1 # old\n  rate: 3\n  app_secret_file: /etc/s\n  mode: webhook\n"},
	} {
		if c.section == nil {
			c.section = []string{"feishu"}
		}
		got, err := Insert([]byte(c.have), c.section, somePairs, c.replace)
		if err != nil || string(got) != c.want {
			t.Errorf("%s: %v\n%s\nwant\n%s", name, err, got, c.want)
		}
	}
}

func TestInsertRefuses(t *testing.T) {
	for have, want := range map[string]string{
		"feishu:\n  app_id: cli_0\n": "already",
		"- a\n":                      "does not hold keys",
		"feishu: x\n":                "does not hold keys",
		"a: [\n":                     "read YAML",
	} {
		if _, err := Insert([]byte(have), []string{"feishu"}, somePairs, false); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", have, err)
		}
	}
	_, err := Insert([]byte("feishu:\n  apps:\n    a:\n      app_id: x\n"), []string{"feishu", "apps", "a"}, somePairs, false)
	if !errors.Is(err, ErrSection) {
		t.Error(err)
	}
}

// Whatever the file says, it says it afterwards, and the pairs besides.
func FuzzInsert(f *testing.F) {
	for _, seed := range []string{"a: 1\n", "feishu:\n  rate: 1\n", "feishu: {apps: {}}\n", "a: |\n  text\n", "? a\n: b\n", "a: &x 1\nb: *x\n", "...\n", "--- \na: 1\n...\n"} {
		f.Add(seed, "v: #")
	}
	f.Fuzz(func(t *testing.T, have, value string) {
		got, err := Insert([]byte(have), []string{"feishu", "apps", "x"}, []Pair{{"app_id", value}}, true)
		if err != nil {
			return
		}
		var before, after map[string]any
		if yaml.Unmarshal([]byte(have), &before) != nil {
			t.Skip() // a tree that is read, but says nothing
		}
		if err := yaml.Unmarshal(got, &after); err != nil {
			t.Fatalf("%v in %q", err, got)
		}
		for key := range before {
			if _, kept := after[key]; !kept {
				t.Errorf("%q is lost: %q", key, got)
			}
		}
	})
}
