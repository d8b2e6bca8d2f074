package link_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"moltbot/ingress/dingtalk"
	"moltbot/ingress/feishu"
	"moltbot/ingress/im"
	"moltbot/ingress/imtest"
	"moltbot/ingress/link"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	appID     = "app-made-up"
	appSecret = "demo-app-secret-0123456789"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// server is what the stand-ins of both platforms have in common.
type server interface {
	Opens() int
	WaitConnected(context.Context, int) error
	WaitDials(context.Context, int) error
	WaitPings(context.Context, int) error
	Mute(bool)
	Drop()
	Close()
}

// rig is a client that is connected to the stand-in of its platform.
type rig struct {
	server
	connection interface {
		im.Connection
		Stats() link.Stats
	}
	push func(ctx context.Context, id, chat string) (imtest.Ack, error)
	stop func()

	mu    sync.Mutex
	took  []string
	fail  error
	block chan struct{} // holds back storing; nil: not
	begun chan string
	log   *journal
}

// journal is a log that can be read while it is written.
type journal struct {
	mu   sync.Mutex
	text strings.Builder
}

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(b)
}

func (j *journal) String() string { j.mu.Lock(); defer j.mu.Unlock(); return j.text.String() }

func (r *rig) take(ctx context.Context, e im.Event) error {
	r.mu.Lock()
	fail, block := r.fail, r.block
	r.mu.Unlock()
	id := e.Kind
	if len(e.Messages) > 0 {
		id = e.Messages[0].MessageID
	}
	r.begun <- id
	if block != nil {
		select {
		case <-block:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if fail == nil {
		r.took = append(r.took, id)
	}
	return fail
}

func (r *rig) failing(err error) { r.mu.Lock(); r.fail = err; r.mu.Unlock() }

func (r *rig) stored() []string { r.mu.Lock(); defer r.mu.Unlock(); return slices.Clone(r.took) }

// ctx bounds a wait.
func ctx(t testing.TB) context.Context {
	c, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	t.Cleanup(cancel)
	return c
}

// eachPlatform runs f with a client of each platform, connected to its stand-in.
func eachPlatform(t *testing.T, f func(t *testing.T, r *rig)) {
	t.Run("dingtalk", func(t *testing.T) { t.Parallel(); f(t, dingTalk(t, appSecret)) })
	t.Run("feishu", func(t *testing.T) { t.Parallel(); f(t, feiShu(t, appSecret)) })
}

func (r *rig) run(t *testing.T) *rig {
	t.Helper()
	c, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.connection.Run(c, r.take) }()
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the connection ended with %v", err)
		}
	})
	t.Cleanup(func() { r.stop(); r.Close() })
	return r
}

func newRig() (*rig, link.Options) {
	r := &rig{begun: make(chan string, 1024), log: &journal{}}
	return r, link.Options{Log: zerolog.New(r.log), WaitMin: 20 * time.Millisecond, WaitMax: 80 * time.Millisecond, Slack: 100 * time.Millisecond, Grace: 200 * time.Millisecond}
}

func payload(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	must(t, err)
	return string(b)
}

func dingTalk(t *testing.T, secret string) *rig {
	t.Helper()
	r, l := newRig()
	s := imtest.NewDingTalk(appID, appSecret)
	r.server = s
	c, err := dingtalk.NewStream(dingtalk.StreamOptions{Identity: dingtalk.Identity{App: "default"}, ClientID: appID, ClientSecret: secret, Endpoint: s.URL, Ping: 100 * time.Millisecond, Link: l})
	must(t, err)
	r.connection = c
	text := payload(t, "dingtalk.json")
	r.push = func(ctx context.Context, id, chat string) (imtest.Ack, error) {
		return s.Push(ctx, []byte(strings.NewReplacer("MSG", id, "CHAT", chat).Replace(text)))
	}
	return r.run(t)
}

func feiShu(t *testing.T, secret string) *rig {
	t.Helper()
	r, l := newRig()
	s := imtest.NewFeishu(appID, appSecret)
	r.server = s
	c, err := feishu.NewSocket(feishu.SocketOptions{Identity: feishu.Identity{App: "default", AppID: appID}, AppSecret: secret, Endpoint: s.URL, Ping: 100 * time.Millisecond, Link: l})
	must(t, err)
	r.connection = c
	text := payload(t, "feishu.json")
	r.push = func(ctx context.Context, id, chat string) (imtest.Ack, error) {
		return s.Push(ctx, []byte(strings.NewReplacer("MSG", id, "CHAT", chat).Replace(text)), 3)
	}
	return r.run(t)
}

