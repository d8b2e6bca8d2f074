package app

import (
	"time"

	"moltbot/contracts"
	"moltbot/ops/config"
	"moltbot/workers"
	"moltbot/workers/mailbox"
)

// delivery says how answers go out of this process.
func (a *App) delivery() workers.Delivery {
	c := a.o.Config
	im := imApps(c)
	return workers.Delivery{
		Consumer: a.topology.sendConsumer, Slots: c.Deliver.Slots, Mailbox: sendMailbox(c), MaxFinished: uint64(keptTotal(c.Queue)),
		Digest: a.namer.Digest, RetryFor: func(ch contracts.Channel) time.Duration { return retryFor(c, ch) },
		Rate: func(ch contracts.Channel, app string) (all, chat int) {
			i := im[appOf{ch, app}]
			return i.Rate, i.ChatRate
		},
	}
}

// maxAge is how old a user's message may be to be answered, by application.
func maxAge(c config.Config) func(contracts.Channel, string) time.Duration {
	im := imApps(c)
	return func(ch contracts.Channel, app string) time.Duration { return im[appOf{ch, app}].MaxAge }
}

type appOf struct {
	channel contracts.Channel
	name    string
}

// imApps are the applications of all IM platforms. One that is not there any more
// has no limits: its answers go nowhere.
func imApps(c config.Config) map[appOf]config.IM {
	all := make(map[appOf]config.IM)
	for name, app := range c.DingTalk.Apps() {
		all[appOf{contracts.ChannelDingTalk, name}] = app.IM
	}
	for name, app := range c.Feishu.Apps() {
		all[appOf{contracts.ChannelFeishu, name}] = app.IM
	}
	return all
}

func retryFor(c config.Config, ch contracts.Channel) time.Duration {
	if ch == contracts.ChannelCallback {
		return c.Callback.RetryFor
	}
	return c.Deliver.RetryFor
}

// sendMailbox are the limits of the mailbox of answers. It goes on longer than any
// answer is tried, so that it is the delivery that says how an answer ended.
func sendMailbox(c config.Config) (o mailbox.Options) {
	o = mailboxOptions(c)
	o.MaxAttempts = c.Deliver.MaxAttempts
	o.RetryFor = max(c.Callback.RetryFor, c.Deliver.RetryFor) + time.Hour
	o.DoneTTL = max(o.DoneTTL, c.Callback.RetryFor+time.Hour)
	o.BoxTTL = o.DoneTTL
	return o
}
