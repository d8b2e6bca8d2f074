// Package apidoc serves the description of the API, as JSON and as a page to
// read and to try it out. It loads nothing from elsewhere and knows no secret.
package apidoc

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"go.yaml.in/yaml/v3"

	"moltbot/contracts"
)

// Swagger UI, packed with gzip -9n; swagger/NOTICE says by whom. Task apidoc renews it.
var (
	//go:embed swagger/swagger-ui-bundle.js.gz
	bundle string
	//go:embed swagger/swagger-ui.css.gz
	style string
	//go:embed page.html
	page string
	//go:embed page.js
	start string
)

// The page runs nothing but what comes from here, and asks only this server. The
// styles that Swagger UI puts into elements need unsafe-inline.
const policy = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// New gives the handler of /openapi.json, /docs and what lies below it.
func New() (http.Handler, error) {
	document, err := Document()
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("GET /openapi.json", file("application/json", string(document)))
	mux.Handle("GET /docs", file("text/html; charset=utf-8", page))
	mux.Handle("GET /docs/page.js", file("text/javascript; charset=utf-8", start))
	mux.Handle("GET /docs/swagger-ui-bundle.js", packed("text/javascript; charset=utf-8", bundle))
	mux.Handle("GET /docs/swagger-ui.css", packed("text/css; charset=utf-8", style))
	return mux, nil
}

// Document is the description of the API as JSON.
func Document() ([]byte, error) {
	var v any
	if err := yaml.Unmarshal([]byte(contracts.OpenAPI()), &v); err != nil {
		return nil, fmt.Errorf("read the API's description: %w", err)
	}
	b, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("write the API's description: %w", err)
	}
	return b, nil
}

func file(media, text string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		h := w.Header()
		h.Set("Content-Type", media)
		h.Set("Content-Security-Policy", policy)
		h.Set("Referrer-Policy", "no-referrer")
		_, _ = w.Write([]byte(text)) // the client is gone
	})
}

// packed serves what is embedded as gzip. Every browser takes that; who does not
// gets told.
func packed(media, text string) http.Handler {
	plain := file(media, text)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
			http.Error(w, "this file is there as gzip only", http.StatusNotAcceptable)
			return
		}
		h := w.Header()
		h.Set("Content-Encoding", "gzip")
		h.Set("Vary", "Accept-Encoding")
		h.Set("Cache-Control", "public, max-age=86400")
		plain.ServeHTTP(w, r)
	})
}