func TestAnEventIsAcknowledgedOnlyOnceStored(t *testing.T) {
	eachPlatform(t, func(t *testing.T, r *rig) {
		must(t, r.WaitConnected(ctx(t), 1))
		r.failing(errors.New("no queue"))
		a, err := r.push(ctx(t), "m1", "c")
		must(t, err)
		if a.Code != 500 {
			t.Fatalf("what was not stored is answered %d", a.Code)
		}
		r.failing(nil)
		a, err = r.push(ctx(t), "m1", "c") // as the platform does then
		must(t, err)
		if a.Code != 200 || !slices.Equal(r.stored(), []string{"m1"}) {
			t.Fatalf("answered %d, stored %v", a.Code, r.stored())
		}
	})
}

func TestNoAnswerBeforeItIsStored(t *testing.T) {
	eachPlatform(t, func(t *testing.T, r *rig) {
		must(t, r.WaitConnected(ctx(t), 1))
		r.block = make(chan struct{})
		acked := make(chan imtest.Ack, 1)
		go func() { a, _ := r.push(ctx(t), "m1", "c"); acked <- a }()
		<-r.begun
		must(t, r.WaitPings(ctx(t), 5)) // the connection lives all the while
		select {
		case a := <-acked:
			t.Fatalf("answered %d before it was stored", a.Code)
		default:
		}
		close(r.block)
		if a := <-acked; a.Code != 200 {
			t.Fatalf("answered %d", a.Code)
		}
	})
}

func TestMessagesOfAChatAreStoredInTheirOrder(t *testing.T) {
	eachPlatform(t, func(t *testing.T, r *rig) {
		must(t, r.WaitConnected(ctx(t), 1))
		r.block = make(chan struct{})
		sent, cancel := context.WithCancel(t.Context())
		cancel() // who pushes does not wait for the answer
		var want []string
		for i := range 50 {
			want = append(want, strconv.Itoa(i))
			_, _ = r.push(sent, want[i], "one")
		}
		close(r.block)
		for range want {
			<-r.begun
		}
		r.stop() // finishes the last
		if got := r.stored(); !slices.Equal(got, want) {
			t.Fatalf("stored %v", got)
		}
	})
}

func TestSilentDeathIsNoticed(t *testing.T) {
	eachPlatform(t, func(t *testing.T, r *rig) {
		must(t, r.WaitConnected(ctx(t), 1))
		r.Mute(true)
		must(t, r.WaitDials(ctx(t), 2))
		r.Mute(false)
		if !strings.Contains(r.text(), "silent") {
			t.Fatalf("the log does not say why: %s", r.text())
		}
		works(t, r)
	})
}

func (r *rig) text() string { return r.log.String() }

// works proves that the connection receives, whichever it is.
func works(t *testing.T, r *rig) {
	t.Helper()
	for {
		c, cancel := context.WithTimeout(ctx(t), time.Second)
		a, err := r.push(c, "late", "c")
		cancel()
		if err == nil && a.Code == 200 {
			return
		}
		if ctx(t).Err() != nil {
			t.Fatal("it does not receive any more")
		}
	}
}

func TestAClosedConnectionIsMadeAgain(t *testing.T) {
	eachPlatform(t, func(t *testing.T, r *rig) {
		must(t, r.WaitConnected(ctx(t), 1))
		for i := range 3 {
			r.Drop()
			must(t, r.WaitDials(ctx(t), i+2))
		}
		works(t, r)
		if n := r.connection.Stats().Connects; n != 4 {
			t.Fatalf("%d connections", n)
		}
	})
}

func TestStoppingFinishesWhatIsBeingStored(t *testing.T) {
	eachPlatform(t, func(t *testing.T, r *rig) {
		must(t, r.WaitConnected(ctx(t), 1))
		r.block = make(chan struct{})
		acked := make(chan imtest.Ack, 1)
		go func() { a, _ := r.push(ctx(t), "m1", "c"); acked <- a }()
		<-r.begun
		stopped := make(chan struct{})
		go func() { r.stop(); close(stopped) }()
		select {
		case <-stopped:
			t.Fatal("it stopped before the message was stored")
		case <-time.After(50 * time.Millisecond):
		}
		close(r.block)
		<-stopped
		if a := <-acked; a.Code != 200 {
			t.Fatalf("answered %d", a.Code)
		}
		must(t, r.WaitConnected(ctx(t), 0))
		if s := r.connection.State(); s != "disconnected" {
			t.Fatalf("the state is %q", s)
		}
	})
}

