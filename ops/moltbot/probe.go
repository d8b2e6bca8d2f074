package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

type probeCmd struct {
	URL     string        `arg:"" help:"Address to ask, such as http://127.0.0.1:18790/readyz."`
	Timeout time.Duration `default:"3s" help:"Longest wait for the answer."`
}

// Run succeeds when the answer is 200. An image without a shell has no other
// way to ask; settings are not read, so a probe needs nothing but its address.
func (p *probeCmd) Run(ctx context.Context) error {
	u, err := url.Parse(p.URL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return errors.New("probe: the address must be like http://127.0.0.1:18790/readyz")
	}
	ctx, cancel := context.WithTimeout(ctx, p.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return fmt.Errorf("probe: %w", err)
	}
	req.Close = true
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("probe: no answer from %s: %w", u.Host, errors.Unwrap(err)) // the outer error quotes the whole address
	}
	defer func() { _ = res.Body.Close() }() // read only
	if res.StatusCode == http.StatusOK {
		return nil
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, 1<<10)) // it names what is missing; a container engine shows it
	if err != nil {
		return fmt.Errorf("probe: %s answers %d and breaks off: %w", u.Host, res.StatusCode, err)
	}
	return fmt.Errorf("probe: %s answers %d: %s", u.Host, res.StatusCode, body)
}
