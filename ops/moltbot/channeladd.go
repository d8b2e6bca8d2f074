package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"time"

	"moltbot/contracts"
	"moltbot/ops/config"
	"moltbot/workers/deliver"
)

// addFlags are those of every platform.
type addFlags struct {
	Name           string `default:"default" help:"Name of the application in the configuration; the first needs none."`
	Print          bool   `help:"Print the section and write nothing."`
	Inline         bool   `help:"Write the secrets into the configuration file, not into files beside it."`
	Replace        bool   `help:"Change the section if it is there already."`
	Check          bool   `default:"true" negatable:"" help:"Ask the platform whether the credentials are good."`
	NonInteractive bool   `help:"Ask nothing: flags say all, and files hold the secrets."`
	URL            string `placeholder:"https://HOST" help:"Where the platform reaches you, for the URL that is printed."`
}

var appName = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,31}$`)

func (f addFlags) check(c *cli) error {
	if !appName.MatchString(f.Name) {
		return errors.New("--name must be 1 to 32 of a-z 0-9 _ -, because it is part of a URL")
	}
	if f.URL != "" {
		if u, err := url.Parse(f.URL); err != nil || u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.User != nil {
			return errors.New("--url must be like https://bot.example.com")
		}
	}
	if c.File == "" && !f.Print {
		return errors.New("say which configuration file it belongs into with -c FILE, or see it with --print")
	}
	return nil
}

type addFeishuCmd struct {
	addFlags
	Mode                  string `placeholder:"webhook|websocket" enum:",webhook,websocket" default:"" help:"How messages come: webhook (Feishu calls you) or websocket (you call Feishu, without a public address)."`
	AppID                 string `name:"app-id" placeholder:"cli_…" help:"App ID."`
	AppSecretFile         string `placeholder:"FILE" help:"File that holds the App Secret."`
	EncryptKeyFile        string `placeholder:"FILE" help:"File that holds the Encrypt Key; without one, a new one is made."`
	VerificationTokenFile string `placeholder:"FILE" help:"File that holds the Verification Token."`
	Endpoint              string `placeholder:"URL" help:"https://open.feishu.cn, or https://open.larksuite.com for Lark."`
}

// Run asks, checks, writes, and says what is left to do.
func (a *addFeishuCmd) Run(ctx context.Context, c *cli, out *console) error {
	if err := a.check(c); err != nil {
		return err
	}
	app, made, err := a.ask(asker{out, a.NonInteractive})
	if err != nil {
		return err
	}
	conf := config.Default()
	conf.Feishu.Feishu = app
	if err := conf.Validate(); err != nil {
		return fmt.Errorf("this cannot work: %w", err)
	}
	s := section{channel: contracts.ChannelFeishu, app: a.Name, settings: []setting{
		{"app_id", app.AppID, false}, {"app_secret", app.AppSecret, true}, {"encrypt_key", app.EncryptKey, true},
		{"verification_token", app.VerificationToken, true}, {"mode", app.Mode, false}, {"endpoint", unless(app.Endpoint, config.DefaultFeishu().Endpoint), false},
	}}
	if err := a.finish(ctx, c, out, s, checkFeishu(app)); err != nil {
		return err
	}
	switch {
	case made && a.Print: // it was shown to nobody
		fmt.Fprintln(out.out, "# The Encrypt Key is yours to choose, for instance by: openssl rand -hex 16")
	case made:
		fmt.Fprintln(out.out, "\nA new Encrypt Key was made. It has to be entered in the console: copy it from where it was written.")
	}
	fmt.Fprint(out.out, feishuSteps(app, callbackURL(a.URL, contracts.ChannelFeishu, a.Name)))
	return nil
}

func (a *addFeishuCmd) ask(q asker) (app config.Feishu, made bool, err error) {
	app = config.DefaultFeishu()
	if app.Mode, err = q.text("--mode", "How messages come: webhook (Feishu calls you) or websocket (you call Feishu)", a.Mode, config.ModeWebhook); err != nil {
		return app, false, err
	}
	if app.Endpoint, err = q.text("--endpoint", "API", a.Endpoint, app.Endpoint); err != nil {
		return app, false, err
	}
	if app.AppID, err = q.text("--app-id", "App ID (cli_…)", a.AppID, ""); err != nil {
		return app, false, err
	}
	if app.AppSecret, err = q.secret("--app-secret-file", "App Secret (does not show)", a.AppSecretFile, ""); err != nil {
		return app, false, err
	}
	if app.Mode != config.ModeWebhook {
		return app, false, nil // nothing is signed or sealed in a long connection
	}
	if app.VerificationToken, err = q.secret("--verification-token-file", "Verification Token (does not show)", a.VerificationTokenFile, ""); err != nil {
		return app, false, err
	}
	if app.EncryptKey, err = q.secret("--encrypt-key-file", "Encrypt Key (does not show)", a.EncryptKeyFile, "a new one is made"); err != nil {
		return app, false, err
	}
	if made = app.EncryptKey == ""; made {
		app.EncryptKey = rand.Text()
	}
	return app, made, nil
}

type addDingTalkCmd struct {
	addFlags
	Mode             string `placeholder:"webhook|stream" enum:",webhook,stream" default:"" help:"How messages come: webhook (DingTalk calls you) or stream (you call DingTalk, without a public address)."`
	ClientID         string `name:"client-id" placeholder:"ding…" help:"Client ID (AppKey)."`
	ClientSecretFile string `placeholder:"FILE" help:"File that holds the Client Secret (AppSecret)."`
	RobotCode        string `placeholder:"CODE" help:"Code of the robot; without one, the Client ID."`
	CorpID           string `name:"corp-id" placeholder:"ding…" help:"Organization whose messages are taken; without one, any."`
	Endpoint         string `placeholder:"URL" help:"Base URL of the API."`
}

// Run asks, checks, writes, and says what is left to do.
func (a *addDingTalkCmd) Run(ctx context.Context, c *cli, out *console) error {
	if err := a.check(c); err != nil {
		return err
	}
	app, err := a.ask(asker{out, a.NonInteractive})
	if err != nil {
		return err
	}
	conf := config.Default()
	conf.DingTalk.DingTalk = app
	if err := conf.Validate(); err != nil {
		return fmt.Errorf("this cannot work: %w", err)
	}
	s := section{channel: contracts.ChannelDingTalk, app: a.Name, settings: []setting{
		{"client_id", app.ClientID, false}, {"client_secret", app.ClientSecret, true}, {"robot_code", unless(app.RobotCode, app.ClientID), false},
		{"corp_id", app.CorpID, false}, {"mode", app.Mode, false}, {"endpoint", unless(app.Endpoint, config.DefaultDingTalk().Endpoint), false},
	}}
	if err := a.finish(ctx, c, out, s, checkDingTalk(app)); err != nil {
		return err
	}
	fmt.Fprint(out.out, dingtalkSteps(app, callbackURL(a.URL, contracts.ChannelDingTalk, a.Name)))
	return nil
}

func (a *addDingTalkCmd) ask(q asker) (app config.DingTalk, err error) {
	app = config.DefaultDingTalk()
	if app.Mode, err = q.text("--mode", "How messages come: webhook (DingTalk calls you) or stream (you call DingTalk)", a.Mode, config.ModeWebhook); err != nil {
		return app, err
	}
	if app.ClientID, err = q.text("--client-id", "Client ID (AppKey)", a.ClientID, ""); err != nil {
		return app, err
	}
	if app.ClientSecret, err = q.secret("--client-secret-file", "Client Secret (does not show)", a.ClientSecretFile, ""); err != nil {
		return app, err
	}
	if app.RobotCode, err = q.text("--robot-code", "Code of the robot", a.RobotCode, app.ClientID); err != nil {
		return app, err
	}
	app.CorpID = a.CorpID
	if a.Endpoint != "" {
		app.Endpoint = a.Endpoint
	}
	return app, nil
}

// unless gives value where it differs from what holds without a word.
func unless(value, silent string) string {
	if value == silent {
		return ""
	}
	return value
}

// finish checks and writes a section, or prints it.
func (f addFlags) finish(ctx context.Context, c *cli, out *console, s section, check checker) error {
	defer check.Close()
	if f.Check {
		name, err := checked(ctx, check)
		if err != nil {
			return fmt.Errorf("%s, so nothing was written (--no-check does not ask): %w", unaccepted(err), err)
		}
		fmt.Fprintf(out.out, "the credentials are good: %s\n", visible(name))
	}
	if f.Print {
		text, err := s.shown()
		if err != nil {
			return err
		}
		fmt.Fprintf(out.out, "%s\n# Put each secret into the file that is named for it, mode 0600.\n", text)
		return nil
	}
	written, err := s.write(c.File, f.Inline, f.Replace)
	for _, name := range written {
		fmt.Fprintln(out.out, "written:", name)
	}
	if err != nil {
		return err
	}
	if _, err := (flags{}).load(c); err != nil {
		fmt.Fprintln(out.err, "the configuration as a whole is not in order yet:", err)
	}
	return nil
}

// unaccepted tells credentials that were refused from a platform that said nothing
// of them.
func unaccepted(err error) string {
	var f *deliver.Failure
	if errors.As(err, &f) && f.Verdict == deliver.VerdictRetry {
		return "the platform could not be asked"
	}
	return "the platform does not accept these credentials"
}

// checkTimeout bounds what a check asks.
const checkTimeout = 20 * time.Second

func checked(ctx context.Context, c checker) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	return c.Check(ctx)
}
