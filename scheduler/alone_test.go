package scheduler

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/rs/zerolog"

	"moltbot/contracts"
)

// held is a Sessions whose folds last until they are let go.
type held struct {
	began []string
	let   chan struct{}
}

func (h *held) Fold(_ context.Context, conversation, _ string, _ int, _ func(context.Context, contracts.Summary, []contracts.Turn) (contracts.Summary, error)) (contracts.Folded, error) {
	h.began = append(h.began, conversation)
	<-h.let
	return contracts.FoldedNone, nil
}

// Two tasks of a conversation would have the same turns summarized twice, of
// which one is thrown away.
func TestTasksOfAConversationTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &held{let: make(chan struct{})}
		s := summarizer(t, h, &pen{}, zerolog.Nop())
		run := func(ctx context.Context, conversation string) <-chan error {
			t.Helper()
			b, err := contracts.EncodeSummarize(contracts.Summarize{Conversation: conversation, Upto: "i"})
			if err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() { ended <- s.Run(ctx, b) }()
			synctest.Wait()
			return ended
		}
		first := run(t.Context(), "c")
		second := run(t.Context(), "c")
		if len(h.began) != 1 {
			t.Fatalf("%d tasks of the conversation are at work", len(h.began))
		}
		other := run(t.Context(), "d")
		if len(h.began) != 2 {
			t.Error("another conversation waits, too")
		}
		ctx, stop := context.WithCancel(t.Context())
		impatient := run(ctx, "c")
		stop()
		if err := <-impatient; !errors.Is(err, context.Canceled) {
			t.Errorf("a task that is to stop ends with %v", err)
		}
		for range 3 {
			h.let <- struct{}{}
			synctest.Wait()
		}
		if len(h.began) != 3 {
			t.Error("the task that waited never began")
		}
		for _, ended := range []<-chan error{first, other, second} {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
		if len(s.alone.busy) != 0 {
			t.Errorf("%d conversations stay closed", len(s.alone.busy))
		}
	})
}
