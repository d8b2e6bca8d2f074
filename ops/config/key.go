package config

import (
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"
)

const (
	envPrefix  = "MOLTBOT_"
	fileSuffix = "_file" // of a secret's key: the value is the content of the file it names
	maxKey     = 100     // longest key that a mistake shows
)

// Key describes one setting, for a reference that is generated from the code.
type Key struct {
	Path    string // "session.ttl"
	Type    string // text, true or false, whole number, number, duration, list
	Default string
	Doc     string
	Env     string // MOLTBOT_SESSION_TTL
	Secret  bool   // shown masked; also read from the file that FileKey or FileEnv names
	FileKey string // "redis.url_file"; empty unless Secret
	FileEnv string // MOLTBOT_REDIS_URL_FILE; empty unless Secret
}

// Keys lists every setting in the order of Config.
func Keys() []Key { return keysOf("", Default()) }

// NamedKeys lists the settings of the entries that a file names, with <name> for
// the name, or lists, with []. They cannot be set by the environment.
func NamedKeys() []Key {
	keys := append(keysOf(keyProviders+".<name>.", defaultProvider(DefaultModel())), keysOf(keyModels+".<name>.", defaultEntry(DefaultModel()))...)
	keys = append(append(keys, keysOf(keyRouting+".", routingKeys{})...), keysOf(keyRoutes+"[].", routeKeys{})...)
	keys = append(keys, keysOf(keySystems+"[].", System{})...)
	keys = append(keys, keysOf(keyDingTalkApps+".<name>.", DefaultDingTalk())...)
	keys = append(keys, keysOf(keyFeishuApps+".<name>.", DefaultFeishu())...)
	for i := range keys {
		keys[i].Env, keys[i].FileEnv = "", ""
	}
	return keys
}

func keysOf(prefix string, v any) []Key {
	all := newBook(v).settings
	keys := make([]Key, 0, len(all))
	for _, s := range all {
		s.path = prefix + s.path
		k := Key{Path: s.path, Type: typeName(s.value), Default: show(s.value), Doc: s.doc, Env: envName(s.path), Secret: s.secret != ""}
		if k.Secret {
			k.FileKey, k.FileEnv = s.path+fileSuffix, envName(s.path+fileSuffix)
		}
		keys = append(keys, k)
	}
	return keys
}

// setting is one leaf of a configuration struct, with its value there.
type setting struct {
	path   string
	doc    string
	secret string // "value", "url" or empty
	zero   bool   // 0 has a meaning
	value  any
}

// entry is what a source may write: a setting, or the file with its value.
type entry struct {
	setting
	fromFile bool
}

// book knows the keys that a source may use.
type book struct {
	settings []setting
	byKey    map[string]entry
}

// newBook reads the keys of a configuration struct and their values in it.
func newBook(v any) book {
	b := book{settings: walk("", reflect.ValueOf(v)), byKey: map[string]entry{}}
	for _, s := range b.settings {
		b.byKey[s.path] = entry{setting: s}
		if s.secret != "" {
			b.byKey[s.path+fileSuffix] = entry{setting: s, fromFile: true}
		}
	}
	return b
}

func walk(prefix string, v reflect.Value) []setting {
	var all []setting
	for i := range v.NumField() {
		field := v.Type().Field(i)
		name, option, _ := strings.Cut(field.Tag.Get("koanf"), ",")
		switch {
		case name == "-": // read by other means, see Catalog
		case option == "squash":
			all = append(all, walk(prefix, v.Field(i))...)
		case field.Type.Kind() == reflect.Struct:
			all = append(all, walk(prefix+name+".", v.Field(i))...)
		default:
			all = append(all, setting{
				path: prefix + name, doc: field.Tag.Get("doc"), secret: field.Tag.Get("secret"),
				zero: field.Tag.Get("zero") != "", value: v.Field(i).Interface(),
			})
		}
	}
	return all
}

// section reports whether path is a mapping of keys.
func (b book) section(path string) bool {
	for _, s := range b.settings {
		if strings.HasPrefix(s.path, path+".") {
			return true
		}
	}
	return false
}

// names lists every key a source may use, in the order of the settings.
func (b book) names() []string {
	names := make([]string, 0, len(b.byKey))
	for _, s := range b.settings {
		names = append(names, s.path)
		if s.secret != "" {
			names = append(names, s.path+fileSuffix)
		}
	}
	return names
}

// nearest is the known name that is spelled most like name.
func nearest(name string, known []string) string {
	name = name[:min(len(name), maxKey)] // the work grows with its length
	best, least := "", -1
	for _, k := range known {
		if d := distance(name, k); least < 0 || d < least {
			best, least = k, d
		}
	}
	return best
}

func envName(path string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(path, ".", "_"))
}

// parse turns text into a value of like's type. Its error names what was
// wanted and never holds the text.
func parse(text string, like any) (any, error) {
	var v any
	var err error
	switch like.(type) {
	case string:
		return text, nil
	case []string:
		return split(text), nil
	case bool:
		if text != "true" && text != "false" {
			return nil, errNot(like)
		}
		return text == "true", nil
	case time.Duration:
		v, err = time.ParseDuration(text)
	case int:
		v, err = strconv.Atoi(text)
	case int64:
		v, err = strconv.ParseInt(text, 10, 64)
	case float64:
		v, err = strconv.ParseFloat(text, 64)
	default:
		return nil, fmt.Errorf("is a %T, which has no text form", like)
	}
	if err != nil {
		return nil, errNot(like)
	}
	return v, nil
}

func errNot(like any) error {
	switch like.(type) {
	case bool:
		return errors.New("is not true or false")
	case time.Duration:
		return errors.New("is not a duration (like 30m)")
	case float64:
		return errors.New("is not a number (like 0.7)")
	default:
		return errors.New("is not a whole number (like 64)")
	}
}

func typeName(v any) string {
	switch v.(type) {
	case string:
		return "text"
	case []string:
		return "list"
	case bool:
		return "true or false"
	case time.Duration:
		return "duration"
	case float64:
		return "number"
	default:
		return "whole number"
	}
}

// show is the text form of a value, such that parse reads it back.
func show(v any) string {
	switch v := v.(type) {
	case time.Duration:
		text := v.String()
		if strings.HasSuffix(text, "m0s") {
			text = strings.TrimSuffix(text, "0s")
		}
		if strings.HasSuffix(text, "h0m") {
			text = strings.TrimSuffix(text, "0m")
		}
		return text
	case []string:
		return strings.Join(v, ",")
	default:
		return fmt.Sprint(v)
	}
}

func split(text string) []string {
	list := []string{}
	for item := range strings.SplitSeq(text, ",") {
		if item = strings.TrimSpace(item); item != "" {
			list = append(list, item)
		}
	}
	return list
}

// distance is the number of single-character edits between two short texts.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		left := row[0]
		row[0] = i + 1
		for j := range len(b) {
			edit := left
			if a[i] != b[j] {
				edit++
			}
			left = row[j+1]
			row[j+1] = min(edit, left+1, row[j]+1)
		}
	}
	return row[len(b)]
}
