package config

import (
	"math"
	"strings"
	"testing"
	"time"

	"moltbot/contracts"
)

func TestValidate(t *testing.T) {
	if err := Default().Validate(); err != nil {
		t.Fatalf("the defaults: %v", err)
	}
	for name, tt := range map[string]struct {
		change func(*Config)
		want   string // empty: accepted
	}{
		"listen without port":   {func(c *Config) { c.Listen = "localhost" }, "listen: must be host:port"},
		"listen port":           {func(c *Config) { c.Listen = ":65536" }, "listen: must be host:port"},
		"listen everywhere":     {func(c *Config) { c.Listen = ":18789" }, ""},
		"admin everywhere":      {func(c *Config) { c.AdminListen = ":1" }, "admin_listen: must be host:port on loopback"},
		"admin on a network":    {func(c *Config) { c.AdminListen = "10.0.0.1:1" }, "admin_listen: must be host:port on loopback"},
		"admin by name":         {func(c *Config) { c.AdminListen = "evil.example:1" }, "admin_listen: must be host:port on loopback"},
		"admin IPv6":            {func(c *Config) { c.AdminListen = "[::1]:1" }, ""},
		"metrics off":           {func(c *Config) { c.Metrics.Listen = "" }, ""},
		"metrics everywhere":    {func(c *Config) { c.Metrics.Listen = ":18790" }, ""},
		"metrics without port":  {func(c *Config) { c.Metrics.Listen = "localhost" }, "metrics.listen: must be host:port"},
		"collector":             {func(c *Config) { c.Trace.Endpoint, c.Trace.Sample = "https://a:4318/otlp", 0 }, ""},
		"collector scheme":      {func(c *Config) { c.Trace.Endpoint = "a:4317" }, "trace.endpoint: must be a URL"},
		"sampling too much":     {func(c *Config) { c.Trace.Sample = 1.1 }, "trace.sample: must be from 0 to 1"},
		"no data directory":     {func(c *Config) { c.DataDir = "" }, "data_dir: must not be empty"},
		"durability":            {func(c *Config) { c.Durability = "none" }, "durability: must be fsync or os"},
		"NATS scheme":           {func(c *Config) { c.NATS.URL = "http://a" }, "nats.url: must be servers"},
		"NATS second server":    {func(c *Config) { c.NATS.URL = "nats://a,b:1" }, "nats.url: must be servers"},
		"NATS cluster":          {func(c *Config) { c.NATS.URL, c.NATS.Replicas = "nats://a:1,tls://b:2", 3 }, ""},
		"replicas alone":        {func(c *Config) { c.NATS.Replicas = 3 }, "nats.replicas: needs nats.url"},
		"replicas even":         {func(c *Config) { c.NATS.URL, c.NATS.Replicas = "nats://a", 2 }, "nats.replicas: must be 1, 3 or 5"},
		"credentials alone":     {func(c *Config) { c.NATS.CredsFile = "x" }, "nats.creds_file: needs nats.url"},
		"NATS user":             {func(c *Config) { c.NATS = NATS{URL: "nats://a", User: "u", Password: "p", Replicas: 1} }, ""},
		"NATS user alone":       {func(c *Config) { c.NATS.URL, c.NATS.User = "nats://a", "u" }, "nats.user: needs nats.password"},
		"NATS password alone":   {func(c *Config) { c.NATS.URL, c.NATS.Password = "nats://a", "p" }, "nats.user: needs nats.password"},
		"NATS user embedded":    {func(c *Config) { c.NATS.User, c.NATS.Password = "u", "p" }, "nats.user: needs nats.url"},
		"NATS user and creds":   {func(c *Config) { c.NATS = NATS{URL: "nats://a", User: "u", Password: "p", CredsFile: "x", Replicas: 1} }, "nats.user: cannot go with nats.creds_file"},
		"NATS user twice":       {func(c *Config) { c.NATS = NATS{URL: "nats://a,nats://x@b", User: "u", Password: "p", Replicas: 1} }, "nats.user: cannot go with a user"},
		"Redis password":        {func(c *Config) { c.Redis = Redis{URL: "redis://user@a:1", Password: "p"} }, ""},
		"Redis password twice":  {func(c *Config) { c.Redis = Redis{URL: "redis://:q@a:1", Password: "p"} }, "redis.password: cannot go with a password"},
		"Redis password alone":  {func(c *Config) { c.Redis.Password = "p" }, "redis.password: needs redis.url"},
		"monitor":               {func(c *Config) { c.NATS.MonitorURL = "a:8222" }, "nats.monitor_url: must be a URL"},
		"Redis":                 {func(c *Config) { c.Redis.URL = "localhost:6379" }, "redis.url: must be a URL"},
		"Redis socket":          {func(c *Config) { c.Redis.URL = "unix:///run/redis.sock" }, ""},
		"pool":                  {func(c *Config) { c.Pool = Pool{1, time.Second, time.Second} }, ""},
		"pool of nothing":       {func(c *Config) { c.Pool.MaxSize = -1 }, "connection_pool.max_size: must not be negative"},
		"huge pool":             {func(c *Config) { c.Pool.MaxSize = 10_001 }, "connection_pool.max_size: (10001) must be at most 10000"},
		"idle for no time":      {func(c *Config) { c.Pool.IdleTimeout = 300 }, "connection_pool.idle_timeout: (300ns) must be 0 or from 1s to 24h"},
		"idle below zero":       {func(c *Config) { c.Pool.IdleTimeout = -time.Second }, "connection_pool.idle_timeout: must be greater than 0"},
		"idle for ever":         {func(c *Config) { c.Pool.IdleTimeout = 25 * time.Hour }, "connection_pool.idle_timeout: (25h) must be 0"},
		"lives too long":        {func(c *Config) { c.Pool.MaxLifetime = 721 * time.Hour }, "connection_pool.max_lifetime: (721h) must be 0 or from 1s to 720h"},
		"beat":                  {func(c *Config) { c.Queue.Beat = 11 * time.Second }, "queue.beat: (11s) must be at most a third of queue.ack_wait (30s)"},
		"beat at its limit":     {func(c *Config) { c.Queue.Beat = 10 * time.Second }, ""},
		"task slots":            {func(c *Config) { c.Scheduler.Slots = 1001 }, "scheduler.slots: (1001) must be at most 1000"},
		"no task slots":         {func(c *Config) { c.Scheduler.Slots = 0 }, "scheduler.slots: must be greater than 0"},
		"time zone":             {func(c *Config) { c.Scheduler.Timezone = "Asia/Shanghai" }, ""},
		"no such time zone":     {func(c *Config) { c.Scheduler.Timezone = "Mars/Olympus" }, "scheduler.timezone: must be UTC or the name of a time zone"},
		"each its time zone":    {func(c *Config) { c.Scheduler.Timezone = "Local" }, "scheduler.timezone: must be UTC"},
		"no time zone":          {func(c *Config) { c.Scheduler.Timezone = "" }, "scheduler.timezone: must be UTC"},
		"task retry base":       {func(c *Config) { c.Scheduler.RetryBase = time.Hour }, "scheduler.retry_base: (1h) must be at most scheduler.retry_max (10m)"},
		"task timeout":          {func(c *Config) { c.Scheduler.Timeout = 1 }, "scheduler.timeout: (1ns) must be at least 1s"},
		"task retention":        {func(c *Config) { c.Scheduler.Retention = 1 }, "scheduler.retention: (1ns) must be at least 1s"},
		"look back":             {func(c *Config) { c.Scheduler.LookBack = 745 * time.Hour }, "scheduler.look_back: (745h) must be at most 744h"},
		"retry base":            {func(c *Config) { c.Queue.RetryBase = time.Hour }, "queue.retry_base: (1h) must be at most queue.retry_max (1m)"},
		"retry max":             {func(c *Config) { c.Queue.RetryMax = time.Hour }, "queue.retry_max: (1h) must be at most queue.retry_for (30m)"},
		"conversation":          {func(c *Config) { c.Queue.MaxMessages = 63 }, "queue.max_per_conversation: (64) must be at most"},
		"pending":               {func(c *Config) { c.Workers.Slots = 20_001 }, "queue.max_ack_pending: (20000) must be at least workers.slots (20001)"},
		"cache for days":        {func(c *Config) { c.Cache.TTL = 25 * time.Hour }, "cache.ttl: (25h) must be at most 24h"},
		"negative budget":       {func(c *Config) { c.HTTP.DailyTokens = -1 }, "http.daily_tokens: must not be negative"},
		"zero slots":            {func(c *Config) { c.Workers.Slots = 0 }, "workers.slots: must be greater than 0"},
		"callback hosts":        {func(c *Config) { c.Callback.Hosts = []string{"ann=hooks.example.com", "*=*.example.com:8443"} }, ""},
		"callback host":         {func(c *Config) { c.Callback.Hosts = []string{"hooks.example.com"} }, "callback.hosts: \"hooks.example.com\": is not like user=host"},
		"callback path":         {func(c *Config) { c.Callback.Hosts = []string{"ann=a.example/x"} }, "callback.hosts: \"ann=a.example/x\": has something behind the host"},
		"callback generations":  {func(c *Config) { c.Callback.Generations = []string{"ann=2"} }, ""},
		"callback generation":   {func(c *Config) { c.Callback.Generations = []string{"ann=0"} }, "callback.generations: \"ann=0\" is not like user=2"},
		"allowed network":       {func(c *Config) { c.Deliver.AllowNetworks = []string{"10.0.0.0/8", "10.0.0.1"} }, "deliver.allow_networks: \"10.0.0.1\" is not a network"},
		"large bodies":          {func(c *Config) { c.HTTP.MaxOpenAIBody = 983_041 }, "http.max_openai_body: (983041) must be at most 983040"},
		"negative bytes":        {func(c *Config) { c.Queue.MaxBytes = -1 }, "queue.max_bytes: must be greater than 0"},
		"negative cap":          {func(c *Config) { c.Model.MaxConcurrent = -1 }, "model.max_concurrent: must not be negative"},
		"zero time":             {func(c *Config) { c.Session.TTL = 0 }, "session.ttl: must be greater than 0"},
		"session of an hour":    {func(c *Config) { c.Session.TTL = time.Hour }, ""},
		"session of any age":    {func(c *Config) { c.Session.MaxAge = 0 }, ""},
		"negative age":          {func(c *Config) { c.Session.MaxAge = -time.Hour }, "session.max_age: must be greater than 0"},
		"session of no bytes":   {func(c *Config) { c.Session.MaxBytes = 0 }, "session.max_bytes: must be greater than 0"},
		"keep":                  {func(c *Config) { c.Session.KeepRounds = 9 }, "session.keep_rounds: (9) must be at least session.rounds (10)"},
		"long summaries":        {func(c *Config) { c.Session.Summary.MaxTokens = 4097 }, "session.summary.max_tokens: (4097) must be at most 4096"},
		"done":                  {func(c *Config) { c.Reply.DoneTTL = time.Minute }, "reply.done_ttl: (1m) must be at least reply.result_ttl (1h)"},
		"read":                  {func(c *Config) { c.HTTP.ReadTimeout = time.Second }, "http.read_timeout: (1s) must be at least"},
		"rate":                  {func(c *Config) { c.HTTP.RateLimit = "10" }, "http.rate_limit: must be"},
		"rate zero":             {func(c *Config) { c.HTTP.RateLimit = "10/0" }, "http.rate_limit: must be"},
		"rate below one":        {func(c *Config) { c.HTTP.RateLimit = "0.5/1" }, ""},
		"rate too high":         {func(c *Config) { c.HTTP.RateLimit = "1000001/1" }, "http.rate_limit: must be"},
		"rate off":              {func(c *Config) { c.HTTP.RateLimit = "off" }, ""},
		"proxy":                 {func(c *Config) { c.HTTP.TrustedProxies = []string{"10.0.0.1"} }, "http.trusted_proxies: \"10.0.0.1\" is not a network"},
		"proxy everybody":       {func(c *Config) { c.HTTP.TrustedProxies = []string{"::/0"} }, "http.trusted_proxies: \"::/0\" would trust everybody"},
		"level":                 {func(c *Config) { c.Log.Level = "INFO" }, "log.level: must be"},
		"format":                {func(c *Config) { c.Log.Format = "text" }, "log.format: must be"},
		"endpoint needed":       {func(c *Config) { c.Model.Provider = "azure" }, "model.endpoint: is needed for model_provider \"azure\""},
		"endpoint":              {func(c *Config) { c.Model.Endpoint = "host/v1" }, "model.endpoint: must be a URL"},
		"openai needs none":     {func(c *Config) { c.Model.Provider = "openai" }, ""},
		"no provider":           {func(c *Config) { c.Model.Provider = "" }, "model.model_provider: must not be empty"},
		"temperature":           {func(c *Config) { c.Model.Temperature = -0.1 }, "model.temperature: must be from 0 to 2"},
		"temperature NaN":       {func(c *Config) { c.Model.Temperature = math.NaN() }, "model.temperature: must be from 0 to 2"},
		"first token":           {func(c *Config) { c.Model.FirstTokenTimeout = time.Hour }, "model.first_token_timeout: (1h) must be at most timeout (2m)"},
		"key with a line break": {func(c *Config) { c.Model.APIKey = "a\r\nX: b" }, "model.api_key: holds a space or a control character"},
		"masked key":            {func(c *Config) { c.Model.APIKey = mask }, "model.api_key: is a masked value"},
	} {
		t.Run(name, func(t *testing.T) {
			c := Default()
			tt.change(&c)
			err := c.Validate()
			switch {
			case tt.want == "" && err != nil:
				t.Errorf("refused: %v", err)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want) || strings.Count(err.Error(), "\n") > 0):
				t.Errorf("got  %v\nwant just %s", err, tt.want)
			}
		})
	}
}

func TestRate(t *testing.T) {
	if r, err := (HTTP{RateLimit: "10/20"}).Rate(); r != (contracts.Rate{PerSecond: 10, Burst: 20}) || err != nil {
		t.Errorf("Rate = %+v, %v", r, err)
	}
	if r, err := (HTTP{RateLimit: "off"}).Rate(); r != (contracts.Rate{Off: true}) || err != nil {
		t.Errorf("Rate off = %+v, %v", r, err)
	}
}
