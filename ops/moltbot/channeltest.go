package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"

	"moltbot/contracts"
	"moltbot/ops/config"
	"moltbot/workers/deliver/dingtalk"
	"moltbot/workers/deliver/feishu"
)

// checker asks a platform about an application.
type checker interface {
	// Check reports whether the credentials are good, and how the bot is called.
	Check(context.Context) (name string, err error)
	// Tell sends a text to a chat or user.
	Tell(ctx context.Context, to, text string) (id string, err error)
	Close()
}

// broken is a checker that could not be made.
type broken struct{ err error }

func (b broken) Check(context.Context) (string, error)                { return "", b.err }
func (b broken) Tell(context.Context, string, string) (string, error) { return "", b.err }
func (broken) Close()                                                 {}

func checkFeishu(a config.Feishu) checker {
	c, err := feishu.New(feishu.Options{AppID: a.AppID, AppSecret: a.AppSecret, Endpoint: a.Endpoint, Timeout: checkTimeout})
	if err != nil {
		return broken{err}
	}
	return c
}

func checkDingTalk(a config.DingTalk) checker {
	c, err := dingtalk.New(dingtalk.Options{
		ClientID: a.ClientID, ClientSecret: a.ClientSecret, RobotCode: a.Robot(), Endpoint: a.Endpoint, Origins: a.Origins(), Timeout: checkTimeout,
	})
	if err != nil {
		return broken{err}
	}
	return c
}

type channelTestCmd struct {
	Channel string `arg:"" optional:"" enum:",dingtalk,feishu" default:"" help:"Only those of this platform: dingtalk or feishu."`
	Name    string `placeholder:"NAME" help:"Only the application of this name; default is the one without."`
	To      string `placeholder:"ID" help:"Send a message there: a chat or user of Feishu (oc_…, ou_…), a group or user of DingTalk (cid…, a staff id)."`
	Text    string `default:"moltbot works / 测试成功" help:"What the message says."`
	URL     string `name:"url" placeholder:"https://HOST" help:"Call the webhooks there as the platform does, and see whether your process answers."`
	JSON    bool   `help:"Print JSON."`
}

// channelResult is what one application's test found.
type channelResult struct {
	Channel contracts.Channel `json:"channel"`
	App     string            `json:"app"`
	Bot     string            `json:"bot,omitempty"`
	Skew    string            `json:"clock_skew,omitempty"`
	Webhook string            `json:"webhook,omitempty"`
	Sent    string            `json:"sent,omitempty"` // the platform's id of the message
	Errors  []string          `json:"errors,omitempty"`
}

// subject is an application to be tested.
type subject struct {
	channel  contracts.Channel
	name     string
	endpoint string
	mode     string
	check    checker
	call     func(ctx context.Context, url string) (string, error)
}

// Run tests what is configured.
func (t *channelTestCmd) Run(ctx context.Context, c *cli, out *console) error {
	conf, err := flags{}.load(c)
	if err != nil {
		return err
	}
	all := t.subjects(conf)
	for _, s := range all {
		defer s.check.Close()
	}
	if len(all) == 0 {
		return errors.New("no such application is configured; see: moltbot channel list")
	}
	if t.To != "" && len(all) > 1 {
		return errors.New("--to needs one application: name its platform, and --name")
	}
	results := make([]channelResult, 0, len(all))
	failed := 0
	for _, s := range all {
		r := t.test(ctx, s)
		if len(r.Errors) > 0 {
			failed++
		}
		results = append(results, r)
	}
	if t.JSON {
		err = printJSON(out.out, results)
	} else {
		printResults(out, results)
	}
	if failed > 0 {
		err = errors.Join(err, fmt.Errorf("%d of %d applications do not work", failed, len(all)))
	}
	return err
}

func (t *channelTestCmd) wants(channel contracts.Channel, name string) bool {
	return (t.Channel == "" || t.Channel == string(channel)) && (t.Name == "" || t.Name == name)
}

func (t *channelTestCmd) subjects(c config.Config) (all []subject) {
	dingtalk, feishu := c.DingTalk.Apps(), c.Feishu.Apps()
	for _, name := range slices.Sorted(maps.Keys(dingtalk)) {
		if a := dingtalk[name]; t.wants(contracts.ChannelDingTalk, name) {
			all = append(all, subject{contracts.ChannelDingTalk, name, a.Endpoint, a.Mode, checkDingTalk(a), callDingTalk})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(feishu)) {
		if a := feishu[name]; t.wants(contracts.ChannelFeishu, name) {
			call := func(ctx context.Context, url string) (string, error) { return callFeishu(ctx, url, a) }
			all = append(all, subject{contracts.ChannelFeishu, name, a.Endpoint, a.Mode, checkFeishu(a), call})
		}
	}
	return all
}

func (t *channelTestCmd) test(ctx context.Context, s subject) channelResult {
	ctx, cancel := context.WithTimeout(ctx, 3*checkTimeout)
	defer cancel()
	r := channelResult{Channel: s.channel, App: s.name}
	var err error
	if r.Bot, err = s.check.Check(ctx); err != nil {
		r.Errors = append(r.Errors, "credentials: "+err.Error())
	}
	if skew, known := clockSkew(ctx, s.endpoint, time.Now); known {
		r.Skew = skew.Round(time.Second).String()
		if skew.Abs() > mostSkew {
			r.Errors = append(r.Errors, "clock: this machine's is "+r.Skew+" from the platform's; signatures fail")
		}
	}
	if t.URL != "" && s.mode == config.ModeWebhook {
		if r.Webhook, err = s.call(ctx, callbackURL(t.URL, s.channel, s.name)); err != nil {
			r.Errors = append(r.Errors, "webhook: "+err.Error())
		}
	}
	if t.To != "" && len(r.Errors) == 0 {
		if r.Sent, err = s.check.Tell(ctx, t.To, t.Text); err != nil {
			r.Errors = append(r.Errors, "message: "+err.Error())
		}
	}
	return r
}

func printResults(out *console, results []channelResult) {
	for _, r := range results {
		fmt.Fprintf(out.out, "%s/%s\n", r.Channel, r.App)
		for _, line := range [][2]string{{"bot", r.Bot}, {"clock skew", r.Skew}, {"webhook", r.Webhook}, {"sent", r.Sent}} {
			if line[1] != "" {
				fmt.Fprintf(out.out, "  %-10s  %s\n", line[0], visible(line[1]))
			}
		}
		for _, e := range r.Errors {
			fmt.Fprintf(out.out, "  failed      %s\n", visible(e))
		}
	}
}

// mostSkew is far below the hour that DingTalk's signature allows (facts).
const mostSkew = 5 * time.Minute

// clockSkew compares our clock with the Date of the platform's answer, whatever the
// answer is.
func clockSkew(ctx context.Context, endpoint string, now func() time.Time) (skew time.Duration, known bool) {
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, endpoint, nil)
	if err != nil {
		return 0, false
	}
	client := plainClient()
	defer client.CloseIdleConnections()
	res, err := client.Do(req)
	if err != nil {
		return 0, false
	}
	_ = res.Body.Close() // of a HEAD
	date, err := http.ParseTime(res.Header.Get("Date"))
	if err != nil {
		return 0, false
	}
	return now().Sub(date), true
}

// plainClient follows nothing: what answers is what was asked.
func plainClient() *http.Client {
	return &http.Client{
		Timeout: checkTimeout, Transport: &http.Transport{},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}
