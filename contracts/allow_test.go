package contracts

import (
	"strings"
	"testing"
)

func TestModelNames(t *testing.T) {
	for _, c := range []struct {
		may  ModelNames
		name string
		want bool
	}{
		{nil, "anything", true}, {ModelNames{}, "anything", true},
		{ModelNames{"fast"}, "fast", true}, {ModelNames{"fast"}, "faster", false}, {ModelNames{"fast"}, "fast/other", false},
		{ModelNames{"a", "gpt-*"}, "gpt-4o", true}, {ModelNames{"gpt-*"}, "gpt", false}, {ModelNames{"gpt-*"}, "my-gpt-4", false},
		{ModelNames{"*"}, "x", true}, {ModelNames{"fast"}, "", false}, {ModelNames{"fast"}, "Fast", false},
	} {
		if got := c.may.Allow(c.name); got != c.want {
			t.Errorf("%q allow %q: %v", c.may, c.name, got)
		}
	}
	for _, good := range []ModelNames{nil, {"fast"}, {"deepseek/deepseek-chat", "gpt-*"}, {"*"}} {
		if err := good.Check(); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	many := make(ModelNames, maxModelNames+1)
	for i := range many {
		many[i] = "m"
	}
	long := ModelNames{}
	for range 20 {
		long = append(long, strings.Repeat("x", 120))
	}
	for _, bad := range []ModelNames{{""}, {"a*b"}, {"**"}, {"-x"}, {"a b"}, {"a", "ü"}, many, long} {
		if bad.Check() == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}
