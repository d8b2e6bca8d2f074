package app

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"moltbot/contracts"
	"moltbot/ops/config"
	"moltbot/workers/workerstest"
)

// fakeChain refuses tables whose providers it lacks, and tells of those it takes.
type fakeChain struct {
	mu        sync.Mutex
	providers map[string]config.Provider
	table     contracts.ModelTable
	used      chan *contracts.Router
}

func (f *fakeChain) SetProviders(p map[string]config.Provider) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := lacks(f.table, p); err != nil {
		return err
	}
	f.providers = p
	return nil
}

func (f *fakeChain) Use(r *contracts.Router) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := lacks(r.Table, f.providers); err != nil {
		return err
	}
	f.table = r.Table
	f.used <- r
	return nil
}

func (f *fakeChain) Resting() map[string][]contracts.RestingKey {
	return map[string][]contracts.RestingKey{"one": {{Key: 2, Refused: true}}}
}

func lacks(t contracts.ModelTable, providers map[string]config.Provider) error {
	for name, m := range t.Models {
		if _, ok := providers[m.Provider]; !ok {
			return fmt.Errorf("model %s: there is no provider %s", name, m.Provider)
		}
	}
	return nil
}

func (f *fakeChain) names() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Sorted(maps.Keys(f.providers))
}

// modelNode is a process as far as models go: it has a file, follows the bucket
// and keeps both in step.
type modelNode struct {
	t      *testing.T
	file   string
	config string
	lines  *book
	top    *topology
	chain  *fakeChain
	models *models
	stop   func()
}

// modelFile is a file with these models, each as name=provider/model; the first
// is the default.
func modelFile(models ...string) string {
	providers, entries, first := make(map[string]bool), "", ""
	for _, m := range models {
		name, rest, _ := strings.Cut(m, "=")
		provider, model, _ := strings.Cut(rest, "/")
		providers[provider] = true
		entries += fmt.Sprintf("  %s: {provider: %s, model: %s}\n", name, provider, model)
		if first == "" {
			first = name
		}
	}
	text := "providers:\n"
	for _, p := range slices.Sorted(maps.Keys(providers)) {
		text += fmt.Sprintf("  %s: {endpoint: \"http://127.0.0.1:1/v1\", api_key: %s}\n", p, canary)
	}
	return text + "models:\n" + entries + "model_routing: {default: " + first + "}\n"
}

// startNode starts a process with this model file.
func startNode(t *testing.T, n *workerstest.NATS, file string) *modelNode {
	t.Helper()
	dir := t.TempDir()
	w := &modelNode{t: t, file: filepath.Join(dir, "models.yaml"), config: filepath.Join(dir, "config.yaml"), lines: &book{}}
	w.replace(file)
	must(t, os.WriteFile(w.config, []byte("model: {file: "+w.file+"}\n"), 0o600))
	w.start(n, atStart)
	return w
}

// start does what New, prepare and Run do for models.
func (w *modelNode) start(n *workerstest.NATS, why occasion) {
	w.t.Helper()
	c, err := w.load()
	must(w.t, err)
	s := saidBy(c)
	w.chain = &fakeChain{providers: s.providers, used: make(chan *contracts.Router, 100)}
	w.top, err = newTopology(n.Connect(w.t), config.Default(), w.lines.log())
	must(w.t, err)
	must(w.t, w.top.ensure(w.t.Context()))
	w.models, err = newModels(s, w.chain, w.lines.log())
	must(w.t, err)
	equal(w.t, "first table", await(w.t, "own table", w.chain.used).Revision, 0)
	must(w.t, w.top.importModels(w.t.Context(), s, why))
	f := newFollower(w.top, w.lines.log())
	f.add(contracts.KeyModels, w.models.take)
	k := &keeper{models: w.models, topology: w.top, load: w.load, files: []string{w.file, w.config}}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 2)
	go func() { ended <- f.run(ctx) }()
	go func() { ended <- k.run(ctx) }()
	w.stop = sync.OnceFunc(func() {
		cancel()
		must(w.t, await(w.t, "end", ended))
		must(w.t, await(w.t, "end", ended))
	})
	w.t.Cleanup(w.stop)
}

func (w *modelNode) load() (config.Config, error) { return config.Load(w.config, nil) }

// replace writes the file as editors do.
func (w *modelNode) replace(text string) {
	w.t.Helper()
	must(w.t, os.WriteFile(w.file+".new", []byte(text), 0o600))
	must(w.t, os.Rename(w.file+".new", w.file))
}

// becomes waits until this model is the default, and says how long it took.
func (w *modelNode) becomes(model string) (*contracts.Router, time.Duration) {
	w.t.Helper()
	began := time.Now()
	for {
		r := await(w.t, "a table whose default is "+model, w.chain.used)
		if r.Table.Models[r.Table.Default].Model == model {
			return r, time.Since(began)
		}
	}
}

// stays expects that nothing was put in force but what becomes told of.
func (w *modelNode) stays(model string) {
	w.t.Helper()
	equal(w.t, "tables put in force", len(w.chain.used), 0)
	t := w.models.Router().Table
	equal(w.t, "model in force", t.Models[t.Default].Model, model)
}

