package app

import (
	"cmp"
	"fmt"

	"moltbot/contracts"
	"moltbot/ops/config"
)

// fixedModels is the table of models of a process whose configuration names one.
type fixedModels struct{ router *contracts.Router }

// Router gives the table.
func (f fixedModels) Router() *contracts.Router { return f.router }

// newFixedModels makes the table of c. A provider takes any name of a model; so
// does an ingress without workers of its own, which does not know theirs.
func newFixedModels(c config.Model, alone bool) (fixedModels, error) {
	name := cmp.Or(c.Name, c.Provider)
	router, err := contracts.NewRouter(contracts.ModelTable{
		Default: name,
		Models: map[string]contracts.ModelEntry{
			name: {Provider: c.Provider, Model: name, AnyModel: alone || c.Provider != "demo"},
		},
	}, 0)
	if err != nil {
		return fixedModels{}, fmt.Errorf("models: %w", err)
	}
	return fixedModels{router}, nil
}
