package main

import (
	"fmt"
	"io"
	"strings"

	"moltbot/ops/config"
)

type configReferenceCmd struct{}

// Run prints ops/docs/configuration.md.
func (configReferenceCmd) Run(out *console) error {
	return writeReference(out.out, config.Keys(), config.NamedKeys())
}

// sections are the headings of the reference, by the first part of a key. A
// section that is not named here is printed under its own name.
var sections = map[string]string{
	"":          "Process",
	"keys":      "Sealing keys",
	"nats":      "NATS",
	"redis":     "Redis",
	"queue":     "Queue",
	"workers":   "Workers",
	"scheduler": "Background tasks",
	"session":   "Session",
	"reply":     "Reply",
	"http":      "HTTP",
	"model":     "Model",
	"cache":     "Cache",
	"log":       "Log",
	"metrics":   "Metrics",
	"trace":     "Traces",

	"connection_pool": "Connection pool",

	"dingtalk": "DingTalk",
	"feishu":   "Feishu",
	"deliver":  "Answers on their way out",
	"callback": "Callbacks",
}

// writeReference prints keys as Markdown, one table per section, in their order,
// and those of named entries in a table of their own.
func writeReference(w io.Writer, keys, named []config.Key) error {
	var b strings.Builder
	b.WriteString(referenceHead)
	last := "-" // no section is called so
	for _, k := range keys {
		if s := sectionOf(k.Path); s != last {
			last = s
			fmt.Fprintf(&b, "\n### %s\n\n", heading(s))
			b.WriteString("| Key | Type | Default | Meaning | Environment |\n|---|---|---|---|---|\n")
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | `%s` |\n", k.Path, k.Type, code(k.Default), cell(k.Doc), k.Env)
	}
	ofModels := func(k config.Key) bool { return sectionOf(k.Path) != "session" }
	b.WriteString(referenceNamed)
	writeNamed(&b, named, ofModels)
	b.WriteString(referenceSystems)
	writeNamed(&b, named, func(k config.Key) bool { return !ofModels(k) })
	b.WriteString(referenceSecrets)
	for _, k := range append(keys, named...) {
		if k.Secret {
			fmt.Fprintf(&b, "| `%s` | `%s` | %s |\n", k.Path, k.FileKey, code(k.FileEnv))
		}
	}
	b.WriteString(referenceExample + referenceModels)
	_, err := io.WriteString(w, b.String())
	return err
}

func writeNamed(b *strings.Builder, named []config.Key, which func(config.Key) bool) {
	for _, k := range named {
		if which(k) {
			fmt.Fprintf(b, "| `%s` | %s | %s | %s |\n", k.Path, k.Type, code(k.Default), cell(k.Doc))
		}
	}
}

func sectionOf(path string) string {
	section, _, nested := strings.Cut(path, ".")
	if !nested {
		return ""
	}
	return section
}

func heading(section string) string {
	if h, ok := sections[section]; ok {
		return h
	}
	return section
}

// code is a value in code quotes; what is empty stays so.
func code(value string) string {
	if value == "" {
		return ""
	}
	return "`" + cell(value) + "`"
}

// cell keeps a bar from ending the column it stands in.
func cell(text string) string { return strings.ReplaceAll(text, "|", `\|`) }

const referenceHead = `# Configuration

<!-- Printed by "moltbot config reference". Do not edit; change ops/config or ops/moltbot/reference.go and run
     go run ./ops/moltbot config reference > ops/docs/configuration.md -->

Every setting has a default, and ` + "`moltbot up`" + ` needs none of them set. Values are taken from these places, later ones winning:

1. the defaults below;
2. the model file that ` + "`model.file`" + ` names (a ` + "`model_config.yaml`" + ` whose keys are those of the Model section without ` + "`model.`" + `);
3. the configuration file: ` + "`--config FILE`" + ` or ` + "`MOLTBOT_CONFIG`" + `, YAML, keys nested at the dots;
4. the environment: the name in the last column;
5. the flags of the command: ` + "`--data-dir`, `--listen`, `--durability`, `--rate-limit`, `--slots`, `--log-level`, `--log-format`" + `.

An unknown key, a key given twice, a value of the wrong type and an unknown ` + "`MOLTBOT_`" + ` variable are refused at start, all of them at
once and each with its file and line or its variable. ` + "`moltbot config check`" + ` says so without starting anything;
` + "`moltbot config show`" + ` prints the settings in force with secrets masked.

Durations are written like ` + "`250ms`, `30s` or `1h30m`" + `. In the environment a list is separated by commas. Relative paths start at
the working directory. A change takes effect at the next start.

## Settings
`

const referenceNamed = `
## Several models

The model file, and the section ` + "`model`" + ` of the configuration file, may name providers, models and routes beside the keys above; the
environment cannot. Where both files name the same, the configuration file's keys win. Without ` + "`models`" + ` the keys above are one provider with one model.
With it, ` + "`model_provider`, `api_key` and `endpoint`" + ` are one more provider of that name, ` + "`model`" + ` is refused, and the other keys above are the
defaults of every provider and model. ` + "`demo`" + ` is always there, as a provider and as a model.

| Key | Type | Default | Meaning |
|---|---|---|---|
`

const referenceSystems = `
## System prompts of routes

The section ` + "`session`" + ` of the configuration file may list system prompts for routes; the environment cannot. The path behind ` + "`/api/chat`" + `
is looked at first, then the route that led to the model, then a leading ` + "`/xx/`" + ` of the text, which is taken off if it matches.

| Key | Type | Default | Meaning |
|---|---|---|---|
`

const referenceSecrets = `
## Secrets

These are masked wherever settings are shown. Each can also be read from a file, the way container platforms mount secrets: name the
file instead of the value. A line break at its end is dropped. Giving both in one place is refused.

| Key | File instead | Environment |
|---|---|---|
`

const referenceExample = `
## Example

` + "```yaml" + `
listen: 0.0.0.0:18789
keys_dir: /etc/moltbot/keys

nats:
  url: nats://10.0.0.5:4222
  monitor_url: http://10.0.0.5:8222   # proves at start that the server syncs
redis:
  url: redis://10.0.0.6:6379/0

workers:
  slots: 128
session:
  ttl: 1h
  system: You are a helpful assistant.
http:
  rate_limit: 20/40
  trusted_proxies: [10.0.0.0/24]

model:
  model_provider: deepseek
  model: deepseek-chat
  endpoint: https://api.deepseek.com/v1
  # api_key_file: /run/secrets/model_key, or MOLTBOT_MODEL_API_KEY in the environment
  max_tokens: 1024
  temperature: 0.7

log:
  level: info
  format: json
` + "```" + `
`

const referenceModels = `
A model file with fall-backs and routes:

` + "```yaml" + `
providers:
  deepseek:
    endpoint: https://api.deepseek.com/v1
    api_key_file: /run/secrets/deepseek
  claude:
    kind: anthropic
    api_key_file: /run/secrets/claude
models:
  fast:
    provider: deepseek
    model: deepseek-chat
    max_concurrent: 100
    fallback: [smart, demo]
    input_price: 0.27
    output_price: 1.10
  smart:
    provider: claude
    model: claude-sonnet-4-5
    max_tokens: 4096
model_routing:
  default: fast
  routes:
    - pattern: ^/pro/
      model: smart
on_failure: apologize
` + "```" + `
`
