package deploy_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"moltbot/ops/deploy"
)

func instructions(t *testing.T) []deploy.Instruction {
	t.Helper()
	all, err := deploy.Instructions(root)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// stages are the parts of the file, each beginning with its FROM.
func stages(t *testing.T) [][]deploy.Instruction {
	t.Helper()
	var all [][]deploy.Instruction
	for _, i := range instructions(t) {
		if i.Name == "FROM" {
			all = append(all, nil)
		}
		if len(all) > 0 {
			all[len(all)-1] = append(all[len(all)-1], i)
		}
	}
	return all
}

// one is the only instruction of a stage that is called so.
func one(t *testing.T, stage []deploy.Instruction, name string) deploy.Instruction {
	t.Helper()
	var found []deploy.Instruction
	for _, i := range stage {
		if i.Name == name {
			found = append(found, i)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%d times %s", len(found), name)
	}
	return found[0]
}

func TestImageIsTheProgramAlone(t *testing.T) {
	all := stages(t)
	if len(all) != 2 {
		t.Fatalf("%d stages", len(all))
	}
	build, final := all[0], all[1]
	if from := one(t, build, "FROM").Args; !tagged.MatchString(from[0]) || len(from) != 3 {
		t.Errorf("built in %q", from)
	}
	if from := one(t, final, "FROM").Args; !slices.Equal(from, []string{"scratch"}) {
		t.Errorf("made of %q", from)
	}
	if user := one(t, final, "USER").Text; !numeric.MatchString(user) || user != load(t).Services["ingress"].User {
		t.Errorf("user %q, in %s %q", user, deploy.File, load(t).Services["ingress"].User)
	}
	for _, i := range final {
		if i.Name == "RUN" || i.Name == "ADD" {
			t.Errorf("the last stage has %s", i.Name)
		}
		if i.Name == "COPY" && !slices.Equal(i.Flags, []string{"--from=build"}) {
			t.Errorf("copied from elsewhere: %s", i.Text)
		}
	}
	if e := one(t, final, "ENTRYPOINT"); !e.Exec || !slices.Equal(e.Args, []string{"/moltbot"}) {
		t.Errorf("entry point %q", e.Args)
	}
	if h := one(t, final, "HEALTHCHECK"); !slices.Contains(h.Args, "probe") || slices.Contains(h.Args, "/bin/sh") {
		t.Errorf("health check %q", h.Args)
	}
	if label := one(t, final, "LABEL").Text; !strings.Contains(label, "org.opencontainers.image.version=") {
		t.Errorf("labels %s", label)
	}
}

func TestBinaryIsStatic(t *testing.T) {
	environ, command := deploy.BuildCommand(instructions(t))
	for _, want := range []string{"CGO_ENABLED=0", "GOTOOLCHAIN=local"} {
		if !slices.Contains(environ, want) {
			t.Errorf("built without %s: %q", want, environ)
		}
	}
	for _, want := range []string{"-trimpath", "-s -w", "-X main.release=$VERSION", "-o /out/moltbot"} {
		if !strings.Contains(command, want) {
			t.Errorf("built without %s: %s", want, command)
		}
	}
}

// The builder must be new enough for go.mod, since it may fetch no other Go.
func TestBuilderFitsTheModule(t *testing.T) {
	mod, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	wants := regexp.MustCompile(`(?m)^go (1\.[0-9]+)`).FindStringSubmatch(string(mod))
	if from := one(t, stages(t)[0], "FROM").Args[0]; wants == nil || !strings.HasPrefix(from, "golang:"+wants[1]+".") {
		t.Errorf("built in %s, go.mod wants %v", from, wants)
	}
}

// The build context is a list of what gets in: all that the program is made of,
// and nothing else.
func TestBuildContext(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, ".dockerignore"))
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			lines = append(lines, line)
		}
	}
	if lines[0] != "*" {
		t.Errorf("begins with %q, not with nothing", lines[0])
	}
	out, err := exec.Command("go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", "moltbot/ops/moltbot").Output()
	if err != nil {
		t.Fatal(err)
	}
	needed := []string{"go.mod", "go.sum", "LICENSE"}
	for path := range strings.FieldsSeq(string(out)) {
		if rest, ours := strings.CutPrefix(path, "moltbot/"); ours {
			top, _, _ := strings.Cut(rest, "/")
			needed = append(needed, top)
		}
	}
	for _, name := range needed {
		if !slices.Contains(lines, "!"+name) {
			t.Errorf("%s is not in the build context", name)
		}
	}
	for _, line := range lines {
		if strings.HasPrefix(line, "!") && regexp.MustCompile(`secret|\.env|data|\.git`).MatchString(line) {
			t.Errorf("%s is in the build context", line)
		}
	}
}
