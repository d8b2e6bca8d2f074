package session

import (
	"context"
	_ "embed"
	"errors"
	"time"

	"moltbot/contracts"
)

//go:embed lua/abandon.lua
var abandonLua string

// Abandon finishes a message that nobody can read the answer of, so that no model
// is asked for it. busy says that somebody runs it at the moment: then nothing
// was done. A message that is finished already stays as it is.
func (s *Store) Abandon(ctx context.Context, id contracts.ID) (busy bool, err error) {
	text := id.String()
	result, err := s.SealResult(id.Conversation, contracts.Result{
		ID: text, Code: contracts.CodeStopped, Detail: "stopped, because its client left", At: time.Now().UTC(),
	})
	if err != nil {
		return false, err
	}
	k := contracts.ChatKeys(id.Conversation)
	answer, err := s.abandon.Run(ctx, s.o.Redis,
		[]string{k.Lease, k.Box, contracts.KeyDone(id.Conversation, text), contracts.KeyResult(id.Conversation, text)},
		text, result, jitter(s.o.DoneTTL), jitter(s.o.ResultTTL)).Text()
	switch {
	case err != nil:
		return false, storeError("abandon message", err)
	case answer != "busy" && answer != "abandoned" && answer != "finished":
		return false, storeError("abandon message", errors.New("unexpected answer"))
	}
	return answer == "busy", nil
}
