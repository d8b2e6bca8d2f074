package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"moltbot/contracts"
)

// client is a caller of the API. It judges from outside: it knows nothing but
// what HTTP tells it.
type client struct {
	base, token string
	http        *http.Client
}

func (y *system) client() *client {
	return &client{base: y.base, token: y.token, http: &http.Client{
		Timeout:   60 * time.Second,
		Transport: describe(y.t, &http.Transport{MaxIdleConns: 512, MaxIdleConnsPerHost: 512}),
	}}
}

// response is an answer with whichever body it has.
type response struct {
	status  int
	header  http.Header
	reply   contracts.ChatReply
	problem contracts.Problem
}

func (c *client) do(ctx context.Context, method, path, key string, body any) (response, error) {
	var r response
	b, err := json.Marshal(body)
	if err != nil {
		return r, err
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, bytes.NewReader(b))
	if err != nil {
		return r, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+c.token)
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	res, err := c.http.Do(req)
	if err != nil {
		return r, err
	}
	defer func() { _ = res.Body.Close() }()
	r.status, r.header = res.StatusCode, res.Header
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return r, err
	}
	if res.Header.Get("Content-Type") == contracts.ProblemType {
		return r, json.Unmarshal(text, &r.problem)
	}
	if len(text) > 0 {
		return r, json.Unmarshal(text, &r.reply)
	}
	return r, nil
}

// chat is one POST /api/chat.
func (c *client) chat(ctx context.Context, session, text, key string, timeout int) (response, error) {
	return c.do(ctx, http.MethodPost, "/api/chat", key,
		contracts.ChatRequest{Message: text, SessionID: session, Timeout: &timeout})
}

// accept sends a message until it is accepted, always under the same key.
func (c *client) accept(ctx context.Context, session, text, key string) (id string, err error) {
	var last string
	for ctx.Err() == nil {
		r, err := c.chat(ctx, session, text, key, 0)
		switch {
		case err != nil:
			last = err.Error()
		case r.status == http.StatusAccepted || r.status == http.StatusOK:
			return r.reply.ID, nil
		case r.status < 500 && r.status != http.StatusTooManyRequests:
			return "", fmt.Errorf("refused: %d %s", r.status, r.problem.Detail)
		default:
			last = fmt.Sprintf("%d %s", r.status, r.problem.Detail)
		}
		wait(ctx, 50*time.Millisecond)
	}
	return "", fmt.Errorf("never accepted, last: %s", last)
}

// answer fetches the answer of an accepted message, however long it takes.
func (c *client) answer(ctx context.Context, id string) (contracts.ChatReply, error) {
	var last string
	for ctx.Err() == nil {
		r, err := c.do(ctx, http.MethodGet, "/api/chat/"+id+"?wait=10", "", nil)
		switch {
		case err != nil:
			last = err.Error()
		case r.status == http.StatusOK:
			return r.reply, nil
		case r.status == http.StatusAccepted:
			last = "pending"
			continue
		case r.status == http.StatusServiceUnavailable:
			last = r.problem.Detail
		default:
			return r.reply, fmt.Errorf("%d %s: %s", r.status, r.problem.Code, r.problem.Detail)
		}
		wait(ctx, 50*time.Millisecond)
	}
	return contracts.ChatReply{}, fmt.Errorf("never answered, last: %s", last)
}

// get reads a document that is not a chat reply.
func (c *client) get(ctx context.Context, path string, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+path, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	res, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: %s %w", path, res.Status, err)
	}
	return json.Unmarshal(text, into)
}

// wait is how a client paces itself.
func wait(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
