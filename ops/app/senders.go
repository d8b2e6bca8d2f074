package app

import (
	"context"
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/rs/zerolog"

	"moltbot/contracts"
	"moltbot/ops/config"
	"moltbot/workers/deliver"
	"moltbot/workers/deliver/dingtalk"
	"moltbot/workers/deliver/feishu"
)

// Platforms are the clients of all applications of IM platforms.
type Platforms struct {
	Feishu   feishu.Apps
	DingTalk dingtalk.Apps
}

// openSenders makes what speaks to IM platforms and callback URLs: workers send by
// it, ingress learns from it who its bots are.
func (a *App) openSenders(context.Context) (err error) {
	if !a.has(RoleWorkers) && !a.has(RoleIngress) {
		return nil
	}
	refused := promauto.With(a.registerer()).NewCounter(prometheus.CounterOpts{
		Name: "moltbot_delivery_webhooks_refused_total",
		Help: "Session webhooks of DingTalk that were not called, because they lead elsewhere; the robot answered instead.",
	})
	if a.platforms, err = NewPlatforms(a.o.Config, a.o.Log, refused); err != nil {
		return err
	}
	a.onClose("connections to IM platforms", a.platforms.Close)
	callbacks, err := a.callbackSender()
	if err != nil {
		return fmt.Errorf("callbacks: %w", err)
	}
	hosts := a.o.Config.Deliver.LinkHosts
	a.senders = map[contracts.Channel]deliver.Sender{
		contracts.ChannelFeishu:   &feishu.Sender{Apps: a.platforms.Feishu, LinkHosts: hosts},
		contracts.ChannelDingTalk: &dingtalk.Sender{Apps: a.platforms.DingTalk, LinkHosts: hosts},
		contracts.ChannelCallback: callbacks,
	}
	return nil
}

// NewPlatforms makes the clients of a configuration. They call nobody yet. refused
// counts session webhooks that are not called; nil: nobody does.
func NewPlatforms(c config.Config, log zerolog.Logger, refused prometheus.Counter) (*Platforms, error) {
	p := &Platforms{Feishu: feishu.Apps{}, DingTalk: dingtalk.Apps{}}
	allow, err := c.Deliver.Allowed()
	if err != nil {
		return nil, err
	}
	for name, app := range c.Feishu.Apps() {
		p.Feishu[name], err = feishu.New(feishu.Options{
			AppID: app.AppID, AppSecret: app.AppSecret, Endpoint: app.Endpoint, Timeout: app.Timeout, Sign: app.Received,
		})
		if err != nil {
			return nil, fmt.Errorf("application %s: %w", name, err)
		}
	}
	for name, app := range c.DingTalk.Apps() {
		p.DingTalk[name], err = dingtalk.New(dingtalk.Options{
			ClientID: app.ClientID, ClientSecret: app.ClientSecret, RobotCode: app.Robot(), Endpoint: app.Endpoint,
			Origins: app.Origins(), Resend: app.OnUncertain == config.UncertainResend, Timeout: app.Timeout, Sign: app.Received,
			Allow: allow, Refused: refused, Log: log,
		})
		if err != nil {
			return nil, fmt.Errorf("application %s: %w", name, err)
		}
	}
	return p, nil
}

// Close ends the connections that wait for another call.
func (p *Platforms) Close() error { return errors.Join(p.Feishu.Close(), p.DingTalk.Close()) }

var errNoApp = errors.New("no such application is configured")

// Image fetches an image of a message.
func (p *Platforms) Image(ctx context.Context, i contracts.Image) ([]byte, string, error) {
	switch i.Channel {
	case contracts.ChannelFeishu:
		return p.Feishu.Image(ctx, i)
	case contracts.ChannelDingTalk:
		return p.DingTalk.Image(ctx, i)
	}
	return nil, "", errNoApp
}

// Received shows a user that the message has arrived, in the way of its application.
func (p *Platforms) Received(ctx context.Context, ch contracts.Channel, o *contracts.Origin) error {
	switch ch {
	case contracts.ChannelFeishu:
		return p.Feishu.Received(ctx, o)
	case contracts.ChannelDingTalk:
		return p.DingTalk.Received(ctx, o)
	}
	return nil // nobody looks on
}

// BotOpenID asks for the open_id of the bot of an application of Feishu.
func (p *Platforms) BotOpenID(ctx context.Context, app string) (string, error) {
	c := p.Feishu[app]
	if c == nil {
		return "", errNoApp
	}
	return c.BotOpenID(ctx)
}

// Application is what can be asked of one application of any platform.
type Application interface {
	// Check reports whether the credentials are good, and how the bot is called.
	Check(ctx context.Context) (name string, err error)
	// Tell sends a text to a chat or a user by the platform's id.
	Tell(ctx context.Context, to, text string) (receipt string, err error)
}

// Application finds one by its name.
func (p *Platforms) Application(ch contracts.Channel, name string) (Application, error) {
	if c := p.Feishu[name]; ch == contracts.ChannelFeishu && c != nil {
		return c, nil
	}
	if c := p.DingTalk[name]; ch == contracts.ChannelDingTalk && c != nil {
		return c, nil
	}
	return nil, errNoApp
}
