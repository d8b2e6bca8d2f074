package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"moltbot/contracts"
	"moltbot/ops/config"
)

const (
	feishuSecret = "CANARY-feishu-app-secret-0001"
	feishuToken  = "CANARY-verification-tok-0002"
	feishuKey    = "CANARY-encrypt-key-000000003"
	dingSecret   = "CANARY-dingtalk-client-secret"
)

// platformDesk answers as both platforms do where credentials are checked.
type platformDesk struct {
	*httptest.Server
	mu   sync.Mutex
	told []string
}

func newPlatform(t *testing.T) *platformDesk {
	t.Helper()
	p := &platformDesk{}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /open-apis/auth/v3/tenant_access_token/internal", func(w http.ResponseWriter, r *http.Request) {
		if !strings.Contains(p.body(r), feishuSecret) {
			_, _ = io.WriteString(w, `{"code":10014,"msg":"app secret invalid"}`)
			return
		}
		_, _ = io.WriteString(w, `{"code":0,"msg":"ok","tenant_access_token":"t-CANARY","expire":7200}`)
	})
	mux.HandleFunc("GET /open-apis/bot/v3/info", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"code":0,"msg":"ok","bot":{"app_name":"Molly","open_id":"ou_bot"}}`)
	})
	mux.HandleFunc("POST /open-apis/im/v1/messages", func(w http.ResponseWriter, r *http.Request) {
		p.body(r)
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"code":0,"msg":"ok","data":{"message_id":"om_sent"}}`)
	})
	mux.HandleFunc("POST /v1.0/oauth2/accessToken", func(w http.ResponseWriter, r *http.Request) {
		if !strings.Contains(p.body(r), dingSecret) {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, `{"code":"invalidClientIdOrSecret","message":"no"}`)
			return
		}
		_, _ = io.WriteString(w, `{"accessToken":"CANARY-token","expireIn":7200}`)
	})
	p.Server = httptest.NewServer(mux)
	t.Cleanup(p.Close)
	return p
}

func (p *platformDesk) body(r *http.Request) string {
	b, _ := io.ReadAll(r.Body)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.told = append(p.told, r.URL.Path+" "+string(b))
	return string(b)
}

// noSecret expects nothing secret in what was shown.
func noSecret(t *testing.T, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if strings.Contains(text, "CANARY") {
			t.Errorf("a secret is shown: %s", text)
		}
	}
}

// typed runs a command with somebody at the keyboard.
func typed(t *testing.T, keys string, args ...string) (code int, out, errOut string) {
	t.Helper()
	var o, e strings.Builder
	code = runOn(t.Context(), args, &console{out: &o, err: &e, in: strings.NewReader(keys)})
	noSecret(t, o.String(), e.String())
	return code, o.String(), e.String()
}

func private(t *testing.T, name string) string {
	t.Helper()
	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("%s has mode %v", name, info.Mode())
	}
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestAddFeishuAsks(t *testing.T) {
	p := newPlatform(t)
	file := filepath.Join(t.TempDir(), "moltbot.yaml")
	keys := strings.Join([]string{"", p.URL, "cli_1", feishuSecret, feishuToken, "", ""}, "\n")
	code, out, errOut := typed(t, keys, "channel", "add", "feishu", "-c", file, "--url", "https://bot.example.com/")
	if code != exitOK {
		t.Fatalf("exit status %d: %s", code, errOut)
	}
	contains(t, out, "the credentials are good: Molly\n", "written: "+file+"\n", "A new Encrypt Key was made",
		"https://bot.example.com/feishu/webhook\n", "channel test feishu --url https://bot.example.com\n", "im.message.receive_v1", "Encryption strategy", "创建版本并发布")
	contains(t, errOut, "App ID (cli_…): ", "(empty: a new one is made): ")
	dir := filepath.Dir(file)
	want := "feishu:\n  app_id: cli_1\n  app_secret_file: " + dir + "/feishu.app_secret\n  encrypt_key_file: " + dir + "/feishu.encrypt_key\n" +
		"  verification_token_file: " + dir + "/feishu.verification_token\n  mode: webhook\n  endpoint: " + p.URL + "\n"
	if got := private(t, file); got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
	conf, err := config.Load(file, nil)
	if err != nil {
		t.Fatal(err)
	}
	if a := conf.Feishu.Feishu; a.AppSecret != feishuSecret || a.VerificationToken != feishuToken || len(a.EncryptKey) < 20 {
		t.Error("the file does not give what was typed")
	}
	for _, key := range []string{"app_secret", "encrypt_key", "verification_token"} {
		private(t, filepath.Join(dir, "feishu."+key))
	}
	// Once more is a slip, unless it is meant.
	code, _, errOut = typed(t, keys, "channel", "add", "feishu", "-c", file)
	if code != exitFailure || !strings.Contains(errOut, "already") || private(t, file) != want {
		t.Errorf("exit status %d: %s", code, errOut)
	}
	keys = strings.Replace(keys, "cli_1", "cli_2", 1)
	if code, _, errOut = typed(t, keys, "channel", "add", "feishu", "-c", file, "--replace"); code != exitOK || private(t, file) != strings.Replace(want, "cli_1", "cli_2", 1) {
		t.Errorf("exit status %d: %s", code, errOut)
	}
}

