package session

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"moltbot/contracts"
)

//go:embed lua/read.lua
var readLua string

// entries gives a part of a caller's list from the cursor on, the latest first.
// Those of the same moment as the cursor come again.
func (s *Store) entries(ctx context.Context, key string, last listed, from, n int64) ([]listed, error) {
	by := redis.ZRangeBy{Min: "-inf", Max: "+inf", Offset: from, Count: n}
	if last.conversation != "" {
		by.Max = strconv.FormatInt(last.at, 10)
	}
	found, err := s.o.Redis.ZRevRangeByScoreWithScores(ctx, key, &by).Result()
	if wrongType(err) {
		return nil, nil // it is written anew with the next note
	}
	if err != nil {
		return nil, storeError("read list of sessions", err)
	}
	out := make([]listed, 0, len(found))
	for _, z := range found {
		name, _ := z.Member.(string)
		out = append(out, listed{conversation: name, at: int64(z.Score)})
	}
	return out, nil
}

// behind leaves out what stood before the cursor: of one moment the names go down.
func behind(found []listed, after string, last listed) []listed {
	if after == "" {
		return found
	}
	return slices.DeleteFunc(found, func(l listed) bool { return l.at == last.at && l.conversation >= last.conversation })
}

// item is a session in a list with the cursor that leads behind it.
type item struct {
	contracts.SessionItem
	cursor string
}

// items looks up what a list says, in one round trip. Gone has what has expired,
// as the script that takes it out of the list wants it.
func (s *Store) items(ctx context.Context, found []listed) (items []item, gone []any, err error) {
	if len(found) == 0 {
		return nil, nil, nil
	}
	looks := make([]look, len(found))
	_, err = s.o.Redis.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, l := range found {
			looks[i] = lookUp(ctx, p, l.conversation)
		}
		return nil
	})
	if err != nil && !errors.Is(err, redis.Nil) && !wrongType(err) {
		return nil, nil, storeError("read sessions", err)
	}
	for i, l := range found {
		if err := looks[i].turns.Err(); err != nil && !wrongType(err) {
			return nil, nil, storeError("read session", err)
		}
		it, ok := s.itemOf(l.conversation, looks[i])
		if !ok {
			gone = append(gone, l.conversation, l.at)
			continue
		}
		items = append(items, item{it, l.cursor()})
	}
	return items, gone, nil
}

// look is what a list wants to know of a session.
type look struct {
	about, newest *redis.StringCmd
	turns, sum    *redis.IntCmd
	left          *redis.DurationCmd
}

func lookUp(ctx context.Context, p redis.Pipeliner, conversation string) look {
	session := contracts.KeySession(conversation)
	return look{
		about: p.Get(ctx, contracts.KeyAbout(conversation)), newest: p.LIndex(ctx, session, -1), turns: p.LLen(ctx, session),
		sum: p.Exists(ctx, contracts.KeySummary(conversation)), left: p.PTTL(ctx, session),
	}
}

func (s *Store) itemOf(conversation string, l look) (contracts.SessionItem, bool) {
	about, _ := l.about.Bytes() // missing or foreign: none
	a, err := s.openAbout(conversation, about)
	n := l.turns.Val()
	if err != nil || n == 0 && l.sum.Val() == 0 {
		return contracts.SessionItem{}, false
	}
	newest, _ := l.newest.Bytes()
	it := contracts.SessionItem{
		ID: a.SessionID, Channel: a.Channel, Conversation: conversation, Began: a.Began, LastActivity: a.Began, Rounds: int(n),
		HasSummary: l.sum.Val() > 0, ExpiresIn: seconds(l.left.Val()),
	}
	// A round is stamped when its answer is there, the session when that is stored.
	if t, err := s.openTurn(conversation, newest); err == nil && t.At.After(a.Began) {
		it.LastActivity = t.At
	}
	return it, true
}

func seconds(d time.Duration) int64 { return max(0, int64(d.Round(time.Second)/time.Second)) }

func (s *Store) openAbout(conversation string, sealed []byte) (contracts.About, error) {
	record, err := contracts.DecodeSealed(sealed)
	if err != nil {
		return contracts.About{}, err
	}
	plain, err := s.o.Sealer.Open(record.Data, contracts.KindAbout, conversation, record.ID)
	if err != nil {
		return contracts.About{}, fmt.Errorf("open session record: %w", err)
	}
	return contracts.DecodeAbout(plain)
}

