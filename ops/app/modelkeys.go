package app

import (
	"time"

	"moltbot/contracts"
	"moltbot/workers/model"
)

// Resting tells which keys are set aside. Nothing of a key itself is told.
func (w *answerer) Resting() map[string][]contracts.RestingKey {
	w.mu.Lock()
	defer w.mu.Unlock()
	var all map[string][]contracts.RestingKey
	for name, c := range w.open {
		keyed, ok := c.(interface{ Keys() []model.KeyState })
		if !ok {
			continue
		}
		for _, k := range keyed.Keys() {
			if !k.Until.After(time.Now()) {
				continue
			}
			if all == nil {
				all = make(map[string][]contracts.RestingKey)
			}
			all[name] = append(all[name], contracts.RestingKey{Key: k.Ordinal, Until: k.Until.UTC(), Refused: k.Refused})
		}
	}
	return all
}
