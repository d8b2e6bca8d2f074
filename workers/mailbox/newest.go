package mailbox

import "sync"

// newest is the highest sequence that is known to be in the stream, or to have
// been there, in the stream's present life.
//
// It keeps the last message of the stream from being deleted by itself. When
// nothing is left at or behind the sequence that a purge names, nats-server 2.15
// counts what it purged once more with the next purge, and takes messages along
// that were stored in between: acknowledged, never delivered. A purge by a floor
// that is a moment old meets that as soon as the last message was deleted
// (TestPurgeBehindADeletedTail).
type newest struct {
	mu    sync.Mutex
	life  int64
	seq   uint64
	spent []uint64 // to be deleted as soon as something lies behind them; nearly always one at most
}

// saw notes that seq was stored.
func (n *newest) saw(life int64, seq uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if life != n.life {
		n.life, n.seq, n.spent = life, 0, nil
	}
	n.seq = max(n.seq, seq)
}

// free takes a message that is to be deleted, and gives those that may be.
func (n *newest) free(life int64, seq uint64) (deletable []uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if life != n.life {
		return nil
	}
	all := append(n.spent, seq)
	n.spent = nil
	for _, s := range all {
		if s < n.seq {
			deletable = append(deletable, s)
		} else {
			n.spent = append(n.spent, s)
		}
	}
	return deletable
}
