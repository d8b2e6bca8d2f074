package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"moltbot/contracts"
)

type deadCmd struct {
	List   deadListCmd   `cmd:"" help:"List messages and answers that were given up on, the newest first; no text."`
	Show   deadShowCmd   `cmd:"" help:"Show one with the reason. The use is logged."`
	Replay deadReplayCmd `cmd:"" help:"Put one, or many, back into the queue as new messages. The use is logged."`
	Drop   deadDropCmd   `cmd:"" help:"Drop one, or many, for good. The use is logged."`
}

// deadFlags choose dead letters.
type deadFlags struct {
	Role         string        `enum:",workers,deliver" default:"" placeholder:"workers|deliver" help:"Given up by: workers (messages) or deliver (answers)."`
	Code         string        `placeholder:"CODE" help:"With this code, such as dead_lettered, too_old or undelivered."`
	Channel      string        `placeholder:"CHANNEL" help:"From, or on their way to: api, dingtalk, feishu or callback."`
	Conversation string        `placeholder:"NAME" help:"Of this conversation, by its name in the log."`
	Since        time.Duration `placeholder:"24h" help:"Not older than this."`
}

func (f deadFlags) filter(now time.Time) contracts.DeadFilter {
	d := contracts.DeadFilter{Role: f.Role, Code: contracts.Code(f.Code), Channel: contracts.Channel(f.Channel), Conversation: f.Conversation}
	if f.Since > 0 {
		d.Since = now.Add(-f.Since).UTC().Truncate(time.Second)
	}
	return d
}

type deadListCmd struct {
	deadFlags
	Limit   int    `default:"50" help:"How many at most, up to 500."`
	Cursor  uint64 `placeholder:"N" help:"Go on behind a page; the page before says with what."`
	DataDir string `name:"data-dir" placeholder:"DIR" help:"Data directory of an ingress process."`
	JSON    bool   `help:"Print JSON."`
}

// Run asks the running process for a page.
func (l *deadListCmd) Run(ctx context.Context, c *cli, out *console) error {
	conf, err := flags{DataDir: l.DataDir}.load(c)
	if err != nil {
		return err
	}
	now := time.Now()
	f := l.filter(now)
	q := url.Values{"limit": {strconv.Itoa(l.Limit)}}
	for name, value := range map[string]string{"role": f.Role, "code": string(f.Code), "channel": string(f.Channel), "conversation": f.Conversation} {
		if value != "" {
			q.Set(name, value)
		}
	}
	if !f.Since.IsZero() {
		q.Set("since", f.Since.Format(time.RFC3339))
	}
	if l.Cursor > 0 {
		q.Set("cursor", strconv.FormatUint(l.Cursor, 10))
	}
	var page contracts.AdminDead
	if err := admin(ctx, conf, http.MethodGet, "/admin/dead?"+q.Encode(), nil, &page); err != nil {
		return err
	}
	if l.JSON {
		return printJSON(out.out, page)
	}
	if err := printDead(out.out, page, now); err != nil {
		return err
	}
	if page.Next != 0 {
		fmt.Fprintln(out.err, "more with --cursor", page.Next)
	}
	return nil
}

func printDead(out io.Writer, page contracts.AdminDead, now time.Time) error {
	if page.Total == 0 {
		_, err := fmt.Fprintln(out, "there are no dead letters")
		return err
	}
	for _, n := range page.Counts {
		fmt.Fprintf(out, "%6d  %s  %s\n", n.Count, orDash(visible(n.Role)), orDash(visible(string(n.Code))))
	}
	if page.Partial {
		fmt.Fprintf(out, "and others: only the newest of %d were counted\n", page.Total)
	}
	if len(page.Letters) == 0 {
		return nil
	}
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "SEQUENCE\tAGE\tROLE\tCODE\tCHANNEL\tATTEMPTS\tBYTES\tMESSAGE\tREPLAY")
	for _, l := range page.Letters {
		replay := "yes"
		if l.Trouble != "" {
			replay = "no: " + l.Trouble
		}
		fmt.Fprintf(t, "%d\t%s\t%s\t%s\t%s\t%d\t%d\t%s\t%s\n", l.Sequence, age(now.Sub(l.At)), orDash(visible(l.Role)), orDash(visible(string(l.Code))),
			orDash(visible(string(l.Channel))), l.Attempts, l.Bytes, orDash(visible(l.ID)), visible(replay))
	}
	return t.Flush()
}

