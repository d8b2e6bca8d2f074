package chain

import (
	"cmp"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"moltbot/contracts"
	"moltbot/workers/model"
)

// state is a table with everything that stands behind it. It does not change.
type state struct {
	router    *contracts.Router
	providers map[string]*provider
	links     map[string]*link
	same      map[string]*link           // by permits; of several the first by name
	answers   map[string]model.Completer // by the names of the table
}

// provider is one provider with its breaker, which other tables and other models share.
type provider struct {
	name      string
	completer model.Completer
	breaker   *breaker
}

// link is one model that can be asked.
type link struct {
	name     string // of the table, for metrics
	entry    contracts.ModelEntry
	version  string
	provider *provider
	call     model.Completer // the provider, with Each around it
	limit    *model.Capped   // nil: there is none
}

func (s *state) completers() map[string]model.Completer {
	all := make(map[string]model.Completer, len(s.providers))
	for name, p := range s.providers {
		all[name] = p.completer
	}
	return all
}

// build makes a state, and changes nothing before it is sure to succeed.
func (c *Chain) build(r *contracts.Router, providers map[string]model.Completer) (*state, error) {
	s := &state{router: r, providers: c.known(providers), links: map[string]*link{}, same: map[string]*link{}, answers: map[string]model.Completer{}}
	var errs []error
	limits := map[string]int{}
	for _, name := range r.Names() {
		e := r.Table.Models[name]
		if s.providers[e.Provider] == nil {
			errs = append(errs, fmt.Errorf("model %q: this process has no provider %q", name, e.Provider))
		}
		if id := permits(e); e.MaxConcurrent > 0 && (limits[id] == 0 || e.MaxConcurrent < limits[id]) {
			limits[id] = e.MaxConcurrent
		}
	}
	if len(limits) > 0 && (c.o.Redis == nil || c.o.Node == "") {
		errs = append(errs, errors.New("a limit of calls needs Redis and a node"))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	for id, limit := range limits {
		if err := c.share(id, limit); err != nil {
			return nil, err
		}
	}
	for _, name := range r.Names() {
		e := r.Table.Models[name]
		s.links[name] = c.link(s, name, e)
		if limits[permits(e)] > 0 {
			s.links[name].limit = c.caps[permits(e)]
		}
		if s.same[permits(e)] == nil {
			s.same[permits(e)] = s.links[name]
		}
	}
	for _, name := range r.Names() {
		s.answers[name] = c.answer(s.line(s.links[name]))
	}
	return s, nil
}

// known keeps the breakers of providers that stay as they are.
func (c *Chain) known(completers map[string]model.Completer) map[string]*provider {
	all := make(map[string]*provider, len(completers))
	was := c.state.Load()
	for name, completer := range completers {
		if was != nil && was.providers[name] != nil && same(was.providers[name].completer, completer) {
			all[name] = was.providers[name]
			continue
		}
		all[name] = &provider{name: name, completer: completer, breaker: newBreaker(name, c.o.Log)}
	}
	return all
}

func same(a, b model.Completer) bool {
	t := reflect.TypeOf(a)
	return t == reflect.TypeOf(b) && t.Comparable() && a == b
}

// permits names what shares the calls: models of the same name at the same
// provider, whatever the table calls them. The lowest limit holds.
func permits(e contracts.ModelEntry) string { return e.Provider + "/" + e.Model }

// share gives id its limit. What was once limited keeps its keeper for good: Redis
// knows one for each process. Without calls it holds nothing.
func (c *Chain) share(id string, limit int) error {
	if known := c.caps[id]; known != nil {
		known.SetLimit(limit)
		return nil
	}
	made, err := model.NewCapped(nil, model.CapOptions{Redis: c.o.Redis, Log: c.o.Log, Node: c.o.Node, Model: id, Limit: limit})
	if err == nil {
		c.caps[id] = made
	}
	return err
}

func (c *Chain) link(s *state, name string, e contracts.ModelEntry) *link {
	p := s.providers[e.Provider]
	k := &link{name: name, entry: e, version: e.Provider + "/" + e.Model, provider: p, call: p.completer}
	if c.o.Each != nil {
		k.call = c.o.Each(k.call, p.name, name, e)
	}
	return k
}

// line is the chosen model with its fall-backs.
func (s *state) line(first *link) *line {
	l := &line{links: []*link{first}}
	for _, name := range first.entry.Fallback {
		l.links = append(l.links, s.links[name])
	}
	return l
}

// passed is the line of a model that the table does not have. It shares the
// permits of the one that lets it through, or a limit could be evaded by a name. One
// that the table has under another name keeps the price and the permits of that.
func (c *Chain) passed(s *state, r contracts.Routed) *line {
	of, _, _ := strings.Cut(r.Name, "/")
	if e, ok := s.router.Table.Models[of]; !ok || !e.AnyModel {
		of = s.router.Table.Default
	}
	e, limit := r.Entry, s.links[of].limit
	if same := s.same[permits(e)]; same != nil {
		e.InputPrice, e.OutputPrice = same.entry.InputPrice, same.entry.OutputPrice
		limit = cmp.Or(same.limit, limit)
	}
	through := c.link(s, of, e)
	through.limit = limit
	return s.line(through)
}

// answer puts around a line what belongs there.
func (c *Chain) answer(l *line) model.Completer {
	l.chain = c
	var who model.Completer = l
	first := l.links[0]
	if c.o.Wrap != nil {
		who = c.o.Wrap(who, first.name, first.entry)
	}
	if c.o.Apologize {
		who = &apologizing{inner: who, chain: c, first: first}
	}
	return who
}

// limits are the permits of the present table in order, for metrics.
func (c *Chain) limits() map[string]*model.Capped {
	all := map[string]*model.Capped{}
	for _, k := range c.state.Load().links {
		if k.limit != nil {
			all[permits(k.entry)] = k.limit
		}
	}
	return all
}

func (s *state) providerNames() []string {
	names := make([]string, 0, len(s.providers))
	for name := range s.providers {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
