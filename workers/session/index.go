package session

import (
	"context"
	_ "embed"
	"errors"
	"strconv"
	"strings"
	"time"

	"moltbot/contracts"
)

//go:embed lua/about.lua
var aboutLua string

//go:embed lua/index.lua
var indexLua string

//go:embed lua/unlist.lua
var unlistLua string

// Namer makes keyed digests.
type Namer interface {
	Digest(purpose string, parts ...string) string
}

// mostListed bounds a caller's list; the sessions that were quiet for longest go first.
const mostListed = 1000

// Note writes down that a conversation is a session of a.Caller and was used at
// the given time. New says that it has just begun. It is nothing that a message
// waits for, and a write that is lost is made up for by the next one.
func (s *Store) Note(ctx context.Context, conversation string, a contracts.About, at time.Time, fresh bool) error {
	if s.o.Namer == nil || a.Caller == "" {
		return nil
	}
	sealed, err := s.seal(contracts.EncodeAbout(a), contracts.KindAbout, conversation, aboutID)
	if err != nil {
		return err
	}
	keys := []string{contracts.KeyAbout(conversation), contracts.KeySession(conversation)}
	known, err := s.scripts.about.Run(ctx, s.o.Redis, keys, sealed, jitter(s.listTTL()), digit(fresh)).Int()
	if err != nil || known == 0 {
		return storeError("note session", err)
	}
	list := []string{contracts.KeySessions(contracts.SessionsDigest(s.o.Namer, a.Caller))}
	err = s.scripts.index.Run(ctx, s.o.Redis, list, conversation, at.UnixMilli(), mostListed, jitter(s.listTTL())).Err()
	return storeError("list session", err)
}

// aboutID stands for the message in the record's place: there is one of a conversation.
const aboutID = "about"

// listTTL is longer than a session lives after its last note, which is at most
// about a minute older than its last turn.
func (s *Store) listTTL() time.Duration { return max(s.o.BoxTTL, s.o.SessionTTL*5/4+5*time.Minute) }

func digit(set bool) string {
	if set {
		return "1"
	}
	return "0"
}

// listed is a conversation in a caller's list.
type listed struct {
	conversation string
	at           int64 // ms
}

func (l listed) cursor() string { return strconv.FormatInt(l.at, 36) + "." + l.conversation }

// ErrCursor is the cause when a cursor is none of ours.
var ErrCursor = errors.New("not a cursor")

func parseCursor(s string) (l listed, err error) {
	at, conversation, ok := strings.Cut(s, ".")
	l.at, err = strconv.ParseInt(at, 36, 64)
	l.conversation = conversation
	if !ok || err != nil || l.at < 0 || !contracts.IsConversation(conversation) || l.cursor() != s {
		return listed{}, &contracts.Error{Code: contracts.CodeBadRequest, Message: "the cursor is not one of this list", Err: ErrCursor}
	}
	return l, nil
}

// List gives a page of a caller's sessions, the latest first. It looks at no more
// entries than a list may have, in steps of the limit.
func (s *Store) List(ctx context.Context, caller, after string, limit int) (page contracts.SessionPage, err error) {
	page.Sessions = []contracts.SessionItem{}
	var last listed
	end := ""      // behind the last one on the page
	var gone []any // what has expired
	if after != "" {
		if last, err = parseCursor(after); err != nil {
			return page, err
		}
	}
	if s.o.Namer == nil {
		return page, nil
	}
	key := contracts.KeySessions(contracts.SessionsDigest(s.o.Namer, caller))
	for from := int64(0); from < mostListed; from += int64(limit) {
		found, err := s.entries(ctx, key, last, from, int64(limit))
		if err != nil {
			return page, err
		}
		items, expired, err := s.items(ctx, behind(found, after, last))
		if err != nil {
			return page, err
		}
		gone = append(gone, expired...)
		for _, it := range items {
			if len(page.Sessions) == limit {
				page.Next = end
				break
			}
			page.Sessions, end = append(page.Sessions, it.SessionItem), it.cursor
		}
		if page.Next != "" || len(found) < limit {
			break
		}
	}
	if len(gone) > 0 { // at the end: the steps above count the entries
		err = s.scripts.unlist.Run(ctx, s.o.Redis, []string{key}, gone...).Err()
	}
	return page, storeError("tidy list of sessions", err)
}