// Read gives a session with a span of its rounds. It is one step in Redis whatever
// is there, so that nothing tells a session that does not exist from another
// caller's.
func (s *Store) Read(ctx context.Context, conversation string, span contracts.SessionSpan) (d contracts.SessionDetail, found bool, err error) {
	keys := []string{contracts.KeyAbout(conversation), contracts.KeySession(conversation), contracts.KeySummary(conversation)}
	v, err := s.scripts.read.Run(ctx, s.o.Redis, keys, s.o.KeepTurns, s.o.KeepBytes).Slice()
	if err != nil {
		return d, false, storeError("read session", err)
	}
	if len(v) != 5 {
		return d, false, storeError("read session", errors.New("unexpected answer"))
	}
	about, _ := v[0].(string)
	n, _ := v[1].(int64)
	left, _ := v[2].(int64)
	sum, _ := v[3].(string)
	newest, _ := v[4].([]any)
	if n == 0 && sum == "" {
		return d, false, nil
	}
	d.Turns = []contracts.SessionTurn{}
	d.Session = contracts.SessionItem{Conversation: conversation, Rounds: int(n), ExpiresIn: seconds(time.Duration(left) * time.Millisecond)}
	if a, err := s.openAbout(conversation, []byte(about)); err == nil {
		d.Session.ID, d.Session.Channel, d.Session.Began, d.Session.LastActivity = a.SessionID, a.Channel, a.Began, a.Began
	}
	s.fill(&d, newest, span)
	d.Summary = s.shownSummary(conversation, sum)
	d.Session.HasSummary = d.Summary != nil
	return d, true, nil
}

// fill opens the rounds of the span; newest has them from the newest on. Only
// those that are shown are opened, beside the newest and the oldest.
func (s *Store) fill(d *contracts.SessionDetail, newest []any, span contracts.SessionSpan) {
	conversation, skipping, noted := d.Session.Conversation, span.Before != "", !d.Session.Began.IsZero()
	for i, v := range newest {
		text, _ := v.(string)
		record, _ := contracts.DecodeSealed([]byte(text)) // what is no record has no id and does not open
		if skipping {
			skipping = record.ID != span.Before
			if i > 0 {
				continue
			}
		}
		shown := span.Before == "" || !skipping && record.ID != span.Before
		if shown && span.Limit > 0 && len(d.Turns) == span.Limit {
			d.Before = d.Turns[len(d.Turns)-1].ID
			break
		}
		t, err := s.openTurn(conversation, []byte(text))
		switch {
		case err != nil && shown:
			d.Unreadable++
		case err == nil && shown:
			d.Turns = append(d.Turns, contracts.SessionTurn{ID: t.ID, User: t.User, Assistant: t.Assistant, Stopped: t.Stopped, At: t.At})
		}
		if err == nil && t.At.After(d.Session.LastActivity) {
			d.Session.LastActivity = t.At
		}
		if err == nil && !noted {
			d.Session.Began = t.At // nothing better is known
		}
	}
	slices.Reverse(d.Turns)
}

// shownSummary gives a summary that opens, else nil.
func (s *Store) shownSummary(conversation, sealed string) *contracts.SessionSummary {
	record, err := contracts.DecodeSealed([]byte(sealed))
	if err != nil {
		return nil
	}
	plain, err := s.o.Sealer.Open(record.Data, contracts.KindSummary, conversation, record.ID)
	if err != nil {
		return nil
	}
	sum, err := contracts.DecodeSummary(plain)
	if err != nil {
		return nil
	}
	return &contracts.SessionSummary{Text: sum.Text, Rounds: sum.Turns, Model: sum.Model, At: sum.At}
}

// Owner gives whose session a conversation is, as it was noted.
func (s *Store) Owner(ctx context.Context, conversation string) (a contracts.About, found bool, err error) {
	sealed, err := s.o.Redis.Get(ctx, contracts.KeyAbout(conversation)).Bytes()
	if errors.Is(err, redis.Nil) || wrongType(err) {
		return a, false, nil
	}
	if err != nil {
		return a, false, storeError("read session record", err)
	}
	a, err = s.openAbout(conversation, sealed)
	return a, err == nil, nil
}
