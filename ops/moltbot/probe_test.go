package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestProbe(t *testing.T) {
	stuck := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/broken":
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = io.WriteString(w, `{"checks":{"redis":"no answer"}}`) // the client may be gone
		case "/moved":
			http.Redirect(w, r, "/readyz", http.StatusFound)
		case "/stuck":
			<-stuck
		}
	}))
	defer server.Close()
	defer close(stuck)
	for _, tt := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{server.URL + "/readyz"}, exitOK, ""},
		{[]string{server.URL + "/broken"}, exitFailure, `answers 503: {"checks":{"redis":"no answer"}}`},
		{[]string{server.URL + "/moved"}, exitFailure, "answers 302"},
		{[]string{server.URL + "/stuck", "--timeout", "20ms"}, exitFailure, "no answer"},
		{[]string{strings.Replace(server.URL, "http", "ftp", 1)}, exitFailure, "must be like"},
		{[]string{"http://user:s3cret@127.0.0.1:1/x?s3cret"}, exitFailure, "no answer from 127.0.0.1:1"},
		{[]string{"http://s3cret@"}, exitFailure, "must be like"},
		{nil, exitUsage, "try"},
	} {
		code, out, errOut := call(t, append([]string{"probe"}, tt.args...)...)
		if code != tt.code || out != "" || !strings.Contains(errOut, tt.want) || tt.want == "" && errOut != "" {
			t.Errorf("probe %q: exit status %d, %q, %q", tt.args, code, out, errOut)
		}
		if strings.Contains(errOut, "s3cret") {
			t.Errorf("probe %q tells the secret: %s", tt.args, errOut)
		}
	}
}
