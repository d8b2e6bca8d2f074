package app

import (
	"github.com/rs/zerolog"

	"moltbot/contracts"
)

// slots lets a pool of this process have the slots that operators ask for.
type slots struct {
	log    zerolog.Logger
	pool   contracts.Pool
	own    int // of this process' configuration
	now    int
	resize func(int)
}

// addPool lets a pool follow. It has own slots at the moment.
func (f *follower) addPool(p contracts.Pool, own int, resize func(int)) {
	s := &slots{log: f.log, pool: p, own: own, now: own, resize: resize}
	f.add(contracts.KeyPoolSlots(p), s.take)
}

// take applies what is wanted. Where nothing is, the pool goes back to its own slots.
func (s *slots) take(e entry) {
	if e.none {
		s.apply(s.own, "configuration")
		return
	}
	wanted, err := contracts.DecodePoolSlots(e.value)
	if err != nil {
		s.log.Error().Err(err).Str("pool", string(s.pool)).Msg("slots in the bucket cannot be read and are passed over")
		return
	}
	s.apply(wanted.Slots, "operator")
}

func (s *slots) apply(n int, by string) {
	if s.now == n {
		return
	}
	s.log.Info().Str("pool", string(s.pool)).Int("from", s.now).Int("slots", n).Str("wanted_by", by).Msg("slots changed")
	s.now = n
	s.resize(n)
}
