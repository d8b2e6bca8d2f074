package app

import (
	"fmt"
	"maps"
	"slices"

	"moltbot/contracts"
	"moltbot/ingress"
	"moltbot/ingress/dingtalk"
	"moltbot/ingress/feishu"
	"moltbot/ingress/link"
	"moltbot/ops/config"
)

// openChannels makes the applications of the configuration as ingress sees them,
// and what knows how the bots of Feishu are called.
func (a *App) openChannels() (err error) {
	c := a.o.Config
	for _, name := range slices.Sorted(maps.Keys(c.DingTalk.Apps())) {
		app, err := a.dingtalk(name, c.DingTalk.Apps()[name])
		if err != nil {
			return fmt.Errorf("application dingtalk/%s: %w", name, err)
		}
		a.apps = append(a.apps, app)
	}
	apps := c.Feishu.Apps()
	if len(apps) == 0 {
		return nil
	}
	known := make(map[string]string, len(apps))
	for name, app := range apps {
		known[name] = app.BotOpenID
	}
	o := ingress.BotOptions{Channel: contracts.ChannelFeishu, Known: known, Store: a.rdb, Log: a.o.Log}
	if a.platforms != nil { // a typed nil would be called
		o.Names = a.platforms
	}
	a.bots = ingress.NewBots(o)
	for _, name := range slices.Sorted(maps.Keys(apps)) {
		app, err := a.feishu(name, apps[name])
		if err != nil {
			return fmt.Errorf("application feishu/%s: %w", name, err)
		}
		a.apps = append(a.apps, app)
	}
	return nil
}

func (a *App) dingtalk(name string, c config.DingTalk) (app ingress.ChannelApp, err error) {
	app = ingress.ChannelApp{Channel: contracts.ChannelDingTalk, Name: name, Policy: policy(c.IM)}
	who := dingtalk.Identity{App: name, RobotCode: c.Robot(), CorpID: c.CorpID}
	if c.Mode == config.ModeStream {
		app.Connection, err = dingtalk.NewStream(dingtalk.StreamOptions{
			Identity: who, ClientID: c.ClientID, ClientSecret: c.ClientSecret, Endpoint: c.Endpoint, Link: a.link(app),
		})
		return app, err
	}
	app.Webhook, err = dingtalk.New(dingtalk.Options{Identity: who, ClientSecret: c.ClientSecret})
	return app, err
}

func (a *App) feishu(name string, c config.Feishu) (app ingress.ChannelApp, err error) {
	app = ingress.ChannelApp{Channel: contracts.ChannelFeishu, Name: name, Policy: policy(c.IM)}
	bots := a.bots
	who := feishu.Identity{App: name, AppID: c.AppID, TenantKey: c.TenantKey, BotOpenID: func() string { return bots.OpenID(name) }}
	if c.Mode == config.ModeWebSocket {
		app.Connection, err = feishu.NewSocket(feishu.SocketOptions{Identity: who, AppSecret: c.AppSecret, Endpoint: c.Endpoint, Link: a.link(app)})
		return app, err
	}
	app.Webhook, err = feishu.New(feishu.Options{Identity: who, EncryptKey: c.EncryptKey, VerificationToken: c.VerificationToken})
	return app, err
}

func (a *App) link(app ingress.ChannelApp) link.Options {
	return link.Options{Log: a.o.Log.With().Str("channel", string(app.Channel)).Str("app", app.Name).Logger()}
}

func policy(c config.IM) ingress.ChannelPolicy {
	return ingress.ChannelPolicy{
		Scope: ingress.Scope(c.Scope), Groups: ingress.Groups(c.Groups), AtAll: c.AtAll,
		AllowChats: c.AllowChats, AllowUsers: c.AllowUsers,
	}
}

// ChannelLine is what an operator is told of one application at start.
type ChannelLine struct {
	Name string // platform/name
	How  string // the path of its callback, or that we connect
}

// Channels gives a line for each application; none without the ingress role.
func (a *App) Channels() []ChannelLine {
	lines := make([]ChannelLine, 0, len(a.apps))
	for i := range a.apps {
		app := &a.apps[i]
		how := "long connection"
		if app.Connection == nil {
			how = "POST " + WebhookPath(app.Channel, app.Name)
		}
		lines = append(lines, ChannelLine{Name: string(app.Channel) + "/" + app.Name, How: how})
	}
	return lines
}

// WebhookPath is where a platform posts the callbacks of an application.
func WebhookPath(channel contracts.Channel, name string) string {
	path := "/" + string(channel) + "/webhook"
	if name != contracts.DefaultApp {
		path += "/" + name
	}
	return path
}
