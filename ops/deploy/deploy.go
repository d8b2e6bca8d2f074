// Package deploy reads docker-compose.yml the way a container engine does, so
// that tests can hold it to its promises and run it. It starts nothing, and
// nothing of the product imports it.
package deploy

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
)

// File is the composition, in the root of the repository.
const File = "docker-compose.yml"

// Load reads the composition of the repository at root, checked against the
// schema and for consistency. environ ("NAME=value") is what its ${NAMES} stand for. The
// operator's own env_file is not looked into.
func Load(ctx context.Context, root string, environ ...string) (*types.Project, error) {
	options, err := cli.NewProjectOptions([]string{root + "/" + File},
		cli.WithWorkingDirectory(root), cli.WithEnv(environ), cli.WithoutEnvironmentResolution)
	if err != nil {
		return nil, fmt.Errorf("prepare to read %s: %w", File, err)
	}
	p, err := options.LoadProject(ctx)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", File, err)
	}
	return p, nil
}

// Environ is what a service finds in its environment ("NAME=value"), sorted.
func Environ(s types.ServiceConfig) []string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(s.Environment)) {
		if v := s.Environment[name]; v != nil {
			all = append(all, name+"="+*v)
		}
	}
	return all
}
