package app

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"moltbot/contracts"
	"moltbot/workers/dead"
)

// deadLetters gives what operators do with dead letters.
func (a *App) deadLetters() (*dead.Letters, error) {
	l, err := dead.New(dead.Options{JS: a.topology.js, Sealer: a.keys.Sealer()})
	if err != nil {
		return nil, fmt.Errorf("dead letters: %w", err)
	}
	return l, nil
}


// deadState counts the dead letters by role, and says since when the oldest lies.
func (t *topology) deadState(ctx context.Context) (letters uint64, oldest time.Time, roles map[string]uint64, err error) {
	s, err := t.js.Stream(ctx, contracts.StreamDead)
	if err != nil {
		return 0, oldest, nil, fmt.Errorf("read dead letters: %w", err)
	}
	info, err := s.Info(ctx, jetstream.WithSubjectFilter(contracts.SubjectsDead))
	if err != nil {
		return 0, oldest, nil, fmt.Errorf("read dead letters: %w", err)
	}
	if info.State.Msgs > 0 {
		oldest = info.State.FirstTime
	}
	return info.State.Msgs, oldest, byRole(info.State.Subjects), nil
}

func byRole(subjects map[string]uint64) map[string]uint64 {
	roles := map[string]uint64{}
	for _, known := range []string{roleChat, roleSend} {
		roles[known] = subjects[contracts.SubjectDead(known)]
	}
	for subject, n := range subjects {
		role := subject[strings.LastIndexByte(subject, '.')+1:]
		if _, known := roles[role]; !known {
			roles["other"] += n
		}
	}
	return roles
}

// Roles in the subjects of dead letters.
const (
	roleChat = "workers"
	roleSend = "deliver"
)
