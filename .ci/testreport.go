// Command testreport reads the output of "go test -json" and prints what a
// person wants to know of it: one line per package, and everything that failed.
// A skipped test is a failure here: in CI nothing may go untested in silence.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
)

type event struct {
	Action, Package, Test, Output, ImportPath string
	Elapsed                                   float64
}

func main() {
	said := map[string]string{} // output by package and test
	passed, bad := 0, 0
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		var e event
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			fmt.Println(lines.Text())
			continue
		}
		name := e.Package + " " + e.Test
		switch e.Action {
		case "output":
			said[name] += e.Output
		case "build-output":
			fmt.Print(e.Output)
		case "build-fail", "fail":
			bad++
			fmt.Printf("FAIL %s %s%s\n%s", e.Package, e.ImportPath, e.Test, said[name])
		case "skip":
			if e.Test != "" {
				bad++
				fmt.Printf("SKIPPED %s\n%s", name, said[name])
			}
		case "pass":
			if e.Test == "" {
				fmt.Printf("ok   %s (%.1f s)\n", e.Package, e.Elapsed)
			} else {
				passed++
			}
		}
		if e.Action != "output" {
			delete(said, name)
		}
	}
	if err := lines.Err(); err != nil {
		fmt.Println("read test output:", err)
		bad++
	}
	fmt.Printf("%d tests passed, %d failed or were skipped\n", passed, bad)
	if bad > 0 || passed == 0 {
		os.Exit(1)
	}
}
