package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"moltbot/contracts"
)

func TestParseRoutes(t *testing.T) {
	routes, err := parseRoutes([]string{"^/zh/=qwen", "a=b=fast"})
	if err != nil || len(routes) != 2 || routes[0] != (contracts.ModelRoute{Pattern: "^/zh/", Model: "qwen"}) || routes[1].Pattern != "a=b" {
		t.Errorf("%+v, %v", routes, err)
	}
	for _, bad := range []string{"", "qwen", "=qwen", "^/zh/="} {
		if _, err := parseRoutes([]string{bad}); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

// A change that is not known to hold everywhere is no success.
func TestNotFollowed(t *testing.T) {
	for want, r := range map[string]contracts.ModelReply{
		"":                          {Applied: 2, Workers: 2},
		"not followed by: w1; w2":   {Applied: 1, Workers: 3, Behind: []string{"w1", "w2"}},
		"who follows could not be ": {Workers: 2},
	} {
		err := notFollowed(r)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v", r, err)
		}
	}
}

const twoModels = `models:
  fast: {provider: demo, model: small, input_price: 0.5, output_price: 1.5, max_concurrent: 9}
  slow: {provider: demo, model: large, fallback: [fast]}
model_routing: {default: fast}
`

func TestModel(t *testing.T) {
	dir := t.TempDir()
	contains(t, fails(t, exitFailure, "model", "list", "--data-dir", dir), "no process seems to run")
	fails(t, exitUsage, "model", "use")
	file := filepath.Join(dir, "models.yaml")
	put := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put(twoModels)
	config := configFile(t, "model: {file: "+file+"}\n")
	r := up(t, dir, "--config", config)
	at := []string{"--data-dir", dir}
	model := func(args ...string) string { return must(t, append(append([]string{"model"}, args...), at...)...) }
	refused := func(want string, args ...string) {
		t.Helper()
		contains(t, fails(t, exitFailure, append(append([]string{"model"}, args...), at...)...), want)
	}
	contains(t, model("list"), "MODEL", "fast   demo      small      *", "slow   demo      large", "0.5 / 1.5", "revision 1, by file", "1 of 1 at revision 1")
	contains(t, model("use", "slow"), "default slow; 1 of 1 workers at revision 2")
	contains(t, model("use", "slow"), "1 of 1 workers at revision 2") // nothing to do
	refused(`there is no model "slw"; there are: fast, slow`, "use", "slw")
	contains(t, model("route", "^/zh/=slow", "^/en/=fast"), "revision 3")
	contains(t, model("list"), "route 1  ^/zh/ -> slow\nroute 2  ^/en/ -> fast", "by operator")
	refused("must be a regular expression", "route", "^(=slow")
	refused(`routes[0]: there is no model "x"`, "route", "^a=x")
	refused("--clear", "route")
	contains(t, model("route", "--clear"), "revision 4")

	// The file is what it was; reload makes it count again.
	contains(t, model("reload"), "default fast; 1 of 1 workers at revision 5")
	var shown contracts.AdminModel
	if err := json.Unmarshal([]byte(model("list", "--json")), &shown); err != nil {
		t.Fatal(err)
	}
	if shown.Table.Default != "fast" || len(shown.Workers) != 1 || shown.Workers[0].Models.Revision != 5 || len(shown.Table.Sources) != 1 {
		t.Errorf("shown %+v", shown)
	}
	put(twoModels + "porridge: 1\n")
	refused("porridge", "reload")
	contains(t, must(t, append([]string{"--config", config, "model", "list"}, at...)...), "its configuration is refused", "porridge")
	put(strings.ReplaceAll(twoModels, "default: fast", "default: slow"))
	var reply contracts.ModelReply
	if err := json.Unmarshal([]byte(model("reload", "--json")), &reply); err != nil {
		t.Fatal(err)
	}
	if reply.Default != "slow" || reply.Applied != 1 || reply.Workers != 1 {
		t.Errorf("reloaded %+v", reply)
	}
	r.stop(t)
	contains(t, r.log.String(), "models wanted by an operator", `"user_id":"operator"`, "models reloaded by an operator")

	// What an operator chose outlives a restart with the same file.
	r = up(t, dir, "--config", config)
	contains(t, model("use", "fast"), "default fast")
	r.stop(t)
	up(t, dir, "--config", config)
	contains(t, model(), "fast   demo      small      *")
}

func TestPrintModelsNamesWhoIsBehind(t *testing.T) {
	var b strings.Builder
	err := printModels(&b, contracts.AdminModel{
		Revision: 7,
		Table:    &contracts.ModelTable{Default: "x", By: "ann", At: time.Unix(0, 0).UTC(), Models: map[string]contracts.ModelEntry{"x": {Provider: "p", Model: "m"}}},
		Workers: []contracts.ModelsNode{
			{Node: "n1", Host: "a", PID: 1, Models: &contracts.ModelsStatus{Revision: 7, Resting: map[string][]contracts.RestingKey{"p": {{Key: 2, Until: time.Unix(0, 0).UTC(), Refused: true}}}}},
			{Node: "n2", Host: "b", PID: 2, Models: &contracts.ModelsStatus{Revision: 6, Refused: 7, Error: "no provider p", Mistake: "line 3"}},
			{Node: "n3", Host: "c", PID: 3},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	contains(t, b.String(), "n2 (b, process 2): at revision 6: no provider p", "n2 (b, process 2): its configuration is refused: line 3",
		"n1 (a, process 1): key 2 of p rests until 00:00:00 UTC: the provider refuses it", "n3 (c, process 3): its version knows no tables", "workers  1 of 3 at revision 7", "by ann at 1970-01-01 00:00:00 UTC")
	b.Reset()
	if err := printModels(&b, contracts.AdminModel{}); err != nil {
		t.Fatal(err)
	}
	contains(t, b.String(), "there is no table of models yet")
}
