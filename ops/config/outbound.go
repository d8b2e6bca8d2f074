package config

import (
	"fmt"
	"net/netip"

	"moltbot/contracts"
)

// outbound checks what says whom we may call.
func (f *findings) outbound(c Config) {
	for _, network := range c.Deliver.AllowNetworks {
		_, err := netip.ParsePrefix(network)
		f.want(err == nil, fmt.Sprintf("%.80q is not a network (like 10.0.0.0/8)", network), "deliver.allow_networks")
	}
	if _, err := contracts.ParseCallbackHosts(c.Callback.Hosts); err != nil {
		f.want(false, err.Error(), "callback.hosts")
	}
	if _, err := contracts.ParseCallbackGenerations(c.Callback.Generations); err != nil {
		f.want(false, err.Error(), "callback.generations")
	}
}

// Allowed is AllowNetworks as it is used.
func (d Deliver) Allowed() ([]netip.Prefix, error) {
	var all []netip.Prefix
	for _, text := range d.AllowNetworks {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("deliver.allow_networks: %w", err)
		}
		all = append(all, p.Masked())
	}
	return all, nil
}
