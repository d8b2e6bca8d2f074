package deploy_test

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/nats-io/nats-server/v2/server"

	"moltbot/ops/config"
	"moltbot/ops/deploy"
)

const root = "../.."

func load(t *testing.T) *types.Project {
	t.Helper()
	p, err := deploy.Load(t.Context(), root)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// The loader is only worth something if it refuses.
func TestLoadRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"unknown key":     "services: {a: {image: x, imagee: y}}",
		"wrong type":      "services: {a: {image: [x]}}",
		"unknown volume":  "services: {a: {image: x, volumes: ['vol:/v']}}",
		"unknown service": "services: {a: {image: x, depends_on: [b]}}",
		"unknown secret":  "services: {a: {image: x, secrets: [b]}}",
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, deploy.File), []byte("name: x\n"+text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := deploy.Load(t.Context(), dir); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}

// roles are the services that run our program for good.
var roles = []string{"ingress", "workers", "scheduler"}

var numeric = regexp.MustCompile(`^[1-9][0-9]*:[1-9][0-9]*$`)

func TestServicesAreConfined(t *testing.T) {
	for name, s := range load(t).Services {
		if !s.ReadOnly || !slices.Equal(s.CapDrop, []string{"ALL"}) || !slices.Contains(s.SecurityOpt, "no-new-privileges:true") || s.Privileged {
			t.Errorf("%s: read only %v, dropped %v, %v", name, s.ReadOnly, s.CapDrop, s.SecurityOpt)
		}
		if name != "prepare" && (!numeric.MatchString(s.User) || len(s.CapAdd) > 0) {
			t.Errorf("%s: user %q, capabilities %v", name, s.User, s.CapAdd)
		}
		if s.Logging == nil || s.Logging.Options["max-size"] == "" || s.Logging.Options["max-file"] == "" {
			t.Errorf("%s: its log grows for ever", name)
		}
		once := slices.Contains([]string{"prepare", "keys"}, name)
		if want := map[bool]string{true: "no", false: "unless-stopped"}[once]; s.Restart != want {
			t.Errorf("%s: restart %q, want %q", name, s.Restart, want)
		}
		if once != (s.NetworkMode == "none") {
			t.Errorf("%s: network mode %q", name, s.NetworkMode)
		}
		limits := s.Deploy != nil && s.Deploy.Resources.Limits != nil && s.Deploy.Resources.Limits.MemoryBytes > 0
		if !once && !limits {
			t.Errorf("%s: no limit of memory", name)
		}
	}
	// The only one that is root may change owners, sees volumes, and ends.
	if p := load(t).Services["prepare"]; !slices.Equal(p.CapAdd, []string{"CHOWN"}) || len(p.Secrets) > 0 || len(p.Ports) > 0 {
		t.Errorf("prepare: capabilities %v, secrets %v", p.CapAdd, p.Secrets)
	}
}

// tagged is an image with at least major.minor.patch.
var tagged = regexp.MustCompile(`^[a-z./-]+:v?[0-9]+\.[0-9]+\.[0-9]+(-[a-z0-9.]+)?(@sha256:[0-9a-f]{64})?$`)

func TestImagesArePinned(t *testing.T) {
	for name, s := range load(t).Services {
		if s.Build != nil {
			if s.Image != "moltbot:local" || s.Build.Dockerfile != deploy.Containerfile && !strings.HasSuffix(s.Build.Dockerfile, "/"+deploy.Containerfile) {
				t.Errorf("%s: image %s is built by %s", name, s.Image, s.Build.Dockerfile)
			}
			continue
		}
		if !tagged.MatchString(s.Image) {
			t.Errorf("%s: %s is not pinned", name, s.Image)
		}
	}
	p, err := deploy.Load(t.Context(), root, "IMAGE_TAG=v1.2.3")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range append(roles, "keys") {
		if s := p.Services[name]; s.Image != "moltbot:v1.2.3" || *s.Build.Args["VERSION"] != "v1.2.3" {
			t.Errorf("%s: image %s", name, s.Image)
		}
	}
}

// The server in the container is the one that all tests run in the process.
func TestNATSIsTheVersionThatIsTested(t *testing.T) {
	if got, want := load(t).Services["nats"].Image, "nats:"+server.VERSION+"-alpine"; got != want {
		t.Errorf("image %s, want %s", got, want)
	}
}

