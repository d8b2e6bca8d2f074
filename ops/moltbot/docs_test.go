package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
	"github.com/nats-io/nats-server/v2/server"

	"moltbot/ops/config"
)

const (
	root      = "../.."
	reference = "ops/docs/configuration.md"
)

func document(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestReferenceIsUpToDate(t *testing.T) {
	if must(t, "config", "reference") != document(t, reference) {
		t.Errorf("%s is not what the program prints; in the root of the repository, run:\n"+
			"go run ./ops/moltbot config reference > %s", reference, reference)
	}
}

func TestReferenceIsComplete(t *testing.T) {
	text := document(t, reference)
	for _, k := range config.NamedKeys() {
		contains(t, text, "| `"+k.Path+"` | "+k.Type+" |")
		if k.Doc == "" {
			t.Errorf("%s has no text", k.Path)
		}
	}
	for _, k := range config.Keys() {
		contains(t, text, "| `"+k.Path+"` | "+k.Type+" |", "| `"+k.Env+"` |")
		if k.Secret {
			contains(t, text, "| `"+k.Path+"` | `"+k.FileKey+"` | `"+k.FileEnv+"` |")
		}
		if _, known := sections[sectionOf(k.Path)]; !known || k.Doc == "" {
			t.Errorf("%s has no text, or no heading for its section", k.Path)
		}
	}
}

// blocks gives the code blocks of a document that are written in a language.
func blocks(text, language string) []string {
	var all []string
	for _, m := range regexp.MustCompile("(?ms)^```"+language+"\n(.*?)^```$").FindAllStringSubmatch(text, -1) {
		all = append(all, m[1])
	}
	return all
}

func TestExamplesLoad(t *testing.T) {
	examples := blocks(document(t, reference), "yaml")
	if len(examples) != 2 {
		t.Fatalf("%d examples in %s", len(examples), reference)
	}
	for secret, text := range map[string]string{"/run/secrets/deepseek": "d", "/run/secrets/claude": "c"} {
		examples[1] = strings.ReplaceAll(examples[1], secret, configFile(t, text))
	}
	catalog, err := config.LoadModels(configFile(t, examples[1]))
	if err != nil {
		t.Fatal(err)
	}
	if _, table, _ := catalog.All(); len(table.Models) != 3 || len(table.Routes) != 1 || table.Default != "fast" {
		t.Errorf("loaded: %+v", table)
	}
	c, err := config.Load(configFile(t, examples[0]), nil)
	if err != nil {
		t.Fatal(err)
	}
	if c.Model.Provider != "deepseek" || c.Workers.Slots != 128 {
		t.Errorf("loaded: provider %q, %d slots", c.Model.Provider, c.Workers.Slots)
	}

	models := blocks(document(t, "README.md"), "yaml")
	if len(models) != 1 {
		t.Fatalf("%d model files in the README", len(models))
	}
	m, err := config.LoadModels(configFile(t, models[0]))
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"model_provider", "api_key", "endpoint", "max_tokens", "temperature"} {
		contains(t, models[0], key+": ")
	}
	if m.Provider != "openai" || m.APIKey == "" || m.MaxTokens != 1024 {
		t.Errorf("loaded: provider %q, %d tokens", m.Provider, m.MaxTokens)
	}
}

// The server has to read the snippet as we mean it: sync before every ack.
func TestNATSExample(t *testing.T) {
	snippets := blocks(document(t, "README.md"), "nats")
	if len(snippets) != 1 {
		t.Fatalf("%d snippets for NATS in the README", len(snippets))
	}
	o, err := server.ProcessConfigFile(configFile(t, snippets[0]))
	if err != nil {
		t.Fatal(err)
	}
	if !o.JetStream || !o.SyncAlways || o.HTTPPort != 8222 {
		t.Errorf("JetStream %v, sync always %v, monitoring port %d", o.JetStream, o.SyncAlways, o.HTTPPort)
	}
}

var (
	inline  = regexp.MustCompile("`moltbot ([a-z][^`]*)`")
	command = regexp.MustCompile(`(?:^|\s|\()(?:\./moltbot|moltbot|go run \./ops/moltbot) ([a-z][^)|;>]*)`)
)

// Commands in the text name what exists; those in code blocks also parse.
func TestDocumentedCommandsExist(t *testing.T) {
	parser := newParser(t)
	found := 0
	for _, doc := range documents(t) {
		text := document(t, doc)
		for _, m := range inline.FindAllStringSubmatch(text, -1) {
			found++
			if problem := walk(parser.Model.Node, m[1]); problem != "" {
				t.Errorf("%s: moltbot %s: %s", doc, m[1], problem)
			}
		}
		for _, block := range append(blocks(text, "sh"), blocks(text, "bash")...) {
			for line := range strings.Lines(block) {
				m := command.FindStringSubmatch(strings.TrimSpace(line))
				if m == nil {
					continue
				}
				found++
				if _, err := newParser(t).Parse(strings.Fields(m[1])); err != nil {
					t.Errorf("%s: moltbot %s: %v", doc, m[1], err)
				}
			}
		}
	}
	if found < 15 {
		t.Errorf("only %d commands found", found)
	}
}

func newParser(t *testing.T) *kong.Kong {
	t.Helper()
	parser, err := kong.New(&cli{}, kong.Name("moltbot"), kong.Writers(&bytes.Buffer{}, &bytes.Buffer{}),
		kong.BindTo(t.Context(), (*context.Context)(nil)))
	if err != nil {
		t.Fatal(err)
	}
	return parser
}

func documents(t *testing.T) []string {
	t.Helper()
	all := []string{"README.md", "CONTRIBUTING.md", "CHANGELOG.md"}
	more, err := filepath.Glob(filepath.Join(root, "ops/docs/*.md"))
	if err != nil || len(more) < 3 {
		t.Fatalf("documents: %v, %v", more, err)
	}
	for _, m := range more {
		all = append(all, "ops/docs/"+filepath.Base(m))
	}
	return all
}

// walk follows a line through the commands and says what of it does not exist.
func walk(n *kong.Node, line string) string {
	for _, word := range strings.Fields(line) {
		switch child := find(n.Children, word); {
		case strings.HasPrefix(word, "-"):
			if !hasFlag(n, strings.TrimLeft(word, "-")) {
				return "there is no flag " + word
			}
		case child != nil:
			n = child
		case len(n.Children) > 0:
			return "there is no command " + word
		case len(n.Positional) == 1 && n.Positional[0].Enum != "":
			for option := range strings.SplitSeq(word, "|") {
				if !strings.Contains(","+n.Positional[0].Enum+",", ","+option+",") {
					return "there is no " + option
				}
			}
		}
	}
	return ""
}

func find(nodes []*kong.Node, name string) *kong.Node {
	for _, n := range nodes {
		if n.Name == name {
			return n
		}
	}
	return nil
}

func hasFlag(n *kong.Node, name string) bool {
	for _, group := range n.AllFlags(false) {
		for _, f := range group {
			if f.Name == name || f.Short != 0 && string(f.Short) == name {
				return true
			}
		}
	}
	return false
}
