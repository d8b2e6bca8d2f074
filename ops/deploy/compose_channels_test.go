package deploy_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"

	"moltbot/ops/deploy"
)

// What the hand-book says of channels is put beside the composition: each role gets
// settings that it accepts, and every secret that they name.
func TestChannelsOfTheHandBook(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(root, "ops/docs/handbook.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(page), "```yaml\nx-feishu:")
	override, _, found := strings.Cut(rest, "```")
	if !found {
		t.Fatal("the hand-book has no example")
	}
	file := filepath.Join(t.TempDir(), "docker-compose.override.yml")
	put(t, file, "x-feishu:"+override)
	options, err := cli.NewProjectOptions([]string{filepath.Join(root, deploy.File), file}, cli.WithWorkingDirectory(root), cli.WithoutEnvironmentResolution)
	if err != nil {
		t.Fatal(err)
	}
	p, err := options.LoadProject(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range append(roles, "keys") {
		s := p.Services[name]
		c, err := settings(t, s)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		wants := name == "ingress" || name == "workers"
		if got := c.Feishu.AppID != ""; got != wants {
			t.Errorf("%s has the application: %v", name, got)
		}
		granted := map[string]bool{}
		for _, g := range s.Secrets {
			granted[g.Source] = true
		}
		for _, kv := range deploy.Environ(s) {
			if _, secret, is := strings.Cut(kv, "=/run/secrets/"); is && !granted[secret] {
				t.Errorf("%s: %s is not granted", name, kv)
			}
		}
	}
}
