package feishu

import (
	"errors"
	"strings"
	"testing"

	"moltbot/ingress/im"
)

// W17, W18 and the form of an event.
func TestReadEvent(t *testing.T) {
	good := string(message("text", `{"text":"hi"}`, ""))
	with := func(old, new string) string {
		if !strings.Contains(good, old) {
			t.Fatalf("%q is not in it", old)
		}
		return strings.Replace(good, old, new, 1)
	}
	deep := strings.Repeat(`{"a":`, 40) + "1" + strings.Repeat("}", 40)
	for name, c := range map[string]struct {
		plain string
		err   error
		kind  string
	}{
		"good":                               {good, nil, im.KindMessage},
		"another app":                        {with(appID, "cli_x"), im.ErrForeign, ""},
		"no app":                             {with(appID, ""), im.ErrForeign, ""},
		"another tenant":                     {with(tenant, "x"), im.ErrForeign, ""},
		"another token":                      {with(token, "x"), im.ErrSignature, ""},
		"unknown event":                      {string(event("im.chat.disbanded_v1", `{"a":[1]}`)), nil, "im.chat.disbanded_v1"},
		"a long name":                        {string(event(strings.Repeat("é", 99), `{}`)), nil, strings.Repeat("_", 64)},
		"no type":                            {string(event("", `{}`)), im.ErrMalformed, ""},
		"unknown members":                    {with(`"chat_type"`, `"new":{"a":[]},"chat_type"`), nil, im.KindMessage},
		"twice":                              {with(`"chat_type"`, `"message_id":"om_2","chat_type"`), im.ErrMalformed, ""},
		"twice, not ours":                    {with(`"chat_type"`, `"a":1,"a":1,"chat_type"`), im.ErrMalformed, ""},
		"number for text":                    {with(`"om_1"`, `1`), im.ErrMalformed, ""},
		"object for list":                    {with(`"chat_type"`, `"mentions":{},"chat_type"`), im.ErrMalformed, ""},
		"null for list":                      {with(`"chat_type"`, `"mentions":null,"chat_type"`), nil, im.KindMessage},
		"too deep":                           {with(`"chat_type"`, `"a":`+deep+`,"chat_type"`), im.ErrMalformed, ""},
		"too deep in content":                {string(message("text", `{"text":"hi","a":`+deep+`}`, "")), im.ErrMalformed, ""},
		"something behind":                   {good + "{}", im.ErrMalformed, ""},
		"invalid UTF-8":                      {with("oc_6", "\xff"), im.ErrMalformed, ""},
		"no message id":                      {with(`"om_1"`, `""`), im.ErrMalformed, ""},
		"line end in an id":                  {with(`"om_1"`, `"om_1\r\nX: y"`), im.ErrMalformed, ""},
		"NUL in an id":                       {with(`"om_1"`, `"om_1\u0000"`), im.ErrMalformed, ""},
		"long id":                            {with(`"om_1"`, `"`+strings.Repeat("x", 600)+`"`), im.ErrMalformed, ""},
		"no time":                            {with(`"1789200000640"`, `""`), im.ErrMalformed, ""},
		"negative time":                      {with(`"1789200000640"`, `"-789200000640"`), im.ErrMalformed, ""},
		"no event":                           {string(event(typeMessage, `null`)), im.ErrMalformed, ""},
		"content is no JSON":                 {string(message("text", `hi`, "")), im.ErrMalformed, ""},
		"content of a kind that is not read": {string(message("hongbao", `<xml>`, "")), nil, im.KindMessage},
		"old, unknown":                       {`{"uuid":"u","token":"` + token + `","ts":"1789200001.1","type":"event_callback","event":{"type":"app_open"}}`, nil, "app_open"},
		"old, another app":                   {`{"token":"` + token + `","ts":"1789200001.1","type":"event_callback","event":{"type":"message","app_id":"x"}}`, im.ErrForeign, ""},
		"old, without app":                   {`{"token":"` + token + `","ts":"1789200001.1","type":"event_callback","event":{"type":"message"}}`, im.ErrForeign, ""},
		"old, token":                         {`{"token":"","ts":"1789200001.1","type":"event_callback","event":{"type":"app_open"}}`, im.ErrSignature, ""},
		"nothing":                            {`{}`, im.ErrSignature, ""},
		"a list":                             {`[]`, im.ErrMalformed, ""},
	} {
		who := identity()
		who.Token = token
		e, err := ReadEvent([]byte(c.plain), who)
		if !errors.Is(err, c.err) || c.err == nil && err != nil || e.Kind != c.kind {
			t.Errorf("%s: %v, %q", name, err, e.Kind)
		}
		if err != nil && len(e.Messages)+len(e.Body) > 0 {
			t.Errorf("%s: %+v", name, e)
		}
	}
}

