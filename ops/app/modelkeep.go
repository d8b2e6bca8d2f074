package app

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"time"

	"moltbot/ops/config"
)

// How often the files are looked at, and what could not be stored is tried again.
// A look costs one stat for each file; unlike notifications it sees what is
// mounted, linked or replaced.
const (
	lookAtFiles = 200 * time.Millisecond
	storeAgain  = 500 * time.Millisecond
)

// keeper keeps the bucket and the models of this process in step with the
// configuration. All of it happens in one goroutine.
type keeper struct {
	*models
	topology *topology
	load     func() (config.Config, error) // nil: the configuration is not read again
	files    []string

	seen    string // what the files looked like
	settled bool   // that was read
	due     bool   // what the configuration says now may belong into the bucket
	missing bool   // the bucket holds no table
	told    string // why nothing can be stored
}

// keepModels works while the workers do.
func (a *App) keepModels(ctx, working context.Context) error {
	select {
	case <-a.prepared:
	case <-ctx.Done():
		return nil
	}
	k := &keeper{models: a.models, topology: a.topology, load: a.o.Reload, files: a.o.Files}
	return k.run(working)
}

func (k *keeper) run(ctx context.Context) error {
	look, again := time.NewTicker(lookAtFiles), time.NewTicker(storeAgain)
	defer look.Stop()
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-k.lost:
			k.missing = true
			k.store(ctx)
		case r := <-k.asked:
			k.obey(ctx, r)
		case <-look.C:
			k.look(ctx)
		case <-again.C:
			k.store(ctx)
		}
	}
}

// look reads the files again once they have changed and then stayed as they are
// for one look: who writes them may not be finished.
func (k *keeper) look(ctx context.Context) {
	if k.load == nil {
		return
	}
	now := stamp(k.files)
	if now != k.seen {
		k.seen, k.settled = now, false
		return
	}
	if k.settled {
		return
	}
	k.settled = true
	if k.read() {
		k.due = true
	}
	k.store(ctx)
}

// read takes over what the configuration says, and reports whether its table is
// another one. What is wrong leaves everything as it was, and is said once.
func (k *keeper) read() (changed bool) {
	if k.load == nil {
		return false
	}
	c, err := k.load()
	if err == nil {
		changed, err = k.configure(saidBy(c))
	}
	if err != nil && k.complain(err) {
		k.log.Error().Err(err).Msg("the configuration of models is refused, the one before stays")
	}
	return changed && err == nil
}

// store does what is left to do in the bucket.
func (k *keeper) store(ctx context.Context) {
	if !k.missing && !k.due {
		return
	}
	try, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	err := k.storeOnce(try)
	if err == nil {
		k.told = ""
	} else if text := err.Error(); text != k.told && ctx.Err() == nil { // once per reason
		k.told = text
		k.log.Warn().Err(err).Msg("the table of models cannot be stored at the moment")
	}
}

func (k *keeper) storeOnce(ctx context.Context) error {
	if k.missing {
		if r := k.Router(); r.Revision > 0 {
			if err := k.topology.restore(ctx, r); err != nil {
				return err
			}
		} else if err := k.topology.importModels(ctx, k.configured(), atStart); err != nil {
			return err
		}
		k.missing = false
	}
	if k.due {
		if err := k.topology.importModels(ctx, k.configured(), atChange); err != nil {
			return err
		}
		k.due = false
	}
	return nil
}

// obey reads the files at once, and stores their table, even if it is an old one,
// where it is the one that is asked for.
func (k *keeper) obey(ctx context.Context, r reload) {
	defer r.done()
	k.seen, k.settled = stamp(k.files), true
	if k.read() {
		k.due = true
	}
	k.store(ctx)
	s := k.configured()
	if r.Import == "" || r.Import != s.digest {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if err := k.topology.importModels(ctx, s, onDemand); err != nil {
		k.log.Error().Err(err).Msg("models are not imported")
	}
}

// stamp is another one after each change of the files. A file that is replaced
// has another inode.
func stamp(files []string) string {
	var b strings.Builder
	for _, f := range files {
		i, err := os.Stat(f)
		if err != nil {
			fmt.Fprintf(&b, "%v;", err)
			continue
		}
		fmt.Fprintf(&b, "%d %d %d;", i.ModTime().UnixNano(), i.Size(), inode(i))
	}
	return b.String()
}

func inode(i fs.FileInfo) uint64 {
	if s, ok := i.Sys().(*syscall.Stat_t); ok {
		return s.Ino
	}
	return 0
}
