package ingress

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"moltbot/contracts"
	"moltbot/ingress/im"
)

// webhookMetrics counts callbacks of IM platforms, and the messages that came in
// them or over a long connection.
type webhookMetrics struct {
	calls    *prometheus.CounterVec
	duration map[contracts.Channel]prometheus.Observer
	messages map[contracts.Channel]map[string]prometheus.Counter
}

// What became of a callback.
const (
	calledOK          = "ok"
	calledUnsigned    = "unsigned"
	calledForeign     = "foreign"
	calledMalformed   = "malformed"
	calledUnavailable = "unavailable" // not stored: the platform is to call again
)

const otherKind = "other" // of callbacks that are not for us, or were refused

func newWebhookMetrics(with promauto.Factory) webhookMetrics {
	m := webhookMetrics{duration: map[contracts.Channel]prometheus.Observer{}, messages: map[contracts.Channel]map[string]prometheus.Counter{}}
	m.calls = with.NewCounterVec(prometheus.CounterOpts{
		Name: "moltbot_webhook_total",
		Help: "Callbacks of IM platforms, by what they asked for (message, challenge, card, other) and what became of them.",
	}, []string{"channel", "kind", "outcome"})
	duration := with.NewHistogramVec(prometheus.HistogramOpts{
		Name: "moltbot_webhook_duration_seconds", Help: "Time until a callback of an IM platform was answered.",
		Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2, 3, 5},
	}, []string{"channel"})
	messages := with.NewCounterVec(prometheus.CounterOpts{
		Name: "moltbot_im_messages_total",
		Help: "Messages of IM platforms, by callback or long connection: stored (new, repeated), refused with an answer, or left without one.",
	}, []string{"channel", "outcome"})
	for _, channel := range []contracts.Channel{contracts.ChannelDingTalk, contracts.ChannelFeishu} {
		m.duration[channel] = duration.WithLabelValues(string(channel))
		m.messages[channel] = map[string]prometheus.Counter{}
		for _, outcome := range takenWords() {
			m.messages[channel][outcome] = messages.WithLabelValues(string(channel), outcome)
		}
		for _, kind := range []string{im.KindMessage, im.KindChallenge, im.KindCard, otherKind} {
			m.calls.WithLabelValues(string(channel), kind, calledOK)
		}
	}
	return m
}

// took counts one message.
func (m *webhookMetrics) took(channel contracts.Channel, outcome string) {
	if n := m.messages[channel][outcome]; n != nil {
		n.Inc()
	}
}

// called counts one callback.
func (m *webhookMetrics) called(channel contracts.Channel, kind string, err error, took time.Duration) {
	if kind != im.KindMessage && kind != im.KindChallenge && kind != im.KindCard {
		kind = otherKind // a platform has hundreds of names, and a stranger any
	}
	m.calls.WithLabelValues(string(channel), kind, calledAs(err)).Inc()
	m.duration[channel].Observe(took.Seconds())
}

func calledAs(err error) string {
	e := contracts.Public(err)
	if e == nil {
		return calledOK
	}
	switch e.Code {
	case contracts.CodeUnauthorized, contracts.CodeRateLimited:
		return calledUnsigned
	case contracts.CodeForbidden, contracts.CodeNotFound:
		return calledForeign
	case contracts.CodeBadRequest, contracts.CodeTooLarge, contracts.CodeBodyTimeout:
		return calledMalformed
	}
	return calledUnavailable
}
