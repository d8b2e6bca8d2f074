package app

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"moltbot/contracts"
	"moltbot/ops/config"
)

func TestPlatformsOfAConfiguration(t *testing.T) {
	var bodies []string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		bodies = append(bodies, r.URL.Path+" "+string(b))
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"code":0,"tenant_access_token":"t","expire":7200,"bot":{"open_id":"ou_bot","app_name":"Molty"}}`)
	}))
	defer s.Close()
	c := config.Default()
	first, second := config.DefaultFeishu(), config.DefaultFeishu()
	first.AppID, first.AppSecret, first.Endpoint = "cli_first", "first-secret-first", s.URL
	second.AppID, second.AppSecret, second.Endpoint = "cli_second", "second-secret-second", s.URL
	c.Feishu.Feishu, c.Feishu.Named = first, map[string]config.Feishu{"sales": second}
	d := config.DefaultDingTalk()
	d.ClientID, d.ClientSecret = "ding", "ding-secret-ding-secret"
	c.DingTalk.Named = map[string]config.DingTalk{"ops": d}
	p, err := NewPlatforms(c, zerolog.Nop(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = p.Close() }()
	if id, err := p.BotOpenID(t.Context(), "sales"); id != "ou_bot" || err != nil {
		t.Error(id, err)
	}
	if len(bodies) != 2 || !strings.Contains(bodies[0], "cli_second") {
		t.Errorf("another application was asked: %q", bodies)
	}
	for name, ok := range map[string]bool{"feishu/default": true, "feishu/sales": true, "feishu/ops": false, "dingtalk/ops": true, "dingtalk/default": false, "api/default": false} {
		ch, app, _ := strings.Cut(name, "/")
		if _, err := p.Application(contracts.Channel(ch), app); (err == nil) != ok {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := p.BotOpenID(t.Context(), "gone"); err == nil {
		t.Error("the bot of no application")
	}
	if _, _, err := p.Image(t.Context(), contracts.Image{Channel: contracts.ChannelAPI}); err == nil {
		t.Error("an image of no platform")
	}
	c.Deliver.AllowNetworks = []string{"10.0.0.0"}
	if _, err := NewPlatforms(c, zerolog.Nop(), nil); err == nil || !strings.Contains(err.Error(), "allow_networks") {
		t.Error(err)
	}
}
