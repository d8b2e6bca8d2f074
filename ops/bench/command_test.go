package bench

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"moltbot/ops/bench/report"
)

// command runs moltbot as a user does.
func command(t *testing.T, args ...string) (out, errOut string, code int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program(t), args...)
	var o, e strings.Builder
	cmd.Stdout, cmd.Stderr = &o, &e
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return o.String(), e.String(), cmd.ProcessState.ExitCode()
}

func TestCommandPrintsJSONAndComparesWithIt(t *testing.T) {
	t.Setenv("MOLTBOT_BENCH_API_KEY", "s3cret") // no setting: nothing may stumble over it
	short := []string{"bench", "floor", "--duration", "300ms", "--warmup", "100ms", "--callers", "8", "--rate", "100"}
	out, errOut, code := command(t, append(short, "--json")...)
	var r report.Report
	if err := json.Unmarshal([]byte(out), &r); err != nil || code != 0 || errOut != "" {
		t.Fatalf("exit %d, %v\n%s\n%s", code, err, out, errOut)
	}
	if len(r.Rows) != 2 || r.Rows[0].Requests == 0 || r.Settings.DurationS != 0.3 || r.Machine.Version == "" {
		t.Errorf("%+v", r)
	}
	file := filepath.Join(t.TempDir(), "before.json")
	if err := os.WriteFile(file, []byte(out), 0o600); err != nil {
		t.Fatal(err)
	}
	out, errOut, code = command(t, append(short, "--baseline", file)...)
	if code != 0 || errOut != "" || !strings.Contains(out, "vs base") || !strings.Contains(out, " %") {
		t.Errorf("exit %d\n%s\n%s", code, out, errOut)
	}
}

func TestCommandFailsWhenAnswersDo(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) }))
	defer s.Close()
	out, errOut, code := command(t, "bench", "--against", s.URL, "--duration", "200ms", "--warmup", "0s", "--loop", "open", "--rate", "100")
	if code != 1 || !strings.Contains(errOut, "requests failed") || !strings.Contains(out, "status 418") {
		t.Errorf("exit %d\n%s\n%s", code, out, errOut)
	}
}

func TestCommandRefuses(t *testing.T) {
	for args, want := range map[string]string{
		"bench nonsense":                           "there is no scenario",
		"bench --against http://192.0.2.1":         "--yes-load-that-host",
		"bench --loop open":                        "needs a rate",
		"bench --durability none":                  "durability",
		"bench --callers many":                     "many",
		"bench --baseline /nothing":                "/nothing",
		"bench --loop sideways":                    "closed",
		"bench --against http://localhost --key x": "--key",
	} {
		if out, errOut, code := command(t, strings.Fields(args)...); code == 0 || out != "" || !strings.Contains(errOut, want) {
			t.Errorf("%s: exit %d\n%s\n%s", args, code, out, errOut)
		}
	}
}

func TestHelpHidesTheChildren(t *testing.T) {
	out, _, code := command(t, "--help")
	if code != 0 || !strings.Contains(out, "bench ") || strings.Contains(out, "bench-") {
		t.Errorf("exit %d\n%s", code, out)
	}
	if out, _, _ := command(t, "up", "--help"); strings.Contains(out, "profile") {
		t.Errorf("the profiles of the bench show:\n%s", out)
	}
}
