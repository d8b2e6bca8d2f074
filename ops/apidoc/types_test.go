package apidoc

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"moltbot/contracts"
)

// What is described is what is sent and read, by the names of its members, which
// of them are always there, and the codes.
func TestSchemasAreTheTypes(t *testing.T) {
	text, err := Document()
	if err != nil {
		t.Fatal(err)
	}
	doc, err := openapi3.NewLoader().LoadFromData(text)
	if err != nil {
		t.Fatal(err)
	}
	for name, v := range map[string]any{
		"ChatRequest": contracts.ChatRequest{}, "ChatReply": contracts.ChatReply{}, "Usage": contracts.Usage{}, "Problem": contracts.Problem{},
		"Health": contracts.Health{}, "Ready": contracts.Ready{}, "AdminStatus": contracts.AdminStatus{}, "QueueStatus": contracts.QueueStatus{},
		"TokenRequest": contracts.TokenRequest{}, "TokenReply": contracts.TokenReply{}, "AdminWorkers": contracts.AdminWorkers{},
		"WorkerStatus": contracts.WorkerStatus{}, "PoolStatus": contracts.PoolStatus{}, "PoolRequest": contracts.PoolRequest{},
		"PoolReply": contracts.PoolReply{}, "StreamDelta": contracts.StreamDelta{}, "StreamReset": contracts.StreamReset{},
		"ModelsStatus": contracts.ModelsStatus{}, "RestingKey": contracts.RestingKey{}, "AdminModel": contracts.AdminModel{},
		"ModelsNode": contracts.ModelsNode{}, "ModelTable": contracts.ModelTable{}, "ModelRoute": contracts.ModelRoute{},
		"ModelEntry": contracts.ModelEntry{}, "ModelRequest": contracts.ModelRequest{}, "ModelReply": contracts.ModelReply{},
		"AdminUsage": contracts.AdminUsage{}, "UsageRow": contracts.UsageRow{}, "CachePurged": contracts.CachePurged{},
		"SessionItem": contracts.SessionItem{}, "SessionPage": contracts.SessionPage{}, "SessionTurn": contracts.SessionTurn{},
		"SessionSummary": contracts.SessionSummary{}, "SessionDetail": contracts.SessionDetail{}, "SessionExport": contracts.SessionExport{},
		"AdminTasks": contracts.AdminTasks{}, "TaskQueue": contracts.TaskQueue{}, "Task": contracts.Task{},
		"TaskRequest": contracts.TaskRequest{}, "TaskReply": contracts.TaskReply{},
		"AdminDead": contracts.AdminDead{}, "DeadCount": contracts.DeadCount{}, "DeadLetter": contracts.DeadLetter{}, "DeadDetail": contracts.DeadDetail{},
		"DeadBody": contracts.DeadBody{}, "DeadFilter": contracts.DeadFilter{}, "DeadDone": contracts.DeadDone{},
		"DeadRefused": contracts.DeadRefused{}, "DeadReply": contracts.DeadReply{},
		"AdminKeys": contracts.AdminKeys{}, "KeyStatus": contracts.KeyStatus{}, "Resealing": contracts.Resealing{},
	} {
		schema := doc.Components.Schemas[name]
		if schema == nil {
			t.Errorf("%s is not described", name)
			continue
		}
		var members, always []string
		for f := range reflect.TypeOf(v).Fields() {
			member, options, _ := strings.Cut(f.Tag.Get("json"), ",")
			members = append(members, member)
			if !strings.Contains(options, "omitempty") && !strings.Contains(options, "omitzero") {
				always = append(always, member)
			}
		}
		var described []string
		for member := range schema.Value.Properties {
			described = append(described, member)
		}
		same(t, name, described, members)
		same(t, name+" required", schema.Value.Required, always)
	}
	var codes []string
	for _, c := range contracts.Codes() {
		codes = append(codes, string(c))
	}
	var described []string
	for _, c := range doc.Components.Schemas["Code"].Value.Enum {
		described = append(described, c.(string))
	}
	same(t, "Code", described, codes)
}

func same(t *testing.T, what string, described, real []string) {
	t.Helper()
	slices.Sort(described)
	slices.Sort(real)
	if !slices.Equal(described, real) {
		t.Errorf("%s: described %v, in the program %v", what, described, real)
	}
}