func TestNATSSyncsEveryMessage(t *testing.T) {
	p := load(t)
	s := p.Services["nats"]
	if len(s.Configs) != 1 || s.Configs[0].Target != "/etc/nats/nats.conf" || !strings.Contains(s.Command[0], "nats-server -c /etc/nats/nats.conf") {
		t.Fatalf("configs %+v, command %q", s.Configs, s.Command)
	}
	// As in the container: the file below /etc, the password below /run.
	dir := t.TempDir()
	text, err := os.ReadFile(p.Configs["nats"].File)
	if err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(dir, "etc/nats/nats.conf"), string(text))
	put(t, filepath.Join(dir, "run/nats/password.conf"), "password: \"p\"\n")
	o, err := server.ProcessConfigFile(filepath.Join(dir, "etc/nats/nats.conf"))
	if err != nil {
		t.Fatal(err)
	}
	if !o.JetStream || !o.SyncAlways || o.StoreDir != "/var/lib/nats" || o.HTTPPort != 8222 || o.Port != 4222 {
		t.Errorf("JetStream %v, sync always %v, stored in %s, ports %d and %d", o.JetStream, o.SyncAlways, o.StoreDir, o.Port, o.HTTPPort)
	}
	if o.Username != "moltbot" || o.Password != "p" {
		t.Errorf("user %q, password %q", o.Username, o.Password)
	}
	if !mounts(s, "volume", "/var/lib/nats") {
		t.Error("the messages are in no volume")
	}
}

