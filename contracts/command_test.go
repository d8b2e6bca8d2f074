package contracts

import "testing"

func TestParseCommand(t *testing.T) {
	for text, want := range map[string]Command{
		"/new": {Name: CommandNew}, "  /NEW \n": {Name: CommandNew}, "／new": {Name: CommandNew}, "新会话": {Name: CommandNew}, "/新会话": {Name: CommandNew},
		"/stop": {Name: CommandStop}, "停止": {Name: CommandStop}, "/help": {Name: CommandHelp}, "帮助": {Name: CommandHelp},
		"/model": {Name: CommandModel}, "/model gpt-4o": {Name: CommandModel, Argument: "gpt-4o"}, "／模型 Fast": {Name: CommandModel, Argument: "Fast"}, "模型": {Name: CommandModel},
	} {
		if got, ok := ParseCommand(text); !ok || got != want {
			t.Errorf("%q: %+v, %v", text, got, ok)
		}
	}
	for _, text := range []string{
		"", " ", "new", "/", "/newer", "/new chat please", "/stop it", "/news", "//new", "/new/", "/zh/ hello", "模型 是什么", "停止 吧", "请停止", "/unknown", "stop", "/model a b",
	} {
		if got, ok := ParseCommand(text); ok {
			t.Errorf("%q: %+v", text, got)
		}
	}
}

func FuzzParseCommand(f *testing.F) {
	f.Add("/model gpt-4o")
	f.Add("／模型 x")
	f.Fuzz(func(t *testing.T, text string) {
		if c, ok := ParseCommand(text); ok != (c.Name != "") || c.Argument != "" && c.Name != CommandModel {
			t.Errorf("%q: %+v, %v", text, c, ok)
		}
	})
}
