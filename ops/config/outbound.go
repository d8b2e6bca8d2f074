package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"moltbot/contracts"
)

// outbound checks what says whom we may call.
func (f *findings) outbound(c Config) {
	for _, network := range c.Deliver.AllowNetworks {
		_, err := netip.ParsePrefix(network)
		f.want(err == nil, fmt.Sprintf("%.80q is not a network (like 10.0.0.0/8)", network), "deliver.allow_networks")
	}
	for i, host := range c.Deliver.LinkHosts {
		f.want(isLinkHost(host), fmt.Sprintf("%.80q is not a host (like docs.example.com or *.example.com, in lower case, names of other scripts as xn--…)", host), "deliver.link_hosts")
		f.want(!slices.Contains(c.Deliver.LinkHosts[:i], host), fmt.Sprintf("%.80q is named twice", host), "deliver.link_hosts")
	}
	if _, err := contracts.ParseCallbackHosts(c.Callback.Hosts); err != nil {
		f.want(false, err.Error(), "callback.hosts")
	}
	if _, err := contracts.ParseCallbackGenerations(c.Callback.Generations); err != nil {
		f.want(false, err.Error(), "callback.generations")
	}
}

// isLinkHost takes a host without scheme, port or path; one of another form would
// match no link, and nobody would see why.
func isLinkHost(text string) bool {
	host, below := strings.CutPrefix(text, "*.")
	u, err := contracts.ParseOutbound("https://" + host)
	return err == nil && u.Host == host && u.Port() == "" && !strings.HasPrefix(host, "[") && (!below || strings.Contains(host, "."))
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
