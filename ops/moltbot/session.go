package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"moltbot/contracts"
)

type sessionCmd struct {
	List  sessionListCmd  `cmd:"" help:"List the sessions of a caller, the latest first; no text."`
	Show  sessionShowCmd  `cmd:"" help:"Print what was said in a session. The use is logged."`
	Erase sessionEraseCmd `cmd:"" help:"Erase a session with everything that is kept of it. The use is logged."`
}

type sessionListCmd struct {
	Caller  string `required:"" placeholder:"WHO" help:"Whose, as in the log: api:alice. A name alone is one of the API."`
	Limit   int    `default:"20" help:"Sessions of one page, up to 100."`
	Cursor  string `placeholder:"CURSOR" help:"Go on behind a page; the page before says with what."`
	DataDir string `name:"data-dir" placeholder:"DIR" help:"Data directory of an ingress process."`
	JSON    bool   `help:"Print JSON."`
}

// Run asks the running process for a page.
func (s *sessionListCmd) Run(ctx context.Context, c *cli, out *console) error {
	conf, err := flags{DataDir: s.DataDir}.load(c)
	if err != nil {
		return err
	}
	q := url.Values{"caller": {s.Caller}, "limit": {strconv.Itoa(s.Limit)}}
	if s.Cursor != "" {
		q.Set("cursor", s.Cursor)
	}
	var page contracts.SessionPage
	if err := admin(ctx, conf, http.MethodGet, "/admin/sessions?"+q.Encode(), nil, &page); err != nil {
		return err
	}
	if s.JSON {
		return printJSON(out.out, page)
	}
	w := tabwriter.NewWriter(out.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "session\tconversation\tbegan\tlast activity\trounds\tsummary\texpires in")
	for _, it := range page.Sessions {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%v\t%s\n", it.ID, it.Conversation, stamp(it.Began), stamp(it.LastActivity), it.Rounds, it.HasSummary, span(it.ExpiresIn))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if page.Next != "" {
		fmt.Fprintln(out.err, "more with --cursor", page.Next)
	}
	return nil
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05") }

func span(seconds int64) string { return (time.Duration(seconds) * time.Second).String() }

type sessionShowCmd struct {
	ID      string `arg:"" help:"The session's id, with --caller; or its name in the log (conversation)."`
	Caller  string `placeholder:"WHO" help:"Whose session it is, as in the log."`
	Limit   int    `default:"20" help:"Rounds, the newest, up to 100."`
	Before  string `placeholder:"ID" help:"Only rounds before this one; the page before says with what."`
	DataDir string `name:"data-dir" placeholder:"DIR" help:"Data directory of an ingress process."`
	JSON    bool   `help:"Print JSON."`
}

// Run prints a session as people read it, the newest round last.
func (s *sessionShowCmd) Run(ctx context.Context, c *cli, out *console) error {
	conf, err := flags{DataDir: s.DataDir}.load(c)
	if err != nil {
		return err
	}
	q := url.Values{"limit": {strconv.Itoa(s.Limit)}}
	if s.Before != "" {
		q.Set("before", s.Before)
	}
	path, err := sessionPath(s.ID, s.Caller, q)
	if err != nil {
		return err
	}
	var d contracts.SessionDetail
	if err := admin(ctx, conf, http.MethodGet, path, nil, &d); err != nil {
		return err
	}
	if s.JSON {
		return printJSON(out.out, d)
	}
	fmt.Fprintf(out.out, "session %s, conversation %s, rounds: %d, began %s, expires in %s\n",
		d.Session.ID, d.Session.Conversation, d.Session.Rounds, stamp(d.Session.Began), span(d.Session.ExpiresIn))
	if d.Summary != nil {
		fmt.Fprintf(out.out, "\nsummary of earlier rounds (%d):\n%s\n", d.Summary.Rounds, visible(d.Summary.Text))
	}
	for _, t := range d.Turns {
		stopped := ""
		if t.Stopped {
			stopped = "  (stopped)"
		}
		fmt.Fprintf(out.out, "\n%s  %s%s\nuser: %s\nbot:  %s\n", stamp(t.At), t.ID, stopped, visible(t.User), visible(t.Assistant))
	}
	if d.Unreadable > 0 {
		fmt.Fprintf(out.err, "rounds that cannot be opened and are left out: %d\n", d.Unreadable)
	}
	if d.Before != "" {
		fmt.Fprintln(out.err, "earlier ones with --before", d.Before)
	}
	return nil
}

// visible shows control characters, and those that turn the direction of writing,
// instead of giving them to the terminal: a user or a model wrote this, and an
// operator reads it.
func visible(text string) string {
	return strings.Map(func(r rune) rune {
		if r != '\n' && r != '\t' && (unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r)) {
			return '\uFFFD'
		}
		return r
	}, text)
}

type sessionEraseCmd struct {
	ID      string `arg:"" help:"The session's id, with --caller; or its name in the log (conversation)."`
	Caller  string `placeholder:"WHO" help:"Whose session it is, as in the log."`
	DataDir string `name:"data-dir" placeholder:"DIR" help:"Data directory of an ingress process."`
	JSON    bool   `help:"Print JSON."`
}

// Run has the running process erase it.
func (s *sessionEraseCmd) Run(ctx context.Context, c *cli, out *console) error {
	conf, err := flags{DataDir: s.DataDir}.load(c)
	if err != nil {
		return err
	}
	path, err := sessionPath(s.ID, s.Caller, url.Values{})
	if err != nil {
		return err
	}
	if err := admin(ctx, conf, http.MethodDelete, path, nil, nil); err != nil {
		return fmt.Errorf("nothing says that all of it is erased: %w", err)
	}
	if s.JSON {
		return printJSON(out.out, map[string]bool{"erased": true})
	}
	fmt.Fprintln(out.out, "nothing is kept of this session any more")
	return nil
}

// sessionPath is where a session is that --caller and its id name, or its name alone.
func sessionPath(id, caller string, q url.Values) (string, error) {
	if caller == "" && !contracts.IsConversation(id) {
		return "", fmt.Errorf("whose session is %q? Name the caller with --caller, or give the session's name in the log (conversation)", id)
	}
	if caller != "" {
		q.Set("caller", caller)
	}
	return "/admin/sessions/" + url.PathEscape(id) + "?" + q.Encode(), nil
}
