package config

import (
	"fmt"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"

	"moltbot/contracts"
)

// The keys that hold applications under names of the operator's choice.
const (
	keyDingTalkApps = "dingtalk.apps"
	keyFeishuApps   = "feishu.apps"
)

// appName is what an application may be called. It stands in URLs and metrics.
var appName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,31}$`)

// takesApps reports whether key holds applications, in a file that may have them.
func (r reader) takesApps(key string) bool {
	return oneOf(key, keyDingTalkApps, keyFeishuApps) && r.book.section("dingtalk")
}

func (r reader) readApps(section string, n *yaml.Node) {
	r.where[section] = r.at(n)
	if empty(n) {
		return
	}
	if n.Kind != yaml.MappingNode {
		r.fail(r.at(n), section, "must hold applications, each as a name with keys below it")
		return
	}
	b := newBook(DefaultDingTalk())
	if section == keyFeishuApps {
		b = newBook(DefaultFeishu())
	}
	into := map[string]*layer{}
	if r.layer.apps == nil {
		r.layer.apps = map[string]map[string]*layer{}
	}
	r.layer.apps[section] = into
	for i := 0; i+1 < len(n.Content) && len(r.mistakes) < maxMistakes; i += 2 {
		r.readApp(section, b, n.Content[i], n.Content[i+1], into)
	}
}

func (r reader) readApp(section string, b book, name, value *yaml.Node, into map[string]*layer) {
	key := section + "." + name.Value
	switch _, twice := into[name.Value]; {
	case name.Kind != yaml.ScalarNode || !appName.MatchString(name.Value):
		r.fail(r.at(name), section, fmt.Sprintf("%q is not a name: small letters, digits and -, at most 32", printable(name.Value)))
	case name.Value == contracts.DefaultApp:
		section, _, _ = strings.Cut(section, ".")
		r.fail(r.at(name), key, "is the application whose keys stand in "+section+" itself")
	case twice:
		r.fail(r.at(name), key, "is given twice")
	case value.Kind != yaml.MappingNode:
		r.fail(r.at(value), key, "must hold keys, each as \"name: value\"")
	default:
		into[name.Value] = r.nested(key, b, value)
		r.where[key] = r.at(name)
	}
}

// mergeApps puts what a file says of applications over the defaults of one. The
// settings of the application without a name are not theirs.
func (l *layer) mergeApps(c *Config) (err error) {
	if c.DingTalk.Named, err = appsOf(DefaultDingTalk(), l.apps[keyDingTalkApps]); err != nil {
		return err
	}
	c.Feishu.Named, err = appsOf(DefaultFeishu(), l.apps[keyFeishuApps])
	return err
}

func appsOf[T any](defaults T, layers map[string]*layer) (map[string]T, error) {
	one := make(map[string][]*layer, len(layers))
	for name, l := range layers {
		one[name] = []*layer{l}
	}
	return entriesOf(defaults, one)
}

// named checks what only an application with a name can lack, and its numbers,
// which are checked elsewhere for the one without.
func (f *findings) named(app any, at, id, key string) {
	if strings.Contains(at, ".apps.") {
		f.want(id != "", "needs "+key, strings.TrimSuffix(at, "."))
		f.values(at, app)
	}
}

// showApps adds the applications that have names to their section.
func showApps[T any](section map[string]any, apps map[string]T) {
	if len(apps) == 0 {
		return
	}
	all := make(map[string]any, len(apps))
	for name, app := range apps {
		all[name] = nest(app)
	}
	section["apps"] = all
}
