package dingtalk

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"moltbot/contracts"
	"moltbot/ingress/im"
)

// What the vectors have in common.
const (
	secret = "demo-app-secret-0123456789_ABCDEFG"
	robot  = "dingmadeuprobotcode0"
	corp   = "ding0000aaaa1111bbbb"
	staff  = "manager1001"
	single = "cidMadeUpOneToOne000000000000000000000000000="
	group  = "cidMadeUpGroup1111111111=="
)

func vectorTime() time.Time { return time.UnixMilli(1789200300000) }

func identity() Identity {
	return Identity{App: contracts.DefaultApp, RobotCode: robot, CorpID: corp}
}

func newWebhook(t testing.TB, secret string) *Webhook {
	t.Helper()
	w, err := New(Options{Identity: identity(), ClientSecret: secret})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func load(t testing.TB, name string, v any) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, v); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

func header(ts, sign string) http.Header {
	h := http.Header{}
	h.Set("timestamp", ts)
	h.Set("sign", sign)
	return h
}

func signed(at time.Time) http.Header {
	ts := strconv.FormatInt(at.UnixMilli(), 10)
	return header(ts, Sign(ts, []byte(secret)))
}

func TestSignVectors(t *testing.T) {
	var file struct {
		Callback struct {
			Vectors []struct {
				Name      string `json:"name"`
				Timestamp string `json:"timestamp"`
				Secret    string `json:"app_secret"`
				Sign      string `json:"sign"`
			} `json:"vectors"`
			Skew []struct {
				Now       int64  `json:"now_ms"`
				Timestamp string `json:"timestamp"`
				Sign      string `json:"sign"`
				Secret    string `json:"app_secret"`
				Accept    bool   `json:"accept_by_doc_rule"`
			} `json:"skew_cases"`
			Negative []struct {
				Why       string `json:"why"`
				Timestamp string `json:"timestamp"`
				Secret    string `json:"app_secret"`
				Sign      string `json:"wrong_sign"`
			} `json:"negative"`
		} `json:"http_callback"`
	}
	load(t, "dingtalk-sign.json", &file)
	c := file.Callback
	for _, v := range c.Vectors {
		ms, _ := strconv.ParseInt(v.Timestamp, 10, 64)
		if err := newWebhook(t, v.Secret).Check(header(v.Timestamp, v.Sign), time.UnixMilli(ms)); err != nil {
			t.Errorf("%s: %v", v.Name, err)
		}
	}
	for _, v := range c.Skew {
		err := newWebhook(t, v.Secret).Check(header(v.Timestamp, v.Sign), time.UnixMilli(v.Now))
		if (err == nil) != v.Accept || err != nil && !errors.Is(err, im.ErrSignature) {
			t.Errorf("%s at %d: %v", v.Timestamp, v.Now, err)
		}
	}
	for _, v := range c.Negative {
		ms, _ := strconv.ParseInt(v.Timestamp, 10, 64)
		if len(v.Timestamp) == 10 {
			ms *= 1000
		}
		if err := newWebhook(t, v.Secret).Check(header(v.Timestamp, v.Sign), time.UnixMilli(ms)); !errors.Is(err, im.ErrSignature) {
			t.Errorf("%s: %v", v.Why, err)
		}
	}
	if len(c.Vectors) < 3 || len(c.Skew) < 5 || len(c.Negative) < 3 {
		t.Errorf("%d, %d, %d vectors", len(c.Vectors), len(c.Skew), len(c.Negative))
	}
}

// W6: with an empty secret anybody could sign.
func TestNewRefusesAnEmptySecret(t *testing.T) {
	for _, blank := range []string{"", " ", "\n"} {
		if _, err := New(Options{ClientSecret: blank}); err == nil {
			t.Errorf("%q is taken", blank)
		}
	}
}

// W1, W2, W3.
func TestCheck(t *testing.T) {
	w, now := newWebhook(t, secret), vectorTime()
	good := signed(now)
	ts, sign := good.Get("timestamp"), good.Get("sign")
	if err := w.Check(good, now); err != nil {
		t.Fatal(err)
	}
	another := func(ts string) http.Header { return header(ts, Sign(ts, []byte(secret))) }
	for name, h := range map[string]http.Header{
		"nothing": {}, "no sign": {"Timestamp": {ts}}, "no time": {"Sign": {sign}}, "empty sign": header(ts, ""), "empty time": header("", sign),
		"URL-encoded": header(ts, url.QueryEscape(sign)), "of another app": header(ts, Sign(ts, []byte("another"))), "cut": header(ts, sign[:43]),
		"two times": {"Timestamp": {ts, ts}, "Sign": {sign}}, "two signs": {"Timestamp": {ts}, "Sign": {sign, sign}},
		"old": signed(now.Add(-time.Hour - time.Second)), "ahead": signed(now.Add(time.Hour + time.Second)),
		"seconds": another(strconv.FormatInt(now.Unix(), 10)), "negative": another("-" + ts), "plus": another("+" + ts), "zero before": another("0" + ts),
		"30 digits": another("178920030000000000000000000000"), "text": another("now"), "space": another(" " + ts), "fraction": another(ts + ".0"),
	} {
		if err := w.Check(h, now); !errors.Is(err, im.ErrSignature) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := w.Read(h, []byte(`{}`), now); !errors.Is(err, im.ErrSignature) {
			t.Errorf("%s, read: %v", name, err)
		}
	}
}
