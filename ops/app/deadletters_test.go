package app

import (
	"net/http"
	"net/url"
	"testing"
	"time"

	"moltbot/contracts"
)

// replayByAdmin asks the admin API to change something.
func replayByAdmin(t *testing.T, a *App, path string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, a.admin.URL+path, nil)
	must(t, err)
	req.Close = true
	req.Header.Set("Authorization", "Bearer "+a.admin.Token)
	res, err := http.DefaultClient.Do(req)
	must(t, err)
	must(t, res.Body.Close())
	return res.StatusCode
}

// buryReadable puts a message among the dead that a replay can answer.
func buryReadable(t *testing.T, a *App) contracts.ID {
	t.Helper()
	conversation := a.namer.Conversation(contracts.Scope{Channel: contracts.ChannelAPI, Caller: "ann", Session: "s"})
	id := a.namer.NewID(conversation, "api:ann", time.Now(), a.namer.Digest("test", "1"))
	m := contracts.Message{ID: id.String(), Conversation: conversation, Channel: contracts.ChannelAPI, Accepted: time.Now(), Caller: "api:ann", SessionID: "s", Text: canary}
	data, err := contracts.EncodeMessage(m, a.keys.Sealer())
	must(t, err)
	reason, err := a.keys.Sealer().Seal([]byte("a reason with "+canary), contracts.KindDead, conversation, m.ID)
	must(t, err)
	letter, err := contracts.EncodeDead(contracts.Dead{
		ID: m.ID, Conversation: conversation, Code: contracts.CodeDead, Detail: reason, Attempts: 5, Stream: contracts.StreamChat, Sequence: 1,
		Subject: contracts.SubjectChat(conversation), At: time.Now(), Original: data,
	})
	must(t, err)
	_, err = a.topology.js.Publish(t.Context(), contracts.SubjectDead(roleChat), letter)
	must(t, err)
	return id
}

// Sealed with the real keys, listed, opened, replayed and answered by the whole program.
func TestDeadLettersAreReplayed(t *testing.T) {
	a, log, err := up(t, settings(t))
	must(t, err)
	r := run(t, a)
	await(t, "ready", a.Ready())
	id := buryReadable(t, a)
	_, err = a.topology.js.Publish(t.Context(), contracts.SubjectDead("stranger"), []byte("bytes"))
	must(t, err)

	var page contracts.AdminDead
	if code := get(t, a.admin.URL+"/admin/dead", a.admin.Token, &page); code != http.StatusOK || len(page.Letters) != 2 || page.Letters[1].ID != id.String() || page.Letters[1].Trouble != "" {
		t.Fatalf("%d: %+v", code, page)
	}
	s, err := a.topology.look(t.Context())
	must(t, err)
	if s.Dead != 2 || s.DeadRoles[roleChat] != 1 || s.DeadRoles["other"] != 1 || s.DeadRoles[roleSend] != 0 || time.Since(s.DeadOldest) > time.Hour {
		t.Errorf("state %+v", s)
	}
	var d contracts.DeadDetail
	name := url.PathEscape(id.String())
	get(t, a.admin.URL+"/admin/dead/"+name+"?body=true", a.admin.Token, &d)
	if d.Reason != "a reason with "+canary || d.Body == nil || d.Body.Text != canary {
		t.Errorf("detail %+v", d)
	}
	if code := replayByAdmin(t, a, "/admin/dead/"+name+"/replay"); code != http.StatusOK {
		t.Fatalf("replay: %d", code)
	}
	if code := replayByAdmin(t, a, "/admin/dead/"+name+"/replay"); code != http.StatusNotFound {
		t.Errorf("replay again: %d", code)
	}
	again, _ := id.Rerun()
	eventually(t, "the replayed message is answered", func() bool {
		return a.rdb.Exists(t.Context(), contracts.KeyResult(id.Conversation, again.String())).Val() == 1
	})
	r.stop(t)
	hasText(t, log.String(), `"action":"show body"`, `"action":"replay"`) // and nothing of what was said
}
