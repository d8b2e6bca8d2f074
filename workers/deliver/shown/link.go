package shown

import (
	"net/url"
	"regexp"
	"strings"

	"github.com/yuin/goldmark/util"
)

const longestLink = 2000 // bytes; what is longer hardly is one

var (
	mailbox  = regexp.MustCompile(`^[A-Za-z0-9._+-]+@[A-Za-z0-9.-]+$`)
	hostName = regexp.MustCompile(`^[A-Za-z0-9.-]+$|^[0-9a-fA-F:.]+$`)
	inLink   = strings.NewReplacer("@", "%40", "(", "%28", ")", "%29", "'", "%27", "*", "%2A", "_", "_", "!", "%21", "[", "%5B", "]", "%5D", "&lt", "%26lt", "~", "%7E", "`", "%60", "|", "%7C", "\\", "%5C")
)

func harmless(scheme string) bool { return scheme == "http" || scheme == "https" || scheme == "mailto" }

// destination gives an address as it may stand in a link. ok is false for one that
// must not be clicked; host is where it would lead, if that can be said.
func (d *dialect) destination(raw []byte) (link, host string, ok bool) {
	raw = util.ResolveEntityNames(util.ResolveNumericReferences(util.UnescapePunctuations(raw)))
	u, err := url.Parse(strings.TrimSpace(clean(string(raw))))
	if err != nil {
		return "", "", false
	}
	switch strings.ToLower(u.Scheme) {
	case "mailto":
		box := u.Opaque
		if unescaped, err := url.PathUnescape(box); err != nil || unescaped != box {
			return "", "", false
		}
		calm := calmer{}.text(box, false) == box
		return "mailto:" + box, "", calm && mailbox.MatchString(box) && len(d.hosts) == 0
	case "http", "https":
	default:
		return "", "", false
	}
	if host = strings.ToLower(strings.TrimSuffix(u.Hostname(), ".")); !hostName.MatchString(host) {
		return "", "", false
	}
	if u.User != nil || !d.allowed(host) {
		return "", host, false
	}
	u.Scheme = strings.ToLower(u.Scheme)
	link = inLink.Replace(u.String())
	return link, host, len(link) <= longestLink && !strings.ContainsAny(link, " \n\t<>\"{}^")
}

func (d *dialect) allowed(host string) bool {
	if len(d.hosts) == 0 {
		return true
	}
	for _, h := range d.hosts {
		h = strings.ToLower(strings.TrimSuffix(h, "."))
		if below, ok := strings.CutPrefix(h, "*."); ok && strings.HasSuffix(host, "."+below) || host == strings.TrimPrefix(h, "*.") {
			return true
		}
	}
	return false
}

// unlinked is a host that no client makes a link of.
func unlinked(host string) string { return strings.ReplaceAll(host, ".", gap+".") }
