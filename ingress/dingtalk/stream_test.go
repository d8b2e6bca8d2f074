package dingtalk

import (
	"encoding/json"
	"errors"
	"path/filepath"
	"reflect"
	"testing"

	"moltbot/ingress/im"
)

func streamWire() wire { return wire{StreamOptions{Identity: identity()}} }

func TestFramesOfTheStream(t *testing.T) {
	var file struct {
		Frames map[string]json.RawMessage `json:"frames"`
	}
	load(t, filepath.Join("payloads", "dingtalk-stream-frames.json"), &file)
	for name, ack := range map[string]string{"downstream_callback": "ack_callback", "system_ping": "ack_ping", "event": "ack_event"} {
		f, err := streamWire().Read(file.Frames[name])
		if err != nil || f.Leave || f.Answer == nil {
			t.Fatalf("%s: %+v, %v", name, f, err)
		}
		var got, want any
		if json.Unmarshal(f.Answer(nil), &got) != nil || json.Unmarshal(file.Frames[ack], &want) != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
		if (f.Event != nil) != (name == "downstream_callback") {
			t.Errorf("%s: event %+v", name, f.Event)
		}
		if e := f.Event; e != nil && (len(e.Messages) != 1 || e.Messages[0].MessageID != "msgMadeUp0001AAAAAAAAAA==" || e.Messages[0].Text != "你好，查一下昨天的用量") {
			t.Errorf("%+v", e)
		}
	}
	if f, err := streamWire().Read(file.Frames["system_disconnect"]); err != nil || !f.Leave {
		t.Errorf("disconnect: %+v, %v", f, err)
	}
}

func TestFramesThatAreNotForUs(t *testing.T) {
	for raw, code := range map[string]int{
		`{"type":"CALLBACK","headers":{"topic":"/v1.0/card/instances/callback","messageId":"1"},"data":"{}"}`: 404,
		`{"type":"CALLBACK","headers":{"topic":"/v1.0/im/bot/messages/get","messageId":"1"},"data":"{}"}`:     500,
		`{"type":"SYSTEM","headers":{"topic":"REGISTERED","messageId":"1"},"data":5}`:                         0,
		`{"type":"SYSTEM","headers":{"topic":"new","messageId":"1"},"data":"{}","time":"x","headers2":[]}`:    404,
		`{"type":"SYSTEM"}`: 0, ``: 0, `[]`: 0, `{"type":"SYSTEM","headers":null}`: 0,
	} {
		f, err := streamWire().Read([]byte(raw))
		if code == 0 {
			if !errors.Is(err, im.ErrMalformed) || f.Answer != nil {
				t.Errorf("%s: %+v, %v", raw, f, err)
			}
			continue
		}
		var got struct{ Code int }
		if f.Answer == nil || json.Unmarshal(f.Answer(err), &got) != nil || got.Code != code {
			t.Errorf("%s: %d, %v", raw, got.Code, err)
		}
	}
}

func FuzzFrame(f *testing.F) {
	f.Add([]byte(`{"type":"CALLBACK","headers":{"topic":"/v1.0/im/bot/messages/get","messageId":"1"},"data":"{}"}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		got, err := streamWire().Read(raw)
		if got.Answer != nil && !json.Valid(got.Answer(err)) {
			t.Errorf("%s", got.Answer(err))
		}
	})
}
