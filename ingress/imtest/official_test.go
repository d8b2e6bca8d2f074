package imtest_test

import (
	"context"
	"testing"
	"time"

	"github.com/larksuite/oapi-sdk-go/v3/event"
	"github.com/larksuite/oapi-sdk-go/v3/event/dispatcher"
	larkws "github.com/larksuite/oapi-sdk-go/v3/ws"
	"github.com/open-dingtalk/dingtalk-stream-sdk-go/chatbot"
	"github.com/open-dingtalk/dingtalk-stream-sdk-go/client"
	"go.uber.org/goleak"

	"moltbot/ingress/imtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	id     = "app-made-up"
	secret = "demo-app-secret-0123456789"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// The stand-ins are what the official clients take for the platform.

func TestTheOfficialClientOfFeishuConnects(t *testing.T) {
	f := imtest.NewFeishu(id, secret)
	defer f.Close()
	got := make(chan string, 1)
	d := dispatcher.NewEventDispatcher("", "").OnCustomizedEvent("im.message.receive_v1", func(_ context.Context, e *larkevent.EventReq) error {
		got <- string(e.Body)
		return nil
	})
	c := larkws.NewClient(id, secret, larkws.WithDomain(f.URL), larkws.WithEventHandler(d))
	ctx, stop := context.WithTimeout(t.Context(), 10*time.Second)
	defer stop()
	ended := make(chan struct{})
	go func() { defer close(ended); _ = c.Start(ctx) }() // ends with ctx
	must(t, f.WaitPings(ctx, 1))
	const event = `{"schema":"2.0","header":{"event_id":"e1","event_type":"im.message.receive_v1"},"event":{}}`
	a, err := f.Push(ctx, []byte(event), 1)
	must(t, err)
	if a.Code != 200 || <-got != event {
		t.Fatalf("answered %d", a.Code)
	}
	if a, err = f.Push(ctx, []byte(`{"header":{"event_type":"other"}}`), 1); err != nil || a.Code != 500 {
		t.Fatalf("what has no handler is answered %d, %v", a.Code, err)
	}
	stop()
	<-ended
}

func TestTheOfficialClientOfDingTalkConnects(t *testing.T) {
	d := imtest.NewDingTalk(id, secret)
	defer d.Close()
	got := make(chan string, 1)
	c := client.NewStreamClient(client.WithAppCredential(client.NewAppCredentialConfig(id, secret)),
		client.WithOpenApiHost(d.URL), client.WithAutoReconnect(false))
	c.RegisterChatBotCallbackRouter(func(_ context.Context, m *chatbot.BotCallbackDataModel) ([]byte, error) {
		got <- m.MsgId
		return nil, nil
	})
	ctx, stop := context.WithTimeout(t.Context(), 10*time.Second)
	defer stop()
	must(t, c.Start(ctx))
	a, err := d.Push(ctx, []byte(`{"msgId":"m1","msgtype":"text","text":{"content":"hi"}}`))
	must(t, err)
	if a.Code != 200 || <-got != "m1" {
		t.Fatalf("answered %d", a.Code)
	}
	// One answer is all that it gets: its second one races with its first.
	// It is ended from here, because its Close races with its own reader.
	d.Drop()
	must(t, d.WaitConnected(ctx, 0))
}
