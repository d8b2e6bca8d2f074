package cache

import (
	"cmp"
	"context"
	"encoding/json"

	"moltbot/contracts"
	"moltbot/workers/model"
)

// key is the digest of everything that the answer depends on. ok is false for a
// request that wants an answer of its own.
func (w *cached) key(ctx context.Context, r *model.Request) (key string, ok bool) {
	c, params := w.cache, w.effective(r)
	if r.Fresh || !sameNumber(params.Temperature, w.entry.Temperature) {
		return "", false
	}
	scope := "all"
	if !c.o.Shared {
		if scope = "caller " + r.Caller; r.Caller == "" {
			return "", false // nobody's answers would be everybody's
		}
	}
	prompt, err := json.Marshal(r.Messages)
	if err != nil {
		return "", false
	}
	how, err := json.Marshal(params)
	if err != nil {
		return "", false // raw values that are no JSON; the provider says so
	}
	limits, err := json.Marshal(contracts.ModelEntry{MaxTokens: w.entry.MaxTokens})
	if err != nil {
		return "", false
	}
	word, ok := c.purges.word(ctx, w.name)
	if !ok {
		return "", false // what was purged must not be found
	}
	return c.o.Namer.Digest("cache", scope, w.name, w.version(r), word, string(prompt), string(how), string(limits)), true
}

// effective is what the answer is made with: what the client left open is the model's.
func (w *cached) effective(r *model.Request) contracts.Params {
	p := r.Params
	if p.Temperature == nil {
		p.Temperature = w.entry.Temperature
	}
	p.MaxTokens = cmp.Or(p.MaxTokens, w.entry.MaxTokens)
	return p
}

// sameNumber tells whether the client's choice is the configured one. An entry
// without a temperature has its provider's, which nothing here knows.
func sameNumber(a, b *float64) bool { return a == b || a != nil && b != nil && *a == *b }

// version is what an answer of the model itself says of its making.
func (w *cached) version(r *model.Request) string {
	return w.entry.Provider + "/" + cmp.Or(r.Model, w.entry.Model)
}

// worth tells whether an answer is kept: one that is complete, and of the model
// that was to give it. A fall-back's answer, or an apology, is for its request alone.
func (w *cached) worth(r *model.Request, a *model.Answer) bool {
	whole := a.Finish == model.FinishStop || a.Finish == model.FinishTools
	return whole && !a.Apology && a.Version == w.version(r) && (a.Text != "" || len(a.ToolCalls) > 0)
}