func TestTimesOfMessages(t *testing.T) {
	for text, ms := range map[string]int64{"1789200000640": 1789200000640, "1789200000640123": 1789200000640, "1789200000": 1789200000000} {
		m := readOne(t, []byte(strings.Replace(string(message("text", `{"text":"x"}`, "")), "1789200000640", text, 1)))
		if m.At.UnixMilli() != ms {
			t.Errorf("%s: %s", text, m.At)
		}
	}
}

func TestThreads(t *testing.T) {
	for more, want := range map[string]string{
		"":                                     "",
		`,"root_id":"","parent_id":""`:         "",
		`,"root_id":"om_0","parent_id":"om_0"`: "om_0",
		`,"root_id":"om_0","parent_id":"om_0","thread_id":"omt_1"`: "om_0",
		`,"thread_id":"omt_1"`: "om_1", // the first of its topic
	} {
		if m := readOne(t, message("text", `{"text":"x"}`, more)); m.Thread != want {
			t.Errorf("%s: %q", more, m.Thread)
		}
	}
}

func TestSenders(t *testing.T) {
	robot := strings.Replace(string(message("text", `no JSON`, "")), `"sender_id":{"open_id":"`+sender+`"},"sender_type":"user"`, `"sender_id":null,"sender_type":"app"`, 1)
	if m := readOne(t, []byte(robot)); !m.FromBot {
		t.Errorf("%+v", m)
	}
	for change, want := range map[string][2]bool{ // from a bot, an outsider
		`"sender_type":"user"`: {false, false}, `"sender_type":"bot"`: {true, false}, `"sender_type":"app"`: {true, false},
		`"sender_type":""`: {true, false}, `"sender_type":"user","tenant_key":"other"`: {false, true},
	} {
		plain := string(message("text", `{"text":"x"}`, ""))
		if strings.Contains(change, "tenant_key") {
			plain = strings.Replace(plain, `"sender_type":"user","tenant_key":"`+tenant+`"`, change, 1)
		} else {
			plain = strings.Replace(plain, `"sender_type":"user"`, change, 1)
		}
		if m := readOne(t, []byte(plain)); m.FromBot != want[0] || m.Outsider != want[1] {
			t.Errorf("%s: %+v", change, m)
		}
	}
}

func card(value, clickToken string) []byte {
	return event(typeCard, `{"operator":{"open_id":"`+sender+`","tenant_key":"`+tenant+`"},"token":"`+clickToken+`","action":{"value":`+value+
		`,"tag":"button"},"context":{"open_message_id":"om_card","open_chat_id":"`+group+`"}}`)
}

// W21.
func TestCards(t *testing.T) {
	m := readOne(t, card(`{"message":" 查一下 "}`, "c-1"))
	if m.Text != "查一下" || m.Unique != "c-1" || m.MessageID != "om_card" || m.Chat != group || m.Sender != sender || !m.Mentioned {
		t.Errorf("%+v", m)
	}
	for name, plain := range map[string][]byte{
		"no message": card(`{"op":"x"}`, "c-1"), "a text": card(`"x"`, "c-1"), "a number": card(`{"message":1}`, "c-1"),
		"an object": card(`{"message":{}}`, "c-1"), "blank": card(`{"message":" "}`, "c-1"), "null": card(`null`, "c-1"),
	} {
		e, err := ReadEvent(plain, identity())
		if err != nil || len(e.Messages) > 0 || !strings.Contains(string(e.Body), `"toast"`) {
			t.Errorf("%s: %v, %+v", name, err, e)
		}
	}
	for _, blank := range []string{"", " ", `\t`} {
		if _, err := ReadEvent(card(`{"message":"x"}`, blank), identity()); !errors.Is(err, im.ErrSignature) {
			t.Errorf("token %q: %v", blank, err)
		}
	}
}
