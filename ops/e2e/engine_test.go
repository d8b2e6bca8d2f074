package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/types"

	"moltbot/ops/deploy"
)

// engine runs docker-compose.yml as processes. It replaces what a container
// engine would provide, and nothing else: host names and ports become ports of
// this machine, and the mounted paths lie below a directory of each container.
type engine struct {
	t       *testing.T
	dir     string
	project *types.Project
	image   string                    // our program, built as the image builds it
	tools   string                    // what the images of NATS and Redis bring
	secrets string                    // directory, as the README makes it
	ports   map[string]map[string]int // of the services that others reach
	running map[string][]*container
}

// container is one process of a service.
type container struct {
	*process
	e       *engine
	service types.ServiceConfig
	root    string
	ports   map[string]int // those of the file, and those of this machine
}

// exposed are the ports on which a service listens in its container.
var exposed = map[string][]string{
	"nats": {"4222", "8222"}, "redis": {"6379"}, "ingress": {"18789", "18790"}, "workers": {"18790"}, "scheduler": {"18790"},
}

func newEngine(t *testing.T) *engine {
	t.Helper()
	for _, tool := range []string{"redis-server", "redis-cli", "wget", "sh", "openssl"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("the images and the operator have %s, this machine does not", tool)
		}
	}
	project, err := deploy.Load(t.Context(), root)
	if err != nil {
		t.Fatal(err)
	}
	_, nats := programs(t)
	e := &engine{
		t: t, project: project, dir: open(t), image: image(t),
		ports: map[string]map[string]int{}, running: map[string][]*container{},
	}
	e.secrets = e.makeSecrets()
	e.tools = filepath.Join(e.dir, "tools")
	e.mkdir(e.tools, 0o755)
	copyFile(t, nats, filepath.Join(e.tools, "nats-server"))
	for name := range project.Volumes {
		e.mkdir(filepath.Join(e.dir, "volumes", name), 0o755)
	}
	for _, name := range []string{"nats", "redis"} {
		e.ports[name] = e.newPorts(name)
	}
	return e
}

