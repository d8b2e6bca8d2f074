package config

import (
	"fmt"
	"slices"
	"strings"
)

// readEnviron takes the MOLTBOT_ variables of environ ("NAME=value"). Names are
// looked up among the known keys, so the underscores inside a key are no riddle.
func readEnviron(environ []string, b book) *layer {
	l := newLayer()
	keyOf := make(map[string]string, len(b.byKey))
	for key := range b.byKey {
		keyOf[envName(key)] = key
	}
	for _, variable := range slices.Sorted(slices.Values(environ)) { // so that the report is always the same
		name, value, _ := strings.Cut(variable, "=")
		if !strings.HasPrefix(name, envPrefix) {
			continue
		}
		if key, ok := keyOf[name]; ok {
			l.put(name, key, b.byKey[key], value)
		} else {
			l.fail("", "", unknownVariable(name, b))
		}
	}
	return l
}

func unknownVariable(name string, b book) string {
	if strings.HasPrefix(name, envPrefix+"SERVICE_") || strings.HasPrefix(name, envPrefix+"PORT") {
		return fmt.Sprintf("variable %.80q is unknown; Kubernetes sets it for a Service named moltbot: "+
			"put enableServiceLinks: false into the pod", name)
	}
	known := b.names()
	for i, key := range known {
		known[i] = envName(key)
	}
	return fmt.Sprintf("variable %.80q is unknown; did you mean %s?", name, nearest(name, known))
}
