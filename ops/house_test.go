// Package ops_test checks the house as a whole: what the documents say about the
// code, and what no single package can see of itself.
package ops_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"moltbot/contracts"
)

const root = ".." // this package's directory is ops

// layers says what of ours a top-level directory may import, itself included.
var layers = map[string][]string{
	"contracts": {"contracts"},
	"ingress":   {"contracts", "ingress"},
	"workers":   {"contracts", "workers"},
	"scheduler": {"contracts", "scheduler"},
	"ops":       {"contracts", "ingress", "workers", "scheduler", "ops"},
}

// pkg is what `go list -json` says of a package.
type pkg struct {
	ImportPath, Name, Doc              string
	Standard                           bool
	GoFiles                            []string
	Imports, TestImports, XTestImports []string
}

func list(t *testing.T, args ...string) []pkg {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-json=ImportPath,Name,Doc,Standard,GoFiles,Imports,TestImports,XTestImports"}, args...)...)
	cmd.Dir = root
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.Bytes())
	}
	var all []pkg
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

// own gives the path of one of our packages inside the module.
func own(importPath string) (string, bool) { return strings.CutPrefix(importPath, "moltbot/") }

func layerOf(path string) string { return strings.SplitN(path, "/", 2)[0] }

func TestImportsPointOneWay(t *testing.T) {
	for _, p := range append(list(t, "./..."), list(t, "-tags", "crashpoint", "./...")...) {
		path, _ := own(p.ImportPath)
		allowed, known := layers[layerOf(path)]
		if !known {
			t.Errorf("%s: no layer is called %s", path, layerOf(path))
		}
		for _, imported := range slices.Concat(p.Imports, p.TestImports, p.XTestImports) {
			if to, ours := own(imported); ours && !slices.Contains(allowed, layerOf(to)) {
				t.Errorf("%s imports %s; %s may only import %v", path, to, layerOf(path), allowed)
			}
		}
	}
}

// The contracts, and their tests too, stand on the standard library alone.
func TestContractsStandOnTheStandardLibrary(t *testing.T) {
	for _, p := range list(t, "-deps", "-test", "./contracts/...") {
		path, _, _ := strings.Cut(p.ImportPath, " ") // "path [of a test]"
		ours, is := own(path)
		ours = strings.TrimSuffix(ours, ".test") // the main package that go test makes
		if !p.Standard && (!is || layerOf(ours) != "contracts") {
			t.Errorf("contracts depends on %s", p.ImportPath)
		}
	}
}

func TestEveryPackageSaysWhatItIs(t *testing.T) {
	for _, p := range list(t, "./...") {
		prefix := "Package " + p.Name + " "
		if p.Name == "main" {
			prefix = "Command " + filepath.Base(p.ImportPath) + " "
		}
		if len(p.GoFiles) > 0 && !strings.HasPrefix(p.Doc, prefix) {
			t.Errorf("%s: its comment begins %q, want %q", p.ImportPath, p.Doc, prefix)
		}
	}
}

