package observe

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/rs/zerolog"
)

func at() time.Time {
	return time.Date(2026, 11, 20, 9, 5, 6, 7_000_000, time.FixedZone("CST", 8*3600))
}

func TestJSON(t *testing.T) {
	var out bytes.Buffer
	log := New(Options{Writer: &out, Level: "info", Format: "json", Role: "workers", Node: "n1", Now: at})
	log.Debug().Msg("hidden")
	log.Warn().Str("channel", "api").Err(errors.New("boom")).Msg("reply not sent")
	want := `{"level":"warn","role":"workers","node":"n1","channel":"api","error":"boom",` +
		`"timestamp":"2026-11-20T01:05:06.007Z","message":"reply not sent"}` + "\n"
	if out.String() != want {
		t.Errorf("got  %swant %s", out.String(), want)
	}
	sub := log.With().Str("request_id", "r").Logger()
	out.Reset()
	sub.Info().Msg("x")
	if n := strings.Count(out.String(), `"timestamp"`); n != 1 {
		t.Errorf("a child logger stamps %d times: %s", n, out.String())
	}
}

func TestLevels(t *testing.T) {
	for level, want := range map[string]zerolog.Level{
		"trace": zerolog.TraceLevel, "debug": zerolog.DebugLevel, "info": zerolog.InfoLevel, "warn": zerolog.WarnLevel,
		"error": zerolog.ErrorLevel, "": zerolog.InfoLevel, "loud": zerolog.InfoLevel,
	} {
		if got := New(Options{Writer: &bytes.Buffer{}, Level: level}).GetLevel(); got != want {
			t.Errorf("level %q = %s, want %s", level, got, want)
		}
	}
}

func TestConsole(t *testing.T) {
	var out bytes.Buffer
	log := New(Options{Writer: &out, Format: "console", Now: at})
	log.Info().Str("text", "a b").Msg("started")
	if got, want := out.String(), "2026-11-20T01:05:06.007Z INF started text=\"a b\"\n"; got != want {
		t.Errorf("got  %qwant %q", got, want)
	}
}

func TestAutoIsConsoleOnlyOnATerminal(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = r.Close(), w.Close() }()
	terminal, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatalf("a terminal to try: %v", err)
	}
	defer func() { _ = terminal.Close() }()
	for _, tt := range []struct {
		name, format string
		options      Options
		console      bool
	}{
		{"buffer", "auto", Options{Writer: &bytes.Buffer{}}, false},
		{"pipe", "auto", Options{Writer: w}, false},
		{"terminal", "auto", Options{Writer: terminal}, true},
		{"terminal, default", "", Options{Writer: terminal}, true},
		{"terminal, forced", "json", Options{Writer: terminal}, false},
		{"pipe, forced", "console", Options{Writer: w}, true},
	} {
		tt.options.Format = tt.format
		if _, console := form(tt.options).(zerolog.ConsoleWriter); console != tt.console {
			t.Errorf("%s: console = %v", tt.name, console)
		}
	}
}

// What a stranger writes never makes a second line, a colored one or a long one.
func TestInjection(t *testing.T) {
	for name, evil := range map[string]string{
		"line":      "x\n{\"level\":\"info\",\"message\":\"all is well\"}",
		"return":    "x\r\nforged",
		"color":     "\x1b[2J\x1b[31mred",
		"C1":        "\u009b31mred",
		"bidi":      "\u202egnp.exe",
		"separator": "a\u2028b\u2029c",
		"invalid":   "a\xff\xfeb\x00",
		"long":      strings.Repeat("A\n", 15<<10/2),
	} {
		for _, format := range []string{"json", "console"} {
			t.Run(name+" "+format, func(t *testing.T) {
				var out bytes.Buffer
				log := New(Options{Writer: &out, Format: format, Role: evil, Now: at})
				log.Info().Str("user", Clip(evil, MaxField)).Msg(Clip(evil, MaxField))
				checkLine(t, out.String())
				out.Reset()
				log.Info().Msg(evil) // even where somebody forgot Clip there is one line
				if got := strings.Count(out.String(), "\n"); got != 1 {
					t.Errorf("%d lines: %q", got, out.String())
				}
				if format == "console" {
					checkLine(t, out.String())
				}
			})
		}
	}
}

func checkLine(t *testing.T, text string) {
	t.Helper()
	line, ok := strings.CutSuffix(text, "\n")
	if !ok || len(line) > 8*MaxField || !utf8.ValidString(line) {
		t.Errorf("not one short line: %d bytes, %.200q", len(line), line)
	}
	if i := strings.IndexFunc(line, func(r rune) bool { return unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp) }); i >= 0 {
		t.Errorf("hostile character at %d: %.200q", i, line)
	}
}

type safeWriter struct {
	mu  sync.Mutex
	out bytes.Buffer
}

func (w *safeWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.out.Write(p)
}

// Run with -race: making loggers while others write must not touch shared state.
func TestManyLoggersAtOnce(t *testing.T) {
	w := &safeWriter{}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				log := New(Options{Writer: w, Format: "json", Role: "r"})
				log.Info().Msg("m")
			}
		})
	}
	wg.Wait()
	stamp := regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$`)
	all := strings.Split(strings.TrimSpace(w.out.String()), "\n")
	for _, line := range all {
		var e struct{ Timestamp, Level, Message string }
		if err := json.Unmarshal([]byte(line), &e); err != nil || !stamp.MatchString(e.Timestamp) || e.Level != "info" || e.Message != "m" {
			t.Fatalf("line %q: %v", line, err)
		}
	}
	if len(all) != 400 {
		t.Errorf("%d lines", len(all))
	}
}