// holds reads the bucket.
func (w *modelNode) holds() stored {
	w.t.Helper()
	kv, err := w.top.bucket(w.t.Context())
	must(w.t, err)
	s, err := readTable(w.t.Context(), kv)
	must(w.t, err)
	return s
}

func TestModelsFollowFilesAndEachOther(t *testing.T) {
	n := workerstest.StartNATS(t)
	a, b := modelFile("x=one/A"), modelFile("x=one/B")
	w1 := startNode(t, n, a)
	r, _ := w1.becomes("A")
	equal(t, "revision", r.Revision, int64(w1.holds().revision))
	w2 := startNode(t, n, a) // the same file: nothing to import
	w2.becomes("A")
	equal(t, "revision", w2.models.Router().Revision, r.Revision)

	for _, step := range []struct{ file, model string }{{b, "B"}, {a, "A"}, {b, "B"}} {
		w1.replace(step.file)
		_, took := w1.becomes(step.model)
		soonEnough(t, "file changed to "+step.model, took)
		w2.becomes(step.model)
	}
	equal(t, "sources", len(w1.holds().table.Sources), 2)

	// Somebody comes back with the file of before; his table does not.
	w2.stop()
	before := w1.holds().revision
	w2.start(n, atStart)
	w2.becomes("B")
	equal(t, "revision after a stale start", w1.holds().revision, before)
	w1.stays("B")
	equal(t, "status", w2.models.status().Revision, int64(before))

	// With a NATS of its own nobody else can have brought the newer one.
	w2.stop()
	w2.start(n, atStartUp)
	w2.becomes("A")
	w1.becomes("A")
	if text := w1.lines.String() + w2.lines.String(); strings.Contains(text, canary) {
		t.Error("a key is in the log")
	}
}

func TestBadModelFilesAreRefused(t *testing.T) {
	n := workerstest.StartNATS(t)
	good := modelFile("x=one/A")
	w := startNode(t, n, good)
	w.becomes("A")
	next := modelFile("x=one/B", "y=one/C")
	refusals := func(n int) {
		t.Helper()
		eventually(t, "the file is refused", func() bool {
			return len(w.lines.errorsOf(t, "the configuration of models is refused, the one before stays")) >= n
		})
	}
	must(t, os.WriteFile(w.file, []byte(next[:len(next)-20]), 0o600)) // half-written
	refusals(1)
	w.stays("A")
	if w.models.status().Mistake == "" {
		t.Error("the roll does not show it")
	}
	w.replace(modelFile("x=one/B") + "porridge: 4\n")
	refusals(2)
	w.stays("A")
	w.replace(next)
	w.becomes("B")
	equal(t, "mistake", w.models.status().Mistake, "")
	must(t, os.Remove(w.file))
	refusals(3)
	w.stays("B")
	w.replace(next)
	eventually(t, "it is well again", func() bool { return w.models.status().Mistake == "" })
	w.stays("B")
	equal(t, "refusals", len(w.lines.errorsOf(t, "the configuration of models is refused, the one before stays")), 3)
}

// A provider may come with the model that needs it and go with it, in one write.
func TestProvidersComeAndGoWithTheTable(t *testing.T) {
	n := workerstest.StartNATS(t)
	w := startNode(t, n, modelFile("x=one/A"))
	w.becomes("A")
	w.replace(modelFile("x=two/B"))
	w.becomes("B")
	eventually(t, "the old provider goes", func() bool { return slices.Equal(w.chain.names(), []string{"demo", "two"}) })

	// Keys and addresses alone are nobody else's matter.
	before := w.holds().revision
	w.replace(strings.ReplaceAll(modelFile("x=two/B"), canary, canary+"2"))
	eventually(t, "the new key is used", func() bool {
		w.chain.mu.Lock()
		defer w.chain.mu.Unlock()
		return w.chain.providers["two"].APIKey == canary+"2"
	})
	equal(t, "revision", w.holds().revision, before)
}

// A worker without a provider keeps its table, says so, and follows once it has it.
func TestWorkerWithoutAProviderRefuses(t *testing.T) {
	n := workerstest.StartNATS(t)
	w1, old := startNode(t, n, modelFile("x=one/A")), modelFile("x=one/A")
	w1.becomes("A")
	w2 := startNode(t, n, old)
	w2.becomes("A")
	w1.replace(modelFile("x=two/B"))
	w1.becomes("B")
	eventually(t, "it refuses", func() bool { return w2.models.status().Error != "" })
	s := w2.models.status()
	equal(t, "refused", s.Refused, w1.models.Router().Revision)
	hasText(t, s.Error, "no provider two")
	equal(t, "resting keys", len(s.Resting["one"]), 1)
	w2.stays("A")
	equal(t, "lines", len(w2.lines.errorsOf(t, "models refused, the table before stays in force")), 1)
	w2.replace(modelFile("x=two/B"))
	w2.becomes("B")
	equal(t, "error", w2.models.status().Error, "")
	equal(t, "revision", w2.models.Router().Revision, w1.models.Router().Revision)
}