// files calls check with every file of the repository whose name ends so.
func files(t *testing.T, suffix string, check func(path, text string)) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == ".git" || d.Name() == "moltbot-data" || d.Name() == "bin") {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(path, suffix) {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		check(filepath.ToSlash(name), string(text))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

const longestFile = 400

func TestFilesAreReadable(t *testing.T) {
	files(t, ".go", func(path, text string) {
		if n := strings.Count(text, "\n"); n > longestFile && !strings.HasSuffix(path, "_test.go") {
			t.Errorf("%s has %d lines; more than %d are two files", path, n, longestFile)
		}
	})
}

// A test that sleeps is slow on a fast machine and wrong on a slow one.
func TestNoTestSleeps(t *testing.T) {
	sleep := "time." + "Sleep("
	files(t, "_test.go", func(path, text string) {
		for i, line := range strings.Split(text, "\n") {
			if strings.Contains(line, sleep) {
				t.Errorf("%s:%d sleeps; wait for the event instead", path, i+1)
			}
		}
	})
}

var (
	quoted = regexp.MustCompile("`([^`\n]+)`")
	linked = regexp.MustCompile(`\]\(([^)#:\s]+)(?:#[^)]*)?\)`)
	// named is a path of ours: below a top-level directory, or a file of the root.
	named = regexp.MustCompile(`^(?:(?:contracts|ingress|workers|scheduler|ops|\.ci)/[\w./-]*[\w/]|[A-Z][\w-]*\.(?:md|yml)|go\.mod)$`)
)

func TestNamedPathsExist(t *testing.T) {
	files(t, ".md", func(doc, text string) {
		exists := func(path string) {
			if _, err := os.Stat(filepath.Join(root, path)); err != nil {
				t.Errorf("%s names %s, which is not there", doc, path)
			}
		}
		for _, m := range quoted.FindAllStringSubmatch(text, -1) {
			if named.MatchString(m[1]) {
				exists(m[1])
			}
		}
		for _, m := range linked.FindAllStringSubmatch(text, -1) {
			exists(filepath.Join(filepath.Dir(doc), m[1]))
		}
	})
}

// typed gives the lines of a document's sh blocks, which people type one by one.
func typed(text string) []string {
	var lines []string
	inside := false
	for line := range strings.Lines(text) {
		switch {
		case strings.HasPrefix(line, "```"):
			inside = strings.TrimSpace(line) == "```sh"
		case inside:
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return lines
}

var goCommand = regexp.MustCompile(`\bgo (?:run|test|build) [^)]+`)

// What the README tells people to type is what CI runs: the sh blocks command by
// command, the bash blocks as they stand.
func TestReadmeCommandsRunInCI(t *testing.T) {
	ci := read(t, ".ci/run")
	found := 0
	for _, line := range typed(read(t, "README.md")) {
		for _, command := range goCommand.FindAllString(line, -1) {
			found++
			if !strings.Contains(ci, command) {
				t.Errorf("README: %q is not run by .ci/run", command)
			}
		}
	}
	if found < 3 {
		t.Errorf("only %d commands found in the README", found)
	}
	if !strings.Contains(ci, "/^```bash$/") {
		t.Error(".ci/run does not run the README's bash blocks")
	}
}

func TestChangelogHasUnreleased(t *testing.T) {
	if !strings.Contains(read(t, "CHANGELOG.md"), "\n## [Unreleased]\n") {
		t.Error("CHANGELOG.md has no section [Unreleased]")
	}
}

var codeRow = regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\| ([0-9]{3}) \\|")

func TestReadmeListsEveryCode(t *testing.T) {
	documented := map[contracts.Code]int{}
	for _, m := range codeRow.FindAllStringSubmatch(read(t, "README.md"), -1) {
		documented[contracts.Code(m[1])], _ = strconv.Atoi(m[2])
	}
	for _, c := range contracts.Codes() {
		if documented[c] != c.Status() {
			t.Errorf("README gives %q the status %d, it is %d", c, documented[c], c.Status())
		}
		delete(documented, c)
	}
	for c := range documented {
		t.Errorf("README lists the code %q, which does not exist", c)
	}
}

func TestReadmeListsEveryRoute(t *testing.T) {
	readme := read(t, "README.md")
	for _, m := range regexp.MustCompile(`"(/[a-z/:]+)"`).FindAllStringSubmatch(read(t, "ingress/routes.go"), -1) {
		if path := strings.NewReplacer(":id", "{id}", ":app", "{app}").Replace(m[1]); !strings.Contains(readme, path+"`") {
			t.Errorf("README does not list %s", path)
		}
	}
}

// The hand-book quotes messages and refusals; an operator searches for them.
func TestHandbookQuotesTheCode(t *testing.T) {
	var code strings.Builder
	files(t, ".go", func(path, text string) {
		if !strings.HasSuffix(path, "_test.go") {
			code.WriteString(text)
		}
	})
	source := regexp.MustCompile(`" \+\s+"`).ReplaceAllString(code.String(), "") // texts that go on in the next line
	section, found := "", 0
	for line := range strings.Lines(read(t, "ops/docs/handbook.md")) {
		if strings.HasPrefix(line, "## ") {
			section = strings.TrimSpace(line[3:])
		}
		m := quoted.FindStringSubmatchIndex(line)
		if m == nil || m[0] != 2 || section != "Refusals at start" && section != "Log lines" {
			continue // not the first column of one of the two tables
		}
		found++
		if text := strings.TrimSuffix(line[m[2]:m[3]], "…"); !strings.Contains(source, text) {
			t.Errorf("the hand-book quotes %q, which nothing says", text)
		}
	}
	if found < 30 {
		t.Errorf("only %d quotations found", found)
	}
}

var redisKey = regexp.MustCompile("(?m)^func Key[A-Za-z]+\\([^)]*\\) string[^\"]*\"([a-z]+):")

func TestArchitectureListsEveryKeyAndStream(t *testing.T) {
	doc := read(t, "ops/docs/architecture.md")
	keys := redisKey.FindAllStringSubmatch(read(t, "contracts/key.go"), -1)
	if len(keys) < 8 {
		t.Errorf("only %d keys found", len(keys))
	}
	for _, m := range keys {
		if !strings.Contains(doc, "| `"+m[1]+":") {
			t.Errorf("architecture.md does not list the Redis key %s:", m[1])
		}
	}
	for _, stream := range []string{contracts.StreamChat, contracts.StreamDead} {
		if !strings.Contains(doc, "| `"+stream+"` |") {
			t.Errorf("architecture.md does not list the stream %s", stream)
		}
	}
}
