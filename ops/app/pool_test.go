package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"moltbot/ops/config"
	"moltbot/workers/model"
	"moltbot/workers/model/upstream"
)

// pooled gives a client with a pool, and a look at its connections from beside.
func pooled(t *testing.T, pool config.Pool) (redis.UniversalClient, func() []string) {
	t.Helper()
	address := startRedis(t)
	beside := client(t, address)
	rdb, err := newRedis(address, pool)
	must(t, err)
	t.Cleanup(func() { _ = rdb.Close() })
	id, err := beside.ClientID(t.Context()).Result()
	must(t, err)
	return rdb, func() (ids []string) {
		all, err := beside.ClientList(context.Background()).Result()
		must(t, err)
		for line := range strings.Lines(all) {
			if c := strings.TrimPrefix(strings.Fields(line)[0], "id="); c != strconv.FormatInt(id, 10) {
				ids = append(ids, c)
			}
		}
		return ids
	}
}

func crowd(t *testing.T, rdb redis.UniversalClient, n int) {
	t.Helper()
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			// Nothing comes; each holds a connection for a while.
			if err := rdb.Do(context.Background(), "BLPOP", "empty", "0.2").Err(); !errors.Is(err, redis.Nil) {
				t.Errorf("blpop: %v", err)
			}
		})
	}
	wg.Wait()
}

func TestPoolMaxSize(t *testing.T) {
	rdb, connections := pooled(t, config.Pool{MaxSize: 3})
	crowd(t, rdb, 12)
	_, err := rdb.Pipelined(t.Context(), func(p redis.Pipeliner) error { p.Ping(t.Context()); return nil })
	must(t, err)
	equal(t, "connections", len(connections()), 3+1) // and that of the pipelines
}

func TestPoolIsAutomatic(t *testing.T) {
	rdb, connections := pooled(t, config.Pool{})
	crowd(t, rdb, redisPool+30)
	equal(t, "connections", len(connections()), redisPool)
}

func TestPoolIdleTimeout(t *testing.T) {
	rdb, connections := pooled(t, config.Pool{IdleTimeout: time.Second})
	replaced(t, rdb, connections, false)
}

func TestPoolMaxLifetime(t *testing.T) {
	rdb, connections := pooled(t, config.Pool{MaxLifetime: time.Second})
	replaced(t, rdb, connections, true)
}

// What is set reaches the model's connections too.
func TestPoolOfTheModel(t *testing.T) {
	for size, want := range map[int]int{0: 0, 1: 2} { // closed of three that were open at once
		closed, inside, open := make(chan struct{}, 9), make(chan struct{}, 9), make(chan struct{})
		s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			inside <- struct{}{}
			<-open
			_, _ = fmt.Fprint(w, `{"choices":[{"message":{"content":"ok"},"finish_reason":"stop"}]}`)
		}))
		s.Config.ConnState = func(_ net.Conn, to http.ConnState) {
			if to == http.StateClosed {
				closed <- struct{}{}
			}
		}
		s.Start()
		w := &answerer{keep: cmp.Or(size, 3)}
		c, err := w.provider("acme", config.Provider{Kind: config.KindOpenAI, Endpoint: s.URL})
		must(t, err)
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				r := model.Request{Messages: []model.Message{{Role: model.RoleUser, Text: "hi"}}}
				if _, err := c.Complete(context.Background(), r); err != nil {
					t.Errorf("complete: %v", err)
				}
			})
		}
		for range 3 {
			await(t, "a call", inside)
		}
		close(open)
		wg.Wait()
		for range want {
			await(t, "an unused connection is closed", closed)
		}
		if n := len(closed); n > 0 {
			t.Errorf("size %d: %d more are closed", size, n)
		}
		must(t, c.(*upstream.Client).Close())
		s.Close()
	}
}

// replaced expects the one connection to be another one after a second: because
// it was idle, or although it was busy.
func replaced(t *testing.T, rdb redis.UniversalClient, connections func() []string, busy bool) {
	t.Helper()
	must(t, rdb.Ping(t.Context()).Err())
	first := connections()
	equal(t, "connections", len(first), 1)
	began := time.Now()
	eventually(t, "the connection is another one", func() bool {
		if busy || time.Since(began) > 1100*time.Millisecond {
			must(t, rdb.Ping(t.Context()).Err())
		}
		now := connections()
		return len(now) == 1 && now[0] != first[0]
	})
	if took := time.Since(began); took < 800*time.Millisecond {
		t.Errorf("replaced after %s", took)
	}
}
