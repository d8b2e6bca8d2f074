package ingress

import (
	"context"
	"fmt"
	"time"

	"moltbot/contracts"
)

// afford refuses a message whose caller has used up the tokens of the day. It is
// asked for every message that is about to be stored and that costs a call of a
// model: commands cost none, and answers that are there already can be fetched. Who cannot be looked up is let through, and counted.
func (in *Ingress) afford(ctx context.Context, a *accepted) error {
	if a.budget <= 0 || in.o.Budget == nil || a.command != "" {
		return nil
	}
	spent, err := in.o.Budget.Spent(ctx, a.message.Caller)
	switch {
	case err != nil:
		in.metrics.unbudgeted.Inc()
		return nil
	case spent < a.budget:
		return nil
	}
	now := in.o.Now().UTC()
	midnight := now.Truncate(24 * time.Hour).Add(24 * time.Hour)
	return &contracts.Error{
		Code: contracts.CodeBudget, RetryAfter: midnight.Sub(now),
		Message: fmt.Sprintf("the budget of %d tokens a day is used up; the next day begins at %s", a.budget, midnight.Format("2006-01-02 15:04 UTC")),
	}
}
