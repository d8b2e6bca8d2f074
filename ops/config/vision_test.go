package config

import "testing"

func TestVision(t *testing.T) {
	m, err := LoadModels(write(t, "m.yaml", "providers: {p: {kind: demo}}\nmodels:\n  sees: {provider: p}\n  blind: {provider: p, vision: false}\n  says: {provider: p, vision: true}\nmodel_routing: {default: sees}\n"))
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := m.All()
	for name, want := range map[string]bool{"sees": true, "blind": false, "says": true} {
		if e := table.Models[name]; e.Sees() != want || want && e.Vision != nil {
			t.Errorf("%s: %+v", name, e)
		}
	}
}
