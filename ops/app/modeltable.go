package app

import (
	"bytes"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/rs/zerolog"

	"moltbot/contracts"
	"moltbot/ops/config"
)

// modelChain is what has to be ready before a table may be in force.
type modelChain interface {
	// SetProviders makes these the providers. It refuses them all or none.
	SetProviders(map[string]config.Provider) error
	// Use makes r the table, or refuses it.
	Use(r *contracts.Router) error
	// Resting are the keys that are not used at the moment, by provider.
	Resting() map[string][]contracts.RestingKey
}

// said is what the configuration of a process says of models.
type said struct {
	providers map[string]config.Provider
	table     contracts.ModelTable
	digest    string
}

func saidBy(c config.Config) said {
	providers, table, digest := c.Model.All()
	return said{providers, table, digest}
}

// models is the table of models as this process has it. A table that cannot be
// in force here leaves the one before it.
type models struct {
	log    zerolog.Logger
	chain  modelChain // nil: this process needs the names only
	router atomic.Pointer[contracts.Router]
	lost   chan struct{} // the bucket holds no table
	asked  chan reload

	mu      sync.Mutex
	said    said
	kept    map[string]config.Provider // in use; may be more than said's
	last    entry                      // newest that was looked at
	pending *contracts.Router          // newest, where it is refused
	refused int64                      // its revision, also where it cannot be read
	why     string                     // it is refused
	mistake string                     // why the configuration could not be read again
}

// reload is a question for the keeper of the models.
type reload struct {
	contracts.ModelsReload
	done func()
}

// newModels begins with the table of the configuration itself. Chain, if there
// is one, has its providers.
func newModels(s said, chain modelChain, log zerolog.Logger) (*models, error) {
	m := &models{
		log: log, chain: chain, said: s, kept: s.providers,
		lost: make(chan struct{}, 1), asked: make(chan reload, 16),
	}
	own, err := contracts.NewRouter(s.table, 0)
	if err != nil {
		return nil, err
	}
	if err := m.use(own); err != nil {
		return nil, err
	}
	return m, nil
}

// Router is the table in force, never nil.
func (m *models) Router() *contracts.Router { return m.router.Load() }

func (m *models) use(r *contracts.Router) error {
	if m.chain != nil {
		if err := m.chain.Use(r); err != nil {
			return err
		}
	}
	m.router.Store(r)
	return nil
}

// take follows the bucket.
func (m *models) take(e entry) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if e.none {
		m.last = entry{}
		select {
		case m.lost <- struct{}{}:
		default: // it is known already
		}
		return
	}
	if e.revision == m.last.revision && bytes.Equal(e.value, m.last.value) {
		return // another watch brings it again
	}
	m.last = e
	table, err := contracts.DecodeModelTable(e.value)
	if err != nil {
		m.refuse(nil, e.revision, err)
		return
	}
	router, err := contracts.NewRouter(table, e.revision)
	if err != nil {
		m.refuse(nil, e.revision, err)
		return
	}
	m.adopt(router)
}

// adopt makes r the table in force, and gives up providers that nobody needs
// any more.
func (m *models) adopt(r *contracts.Router) {
	was := m.Router()
	if err := m.use(r); err != nil {
		m.refuse(r, r.Revision, err)
		return
	}
	m.pending, m.refused, m.why = nil, 0, ""
	m.log.Info().Int64("revision", r.Revision).Int64("from", was.Revision).Str("default", r.Table.Default).
		Int("models", len(r.Table.Models)).Str("by", r.Table.By).Msg("models changed")
	if err := m.provide(m.said.providers); err != nil {
		m.log.Error().Err(err).Msg("providers of models stay as they were")
	}
}

func (m *models) refuse(r *contracts.Router, revision int64, err error) {
	said := m.refused == revision && m.why == err.Error() // and the configuration was read again
	m.pending, m.refused, m.why = r, revision, err.Error()
	if said {
		return
	}
	m.log.Error().Err(err).Int64("revision", revision).Int64("in_force", m.Router().Revision).
		Msg("models refused, the table before stays in force")
}