func TestImportsRace(t *testing.T) {
	n := workerstest.StartNATS(t)
	top, err := newTopology(n.Connect(t), config.Default(), zerolog.Nop())
	must(t, err)
	must(t, top.ensure(t.Context()))
	const many = 12
	var wg sync.WaitGroup
	for i := range many {
		other, err := newTopology(n.Connect(t), config.Default(), zerolog.Nop())
		must(t, err)
		for range 2 { // each table from two nodes
			wg.Go(func() {
				table := contracts.ModelTable{Default: "x", Models: map[string]contracts.ModelEntry{"x": {Provider: "one", Model: fmt.Sprint(i)}}}
				must(t, other.importModels(t.Context(), said{table: table, digest: config.Digest(table)}, atStart))
			})
		}
	}
	wg.Wait()
	kv, err := top.bucket(t.Context())
	must(t, err)
	s, err := readTable(t.Context(), kv)
	must(t, err)
	equal(t, "writes", int(s.revision), many) // none was lost, none was done twice
	equal(t, "sources", len(s.table.Sources), many)
}

func TestModelsOutliveBucketAndBroker(t *testing.T) {
	n := workerstest.StartNATS(t)
	w1, w2 := startNode(t, n, modelFile("x=one/A")), startNode(t, n, modelFile("x=one/B"))
	w2.becomes("B")
	w1.becomes("B")
	must(t, w1.top.js.DeleteKeyValue(t.Context(), contracts.BucketConfig))
	began := time.Now()
	eventually(t, "the table is there again", func() bool {
		kv, err := w1.top.js.KeyValue(t.Context(), contracts.BucketConfig)
		if err != nil {
			return false
		}
		s, err := readTable(t.Context(), kv)
		return err == nil && s.table != nil && s.table.Models["x"].Model == "B"
	})
	soonEnough(t, "bucket deleted", time.Since(began))
	for _, w := range []*modelNode{w1, w2} {
		r, _ := w.becomes("B")
		equal(t, "revision of the new bucket", r.Revision, 1)
	}

	n.Stop()
	w1.replace(modelFile("x=one/C")) // while it is away
	n.Start(t)
	w1.becomes("C")
	w2.becomes("C")
	kv, err := w1.top.bucket(t.Context())
	must(t, err)
	must(t, kv.Delete(t.Context(), contracts.KeyModels))
	for _, w := range []*modelNode{w1, w2} {
		w.becomes("C") // an operator deletes the key alone
	}
}

func TestBucketThatIsTooSmallGrows(t *testing.T) {
	top, _ := ensured(t, config.Default())
	must(t, top.js.DeleteKeyValue(t.Context(), contracts.BucketConfig))
	small := configBucket(top.c)
	small.MaxValueSize = 4 << 10
	_, err := top.js.CreateKeyValue(t.Context(), small)
	must(t, err)
	kept := 7
	must(t, top.want(t.Context(), contracts.PoolChat, &kept))
	must(t, top.ensure(t.Context()))
	table := contracts.ModelTable{Default: "m0", Models: map[string]contracts.ModelEntry{}}
	for i := range contracts.MaxModels {
		table.Models[fmt.Sprint("m", i)] = contracts.ModelEntry{Provider: "one", Model: strings.Repeat("x", 500)}
	}
	must(t, top.importModels(t.Context(), said{table: table, digest: "d"}, atStart))
	wanted, err := top.wanted(t.Context())
	must(t, err)
	equal(t, "slots", wanted[contracts.PoolChat], 7)
	equal(t, "type", streamInfo(t, top, bucketStream).Config.Storage, jetstream.FileStorage)

	for name := range table.Models {
		table.Models[name] = contracts.ModelEntry{Provider: "one", Model: strings.Repeat("x", 1200)}
	}
	for _, digest := range []string{"e", config.Digest(table)} {
		if err := top.importModels(t.Context(), said{table: table, digest: digest}, atChange); err == nil {
			t.Error("a table that is too large is imported")
		} else {
			hasText(t, err.Error(), "bytes")
		}
	}
}

// A later version may have written it: it is not for us to replace it by itself.
func TestUnreadableTableIsLeft(t *testing.T) {
	n := workerstest.StartNATS(t)
	w := startNode(t, n, modelFile("x=one/A"))
	w.becomes("A")
	kv, err := w.top.bucket(t.Context())
	must(t, err)
	_, err = kv.PutString(t.Context(), contracts.KeyModels, `{"v":99}`)
	must(t, err)
	eventually(t, "it is refused", func() bool { return w.models.status().Refused != 0 })
	w.stays("A")
	err = w.top.importModels(t.Context(), w.models.configured(), atStart)
	if err == nil {
		t.Error("it is replaced")
	}
	must(t, w.top.importModels(t.Context(), w.models.configured(), onDemand))
	w.becomes("A")
	equal(t, "refused", w.models.status().Refused, 0)
}