func orDash(s string) string {
	if s = strings.NewReplacer("\n", " ", "\t", " ").Replace(s); s == "" {
		return "-"
	}
	return s
}

// age is a time in its largest unit.
func age(d time.Duration) string {
	switch {
	case d < 0:
		return "0s"
	case d < 2*time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}

type deadShowCmd struct {
	Letter  string `arg:"" help:"Its sequence, or its message's id."`
	Body    bool   `help:"Print what was said, too."`
	DataDir string `name:"data-dir" placeholder:"DIR" help:"Data directory of an ingress process."`
	JSON    bool   `help:"Print JSON."`
}

// Run asks the running process.
func (s *deadShowCmd) Run(ctx context.Context, c *cli, out *console) error {
	conf, err := flags{DataDir: s.DataDir}.load(c)
	if err != nil {
		return err
	}
	path := deadPath(s.Letter)
	if s.Body {
		path += "?body=true"
	}
	var d contracts.DeadDetail
	if err := admin(ctx, conf, http.MethodGet, path, nil, &d); err != nil {
		return err
	}
	if s.JSON {
		return printJSON(out.out, d)
	}
	printDeadDetail(out.out, d)
	return nil
}

func deadPath(letter string) string { return "/admin/dead/" + url.PathEscape(letter) }

func printDeadDetail(out io.Writer, d contracts.DeadDetail) {
	l := d.Letter
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(out, "%-13s %s\n", name, visible(value))
		}
	}
	line("sequence", strconv.FormatUint(l.Sequence, 10))
	line("message", l.ID)
	line("conversation", l.Conversation)
	line("given up", fmt.Sprintf("%s by %s, after %d attempts", stamp(l.At), orDash(l.Role), l.Attempts))
	line("code", string(l.Code))
	line("channel", string(l.Channel))
	line("reason", d.Reason)
	if l.Trouble != "" {
		line("replay", "no: "+l.Trouble)
	}
	if d.ReplayID != "" {
		line("replay", "becomes "+d.ReplayID)
	}
	if b := d.Body; b != nil {
		line("caller", b.Caller)
		line("session", b.Session)
		line("accepted", stamp(b.Accepted))
		if !b.SentAt.IsZero() {
			line("sent", stamp(b.SentAt))
		}
		line("application", b.App)
		line("chat", b.Chat)
		line("sender", b.Sender)
		line("callback", b.Callback)
		line("model", b.Model)
		line("prompt", b.Prompt)
		fmt.Fprintf(out, "\n%s\n", visible(b.Text))
	}
}

// deadChoice are the letters that a command is about.
type deadChoice struct {
	Letters []string `arg:"" optional:"" name:"letter" help:"Their sequences, or their messages' ids."`
	All     bool     `help:"All that the filters take, the oldest first."`
	deadFlags
	DataDir string `name:"data-dir" placeholder:"DIR" help:"Data directory of an ingress process."`
	JSON    bool   `help:"Print JSON."`
}

// Validate is called by the parser.
func (d *deadChoice) Validate() error {
	chosen := d.deadFlags != (deadFlags{})
	switch {
	case d.All == (len(d.Letters) > 0):
		return errors.New("name letters, or give --all with or without filters")
	case chosen && !d.All:
		return errors.New("filters go with --all")
	}
	return nil
}

type deadReplayCmd struct{ deadChoice }

// Run has the running process replay them.
func (r *deadReplayCmd) Run(ctx context.Context, c *cli, out *console) error {
	return r.change(ctx, c, out, contracts.DeadActReplay)
}

type deadDropCmd struct {
	deadChoice
	Yes bool `short:"y" help:"Do not ask."`
}

// Run asks before it has the running process drop them.
func (d *deadDropCmd) Run(ctx context.Context, c *cli, out *console) error {
	if what := strings.Join(d.Letters, ", "); !d.Yes {
		if d.All {
			what = "all dead letters that the filters take"
		}
		if err := confirm(out, fmt.Sprintf("drop %s for good?", visible(what))); err != nil {
			return err
		}
	}
	return d.change(ctx, c, out, contracts.DeadActDrop)
}

// confirm wants a yes.
func confirm(out *console, question string) error {
	fmt.Fprintf(out.err, "%s [yes/no] ", question)
	answer, err := bufio.NewReader(out.in).ReadString('\n')
	if answer = strings.ToLower(strings.TrimSpace(answer)); answer == "yes" || answer == "y" {
		return nil
	}
	if err != nil {
		fmt.Fprintln(out.err)
	}
	return errors.New("nothing was done: there was no yes (or use --yes)")
}
