package ingress

import "moltbot/contracts"

// Abandon is for tests.
func (in *Ingress) Abandon(id contracts.ID) { in.abandon(id) }
