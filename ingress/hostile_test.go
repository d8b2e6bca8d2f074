package ingress_test

import (
	"net/http"
	"testing"

	"moltbot/contracts"
	"moltbot/ingress"
	"moltbot/ingress/feishu"
)

// A name in the URL is a name and no path.
func TestNamesInTheURL(t *testing.T) {
	r := newAppRig(t)
	body := encrypt(t, r.feishuText("om_1", "hi"))
	for path, status := range map[string]int{
		"/feishu/webhook/second": 200, "/feishu/webhook/" + contracts.DefaultApp: 200, "/feishu/webhook/%73econd": 404,
		"/feishu/webhook/Second": 404, "/feishu/webhook/second%2F": 404, "/feishu/webhook/x%2F..%2Fsecond": 404, "/feishu/webhook/second%00": 404,
		"/feishu/webhook/x/../second": 404, "/feishu/webhook/second/x": 404, "/dingtalk/webhook/second": 404, "/feishu/webhook//second": 404,
	} {
		if res := r.call(http.MethodPost, path, body, r.feishuSigned(body)...); res.status != status {
			t.Errorf("%s: %d, want %d", path, res.status, status)
		}
	}
}

// What is signed twice is signed by nobody: one of two readers would take the other.
func TestSeveralHeaders(t *testing.T) {
	r := newAppRig(t)
	body := encrypt(t, r.feishuText("om_1", "hi"))
	double := func(path, body string, name, value string, with []string) {
		t.Helper()
		req := r.request(t.Context(), http.MethodPost, path, body, with...)
		req.Header[name] = append(req.Header.Values(name), value)
		res, err := r.do(req)
		if err != nil || res.status != http.StatusUnauthorized {
			t.Errorf("%s twice: %v, %d", name, err, res.status)
		}
	}
	for _, name := range []string{"X-Lark-Request-Timestamp", "X-Lark-Request-Nonce", "X-Lark-Signature"} {
		double("/feishu/webhook", body, name, "x", r.feishuSigned(body))
	}
	for _, name := range []string{"Timestamp", "Sign"} {
		with := r.dingtalkSigned()
		double("/dingtalk/webhook", r.dingtalkText("m1", "hi"), name, r.request(t.Context(), http.MethodPost, "/", "", with...).Header.Get(name), with)
	}
	if r.stored() != 0 {
		t.Errorf("%d stored", r.stored())
	}
}

// The same id at two applications, platforms or chats is not the same message; who
// repeats it says nothing else by calling the sender or the chat otherwise.
func TestIdsOfOthersDoNotCollide(t *testing.T) {
	r := newAppRig(t)
	apps := []ingress.ChannelApp{anApp(mentionPolicy()), anApp(mentionPolicy()), anApp(mentionPolicy())}
	apps[1].Name, apps[2].Channel = "second", contracts.ChannelDingTalk
	seen := map[string]bool{}
	for range 2 {
		for i := range apps {
			if err := r.took(apps[i], r.anIncoming("om_1", "hi")); err != nil {
				t.Fatal(err)
			}
			m := r.last()
			seen[m.ID], seen[m.Conversation] = true, true
		}
	}
	if r.stored() != 3 || len(seen) != 6 {
		t.Errorf("%d stored, %d ids and conversations", r.stored(), len(seen))
	}
	// Separators in ids move nothing from one part to the next.
	ids := map[string]bool{}
	for _, c := range [][2]string{{"a", "b/c"}, {"a/b", "c"}, {"a:b", "c"}, {"a", "b:c"}, {"a\u2028", "c"}} {
		m := r.anIncoming(c[1], "hi")
		m.Chat, m.Sender = c[0], c[1]
		if err := r.took(anApp(ingress.ChannelPolicy{Scope: ingress.ScopeUserInChat}), m); err != nil {
			t.Fatal(err)
		}
		ids[r.last().Conversation] = true
	}
	if len(ids) != 5 {
		t.Errorf("%d conversations of 5", len(ids))
	}
}

// W4: the body of DingTalk is anybody's who has seen a header. It can be of no other
// robot and no other organization, and nobody in it is more than a member.
func TestForgedBodies(t *testing.T) {
	r := newAppRig(t)
	for name, replace := range map[string][]string{
		"another robot": {`"robot1"`, `"robot2"`}, "another organization": {`"corp1"`, `"corp2"`},
		"no robot": {`"robotCode":"robot1",`, ""}, "no organization": {`"chatbotCorpId":"corp1",`, ""},
	} {
		problem(t, r.dingtalkPost(r.dingtalkText("m1", "hi", replace...)), contracts.CodeForbidden)
		if r.stored() != 0 {
			t.Fatalf("%s: stored", name)
		}
	}
	for name, replace := range map[string][]string{
		"two robots": {`"robotCode"`, `"robotCode":"robot2","robotCode"`}, "a line in an id": {`"cid1"`, `"cid1\nid: x"`},
	} {
		problem(t, r.dingtalkPost(r.dingtalkText("m1", "hi", replace...)), contracts.CodeBadRequest)
		if r.stored() != 0 {
			t.Fatalf("%s: stored", name)
		}
	}
}

// The old scheme of cards, over HTTP.
func TestOldClicksAreStoredOnce(t *testing.T) {
	r := newAppRig(t)
	body := `{"open_id":"ou_ann","open_message_id":"om_card","open_chat_id":"oc_1","tenant_key":"t1","token":"c-1","action":{"value":{"message":"approve"}}}`
	for i := range 2 {
		with := r.feishuSigned(body)
		ts := r.request(t.Context(), http.MethodPost, "/", "", with...).Header.Get("X-Lark-Request-Timestamp")
		with[len(with)-1] = "X-Lark-Signature: " + feishu.SignOldCard(ts, "nonce", feishuToken, []byte(body))
		if res := r.call(http.MethodPost, "/feishu/webhook", body, with...); res.status != 200 || res.body != "{}" {
			t.Fatalf("%d: %d %s", i, res.status, res.body)
		}
		r.clock.move(2e9) // signed anew, 2 s later
	}
	if m := r.last(); r.stored() != 1 || m.Text != "approve" || m.Caller != "feishu:ou_ann" {
		t.Errorf("%d stored, %+v", r.stored(), m)
	}
}