func TestRefusedCredentialsAreSaidAndTriedAgain(t *testing.T) {
	for name, with := range map[string]func(*testing.T, string) *rig{"dingtalk": dingTalk, "feishu": feiShu} {
		t.Run(name, func(t *testing.T) {
			const wrong = "wrong-secret-0123456789"
			r := with(t, wrong)
			c := ctx(t)
			for !strings.Contains(r.connection.State(), "refused the credentials") {
				must(t, c.Err())
				pause(time.Millisecond)
			}
			r.stop()
			if strings.Contains(r.text(), wrong) {
				t.Fatal("the secret is in the log")
			}
		})
	}
}

func pause(d time.Duration) { <-time.After(d) }

func TestTheLogHoldsNoTicket(t *testing.T) {
	eachPlatform(t, func(t *testing.T, r *rig) {
		must(t, r.WaitConnected(ctx(t), 1))
		r.Drop()
		must(t, r.WaitDials(ctx(t), 2))
		r.stop()
		if s := r.text(); strings.Contains(s, "ticket") || strings.Contains(s, appSecret) {
			t.Fatalf("the log holds a secret: %s", s)
		}
	})
}

func TestDingTalkAsksToLeave(t *testing.T) {
	r := dingTalk(t, appSecret)
	s := r.server.(*imtest.DingTalk)
	must(t, r.WaitConnected(ctx(t), 1))
	must(t, s.Disconnect(ctx(t)))
	must(t, r.WaitConnected(ctx(t), 2)) // the new one is there before the old one ends
	must(t, r.WaitConnected(ctx(t), 1))
	works(t, r)
}

func TestDingTalkPing(t *testing.T) {
	r := dingTalk(t, appSecret)
	s := r.server.(*imtest.DingTalk)
	a, err := s.Ping(ctx(t))
	must(t, err)
	if a.Code != 200 || string(a.Data) != `{"opaque":"made-up"}` {
		t.Fatalf("answered %d %s", a.Code, a.Data)
	}
	if a, err = s.Send(ctx(t), "CALLBACK", "/v1.0/card/instances/callback", "{}"); err != nil || a.Code != 404 {
		t.Fatalf("an unknown topic is answered %d, %v", a.Code, err)
	}
	if a, err = s.Push(ctx(t), []byte("{")); err != nil || a.Code != 500 {
		t.Fatalf("a broken message is answered %d, %v", a.Code, err)
	}
}

func TestAnExpiredTicketIsAskedForAnew(t *testing.T) {
	r, l := newRig()
	s := imtest.NewDingTalk(appID, appSecret)
	s.TicketTTL = -time.Second
	c, err := dingtalk.NewStream(dingtalk.StreamOptions{ClientID: appID, ClientSecret: appSecret, Endpoint: s.URL, Link: l})
	must(t, err)
	r.server, r.connection = s, c
	r.run(t)
	deadline := ctx(t)
	for s.Opens() < 3 {
		must(t, deadline.Err())
		pause(time.Millisecond)
	}
	if s.Dials() != 0 || c.State() == im.Connected {
		t.Fatal("an expired ticket was taken")
	}
}

func TestFeishuAnswersCardsWithABody(t *testing.T) {
	r := feiShu(t, appSecret)
	s := r.server.(*imtest.Feishu)
	a, err := s.Push(ctx(t), []byte(payload(t, "card.json")), 1)
	must(t, err)
	var body map[string]any
	if a.Code != 200 || json.Unmarshal(a.Data, &body) != nil {
		t.Fatalf("answered %d %q", a.Code, a.Data)
	}
}

func TestFeishuFragmentsAreNeverLost(t *testing.T) {
	r := feiShu(t, appSecret)
	for i := range 200 { // the official client loses one of these
		a, err := r.push(ctx(t), strconv.Itoa(i), "c")
		must(t, err)
		if a.Code != 200 {
			t.Fatalf("message %d is answered %d", i, a.Code)
		}
	}
}
