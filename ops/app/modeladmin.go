package app

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"moltbot/contracts"
)

// rollModels is how long an operator's change waits for the workers to follow.
const rollModels = time.Second

// modelAdmin is what the admin API does with models.
type modelAdmin struct{ *App }

// ShowModels is GET /admin/model.
func (a modelAdmin) ShowModels(ctx context.Context) (contracts.AdminModel, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	kv, err := a.topology.bucket(ctx)
	if err != nil {
		return contracts.AdminModel{}, queueDown(err)
	}
	is, err := readTable(ctx, kv)
	if err != nil {
		return contracts.AdminModel{}, queueDown(err)
	}
	workers, err := callRoll(ctx, a.topology.js.Conn())
	if err != nil {
		return contracts.AdminModel{}, queueDown(err)
	}
	reply := contracts.AdminModel{Revision: int64(is.revision), Table: is.table, Workers: nodes(workers)}
	if is.err != nil {
		reply.Error = is.err.Error()
	}
	return reply, nil
}

func nodes(workers []contracts.WorkerStatus) []contracts.ModelsNode {
	all := make([]contracts.ModelsNode, 0, len(workers))
	for _, w := range workers {
		all = append(all, contracts.ModelsNode{Node: w.Node, Host: w.Host, PID: w.PID, Models: w.Models})
	}
	return all
}

// ChangeModels is PUT /admin/model.
func (a modelAdmin) ChangeModels(ctx context.Context, r contracts.ModelRequest, by string) (contracts.ModelReply, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	workers, err := callRoll(ctx, a.topology.js.Conn())
	if err != nil {
		return contracts.ModelReply{}, queueDown(err)
	}
	table, revision, changed, err := a.topology.change(ctx, func(have stored) (contracts.ModelTable, bool, error) {
		next, err := wished(r, have, workers)
		if err != nil || have.table != nil && have.table.Same(next) {
			return next, false, err
		}
		next.By, next.At = by, time.Now().UTC()
		return next, true, nil
	})
	var refused *contracts.Error
	if errors.As(err, &refused) {
		return contracts.ModelReply{}, refused
	}
	if err != nil {
		return contracts.ModelReply{}, queueDown(err)
	}
	a.o.Log.Info().Str("user_id", by).Uint64("revision", revision).Bool("changed", changed).Str("default", table.Default).
		Int("routes", len(table.Routes)).Int("models", len(table.Models)).Bool("whole", r.Table != nil).Msg("models wanted by an operator")
	return a.followed(ctx, contracts.ModelReply{Revision: int64(revision), Default: table.Default, Changed: changed}, len(workers))
}

// wished is the table that r makes of what the bucket holds, or everything that
// is wrong with it.
func wished(r contracts.ModelRequest, have stored, workers []contracts.WorkerStatus) (contracts.ModelTable, error) {
	if r.Revision != nil && *r.Revision != int64(have.revision) {
		return contracts.ModelTable{}, &contracts.Error{Code: contracts.CodeConflict,
			Message: fmt.Sprintf("the change is meant for revision %d of the models, and %d holds", *r.Revision, have.revision)}
	}
	if have.err != nil && r.Table == nil {
		return contracts.ModelTable{}, badModels(fmt.Errorf("%w; replace it by a whole one, or reload the file", have.err))
	}
	next, err := r.Changed(have.table)
	if err != nil {
		return next, badModels(err)
	}
	err = next.Check()
	if _, ok := next.Models[r.Default]; !ok && r.Default != "" && len(next.Models) > 0 {
		err = errors.Join(err, fmt.Errorf("there are: %s", strings.Join(slices.Sorted(maps.Keys(next.Models)), ", ")))
	}
	if r.Table != nil {
		err = errors.Join(err, provided(next, workers))
	}
	if err != nil {
		return next, badModels(err)
	}
	_, err = contracts.EncodeModelTable(next)
	if err != nil {
		return next, badModels(err)
	}
	return next, nil
}

// provided names the processes that would refuse t.
func provided(t contracts.ModelTable, workers []contracts.WorkerStatus) error {
	needed := make(map[string]bool)
	for _, m := range t.Models {
		needed[m.Provider] = true
	}
	var errs []error
	for _, w := range workers {
		for _, p := range slices.Sorted(maps.Keys(needed)) {
			if w.Models != nil && p != "" && !slices.Contains(w.Models.Providers, p) {
				errs = append(errs, fmt.Errorf("%s (%s, process %d) has no provider %q", w.Node, w.Host, w.PID, p))
			}
		}
	}
	return errors.Join(errs...)
}

func badModels(err error) error {
	return &contracts.Error{Code: contracts.CodeBadRequest, Message: strings.ReplaceAll(err.Error(), "\n", "; ")}
}

