package config

import (
	"errors"
	"fmt"

	"github.com/knadh/koanf/v2"
)

// Load reads the configuration: defaults, then the model file, then the file at
// path (none if empty), then the MOLTBOT_ variables of environ. The error joins
// every mistake found; each is a *Mistake.
func Load(path string, environ []string) (Config, error) {
	b := newBook(Default())
	file, model := newLayer(), newLayer()
	if path != "" {
		file = readFile(path, b, "model.")
	}
	env := readEnviron(environ, b)
	if name := modelFile(file, env); name != "" {
		model = readFile(name, newBook(DefaultModel()), "").under("model.")
	}
	var c Config
	err := merge(&c, Default(), model, file, env)
	if err != nil {
		return Config{}, err
	}
	if c.Model.Catalog, err = catalogOf(c.Model.Model, model.catalog, file.catalog); err != nil {
		return Config{}, err
	}
	c.Session.Systems = file.systems
	if err := file.mergeApps(&c); err != nil {
		return Config{}, err
	}
	if err := report(c.mistakes(), model, file, env); err != nil {
		return Config{}, err
	}
	return c, nil
}

// LoadModels reads a model_config.yaml alone, over the defaults.
func LoadModels(path string) (Models, error) {
	file := readFile(path, newBook(DefaultModel()), "")
	var m Models
	err := merge(&m.Model, DefaultModel(), file)
	if err != nil {
		return Models{}, err
	}
	if m.Catalog, err = catalogOf(m.Model, file.catalog); err != nil {
		return Models{}, err
	}
	if err := report(m.mistakes(""), file); err != nil {
		return Models{}, err
	}
	return m, nil
}

func modelFile(file, env *layer) string {
	for _, l := range []*layer{env, file} {
		if name, ok := l.values["model.file"].(string); ok {
			return name
		}
	}
	return ""
}

// merge fills into from defaults and the layers over them, the last one winning.
func merge(into, defaults any, layers ...*layer) error {
	k := koanf.New(".")
	base := newLayer()
	for _, s := range newBook(defaults).settings {
		base.values[s.path] = s.value
	}
	for _, l := range append([]*layer{base}, layers...) {
		if err := k.Load(l, nil); err != nil {
			return fmt.Errorf("merge configuration: %w", err)
		}
	}
	if err := k.Unmarshal("", into); err != nil {
		return fmt.Errorf("decode configuration: %w", err)
	}
	return nil
}

// report joins the mistakes of the layers with those found in the merged
// values. Of the latter it drops what is only a consequence: a value that could
// not be read left its default behind, and the default is not the user's word.
func report(found []finding, layers ...*layer) error {
	var errs []error
	whole := true
	for _, l := range layers {
		errs = append(errs, l.mistakes...)
		whole = whole && !l.unread
	}
	for _, f := range found {
		if whole && !anyBroken(f.keys, layers) {
			errs = append(errs, &Mistake{Where: origin(f.keys[0], layers), Key: f.keys[0], Text: f.text})
		}
	}
	return errors.Join(errs...)
}

func anyBroken(keys []string, layers []*layer) bool {
	for _, l := range layers {
		for _, key := range keys {
			if l.broken[key] {
				return true
			}
		}
	}
	return false
}

// origin is where the value that won was given; empty for a default. A model
// file is a layer like any other, its keys already moved under "model.".
func origin(key string, layers []*layer) string {
	where := ""
	for _, l := range layers {
		if place, ok := l.where[key]; ok {
			where = place
		}
	}
	return where
}