// provide makes these the providers, with those that the table in force needs
// and that they lack: a file may lose a provider before its table follows.
func (m *models) provide(providers map[string]config.Provider) error {
	want := maps.Clone(providers)
	for _, e := range m.Router().Table.Models {
		if old, ok := m.kept[e.Provider]; ok {
			if _, has := want[e.Provider]; !has {
				want[e.Provider] = old
			}
		}
	}
	if m.chain == nil || reflect.DeepEqual(want, m.kept) {
		return nil
	}
	if err := m.chain.SetProviders(want); err != nil {
		return fmt.Errorf("providers of models: %w", err)
	}
	m.kept = want
	return nil
}

// configure takes what the configuration says now, or leaves what it said. It
// reports whether the table in it is another one.
func (m *models) configure(s said) (changed bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	own, err := contracts.NewRouter(s.table, 0)
	if err == nil {
		err = m.provide(s.providers)
	}
	if err != nil {
		return false, err
	}
	changed = s.digest != m.said.digest
	m.said, m.mistake = s, ""
	if m.Router().Revision == 0 && changed {
		err = m.use(own) // the bucket's is not known, or not for this process
	}
	if m.pending != nil {
		m.adopt(m.pending) // perhaps it has its providers now
	}
	return changed, err
}

// complain keeps why the configuration cannot be followed, and reports whether
// that is new.
func (m *models) complain(err error) (first bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	first = m.mistake != err.Error()
	m.mistake = err.Error()
	return first
}

func (m *models) configured() said {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.said
}

// ask gives the keeper something to do; done is called when it is. Who asks more
// than can be done gets no answer.
func (m *models) ask(question []byte, done func()) {
	r, err := contracts.DecodeModelsReload(question)
	if err != nil {
		m.log.Warn().Err(err).Msg("a reload of models that cannot be read is passed over")
		return
	}
	select {
	case m.asked <- reload{r, done}:
	default:
	}
}

// status is what the roll says.
func (m *models) status() *contracts.ModelsStatus {
	if m == nil {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	s := &contracts.ModelsStatus{
		Revision: m.Router().Revision, Refused: m.refused, Error: m.why, File: m.said.digest,
		Providers: slices.Sorted(maps.Keys(m.kept)), Mistake: m.mistake,
	}
	if m.chain != nil {
		s.Resting = m.chain.Resting()
	}
	return s
}

// shown is what "moltbot status" calls the model.
func (m *models) shown() string {
	t := m.Router().Table
	e := t.Models[t.Default]
	if m.configured().providers[e.Provider].Kind == config.KindDemo {
		return "demo (no model behind it: set model_provider)"
	}
	return e.Provider + "/" + e.Model
}

// openModels begins with the table of the configuration, and follows the bucket.
func (a *App) openModels(chain modelChain) (err error) {
	s := saidBy(a.o.Config)
	if chain == nil {
		s.table = namesAny(s.table)
	}
	if a.models, err = newModels(s, chain, a.o.Log); err != nil {
		return fmt.Errorf("models: %w", err)
	}
	a.follower.add(contracts.KeyModels, a.models.take)
	a.watchModels()
	return nil
}

// namesAny is t for a process that does not know yet which models the workers
// have: it refuses none.
func namesAny(t contracts.ModelTable) contracts.ModelTable {
	t.Models = maps.Clone(t.Models)
	e := t.Models[t.Default]
	e.AnyModel = true
	t.Models[t.Default] = e
	return t
}

// watchModels shows which table of models is in force here.
func (a *App) watchModels() {
	if a.watch.registry == nil {
		return
	}
	with := promauto.With(a.watch.registry)
	with.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "moltbot_model_table_revision", Help: "Revision of the table of models that is in force in this process; 0: that of its own configuration.",
	}, func() float64 { return float64(a.models.Router().Revision) })
	with.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "moltbot_model_table_refused", Help: "1 while this process does not take a newer table, or what its configuration says.",
	}, func() float64 {
		if s := a.models.status(); s.Refused != 0 || s.Mistake != "" {
			return 1
		}
		return 0
	})
}
