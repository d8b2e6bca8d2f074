package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"text/tabwriter"

	"moltbot/contracts"
	"moltbot/ops/config"
)

type channelCmd struct {
	Add  channelAddCmd  `cmd:"" help:"Set up an application of an IM platform: ask, check, write, and say what is left to do in its console."`
	List channelListCmd `cmd:"" help:"Show the configured applications, and how the running process gets their messages."`
	Test channelTestCmd `cmd:"" help:"Ask the platforms whether the credentials are good, and send a message if you want."`
}

type channelAddCmd struct {
	DingTalk addDingTalkCmd `cmd:"" name:"dingtalk" help:"A robot of DingTalk."`
	Feishu   addFeishuCmd   `cmd:"" help:"An application of Feishu or Lark."`
}

// channelApp is a configured application, without its secrets.
type channelApp struct {
	Channel contracts.Channel `json:"channel"`
	App     string            `json:"app"`
	Mode    string            `json:"mode"`
	Path    string            `json:"path,omitempty"` // that the platform calls
	// State is how messages come to the process that was asked; empty: none was.
	State string `json:"state,omitempty"`
}

// webhookPath is where a platform calls an application.
func webhookPath(channel contracts.Channel, app string) string {
	path := "/" + string(channel) + "/webhook"
	if app != contracts.DefaultApp {
		path += "/" + app
	}
	return path
}

func channelApps(c config.Config) []channelApp {
	all := []channelApp{}
	add := func(channel contracts.Channel, app, mode string) {
		a := channelApp{Channel: channel, App: app, Mode: mode}
		if mode == config.ModeWebhook {
			a.Path = webhookPath(channel, app)
		}
		all = append(all, a)
	}
	dingtalk, feishu := c.DingTalk.Apps(), c.Feishu.Apps()
	for _, name := range slices.Sorted(maps.Keys(dingtalk)) {
		add(contracts.ChannelDingTalk, name, dingtalk[name].Mode)
	}
	for _, name := range slices.Sorted(maps.Keys(feishu)) {
		add(contracts.ChannelFeishu, name, feishu[name].Mode)
	}
	return all
}

type channelListCmd struct {
	DataDir string `name:"data-dir" placeholder:"DIR" help:"Data directory of an ingress process."`
	JSON    bool   `help:"Print JSON."`
}

// Run shows the configuration, and asks the process if one runs.
func (l *channelListCmd) Run(ctx context.Context, c *cli, out *console) error {
	conf, err := flags{DataDir: l.DataDir}.load(c)
	if err != nil {
		return err
	}
	all := channelApps(conf)
	var running struct {
		Channels map[string]string `json:"channels"`
	}
	unasked := admin(ctx, conf, http.MethodGet, "/admin/status", nil, &running)
	for i, a := range all {
		if all[i].State = running.Channels[string(a.Channel)+"/"+a.App]; all[i].State == "" && unasked == nil {
			all[i].State = "not in the running process: restart it"
		}
	}
	if l.JSON {
		return printJSON(out.out, all)
	}
	if err := printChannels(out.out, all); err != nil {
		return err
	}
	if unasked != nil {
		fmt.Fprintln(out.err, "no process was asked:", unasked)
	}
	return nil
}

func printChannels(out io.Writer, all []channelApp) error {
	if len(all) == 0 {
		_, err := fmt.Fprintln(out, "there are no applications; add one with: moltbot channel add")
		return err
	}
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "CHANNEL\tAPPLICATION\tMODE\tPATH\tSTATE")
	for _, a := range all {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", a.Channel, a.App, a.Mode, orDash(a.Path), orDash(visible(a.State)))
	}
	return t.Flush()
}

// callbackURL is what to enter in the console of the platform.
func callbackURL(base string, channel contracts.Channel, app string) string {
	if base == "" {
		base = "https://<your host>"
	}
	return strings.TrimRight(base, "/") + webhookPath(channel, app)
}
