package app

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"moltbot/contracts"
	"moltbot/workers/workerstest"
)

// answers lets a node answer the roll and reloads, as a process with the workers
// role does.
func (w *modelNode) answers(n *workerstest.NATS, name string) {
	w.t.Helper()
	nc := n.Connect(w.t)
	respond := func(m *nats.Msg) {
		b, err := contracts.EncodeWorkerStatus(contracts.WorkerStatus{Node: name, Host: "h", Models: w.models.status()})
		if err == nil {
			_ = m.Respond(b)
		}
	}
	_, err := nc.Subscribe(contracts.SubjectWorkersStatus(), respond)
	must(w.t, err)
	_, err = nc.Subscribe(contracts.SubjectModelsReload(), func(m *nats.Msg) { w.models.ask(m.Data, func() { respond(m) }) })
	must(w.t, err)
	must(w.t, nc.Flush())
}

func desk(w *modelNode) modelAdmin {
	return modelAdmin{&App{o: Options{Log: w.lines.log()}, topology: w.top}}
}

// refusedAs expects an error of the API whose text holds every want.
func refusedAs(t *testing.T, err error, code contracts.Code, wants ...string) {
	t.Helper()
	var e *contracts.Error
	if !errors.As(err, &e) || e.Code != code {
		t.Errorf("error = %v, want %s", err, code)
		return
	}
	hasText(t, e.Message, wants...)
}

func TestOperatorsChangeModels(t *testing.T) {
	n := workerstest.StartNATS(t)
	file := modelFile("x=one/A", "y=one/B")
	w1, w2 := startNode(t, n, file), startNode(t, n, file)
	w1.becomes("A")
	w2.becomes("A")
	admin := desk(w1)
	_, err := admin.ReloadModels(t.Context(), "ann")
	refusedAs(t, err, contracts.CodeBadRequest, "no process with the workers role answers")
	w1.answers(n, "n1")
	w2.answers(n, "n2")
	change := func(r contracts.ModelRequest) (contracts.ModelReply, error) {
		return admin.ChangeModels(t.Context(), r, "ann")
	}

	began := time.Now()
	reply, err := change(contracts.ModelRequest{Default: "y"})
	must(t, err)
	soonEnough(t, "PUT answered", time.Since(began))
	equal(t, "applied", fmt.Sprint(reply.Applied, reply.Workers, reply.Changed, reply.Behind), "2 2 true []")
	w1.becomes("B")
	w2.becomes("B")
	equal(t, "by", w2.models.Router().Table.By, "ann")
	hasText(t, w1.lines.String(), "models wanted by an operator", `"user_id":"ann"`)

	again, err := change(contracts.ModelRequest{Default: "y"})
	must(t, err)
	equal(t, "nothing changed", fmt.Sprint(again.Changed, again.Revision == reply.Revision), "false true")

	old := reply.Revision - 1
	_, err = change(contracts.ModelRequest{Default: "x", Revision: &old})
	refusedAs(t, err, contracts.CodeConflict, fmt.Sprint("revision ", old))
	_, err = change(contracts.ModelRequest{Default: "z", Routes: &[]contracts.ModelRoute{{Pattern: "^(", Model: "w"}}})
	refusedAs(t, err, contracts.CodeBadRequest, `no model "z"`, "there are: x, y", "regular expression", `no model "w"`)
	_, err = change(contracts.ModelRequest{Table: &contracts.ModelTable{Default: "q", Models: map[string]contracts.ModelEntry{"q": {Provider: "two", Model: "m"}}}})
	refusedAs(t, err, contracts.CodeBadRequest, `n1 (h, process 0) has no provider "two"`, `n2 (h, process 0) has no provider "two"`)
	equal(t, "revision", int64(w1.holds().revision), reply.Revision)

	// The file is an old one by now, and counts again.
	reply, err = admin.ReloadModels(t.Context(), "ann")
	must(t, err)
	equal(t, "reloaded", fmt.Sprint(reply.Default, reply.Applied, reply.Workers), "x2 2")
	w1.becomes("A")
	w2.becomes("A")
	equal(t, "one import for two processes", reply.Revision, again.Revision+1)

	shown, err := admin.ShowModels(t.Context())
	must(t, err)
	equal(t, "shown", fmt.Sprint(shown.Revision, shown.Table.Default, len(shown.Workers), shown.Workers[1].Follows(shown.Revision)), fmt.Sprint(reply.Revision, "x", 2, true))
}

// Whoever does not follow is named; a reload with different files is nobody's wish.
func TestWhoIsBehindIsNamed(t *testing.T) {
	n := workerstest.StartNATS(t)
	w1, w2 := startNode(t, n, modelFile("x=one/A")), startNode(t, n, modelFile("x=one/A"))
	w1.answers(n, "n1")
	w2.answers(n, "n2")
	w1.replace(modelFile("x=two/B", "y=two/C"))
	w1.becomes("B")
	admin := desk(w1)
	reply, err := admin.ChangeModels(t.Context(), contracts.ModelRequest{Default: "y"}, "ann")
	must(t, err)
	equal(t, "applied", fmt.Sprint(reply.Applied, reply.Workers, len(reply.Behind)), "1 2 1")
	hasText(t, reply.Behind[0], "n2 (h, process 0)", "no provider two")
	_, err = admin.ReloadModels(t.Context(), "ann")
	refusedAs(t, err, contracts.CodeBadRequest, "different models", "n1", "n2")
	w2.replace("porridge: 1\n")
	_, err = admin.ReloadModels(t.Context(), "ann")
	refusedAs(t, err, contracts.CodeBadRequest, "porridge")
}

func TestOperatorsRace(t *testing.T) {
	n := workerstest.StartNATS(t)
	w := startNode(t, n, modelFile("x=one/A", "y=one/B"))
	w.becomes("A")
	admin := desk(w)
	var wg sync.WaitGroup
	errs := make([]error, 8)
	for i := range errs {
		r := contracts.ModelRequest{Default: "y"}
		if i%2 == 0 {
			r = contracts.ModelRequest{Routes: &[]contracts.ModelRoute{{Pattern: "^/zh/", Model: "y"}}}
		}
		wg.Go(func() { _, errs[i] = admin.ChangeModels(t.Context(), r, "ann") })
	}
	wg.Wait()
	must(t, errors.Join(errs...))
	s := w.holds()
	equal(t, "both changes", fmt.Sprint(s.table.Default, len(s.table.Routes), s.revision), "y1 3")

	n.Stop()
	_, err := admin.ChangeModels(t.Context(), contracts.ModelRequest{Default: "x"}, "ann")
	refusedAs(t, err, contracts.CodeQueueDown)
}