// ReloadModels is POST /admin/model/reload: every process reads its file again,
// and the table in it is imported, even if it is an old one. Where the files say
// different things, nobody can know which is meant.
func (a modelAdmin) ReloadModels(ctx context.Context, by string) (contracts.ModelReply, error) {
	ctx, cancel := context.WithTimeout(ctx, 8*time.Second)
	defer cancel()
	workers, err := a.tellReload(ctx, contracts.ModelsReload{By: by}, 0)
	if err != nil {
		return contracts.ModelReply{}, queueDown(err)
	}
	digest, err := oneFile(workers)
	if err != nil {
		return contracts.ModelReply{}, badModels(err)
	}
	if _, err = a.tellReload(ctx, contracts.ModelsReload{By: by, Import: digest}, len(workers)); err != nil {
		return contracts.ModelReply{}, queueDown(err)
	}
	kv, err := a.topology.bucket(ctx)
	if err != nil {
		return contracts.ModelReply{}, queueDown(err)
	}
	is, err := readTable(ctx, kv)
	if err != nil {
		return contracts.ModelReply{}, queueDown(err)
	}
	if is.table == nil {
		return contracts.ModelReply{}, queueDown(errors.New("the table was not imported"))
	}
	a.o.Log.Info().Str("user_id", by).Uint64("revision", is.revision).Str("default", is.table.Default).Msg("models reloaded by an operator")
	return a.followed(ctx, contracts.ModelReply{Revision: int64(is.revision), Default: is.table.Default, Changed: true}, len(workers))
}

func (a modelAdmin) tellReload(ctx context.Context, r contracts.ModelsReload, most int) ([]contracts.WorkerStatus, error) {
	question, err := contracts.EncodeModelsReload(r)
	if err != nil {
		return nil, err
	}
	enough := func(all []contracts.WorkerStatus) bool { return most > 0 && len(all) >= most }
	return pollWorkers(ctx, a.topology.js.Conn(), contracts.SubjectModelsReload(), question, enough)
}

// oneFile gives the digest of the table that all processes' files hold.
func oneFile(workers []contracts.WorkerStatus) (digest string, err error) {
	if len(workers) == 0 {
		return "", errors.New("no process with the workers role answers, and they have the files")
	}
	var errs []error
	digests := make(map[string][]string)
	for _, w := range workers {
		name := fmt.Sprintf("%s (%s, process %d)", w.Node, w.Host, w.PID)
		if w.Models == nil {
			continue // of a version that has no table
		}
		if w.Models.Mistake != "" {
			errs = append(errs, fmt.Errorf("%s: %s", name, w.Models.Mistake))
		}
		digest = w.Models.File
		digests[digest] = append(digests[digest], name)
	}
	if len(digests) > 1 {
		text := "the processes have different models in their files, give them the same ones:"
		for d, names := range digests {
			text += fmt.Sprintf(" %.8s in %s", d, strings.Join(names, ", "))
		}
		errs = append(errs, errors.New(text))
	}
	return digest, errors.Join(errs...)
}

// followed waits a moment for n processes to have the revision of reply, and
// counts those that do.
func (a modelAdmin) followed(ctx context.Context, reply contracts.ModelReply, n int) (contracts.ModelReply, error) {
	ctx, cancel := context.WithTimeout(ctx, rollModels)
	defer cancel()
	again := time.NewTicker(rollModels / 10)
	defer again.Stop()
	reply.Workers = n
	for {
		workers, err := pollWorkers(ctx, a.topology.js.Conn(), contracts.SubjectWorkersStatus(), nil, func(all []contracts.WorkerStatus) bool {
			return n > 0 && len(all) >= n
		})
		if err != nil || ctx.Err() != nil {
			return reply, nil // it is stored; who follows by now is not known
		}
		reply.Workers = max(len(workers), n)
		reply.Applied, reply.Behind = count(nodes(workers), reply.Revision)
		for len(reply.Behind) < reply.Workers-reply.Applied {
			reply.Behind = append(reply.Behind, "a process that does not answer any more")
		}
		if reply.Applied == reply.Workers {
			return reply, nil
		}
		select {
		case <-ctx.Done():
			return reply, nil
		case <-again.C:
		}
	}
}

func count(nodes []contracts.ModelsNode, revision int64) (follow int, behind []string) {
	for _, n := range nodes {
		if n.Follows(revision) {
			follow++
			continue
		}
		why := "its version knows no tables"
		if n.Models != nil {
			why = fmt.Sprintf("it is at revision %d", n.Models.Revision)
			if n.Models.Error != "" {
				why = n.Models.Error
			}
		}
		behind = append(behind, fmt.Sprintf("%s (%s, process %d): %s", n.Node, n.Host, n.PID, why))
	}
	return follow, behind
}
