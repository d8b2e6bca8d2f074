package ingress_test

import (
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/labstack/echo/v4"
	"go.yaml.in/yaml/v3"

	"moltbot/contracts"
	"moltbot/ingress"
)

// described lists the operations of the API's description, as "GET /livez".
func described(t *testing.T) (operations []string) {
	t.Helper()
	var doc struct {
		Paths map[string]map[string]any `yaml:"paths"`
	}
	if err := yaml.Unmarshal([]byte(contracts.OpenAPI()), &doc); err != nil {
		t.Fatal(err)
	}
	for path, item := range doc.Paths {
		for member := range item {
			if method := strings.ToUpper(member); method == "GET" || method == "POST" || method == "PUT" || method == "DELETE" {
				operations = append(operations, method+" "+path)
			}
		}
	}
	return operations
}

// parameters are written {id} in the description, and :id or * in routes.
var parameters = regexp.MustCompile(`[:*][a-z]*|\{[a-z]+\}`)

func TestEveryRouteIsDescribed(t *testing.T) {
	r := newRig(t, func(o *ingress.Options) { o.Docs = http.NotFoundHandler() })
	served := map[string]bool{}
	for _, route := range r.in.Handler().(*echo.Echo).Routes() {
		if strings.HasPrefix(route.Path, "/docs/") || route.Method == echo.RouteNotFound {
			continue // what the page loads
		}
		served[route.Method+" "+parameters.ReplaceAllString(route.Path, "{}")] = true
	}
	for _, operation := range described(t) {
		form := parameters.ReplaceAllString(operation, "{}")
		if strings.Contains(operation, " /admin/") {
			continue
		}
		if !served[form] {
			t.Errorf("%s is described and not served", operation)
		}
		delete(served, form)
	}
	if len(served) > 0 {
		t.Errorf("served and not described: %v", slices.Sorted(maps.Keys(served)))
	}
}
