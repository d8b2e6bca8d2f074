package apidoc

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
)

func serve(t *testing.T) http.Handler {
	t.Helper()
	h, err := New()
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func get(t *testing.T, h http.Handler, path string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, path, nil)
	r.Header.Set("Accept-Encoding", "gzip, br")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestTheDocumentIsOpenAPI(t *testing.T) {
	w := get(t, serve(t), "/openapi.json")
	doc, err := openapi3.NewLoader().LoadFromData(w.Body.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(doc.OpenAPI, "3.1") {
		t.Errorf("version %s", doc.OpenAPI)
	}
	if err := doc.Validate(t.Context()); err != nil {
		t.Error(err)
	}
	var any map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &any); err != nil {
		t.Error(err)
	}
}

// What the page loads is there, from here, and is what it was when it was taken.
func TestThePageIsWhole(t *testing.T) {
	h := serve(t)
	w := get(t, h, "/docs")
	if w.Code != http.StatusOK || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/html") {
		t.Fatalf("%d %s", w.Code, w.Header().Get("Content-Type"))
	}
	loaded := regexp.MustCompile(`(?:src|href)="([^"]+)"`).FindAllStringSubmatch(w.Body.String(), -1)
	if len(loaded) < 4 {
		t.Fatalf("the page loads %v", loaded)
	}
	for _, l := range loaded {
		if strings.HasPrefix(l[1], "data:") {
			continue
		}
		if !strings.HasPrefix(l[1], "/") {
			t.Errorf("%s is from elsewhere", l[1])
			continue
		}
		if got := get(t, h, l[1]); got.Code != http.StatusOK || got.Header().Get("Content-Security-Policy") == "" {
			t.Errorf("%s: %d, policy %q", l[1], got.Code, got.Header().Get("Content-Security-Policy"))
		}
	}
	for path, want := range map[string]string{ // of swagger-ui-dist 5.35.0
		"/docs/swagger-ui-bundle.js": "e6a898692f2d768e807c3ba4626068a69a2c5dd960dd6c76f3e4d3a3de180af2",
		"/docs/swagger-ui.css":       "5ed08757e53da3e026d6cbecc61fe5d43585c9560b302d534ad56692519a273d",
	} {
		unpacked, err := gzip.NewReader(bytes.NewReader(get(t, h, path).Body.Bytes()))
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.New()
		if _, err := io.Copy(sum, unpacked); err != nil {
			t.Fatal(err)
		}
		if got := hex.EncodeToString(sum.Sum(nil)); got != want {
			t.Errorf("%s has the digest %s", path, got)
		}
	}
}

func TestWithoutGzip(t *testing.T) {
	w := httptest.NewRecorder()
	serve(t).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/docs/swagger-ui.css", nil))
	if w.Code != http.StatusNotAcceptable {
		t.Errorf("%d", w.Code)
	}
}
