package ingress_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
)

// Nothing but health is there for somebody without a token; callbacks of platforms
// need a signature.
func TestRoutesNeedAToken(t *testing.T) {
	r := newOpenAIRig(t, withApps(t, mentionPolicy()))
	open := []string{"/api/health", "/livez", "/readyz"}
	n := 0
	for _, route := range r.in.Routes() {
		if slices.Contains(open, route.Path) {
			continue
		}
		n++
		path := strings.NewReplacer(":id", "x", ":app", "default", "*", "x/y").Replace(route.Path)
		for _, with := range []string{"Authorization:", "Authorization: Bearer x", "Authorization: Basic " + ann, "Authorization: " + ann} {
			res := r.call(route.Method, path, `{"model":"fast","message":"hi"}`, with)
			if res.status != http.StatusUnauthorized || res.header.Get("WWW-Authenticate") == "" || strings.Contains(res.body, "CANARY") {
				t.Errorf("%s %s with %.20s: %d %s", route.Method, path, with, res.status, res.body)
			}
			if strings.Contains(res.body, "unauthorized: ") {
				t.Errorf("the code is in the text: %s", res.body)
			}
		}
	}
	if n < 7 || r.stored() != 0 {
		t.Errorf("%d routes, %d messages", n, r.stored())
	}
}
