package session

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"moltbot/contracts"
)

//go:embed lua/unfolded.lua
var unfoldedLua string

//go:embed lua/fold.lua
var foldLua string

// What one summary takes in at once, so that a model can read it.
const (
	foldTurns = 32
	foldBytes = 32 << 10
)

// folder has the scripts by which turns become a summary.
type folder struct{ read, commit *redis.Script }

func newFolder() folder {
	return folder{read: redis.NewScript(unfoldedLua), commit: redis.NewScript(foldLua)}
}

// unfolded is what a fold begins with, as it lies in Redis.
type unfolded struct {
	upto    int // how many turns there are up to the one that was named; 0: it is not there
	turns   []string
	summary string // empty: there is none
	epoch   string
}

// SealSummary gives a summary as it is stored.
func (s *Store) SealSummary(conversation string, sum contracts.Summary) ([]byte, error) {
	return s.seal(contracts.EncodeSummary(sum), contracts.KindSummary, conversation, sum.Upto)
}

// OpenSummary opens what SealSummary gave. It fails for one of another session.
func (s *Store) OpenSummary(conversation string, sealed []byte) (contracts.Summary, error) {
	record, err := contracts.DecodeSealed(sealed)
	if err != nil {
		return contracts.Summary{}, err
	}
	plain, err := s.o.Sealer.Open(record.Data, contracts.KindSummary, conversation, record.ID)
	if err != nil {
		return contracts.Summary{}, fmt.Errorf("open summary: %w", err)
	}
	return contracts.DecodeSummary(plain)
}

// Fold lets one summary stand for the old one and the oldest turns up to the one
// called upto, if there are least of them. write makes its text, with the model
// and the tokens; the rest is set here. Until it is stored the turns stay where
// they are, and nothing else is changed if somebody changed them meanwhile. It may
// be repeated and may run twice at a time: the turns are folded once.
//
// A turn that does not open is not folded: it may be of a key or a version that
// this process does not know yet.
func (s *Store) Fold(
	ctx context.Context, conversation, upto string, least int,
	write func(context.Context, contracts.Summary, []contracts.Turn) (contracts.Summary, error),
) (contracts.Folded, error) {
	u, err := s.unfolded(ctx, conversation, upto)
	if err != nil || u.upto < max(1, least) || len(u.turns) == 0 {
		return contracts.FoldedNone, err
	}
	old, turns, err := s.openUnfolded(conversation, u)
	if err != nil {
		return contracts.FoldedNone, err
	}
	sum, err := write(ctx, old, turns)
	if err != nil {
		return contracts.FoldedNone, err
	}
	sum.Upto, sum.Turns = turns[len(turns)-1].ID, old.Turns+len(turns)
	sealed, err := s.SealSummary(conversation, sum)
	if err != nil {
		return contracts.FoldedNone, err
	}
	folded, err := s.commitFold(ctx, conversation, u, sealed)
	if folded == contracts.FoldedAll && len(turns) < u.upto {
		folded = contracts.FoldedPart
	}
	return folded, err
}

func (s *Store) unfolded(ctx context.Context, conversation, upto string) (u unfolded, err error) {
	v, err := s.fold.read.Run(ctx, s.o.Redis, foldKeys(conversation), upto, foldTurns, foldBytes).Slice()
	if err != nil {
		return u, storeError("read turns to fold", err)
	}
	if len(v) != 4 {
		return u, storeError("read turns to fold", errors.New("unexpected answer"))
	}
	n, _ := v[0].(int64)
	turns, _ := v[1].([]any)
	for _, t := range turns {
		text, _ := t.(string)
		u.turns = append(u.turns, text)
	}
	u.upto = int(n)
	u.summary, _ = v[2].(string)
	u.epoch, _ = v[3].(string)
	return u, nil
}

func (s *Store) openUnfolded(conversation string, u unfolded) (old contracts.Summary, turns []contracts.Turn, err error) {
	if u.summary != "" {
		if old, err = s.OpenSummary(conversation, []byte(u.summary)); err != nil {
			return old, nil, closed("the summary", err)
		}
	}
	for _, b := range u.turns {
		t, err := s.openTurn(conversation, []byte(b))
		if err != nil {
			return old, nil, closed("a turn", err)
		}
		turns = append(turns, t)
	}
	return old, turns, nil
}

func (s *Store) commitFold(ctx context.Context, conversation string, u unfolded, sealed []byte) (contracts.Folded, error) {
	n := len(u.turns)
	folded, err := s.fold.commit.Run(ctx, s.o.Redis, foldKeys(conversation),
		u.epoch, u.summary, sealed, n, u.turns[0], u.turns[n-1], jitter(s.o.SessionTTL)).Text()
	if err != nil {
		return contracts.FoldedNone, storeError("fold turns", err)
	}
	return contracts.Folded(folded), nil
}

func foldKeys(conversation string) []string {
	return []string{contracts.KeySession(conversation), contracts.KeySummary(conversation), contracts.KeyBox(conversation)}
}

// closed is the error of a record that this process cannot open, and another may.
func closed(what string, err error) error {
	return &contracts.Error{
		Code: contracts.CodeInternal, Message: what + " does not open", RetryAfter: time.Minute, Retryable: true, Err: err,
	}
}
