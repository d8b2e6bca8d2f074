package app

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"moltbot/contracts"
	"moltbot/ops/config"
)

// occasion is why a process looks whether its table belongs into the bucket.
type occasion int

const (
	atStart   occasion = iota // of a process that may be the last one with an old file
	atStartUp                 // of a process with a NATS of its own, which no other one imports into
	atChange                  // of its file
	onDemand                  // an operator says so
)

// errUnreadable says that the bucket holds a table that this build cannot read.
var errUnreadable = errors.New("the table of models in the bucket cannot be read")

// due reports whether what s says belongs into the bucket, which holds have.
//
// A process that starts does not know how old its file is. The table remembers
// the files that it came from: one of them was replaced by what holds now, so it
// must not come back by a mere restart. A file that changes under a running
// process is news.
func (s said) due(have *contracts.ModelTable, why occasion) bool {
	if have == nil {
		return true
	}
	newest := len(have.Sources) > 0 && have.Sources[0] == s.digest
	switch why {
	case atStart:
		return !slices.Contains(have.Sources, s.digest) && s.digest != silence()
	case onDemand:
		return !newest || !have.Same(s.table)
	default:
		return !newest
	}
}

// silence is the digest of a configuration that says nothing of models. Whoever
// starts a process without one does not want the demo everywhere.
func silence() string { return saidBy(config.Default()).digest }

// stored is the table in the bucket.
type stored struct {
	table    *contracts.ModelTable // nil: none, or one that cannot be read
	revision uint64                // 0: there is none
	err      error                 // why it cannot be read
}

func readTable(ctx context.Context, kv jetstream.KeyValue) (s stored, err error) {
	e, err := kv.Get(ctx, contracts.KeyModels)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return s, nil
	}
	if err != nil {
		return s, fmt.Errorf("read %s: %w", contracts.KeyModels, err)
	}
	s.revision = e.Revision()
	t, err := contracts.DecodeModelTable(e.Value())
	if err != nil {
		s.err = fmt.Errorf("%w: %w", errUnreadable, err)
		return s, nil
	}
	s.table = &t
	return s, nil
}

// change makes of the table in the bucket what next says, by compare and set:
// next is asked again when somebody else was faster. It says false to leave it.
func (t *topology) change(ctx context.Context, next func(have stored) (contracts.ModelTable, bool, error)) (contracts.ModelTable, uint64, bool, error) {
	var none contracts.ModelTable
	for ctx.Err() == nil {
		kv, err := t.bucket(ctx)
		if err != nil {
			return none, 0, false, fmt.Errorf("find the bucket: %w", err)
		}
		have, err := readTable(ctx, kv)
		if err != nil {
			return none, 0, false, err
		}
		table, due, err := next(have)
		if err != nil || !due {
			return table, have.revision, false, err
		}
		value, err := contracts.EncodeModelTable(table)
		if err != nil {
			return none, 0, false, err
		}
		revision, err := put(ctx, kv, have.revision, value)
		if err == nil {
			return table, revision, true, nil
		}
		if !errors.Is(err, jetstream.ErrKeyExists) && !errors.Is(err, jetstream.ErrNoStreamResponse) {
			return none, 0, false, fmt.Errorf("write %s: %w", contracts.KeyModels, err)
		}
	}
	return none, 0, false, fmt.Errorf("write %s: %w", contracts.KeyModels, context.Cause(ctx))
}

func put(ctx context.Context, kv jetstream.KeyValue, over uint64, value []byte) (uint64, error) {
	if over == 0 {
		return kv.Create(ctx, contracts.KeyModels, value)
	}
	return kv.Update(ctx, contracts.KeyModels, value, over)
}

// importModels puts the table of a configuration into the bucket, if it is due.
func (t *topology) importModels(ctx context.Context, s said, why occasion) error {
	if s.digest == "" {
		return fmt.Errorf("the table of models takes more than %d bytes", contracts.MaxTable)
	}
	_, revision, changed, err := t.change(ctx, func(have stored) (contracts.ModelTable, bool, error) {
		if have.err != nil && why != onDemand {
			return contracts.ModelTable{}, false, have.err
		}
		return s.table.From(s.digest, have.table, time.Now()), s.due(have.table, why), nil
	})
	if changed {
		t.log.Info().Uint64("revision", revision).Str("default", s.table.Default).Int("models", len(s.table.Models)).
			Msg("models of the configuration are in force now")
	}
	return err
}

// restore puts the table in force into a bucket that has lost it.
func (t *topology) restore(ctx context.Context, r *contracts.Router) error {
	_, revision, changed, err := t.change(ctx, func(have stored) (contracts.ModelTable, bool, error) {
		return r.Table, have.revision == 0, nil
	})
	if changed {
		t.log.Warn().Uint64("revision", revision).Int64("was", r.Revision).Msg("the table of models was missing in the bucket and is there again")
	}
	return err
}