// What is written stays in volumes with a name; the rest of a container is read only.
func TestVolumesAreDeclared(t *testing.T) {
	p := load(t)
	if got := slices.Sorted(maps.Keys(p.Volumes)); !slices.Equal(got, []string{"keys", "nats", "redis"}) {
		t.Errorf("volumes %v", got)
	}
	for name, s := range p.Services {
		for _, v := range s.Volumes {
			if _, ok := p.Volumes[v.Source]; !ok || v.Type != "volume" {
				t.Errorf("%s: %s %s is not declared", name, v.Type, v.Source)
			}
		}
	}
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func mounts(s types.ServiceConfig, kind, target string) bool {
	return slices.ContainsFunc(s.Volumes, func(v types.ServiceVolumeConfig) bool { return v.Type == kind && v.Target == target })
}

func TestRedisDropsNothing(t *testing.T) {
	s := load(t).Services["redis"]
	command := strings.Join(strings.Fields(s.Command[0]), " ")
	for _, want := range []string{
		"exec redis-server", "--appendonly yes", "--appendfsync always", "--save ''", "--maxmemory-policy noeviction", "--dir /data",
	} {
		if !strings.Contains(command, want) {
			t.Errorf("redis is not told %s", want)
		}
	}
	if !mounts(s, "volume", "/data") {
		t.Error("the data is in no volume")
	}
}

func TestStartsInOrderAndHealthy(t *testing.T) {
	services := load(t).Services
	want := map[string]map[string]string{
		"prepare": {},
		"nats":    {"prepare": types.ServiceConditionCompletedSuccessfully},
		"redis":   {"prepare": types.ServiceConditionCompletedSuccessfully},
		"keys":    {"prepare": types.ServiceConditionCompletedSuccessfully},
	}
	for _, role := range roles {
		want[role] = map[string]string{
			"nats": types.ServiceConditionHealthy, "redis": types.ServiceConditionHealthy,
			"keys": types.ServiceConditionCompletedSuccessfully,
		}
	}
	for name, s := range services {
		if len(s.DependsOn) != len(want[name]) {
			t.Errorf("%s depends on %v", name, s.DependsOn)
		}
		for on, condition := range want[name] {
			if s.DependsOn[on].Condition != condition {
				t.Errorf("%s waits for %s: %q, want %q", name, on, s.DependsOn[on].Condition, condition)
			}
		}
		checked := s.HealthCheck != nil && !s.HealthCheck.Disable && len(s.HealthCheck.Test) > 1 && s.HealthCheck.Timeout != nil
		if once := len(s.DependsOn) == 0 || name == "keys"; checked == once {
			t.Errorf("%s: health check %v", name, checked)
		}
	}
	for name, url := range map[string]string{"ingress": "http://127.0.0.1:18789/readyz", "workers": "http://127.0.0.1:18790/readyz", "scheduler": "http://127.0.0.1:18790/readyz"} {
		if got := services[name].HealthCheck.Test; !slices.Equal(got, types.HealthCheckTest{"CMD", "/moltbot", "probe", url}) {
			t.Errorf("%s is asked by %q", name, got)
		}
	}
}

// A fixed name or port would let only one of them start.
func TestWorkersAndSchedulersScale(t *testing.T) {
	for _, name := range []string{"workers", "scheduler"} {
		w := load(t).Services[name]
		if w.ContainerName != "" || w.Hostname != "" || len(w.Ports) > 0 || w.Scale != nil {
			t.Errorf("%s: name %q, host name %q, ports %v", name, w.ContainerName, w.Hostname, w.Ports)
		}
		for _, v := range w.Volumes {
			if !v.ReadOnly {
				t.Errorf("all %s would write to %s", name, v.Target)
			}
		}
	}
}

func TestOnlyTheAPIIsPublished(t *testing.T) {
	p := load(t)
	for name, s := range p.Services {
		if name == "ingress" {
			if len(s.Ports) != 1 || s.Ports[0].HostIP != "127.0.0.1" || s.Ports[0].Published != "18789" || s.Ports[0].Target != 18789 {
				t.Errorf("ingress publishes %+v", s.Ports)
			}
		} else if len(s.Ports) > 0 {
			t.Errorf("%s publishes %+v", name, s.Ports)
		}
	}
	for _, name := range []string{"nats", "redis"} {
		for network := range p.Services[name].Networks {
			if !p.Networks[network].Internal {
				t.Errorf("%s is in %s, which is not internal", name, network)
			}
		}
	}
	wide, err := deploy.Load(t.Context(), root, "PUBLISH=0.0.0.0:80")
	if err != nil || wide.Services["ingress"].Ports[0].Published != "80" {
		t.Errorf("PUBLISH: %v", err)
	}
}

func TestStopsLaterThanTheLastCall(t *testing.T) {
	for name, s := range load(t).Services {
		c, err := settings(t, s)
		if !slices.Contains(roles, name) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		least := 15 * time.Second // for what an ingress does at the end
		if name == "workers" {
			least = c.Workers.SoftStop + c.Model.Timeout
		}
		if name == "scheduler" {
			least += c.Scheduler.SoftStop
		}
		if s.StopGracePeriod == nil || time.Duration(*s.StopGracePeriod) <= least {
			t.Errorf("%s is killed after %v, needs more than %s", name, s.StopGracePeriod, least)
		}
		if name == "workers" && c.Workers.SoftStop < c.Model.Timeout {
			t.Errorf("calls may last %s and are cut after %s", c.Model.Timeout, c.Workers.SoftStop)
		}
	}
}

// settings are what our program reads in a service, with secrets that are there.
func settings(t *testing.T, s types.ServiceConfig) (config.Config, error) {
	t.Helper()
	environ := deploy.Environ(s)
	for i, kv := range environ {
		name, value, _ := strings.Cut(kv, "=")
		if secret, ok := strings.CutPrefix(value, "/run/secrets/"); ok {
			file := filepath.Join(t.TempDir(), secret)
			put(t, file, "Wq7x-"+secret+"-5Jd2\n")
			environ[i] = name + "=" + file
		}
	}
	return config.Load("", environ)
}

func TestSettingsExist(t *testing.T) {
	reference, err := os.ReadFile(filepath.Join(root, "ops/docs/configuration.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range append(roles, "keys") {
		s := load(t).Services[name]
		if _, err := settings(t, s); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for _, kv := range deploy.Environ(s) {
			setting, _, _ := strings.Cut(kv, "=")
			if strings.HasPrefix(setting, "MOLTBOT_") && !strings.Contains(string(reference), "| `"+setting+"` |") {
				t.Errorf("%s: %s is not in the reference", name, setting)
			}
		}
		if len(s.EnvFiles) != 1 || s.EnvFiles[0].Required {
			t.Errorf("%s: further settings from %+v", name, s.EnvFiles)
		}
	}
}

func TestSecretsAreFiles(t *testing.T) {
	p := load(t)
	for name, s := range p.Secrets {
		if s.File == "" || s.Environment != "" || s.Content != "" {
			t.Errorf("secret %s is no file", name)
		}
	}
	var secret []string
	for _, k := range config.Keys() {
		if k.Secret && !strings.HasSuffix(k.Path, "url") && k.Path != "model.endpoint" && k.Path != "trace.endpoint" {
			secret = append(secret, k.Env)
		}
	}
	if len(secret) != 10 {
		t.Errorf("secrets that are no addresses: %v", secret)
	}
	for name, s := range p.Services {
		for _, kv := range deploy.Environ(s) {
			setting, value, _ := strings.Cut(kv, "=")
			if slices.Contains(secret, setting) || regexp.MustCompile(`://[^/]*@`).MatchString(value) {
				t.Errorf("%s: %s holds a secret", name, setting)
			}
			file, named := strings.CutPrefix(value, "/run/secrets/")
			granted := slices.ContainsFunc(s.Secrets, func(g types.ServiceSecretConfig) bool { return g.Source == file })
			if named && !granted {
				t.Errorf("%s: %s names a secret that the service does not get", name, setting)
			}
		}
	}
	for name, want := range map[string][]string{
		"nats": {"nats_password"}, "redis": {"redis_password"}, "keys": nil,
		"ingress": {"nats_password", "redis_password"}, "workers": {"nats_password", "redis_password", "model_api_key"},
		"scheduler": {"nats_password", "redis_password", "model_api_key"},
	} {
		var got []string
		for _, g := range p.Services[name].Secrets {
			got = append(got, g.Source)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s gets the secrets %v, needs %v", name, got, want)
		}
	}
	ignored, err := os.ReadFile(filepath.Join(root, ".gitignore"))
	if err != nil || !strings.Contains(string(ignored), "\n/secrets/\n") || !strings.Contains(string(ignored), "\n/moltbot.env\n") {
		t.Errorf("git would take the secrets: %v", err)
	}
}
