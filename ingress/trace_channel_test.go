package ingress

import (
	"testing"

	"moltbot/contracts"
)

// A span of a callback names the platform.
func TestChannelOfRoute(t *testing.T) {
	for route, want := range map[string]contracts.Channel{
		"/feishu/webhook": contracts.ChannelFeishu, "/feishu/webhook/:app": contracts.ChannelFeishu, "/dingtalk/webhook": contracts.ChannelDingTalk,
		"/api/chat": contracts.ChannelAPI, "/feishus": contracts.ChannelAPI, otherRoute: contracts.ChannelAPI,
	} {
		if got := channelOf(route); got != want {
			t.Errorf("%s is of %s", route, got)
		}
	}
}