// open is a temporary directory that every user may look into, as the users of
// containers do. That of the testing package lets only its owner in.
func open(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "moltbot-compose-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) }) // the system's temporary directory
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// makeSecrets types what the README says.
func (e *engine) makeSecrets() (dir string) {
	e.t.Helper()
	readme, err := os.ReadFile(root + "/README.md")
	if err != nil {
		e.t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)\n```sh\n(mkdir [^`]*? secrets\n.*?)```\n").FindSubmatch(readme)
	if block == nil {
		e.t.Fatal("the README does not say how to make the secrets")
	}
	cmd := exec.Command("sh", "-euc", string(block[1]))
	cmd.Dir = e.dir
	if out, err := cmd.CombinedOutput(); err != nil {
		e.t.Fatalf("make the secrets: %v\n%s", err, out)
	}
	return filepath.Join(e.dir, "secrets")
}

// secret is what stands in the file that docker-compose.yml names.
func (e *engine) secret(name string) string {
	e.t.Helper()
	if want := filepath.Join("secrets", name); !strings.HasSuffix(e.project.Secrets[name].File, "/"+want) {
		e.t.Fatalf("the secret %s is in %s, not in %s", name, e.project.Secrets[name].File, want)
	}
	path := filepath.Join(e.secrets, name)
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm()&0o004 == 0 {
		e.t.Fatalf("users of containers cannot read %s: %v, %v", path, info, err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		e.t.Fatal(err)
	}
	return string(content)
}

func (e *engine) mkdir(path string, mode os.FileMode) {
	e.t.Helper()
	if err := errors.Join(os.MkdirAll(path, 0o755), os.Chmod(path, mode)); err != nil {
		e.t.Fatal(err)
	}
}

func (e *engine) newPorts(service string) map[string]int {
	ports := map[string]int{}
	for _, port := range exposed[service] {
		ports[port] = freePort(e.t)
	}
	return ports
}

// up starts a service as often as scale says, after those it depends on.
func (e *engine) up(name string, scale int) {
	e.t.Helper()
	if len(e.running[name]) > 0 {
		return
	}
	s := e.project.Services[name]
	for _, on := range []string{"prepare", "nats", "redis", "keys"} { // of which none depends on a later one
		d, ok := s.DependsOn[on]
		if !ok || on == "prepare" && os.Geteuid() != 0 {
			continue // without root everything belongs to whoever runs the test
		}
		e.up(on, 1)
		c := e.running[on][0]
		if d.Condition == types.ServiceConditionCompletedSuccessfully {
			c.await(0, time.Minute)
			continue
		}
		eventually(e.t, time.Minute, on+" is healthy", c.healthy)
	}
	for i := range scale {
		c := e.create(s, i)
		e.running[name] = append(e.running[name], c)
		c.start()
	}
}

func (e *engine) create(s types.ServiceConfig, i int) *container {
	e.t.Helper()
	name := fmt.Sprintf("%s-%d", s.Name, i+1)
	c := &container{e: e, service: s, root: filepath.Join(e.dir, "containers", name), ports: e.ports[s.Name]}
	if c.ports == nil {
		c.ports = e.newPorts(s.Name)
	}
	if err := os.RemoveAll(c.root); err != nil { // a new container; the volumes stay
		e.t.Fatal(err)
	}
	e.mkdir(c.root, 0o755)
	for _, v := range s.Volumes {
		e.mkdir(filepath.Dir(c.root+v.Target), 0o755)
		if err := os.Symlink(filepath.Join(e.dir, "volumes", v.Source), c.root+v.Target); err != nil {
			e.t.Fatal(err)
		}
	}
	for _, mount := range s.Tmpfs {
		c.tmpfs(mount)
	}
	for _, secret := range s.Secrets {
		c.file("/run/secrets/"+secret.Source, e.secret(secret.Source))
	}
	for _, config := range s.Configs {
		text, err := os.ReadFile(e.project.Configs[config.Source].File)
		if err != nil {
			e.t.Fatal(err)
		}
		c.file(config.Target, c.translate(string(text)))
	}
	args := slices.Concat(c.entrypoint(), s.Command)
	c.process = newProcess(e.t, e.dir, name, c.args(args)...)
	c.setup = c.confine
	return c
}

// entrypoint is that of the file, or else that of our image.
func (c *container) entrypoint() []string {
	if len(c.service.Entrypoint) > 0 {
		return c.service.Entrypoint
	}
	return []string{"/moltbot"}
}

func (c *container) file(path, text string) {
	c.e.t.Helper()
	c.e.mkdir(filepath.Dir(c.root+path), 0o755)
	if err := os.WriteFile(c.root+path, []byte(text), 0o444); err != nil {
		c.e.t.Fatal(err)
	}
}

// tmpfs makes a directory such as "/run/nats:mode=0700,uid=1,gid=2,size=64k".
func (c *container) tmpfs(mount string) {
	c.e.t.Helper()
	path, options, _ := strings.Cut(mount, ":")
	number := func(name string, base int) int {
		m := regexp.MustCompile(`(?:^|,)` + name + `=([0-9]+)`).FindStringSubmatch(options)
		if m == nil {
			c.e.t.Fatalf("%s has no %s", mount, name)
		}
		n, err := strconv.ParseInt(m[1], base, 32)
		if err != nil {
			c.e.t.Fatal(err)
		}
		return int(n)
	}
	c.e.mkdir(c.root+path, os.FileMode(number("mode", 8)))
	if os.Geteuid() == 0 {
		if err := os.Chown(c.root+path, number("uid", 10), number("gid", 10)); err != nil {
			c.e.t.Fatal(err)
		}
	}
}

var (
	host  = regexp.MustCompile(`\b(nats|redis):([0-9]{4,5})\b|\b[0-9]{4,5}\b`)
	mount = regexp.MustCompile(`(^|[\s"'=])(/[a-z_./]+)`)
)

// translate puts a text of the file into the place of this container.
func (c *container) translate(text string) string {
	text = host.ReplaceAllStringFunc(text, func(found string) string {
		if service, port, named := strings.Cut(found, ":"); named {
			return local(c.e.ports[service][port])
		}
		if port, ok := c.ports[found]; ok {
			return strconv.Itoa(port)
		}
		return found
	})
	text = mount.ReplaceAllStringFunc(text, func(found string) string {
		at := strings.Index(found, "/")
		if c.mounted(found[at:]) {
			return found[:at] + c.root + found[at:]
		}
		return found
	})
	return strings.ReplaceAll(text, "0.0.0.0", "127.0.0.1")
}

func (c *container) mounted(path string) bool {
	targets := []string{"/run/secrets"}
	for _, v := range c.service.Volumes {
		targets = append(targets, v.Target)
	}
	for _, m := range c.service.Tmpfs {
		target, _, _ := strings.Cut(m, ":")
		targets = append(targets, target)
	}
	for _, f := range c.service.Configs {
		targets = append(targets, f.Target)
	}
	return slices.ContainsFunc(targets, func(t string) bool { return path == t || strings.HasPrefix(path, t+"/") })
}

// args are a command of the file, with our program where the image has it.
func (c *container) args(command []string) []string {
	var args []string
	for _, a := range command {
		if a == "/moltbot" {
			a = c.e.image
		} else {
			a = c.translate(a)
		}
		args = append(args, a)
	}
	return args
}

// confine gives a process the environment and the user that the file gives it,
// and nothing of ours.
func (c *container) confine(cmd *exec.Cmd) {
	cmd.Env, cmd.Dir = []string{}, c.root
	for _, kv := range deploy.Environ(c.service) {
		cmd.Env = append(cmd.Env, c.translate(kv))
	}
	if c.service.Build == nil { // our image has no PATH, because it has no programs
		cmd.Env = append(cmd.Env, "PATH="+c.e.tools+":"+os.Getenv("PATH"))
	}
	if os.Geteuid() != 0 {
		return // everything belongs to whoever runs the test
	}
	var id syscall.Credential
	if _, err := fmt.Sscanf(c.service.User, "%d:%d", &id.Uid, &id.Gid); err != nil {
		c.e.t.Fatalf("user %q: %v", c.service.User, err)
	}
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Credential = &id
}

// exec runs a command in the container, as "docker compose exec" does.
func (c *container) exec(command ...string) (stdout string, err error) {
	ctx, cancel := context.WithTimeout(c.e.t.Context(), 20*time.Second)
	defer cancel()
	args := c.args(command)
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	var errOut strings.Builder
	cmd.Stderr = &errOut
	c.confine(cmd)
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("%s: %w: %s", strings.Join(command, " "), err, errOut.String())
	}
	return string(out), err
}