func TestAddKeepsTheFile(t *testing.T) {
	p := newPlatform(t)
	dir := t.TempDir()
	file, link := filepath.Join(dir, "real.yaml"), filepath.Join(dir, "moltbot.yaml")
	const had = "# ours, do not touch\nlisten: \"127.0.0.1:0\" # any\n\n\nlog:\n    level: warn\n"
	write := func(name, text string, mode os.FileMode) string {
		t.Helper()
		if err := os.WriteFile(name, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return name
	}
	write(file, had, 0o640)
	if err := os.Symlink(file, link); err != nil {
		t.Fatal(err)
	}
	secret := write(filepath.Join(dir, "s"), dingSecret+"\n", 0o600)
	code, out, errOut := typed(t, "", "channel", "add", "dingtalk", "-c", link, "--non-interactive", "--mode", "stream",
		"--client-id", "ding1", "--client-secret-file", secret, "--corp-id", "corp1", "--endpoint", p.URL)
	if code != exitOK {
		t.Fatalf("exit status %d: %s", code, errOut)
	}
	contains(t, out, "the credentials are good: ding1\n", "Stream 模式", "wss-open-connection.dingtalk.com")
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	want := had + "dingtalk:\n  client_id: ding1\n  client_secret_file: " + dir + "/dingtalk.client_secret\n  corp_id: corp1\n  mode: stream\n  endpoint: " + p.URL + "\n"
	if string(b) != want {
		t.Errorf("%s\nwant\n%s", b, want)
	}
	info, err := os.Lstat(link)
	if err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link is gone: %v", err)
	}
	if info, _ := os.Stat(file); info.Mode().Perm() != 0o640 {
		t.Errorf("mode %v", info.Mode())
	}
	// With secrets in it, it is for its owner alone.
	code, _, errOut = typed(t, "", "channel", "add", "dingtalk", "-c", file, "--non-interactive", "--inline", "--replace",
		"--client-id", "ding1", "--client-secret-file", secret, "--endpoint", p.URL)
	if code != exitOK {
		t.Fatalf("exit status %d: %s", code, errOut)
	}
	if text := private(t, file); !strings.Contains(text, "client_secret: "+dingSecret) || strings.Contains(text, "client_secret_file") || !strings.Contains(text, "# ours, do not touch") {
		t.Error(text)
	}
	left, err := filepath.Glob(filepath.Join(dir, ".*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestAddRefuses(t *testing.T) {
	p := newPlatform(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "moltbot.yaml")
	files := map[string]string{}
	for name, text := range map[string]string{"good": feishuSecret, "wrong": "CANARY-wrong-wrong-wrong", "short": "CANARY", "blank": "CANARY CANARY CANARY CANARY", "none": ""} {
		files[name] = filepath.Join(dir, name)
		if err := os.WriteFile(files[name], []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	feishu := func(secret string, more ...string) []string {
		return append([]string{"channel", "add", "feishu", "--non-interactive", "--mode", "websocket", "--app-id", "cli_1", "--app-secret-file", files[secret], "--endpoint", p.URL}, more...)
	}
	for want, args := range map[string][]string{
		"does not accept these credentials": feishu("wrong", "-c", file),
		"could not be asked":                feishu("good", "-c", file, "--endpoint", "http://127.0.0.1:1"),
		"the input has ended":               {"channel", "add", "dingtalk", "-c", file},
		"too short":                         feishu("short", "-c", file, "--no-check"),
		"a space":                           feishu("blank", "-c", file),
		"it is empty":                       feishu("none", "-c", file),
		"-c FILE, or see it with --print":   feishu("good"),
		"part of a URL":                     feishu("good", "-c", file, "--name", "A/b"),
		"--url must be":                     feishu("good", "-c", file, "--url", "http://x"),
		"--app-id is needed":                {"channel", "add", "feishu", "--non-interactive", "-c", file},
		"--client-secret-file is needed":    {"channel", "add", "dingtalk", "--non-interactive", "--client-id", "x", "-c", file},
		"same secret":                       {"channel", "add", "feishu", "--non-interactive", "--app-id", "cli_1", "--app-secret-file", files["good"], "--verification-token-file", files["good"], "-c", file, "--no-check"},
	} {
		code, out, errOut := typed(t, "", args...)
		if code != exitFailure || !strings.Contains(errOut, want) || out != "" {
			t.Errorf("%q: exit status %d, %q, %s", want, code, out, errOut)
		}
	}
	if _, err := os.Stat(file); err == nil {
		t.Error("something was written")
	}
	fails(t, exitUsage, "channel", "add", "fax")
	fails(t, exitUsage, "channel", "add", "feishu", "--mode", "stream")

	code, out, errOut := typed(t, "", feishu("good", "--print", "--name", "help")...)
	if code != exitOK {
		t.Fatalf("exit status %d: %s", code, errOut)
	}
	contains(t, out, "feishu:\n  apps:\n    help:\n      app_id: cli_1\n      app_secret_file: /etc/moltbot/feishu.help.app_secret\n      mode: websocket\n", "使用长连接接收事件", "mode 0600")
	if _, err := os.Stat(file); err == nil {
		t.Error("something was written")
	}
}

// twoApps is a configuration with one application of each platform.
func twoApps(t *testing.T, endpoint string) string {
	t.Helper()
	return configFile(t, "feishu:\n  app_id: cli_1\n  app_secret: "+feishuSecret+"\n  encrypt_key: "+feishuKey+"\n  verification_token: "+feishuToken+"\n  endpoint: "+endpoint+
		"\ndingtalk:\n  client_id: ding1\n  client_secret: "+dingSecret+"\n  mode: stream\n  endpoint: "+endpoint+"\n")
}

func TestChannelList(t *testing.T) {
	file := twoApps(t, "http://127.0.0.1:1")
	d := newDesk(t, map[string]any{"channels": map[string]string{"feishu/default": "webhook"}}, map[string]any{"channels": map[string]string{}})
	want := "CHANNEL   APPLICATION  MODE     PATH             STATE\n" +
		"dingtalk  default      stream   -                not in the running process: restart it\n" +
		"feishu    default      webhook  /feishu/webhook  webhook\n"
	if code, out, errOut := typed(t, "", "-c", file, "channel", "list", "--data-dir", d.dir); code != exitOK || out != want || errOut != "" {
		t.Errorf("exit status %d, %q\n%s\nwant\n%s", code, errOut, out, want)
	}
	code, out, errOut := typed(t, "", "-c", file, "channel", "list", "--data-dir", t.TempDir(), "--json")
	var all []channelApp
	if err := json.Unmarshal([]byte(out), &all); err != nil || code != exitOK || len(all) != 2 || all[1].Path != "/feishu/webhook" || all[1].State != "" {
		t.Errorf("exit status %d, %s, %+v, %v", code, errOut, all, err)
	}
	contains(t, must(t, "channel", "list", "--data-dir", t.TempDir()), "there are no applications")
}

func TestChannelTest(t *testing.T) {
	p := newPlatform(t)
	file := twoApps(t, p.URL)
	code, out, errOut := typed(t, "", "-c", file, "channel", "test")
	if code != exitOK {
		t.Fatalf("exit status %d: %s\n%s", code, errOut, out)
	}
	contains(t, out, "dingtalk/default\n  bot         ding1\n", "feishu/default\n  bot         Molly\n", "  clock skew  ")
	code, out, _ = typed(t, "", "-c", file, "channel", "test", "feishu", "--to", "oc_1", "--text", "hello", "--json")
	var r []channelResult
	if err := json.Unmarshal([]byte(out), &r); err != nil || code != exitOK || len(r) != 1 || r[0].Sent != "om_sent" || r[0].Bot != "Molly" {
		t.Errorf("exit status %d, %+v, %v", code, r, err)
	}
	p.mu.Lock()
	if last := p.told[len(p.told)-1]; !strings.Contains(last, `"receive_id":"oc_1"`) || !strings.Contains(last, `hello`) {
		t.Errorf("told %s", last)
	}
	p.mu.Unlock()
	for want, args := range map[string]string{
		"--to needs one application": "--to oc_1", "no such application": "feishu --name other",
	} {
		if code, _, errOut := typed(t, "", append([]string{"-c", file, "channel", "test"}, strings.Fields(args)...)...); code != exitFailure || !strings.Contains(errOut, want) {
			t.Errorf("%s: exit status %d, %s", args, code, errOut)
		}
	}
	bad := configFile(t, "dingtalk:\n  client_id: ding1\n  client_secret: CANARY-wrong-wrong-wrong\n  endpoint: "+p.URL+"\n")
	code, out, errOut = typed(t, "", "-c", bad, "channel", "test")
	if code != exitFailure || !strings.Contains(out, "failed      credentials: ") || !strings.Contains(errOut, "1 of 1 applications do not work") {
		t.Errorf("exit status %d, %s, %s", code, out, errOut)
	}
}

func TestClockSkew(t *testing.T) {
	p := newPlatform(t)
	skew, known := clockSkew(t.Context(), p.URL, func() time.Time { return time.Now().Add(time.Hour) })
	if !known || skew < 59*time.Minute || skew > 61*time.Minute {
		t.Errorf("%s, %v", skew, known)
	}
	if _, known := clockSkew(t.Context(), "http://127.0.0.1:1", time.Now); known {
		t.Error("a clock that nobody has")
	}
}

func TestCallbackURL(t *testing.T) {
	for _, c := range []struct {
		base    string
		channel contracts.Channel
		app     string
		want    string
	}{
		{"", contracts.ChannelFeishu, contracts.DefaultApp, "https://<your host>/feishu/webhook"},
		{"https://x/", contracts.ChannelDingTalk, "help", "https://x/dingtalk/webhook/help"},
	} {
		if got := callbackURL(c.base, c.channel, c.app); got != c.want {
			t.Errorf("%s, want %s", got, c.want)
		}
	}
}
