package contracts

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

func FuzzDecodeModelsReload(f *testing.F) {
	seeds(f, "models_reload")
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := DecodeModelsReload(b); err == nil {
			again(t, r, EncodeModelsReload, DecodeModelsReload)
		}
	})
}

func TestTableRemembersItsFiles(t *testing.T) {
	table := aTable.From("a", nil, noon)
	for i := range 40 {
		table = aTable.From(fmt.Sprint(i), &table, noon)
	}
	if len(table.Sources) != keptSources || table.Sources[0] != "39" || table.Sources[31] != "8" || table.By != "file" {
		t.Errorf("sources are %v, by %s", table.Sources, table.By)
	}
	table = aTable.From("20", &table, noon) // a file that comes again is the newest
	if table.Sources[0] != "20" || slices.Index(table.Sources[1:], "20") >= 0 || len(table.Sources) != keptSources {
		t.Errorf("sources are %v", table.Sources)
	}
}

func TestTablesThatSayTheSame(t *testing.T) {
	other := aTable
	other.By, other.At, other.Sources, other.Version = "ann", noon.Add(time.Hour), nil, 0
	if !aTable.Same(other) {
		t.Error("who made it counts")
	}
	other.Default = "slow"
	if aTable.Same(other) {
		t.Error("the default does not count")
	}
	other = aTable
	other.Routes = nil
	if aTable.Same(other) {
		t.Error("routes do not count")
	}
	empty := other
	empty.Routes = []ModelRoute{}
	if !empty.Same(other) {
		t.Error("no routes and no routes differ")
	}
}

func TestModelRequestChanges(t *testing.T) {
	slow, err := ModelRequest{Default: "slow"}.Changed(&aTable)
	if err != nil || slow.Default != "slow" || len(slow.Routes) != 1 || aTable.Default != "fast" || len(slow.Sources) != 1 {
		t.Errorf("%+v, %v", slow, err)
	}
	bare, err := ModelRequest{Routes: &[]ModelRoute{}}.Changed(&aTable)
	if err != nil || len(bare.Routes) != 0 || len(aTable.Routes) != 1 {
		t.Errorf("%+v, %v", bare, err)
	}
	whole := ModelTable{Default: "x", Sources: []string{"made up"}, Models: map[string]ModelEntry{"x": {Provider: "p", Model: "m"}, "y": {Provider: "p", Model: "n"}}}
	next, err := ModelRequest{Table: &whole, Default: "y"}.Changed(&aTable)
	if err != nil || next.Default != "y" || len(next.Models) != 2 || !slices.Equal(next.Sources, aTable.Sources) {
		t.Errorf("%+v, %v", next, err)
	}
	if next, err = (ModelRequest{Table: &whole}).Changed(nil); err != nil || next.Sources != nil {
		t.Errorf("%+v, %v", next, err)
	}
	if _, err := (ModelRequest{Default: "x"}).Changed(nil); err == nil {
		t.Error("nothing was changed")
	}
}

func TestTableThatIsTooLarge(t *testing.T) {
	large := ModelTable{Default: "x", Models: map[string]ModelEntry{"x": {Provider: "p", Model: strings.Repeat("m", MaxTable)}}}
	if _, err := EncodeModelTable(large); err == nil || !strings.Contains(err.Error(), "bytes") {
		t.Errorf("it is written: %v", err)
	}
}

func TestFollows(t *testing.T) {
	n := ModelsNode{Models: &ModelsStatus{Revision: 4}}
	if !n.Follows(4) || !n.Follows(3) || n.Follows(5) || (ModelsNode{}).Follows(0) {
		t.Error("who follows is not told")
	}
}