// healthy asks what the file says is to be asked.
func (c *container) healthy() bool {
	test := []string(c.service.HealthCheck.Test)
	command := test[1:]
	if test[0] == "CMD-SHELL" {
		command = append([]string{"/bin/sh", "-c"}, command...)
	}
	_, err := c.exec(command...)
	return err == nil
}

// await waits for the end of a container, which must have this exit status.
func (c *container) await(status int, within time.Duration) {
	c.e.t.Helper()
	c.mu.Lock()
	exited := c.exited
	c.mu.Unlock()
	select {
	case <-exited:
	case <-time.After(within):
		c.e.t.Fatalf("%s did not end within %s\n%s", c.name, within, c.tail())
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if got := c.cmd.ProcessState.ExitCode(); got != status {
		c.e.t.Fatalf("%s ended with %d, want %d\n%s", c.name, got, status, c.tail())
	}
}

// down stops a service as the engine does: the signal to the first process
// alone, and the grace period of the file.
func (e *engine) down(name string, status int) {
	e.t.Helper()
	for _, c := range e.running[name] {
		_ = syscall.Kill(c.cmd.Process.Pid, syscall.SIGTERM) // if it is gone already, await says so
	}
	for _, c := range e.running[name] {
		grace := 10 * time.Second
		if g := c.service.StopGracePeriod; g != nil {
			grace = time.Duration(*g)
		}
		c.await(status, grace)
	}
	delete(e.running, name)
}
