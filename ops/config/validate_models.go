package config

import (
	"fmt"
	"regexp"
	"slices"

	"moltbot/contracts"
)

func (m Models) checks(prefix string) []finding {
	var f findings
	f.flat(m.Model, prefix)
	for _, name := range sorted(m.Catalog.Providers) {
		f.provider(m, name, prefix)
	}
	for _, name := range sorted(m.Catalog.Models) {
		f.entry(m, name, prefix)
	}
	f.routing(m, prefix)
	if len(f) == 0 && len(m.Catalog.Models)+len(m.Catalog.Routes) > 0 {
		err := m.table().Check() // what is not told apart above
		f.want(err == nil, fmt.Sprint(err), prefix+keyModels)
	}
	return f
}

func (f *findings) flat(m Model, prefix string) {
	f.want(m.Provider != "", "must not be empty", prefix+"model_provider")
	f.want(m.Endpoint != "" || oneOf(m.Provider, "", KindDemo, KindOpenAI, KindAnthropic),
		fmt.Sprintf("is needed for model_provider %.80q", m.Provider), prefix+"endpoint", prefix+"model_provider")
	f.want(m.Endpoint == "" || isURL(m.Endpoint, "http", "https"),
		"must be a URL like https://host/v1", prefix+"endpoint")
	f.want(m.Temperature >= 0 && m.Temperature <= 2, "must be from 0 to 2", prefix+"temperature") // false for NaN
	f.want(m.FirstTokenTimeout <= m.Timeout,
		fmt.Sprintf("(%s) must be at most timeout (%s)", show(m.FirstTokenTimeout), show(m.Timeout)),
		prefix+"first_token_timeout", prefix+"timeout")
	f.want(m.TotalTimeout == 0 || m.TotalTimeout >= m.Timeout,
		fmt.Sprintf("(%s) must be 0 or at least timeout (%s)", show(m.TotalTimeout), show(m.Timeout)),
		prefix+"total_timeout", prefix+"timeout")
	f.want(oneOf(m.OnFailure, FailureRetry, FailureApologize), "must be retry or apologize", prefix+"on_failure")
}

func (f *findings) provider(m Models, name, prefix string) {
	p := m.Catalog.Providers[name]
	key := func(k string) string { return at(prefix, keyProviders, name, k) }
	f.values(key(""), p)
	f.want(oneOf(p.Kind, "", KindOpenAI, KindAnthropic, KindDemo), "must be openai, anthropic or demo", key("kind"))
	kind := p.Kind
	if kind == "" {
		kind = kindOf(name)
	}
	f.want(p.Endpoint != "" || kind != KindOpenAI || name == KindOpenAI, "needs an endpoint", prefix+keyProviders+"."+name, key("endpoint"))
	f.want(p.Endpoint == "" || isURL(p.Endpoint, "http", "https"), "must be a URL like https://host/v1", key("endpoint"))
	f.want(p.Endpoint != "" || len(p.Keys()) > 0 || kind == KindDemo || kind == KindOpenAI && name != KindOpenAI, "needs a key",
		prefix+keyProviders+"."+name, key("api_key"), key("api_keys"))
	f.want(p.FirstTokenTimeout <= p.Timeout,
		fmt.Sprintf("(%s) must be at most timeout (%s)", show(p.FirstTokenTimeout), show(p.Timeout)), key("first_token_timeout"), key("timeout"))
	f.want(name != m.Provider || name == KindDemo, "is also the model_provider: say it in one place",
		prefix+keyProviders+"."+name, prefix+"model_provider")
}

func (f *findings) entry(m Models, name, prefix string) {
	e := m.Catalog.Models[name]
	key := func(k string) string { return at(prefix, keyModels, name, k) }
	f.values(key(""), e)
	_, known := m.providers()[e.Provider]
	f.want(e.Provider != "", "needs a provider", prefix+keyModels+"."+name, key("provider"))
	f.want(known || e.Provider == "", fmt.Sprintf("there is no provider %.80q", e.Provider), key("provider"))
	f.want(e.Temperature >= 0 && e.Temperature <= 2, "must be from 0 to 2", key("temperature"))
	f.want(e.InputPrice >= 0, "must not be negative", key("input_price"))
	f.want(e.OutputPrice >= 0, "must not be negative", key("output_price"))
	f.want(len(e.Fallback) <= 8, "must be at most 8", key("fallback"))
	for i, other := range e.Fallback {
		f.want(m.hasModel(other) && other != name, fmt.Sprintf("there is no other model %.80q", other), key("fallback"))
		f.want(!slices.Contains(e.Fallback[:i], other), fmt.Sprintf("names %.80q twice", other), key("fallback"))
	}
}

// hasModel reports whether the table will hold a model of this name.
func (m Models) hasModel(name string) bool {
	_, ok := m.table().Models[name]
	return ok
}

func (f *findings) routing(m Models, prefix string) {
	c := m.Catalog
	f.want(len(c.Models) == 0 || m.Name == "", "cannot go with models: name it there", prefix+"model", prefix+keyModels)
	switch name := m.fallbackDefault(); {
	case name == "" && len(c.Models) > 0:
		f.want(false, "is needed where there is more than one model", prefix+keyDefault)
	case name != "":
		f.want(m.hasModel(name), fmt.Sprintf("there is no model %.80q", name), prefix+keyDefault)
	}
	for i, r := range c.Routes {
		f.route(m, r, routeKey(prefix+keyRoutes, i))
	}
}

func (f *findings) route(m Models, r contracts.ModelRoute, key string) {
	f.want(r.Pattern != "", "needs a pattern", key, key+".pattern")
	f.want(r.Model != "", "needs a model", key, key+".model")
	_, err := regexp.Compile(r.Pattern)
	f.want(err == nil, fmt.Sprintf("is not a Go regular expression: %v", err), key+".pattern")
	f.want(m.hasModel(r.Model) || r.Model == "", fmt.Sprintf("there is no model %.80q", r.Model), key+".model")
}
