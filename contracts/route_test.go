package contracts

import "testing"

func TestCutRoute(t *testing.T) {
	for text, want := range map[string][2]string{
		"/zh/ 你好": {"/zh/", "你好"}, " \n/zh-TW_1/x": {"/zh-TW_1/", "x"}, "/zh/support/ x": {"/zh/", "support/ x"},
		"/zh/ ": {"", "/zh/ "}, "/zh 你好": {"", "/zh 你好"}, "hello /zh/ x": {"", "hello /zh/ x"}, "": {"", ""}, "//x": {"", "//x"},
	} {
		route, rest, ok := CutRoute(text)
		if route != want[0] || rest != want[1] || ok != (route != "") {
			t.Errorf("%q: %q, %q, %v", text, route, rest, ok)
		}
	}
}

func TestChooseSaysTheRoute(t *testing.T) {
	r, err := NewRouter(ModelTable{
		Default: "a", Models: map[string]ModelEntry{"a": {Provider: "p", Model: "a"}, "b": {Provider: "p", Model: "b"}},
		Routes: []ModelRoute{{Pattern: "^/zh/", Model: "b"}},
	}, 1)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ explicit, route, text, want string }{
		{"", "/zh/x", "hi", "/zh/x"}, {"", "", "/zh/ hi", "/zh/"}, {"", "/de/", "/zh/ hi", "/zh/"}, {"", "/de/", "hi", ""}, {"b", "/zh/", "/zh/ hi", ""},
	} {
		if got, err := r.Choose(c.explicit, c.route, c.text); err != nil || got.Route != c.want {
			t.Errorf("%+v: %+v, %v", c, got, err)
		}
	}
}
