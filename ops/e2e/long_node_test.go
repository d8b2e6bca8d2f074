package e2e

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"testing"
	"time"

	"moltbot/ingress/imtest"
)

// TestStandInsOfLongConnections has the official Node SDKs take the stand-ins, to
// which moltbot connects elsewhere, for the platforms.
func TestStandInsOfLongConnections(t *testing.T) {
	t.Parallel() // it waits more than it works
	dir := clientForJS(t, "long_clients.mjs")
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	feishu, ding := imtest.NewFeishu("cli_a0b1c2d3e4f5a6b7", "a-secret-of-feishu-0001"), imtest.NewDingTalk("ding_node", "a-secret-of-dingtalk-0001")
	defer feishu.Close()
	defer ding.Close()
	var out bytes.Buffer
	node := exec.CommandContext(ctx, "node", "long_clients.mjs")
	node.Dir, node.Stdout, node.Stderr = dir, &out, &out
	node.Env = append(os.Environ(), "FEISHU="+feishu.URL, "FEISHU_ID=cli_a0b1c2d3e4f5a6b7", "FEISHU_SECRET=a-secret-of-feishu-0001",
		"DINGTALK="+ding.URL, "DINGTALK_ID=ding_node", "DINGTALK_SECRET=a-secret-of-dingtalk-0001")
	acknowledged, err := node.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := node.Start(); err != nil {
		t.Fatal(err)
	}
	const event = `{"schema":"2.0","header":{"event_id":"e1","event_type":"im.message.receive_v1"},"event":{"message":{"message_id":"om_node"}}}`
	errPing := feishu.WaitPings(ctx, 1) // before, the SDK does not listen
	heard, errFeishu := feishu.Push(ctx, []byte(event), 3)
	told, errDing := ding.Push(ctx, []byte(`{"msgId":"msg_node","msgtype":"text","text":{"content":"hi"}}`))
	pinged, errOpaque := ding.Ping(ctx)
	_ = acknowledged.Close() // it ends then
	if err := node.Wait(); err != nil || out.String() != "ok feishu\nok dingtalk\n" {
		t.Fatalf("%v\n%s", err, &out)
	}
	if errFeishu != nil || errPing != nil || heard.Code != 200 {
		t.Errorf("feishu: %+v, %v, %v", heard, errFeishu, errPing)
	}
	if errDing != nil || errOpaque != nil || told.Code != 200 || string(told.Data) != `{"response":null}` || string(pinged.Data) != `{"opaque":"made-up"}` {
		t.Errorf("dingtalk: %+v, %v, %+v, %v", told, errDing, pinged, errOpaque)
	}
}
