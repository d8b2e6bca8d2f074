package session

import (
	"context"
	_ "embed"
	"errors"
	"strconv"

	"moltbot/contracts"
)

//go:embed lua/stop.lua
var stopLua string

// Life names the present life of the stream of messages as the workers know it; 0:
// nobody looked at it for long. A sequence that was given after it was read
// belongs to this life, or Stop is without effect.
func (s *Store) Life(ctx context.Context) (int64, error) {
	v, err := s.o.Redis.HMGet(ctx, contracts.KeyMark(contracts.StreamChat), "created", "rewound").Result()
	if err != nil {
		return 0, storeError("read the stream's mark", err)
	}
	var parts [2]int64
	for i := range parts {
		text, _ := v[i].(string)
		parts[i], err = strconv.ParseInt(text, 10, 64)
		if err != nil {
			return 0, nil // there is no mark
		}
	}
	return parts[0] + parts[1], nil
}

// Stop marks what lies before a sequence of the conversation as stopped: it is not
// run any more, and what runs does not become an answer. A back-off ends. free
// says that nobody has the conversation at the moment.
func (s *Store) Stop(ctx context.Context, conversation string, before uint64, life int64) (free bool, err error) {
	if before == 0 || life == 0 {
		return false, nil
	}
	k := contracts.ChatKeys(conversation)
	answer, err := s.stop.Run(ctx, s.o.Redis, []string{k.Lease, k.Box}, life, before-1, jitter(s.o.BoxTTL)).Text()
	switch {
	case err != nil:
		return false, storeError("stop messages", err)
	case answer != "free" && answer != "busy" && answer != "other":
		return false, storeError("stop messages", errors.New("unexpected answer"))
	}
	return answer == "free", nil
}
