package mailbox

import (
	"context"
	"strings"

	"github.com/redis/go-redis/v9"
)

// place is the message that a script is run for.
type place struct{ conversation, id string }

// run runs a script. Where a key of ours holds a value of another type, that is
// taken away and the script runs once more: a conversation must not stand still
// for what is not its own. Every script may be repeated.
func (b *box) run(ctx context.Context, s *redis.Script, p place, keys []string, args ...any) *redis.Cmd {
	cmd := s.Run(ctx, b.rdb, keys, args...)
	if err := cmd.Err(); err == nil || !strings.Contains(err.Error(), "WRONGTYPE") {
		return cmd
	}
	k := b.keys(p.conversation)
	dropped, err := b.scripts.mend.Run(ctx, b.rdb,
		[]string{k.Lease, k.Box, k.Context, k.Out, k.Summary, k.Done + p.id}).StringSlice()
	if err != nil {
		return cmd
	}
	b.o.Log.Error().Str("conversation", p.conversation).Strs("keys", dropped).
		Msg("values of a foreign type lay under keys of the conversation and were taken away")
	if b.o.Watch.Count != nil {
		b.o.Watch.Count(EventMended)
	}
	return s.Run(ctx, b.rdb, keys, args...)
}

// ringEntry is how the box names a message that has a result. Ids begin with
// their conversation, which is left out.
func ringEntry(conversation, id, trail string) string {
	id = strings.TrimPrefix(id, conversation)
	if trail == "" {
		return id
	}
	return id + " " + trail
}
