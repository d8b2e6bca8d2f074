package deploy

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

// Containerfile is how the image is built, relative to the root of the repository.
const Containerfile = "ops/deploy/Containerfile"

// Instruction is one line of it: FROM, RUN and so on, with its arguments.
type Instruction struct {
	Name  string // in capitals
	Flags []string
	Args  []string
	Text  string // what follows the name, as written
	Exec  bool   // the arguments were given as a JSON list
}

// Instructions reads the Containerfile of the repository at root.
func Instructions(root string) ([]Instruction, error) {
	content, err := os.ReadFile(filepath.Join(root, Containerfile))
	if err != nil {
		return nil, fmt.Errorf("read the container file: %w", err)
	}
	result, err := parser.Parse(bytes.NewReader(content))
	if err != nil {
		return nil, fmt.Errorf("parse the container file: %w", err)
	}
	var all []Instruction
	for _, n := range result.AST.Children {
		i := Instruction{Name: strings.ToUpper(n.Value), Flags: n.Flags, Exec: n.Attributes["json"]}
		_, i.Text, _ = strings.Cut(n.Original, " ")
		for a := n.Next; a != nil; a = a.Next {
			i.Args = append(i.Args, a.Value)
		}
		all = append(all, i)
	}
	return all, nil
}

// BuildCommand is the shell command that makes the binary of the image, with
// the settings of the builder in front of it.
func BuildCommand(all []Instruction) (environ []string, command string) {
	for _, i := range all {
		switch {
		case i.Name == "ENV":
			for pair := i.Args; len(pair) >= 3; pair = pair[3:] { // name, value, separator
				environ = append(environ, pair[0]+"="+pair[1])
			}
		case i.Name == "RUN" && strings.Contains(i.Text, "go build"):
			return environ, i.Text
		}
	}
	return nil, ""
}
