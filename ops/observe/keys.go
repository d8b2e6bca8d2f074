package observe

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
)

// KeyState is which sealing keys a process uses: ids only.
type KeyState struct {
	Primary uint32
	Keys    []uint32
	Refused bool // the key file that lies there now is not used
}

// KeyCollector shows the sealing keys of this process when it is scraped.
type KeyCollector struct {
	look          func() KeyState
	info, refused *prometheus.Desc
}

// NewKeyCollector gives a collector over look.
func NewKeyCollector(look func() KeyState) *KeyCollector {
	return &KeyCollector{
		look:    look,
		info:    prometheus.NewDesc("moltbot_seal_key_info", "1 for each sealing key that this process holds.", []string{"key", "primary"}, nil),
		refused: prometheus.NewDesc("moltbot_seal_keys_refused", "1 while the key file that lies there is not used, and the keys before it are.", nil, nil),
	}
}

// Describe implements prometheus.Collector.
func (c *KeyCollector) Describe(to chan<- *prometheus.Desc) { to <- c.info; to <- c.refused }

// Collect implements prometheus.Collector.
func (c *KeyCollector) Collect(to chan<- prometheus.Metric) {
	s := c.look()
	for _, key := range s.Keys {
		to <- prometheus.MustNewConstMetric(c.info, prometheus.GaugeValue, 1,
			strconv.FormatUint(uint64(key), 10), strconv.FormatBool(key == s.Primary))
	}
	refused := 0.0
	if s.Refused {
		refused = 1
	}
	to <- prometheus.MustNewConstMetric(c.refused, prometheus.GaugeValue, refused)
}
