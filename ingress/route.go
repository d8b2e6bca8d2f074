package ingress

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"moltbot/contracts"
)

// maxRoute is the longest route, in bytes.
const maxRoute = 256

// routeOf gives what stands behind /api/chat in a path that is decoded already:
// "/zh/support" of /api/chat/zh/support. A slash at its end stays, since patterns
// may want one.
func routeOf(decoded string) (string, error) {
	rest := strings.TrimPrefix(decoded, "/api/chat")
	if rest == "" {
		return "", nil
	}
	if len(rest) > maxRoute || !utf8.ValidString(rest) || strings.ContainsFunc(rest, unicode.IsControl) ||
		slices.Contains(strings.Split(rest, "/"), "..") {
		return "", fail(contracts.CodeBadRequest, fmt.Sprintf("the path behind /api/chat must have at most %d bytes and no \"..\"", maxRoute))
	}
	clean := path.Clean(rest)
	if clean == "/" {
		return "", fail(contracts.CodeNotFound, "there is nothing at this path")
	}
	if strings.HasSuffix(rest, "/") {
		clean += "/"
	}
	return clean, nil
}
