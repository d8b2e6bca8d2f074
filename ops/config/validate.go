package config

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"moltbot/contracts"
)

// finding is a mistake in the merged values. The first key is the one to
// change; the others are those it was compared with.
type finding struct {
	keys []string
	text string
}

type findings []finding

// want notes text about keys unless ok.
func (f *findings) want(ok bool, text string, keys ...string) {
	if !ok {
		*f = append(*f, finding{keys: keys, text: text})
	}
}

// Validate reports everything that is wrong with c at once. Load has done it.
func (c Config) Validate() error { return report(c.mistakes()) }

func (c Config) mistakes() []finding {
	var f findings
	f.values("", c)
	f.addresses(c)
	f.keyRoot(c)
	f.stores(c)
	f.pool(c.Pool)
	f.queue(c.Queue, c.Workers)
	f.scheduler(c.Scheduler)
	f.limits(c)
	f.channels(c)
	f.outbound(c)
	f.systems(c.Session.Systems)
	f = append(f, c.Model.checks("model.")...)
	return f
}

func (m Models) mistakes(prefix string) []finding {
	var f findings
	f.values(prefix, m.Model)
	return append(f, m.checks(prefix)...)
}

// values holds for every setting of a kind: numbers and times are positive, or
// 0 where that has a meaning; secrets are what a person meant to paste.
func (f *findings) values(prefix string, v any) {
	for _, s := range newBook(v).settings {
		switch value := s.value.(type) {
		case int:
			if s.zero {
				f.want(value >= 0, "must not be negative", prefix+s.path)
				continue
			}
			f.want(value > 0, "must be greater than 0", prefix+s.path)
		case int64:
			f.want(value > 0 || s.zero && value == 0, "must be greater than 0", prefix+s.path)
		case time.Duration:
			f.want(value > 0 || s.zero && value == 0, "must be greater than 0", prefix+s.path)
		case string:
			f.secret(s, value, prefix)
		case []string:
			for _, item := range value {
				f.secret(s, item, prefix)
			}
		}
	}
}

func (f *findings) secret(s setting, value, prefix string) {
	if s.secret != "" {
		f.want(!strings.ContainsFunc(value, blank), "holds a space or a control character", prefix+s.path)
		f.want(!strings.Contains(value, mask), "is a masked value, not the secret", prefix+s.path)
	}
}

func blank(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }

func (f *findings) addresses(c Config) {
	_, err := hostPort(c.Listen)
	f.want(err == nil, "must be host:port, like 127.0.0.1:18789", "listen")
	host, err := hostPort(c.AdminListen)
	f.want(err == nil && loopback(host), "must be host:port on loopback, like 127.0.0.1:0", "admin_listen")
	f.want(c.DataDir != "", "must not be empty", "data_dir")
	_, err = hostPort(c.Metrics.Listen)
	f.want(err == nil || c.Metrics.Listen == "", "must be host:port, like 127.0.0.1:18790, or empty", "metrics.listen")
	f.want(c.Trace.Endpoint == "" || isURL(c.Trace.Endpoint, "http", "https"), "must be a URL like http://collector:4318", "trace.endpoint")
	f.want(c.Trace.Sample >= 0 && c.Trace.Sample <= 1, "must be from 0 to 1", "trace.sample") // false for NaN
	for _, proxy := range c.HTTP.TrustedProxies {
		network, err := netip.ParsePrefix(proxy)
		f.want(err == nil, fmt.Sprintf("%.80q is not a network (like 10.0.0.0/8)", proxy), "http.trusted_proxies")
		f.want(err != nil || network.Bits() > 0, fmt.Sprintf("%q would trust everybody", proxy), "http.trusted_proxies")
	}
}

func hostPort(address string) (string, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", err
	}
	_, err = strconv.ParseUint(port, 10, 16)
	return host, err
}

func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

func (f *findings) stores(c Config) {
	f.want(oneOf(c.Durability, "fsync", "os"), "must be fsync or os", "durability")
	f.urls("nats.url", c.NATS.URL, "must be servers like nats://host:4222, separated by commas", "nats", "tls", "ws", "wss")
	f.urls("nats.monitor_url", c.NATS.MonitorURL, "must be a URL like http://host:8222, or one for each server, separated by commas", "http", "https")
	f.want(slices.Contains([]int{1, 3, 5}, c.NATS.Replicas), "must be 1, 3 or 5", "nats.replicas")
	f.want(c.NATS.Replicas <= 1 || c.NATS.URL != "", "needs nats.url: an embedded server is alone", "nats.replicas", "nats.url")
	f.want(c.NATS.CredsFile == "" || c.NATS.URL != "", "needs nats.url", "nats.creds_file", "nats.url")
	f.passwords(c)
	f.urls("redis.url", c.Redis.URL, "must be a URL like redis://host:6379/0, or those of a cluster, separated by commas", "redis", "rediss", "unix")
}

// passwords refuses one that nobody asks for, and a second answer to the same
// question: the client would take one of them without a word.
func (f *findings) passwords(c Config) {
	n := c.NATS
	f.want((n.User == "") == (n.Password == ""), "needs nats.password, and nats.password needs it", "nats.user", "nats.password")
	f.want(n.User == "" || n.URL != "", "needs nats.url", "nats.user", "nats.url")
	f.want(n.User == "" || n.CredsFile == "", "cannot go with nats.creds_file", "nats.user", "nats.creds_file")
	f.want(n.User == "" || !names(n.URL), "cannot go with a user in nats.url", "nats.user", "nats.url")
	r := c.Redis
	f.want(r.Password == "" || r.URL != "", "needs redis.url", "redis.password", "redis.url")
	f.want(r.Password == "" || !guarded(r.URL), "cannot go with a password in redis.url", "redis.password", "redis.url")
}

// names reports whether one of the addresses holds a user or a token.
func names(addresses string) bool {
	return anyUser(addresses, func(*url.Userinfo) bool { return true })
}

// guarded reports whether one of the addresses holds a password.
func guarded(addresses string) bool {
	return anyUser(addresses, func(u *url.Userinfo) bool { _, ok := u.Password(); return ok })
}

func anyUser(addresses string, is func(*url.Userinfo) bool) bool {
	for a := range strings.SplitSeq(addresses, ",") {
		if u, err := url.Parse(strings.TrimSpace(a)); err == nil && u.User != nil && is(u.User) {
			return true
		}
	}
	return false
}

// pool refuses what can only be a slip of the unit.
func (f *findings) pool(p Pool) {
	f.want(p.MaxSize <= 10_000, fmt.Sprintf("(%d) must be at most 10000", p.MaxSize), "connection_pool.max_size")
	span := func(d, most time.Duration, key string) {
		f.want(d <= 0 || d >= time.Second && d <= most,
			fmt.Sprintf("(%s) must be 0 or from 1s to %s", show(d), show(most)), key)
	}
	span(p.IdleTimeout, 24*time.Hour, "connection_pool.idle_timeout")
	span(p.MaxLifetime, 30*24*time.Hour, "connection_pool.max_lifetime")
}

// urls wants nothing, or URLs with commas between.
func (f *findings) urls(key, value, text string, schemes ...string) {
	if value == "" {
		return
	}
	for server := range strings.SplitSeq(value, ",") {
		f.want(isURL(strings.TrimSpace(server), schemes...), text, key)
	}
}

// isURL reports whether text is a URL with a host and one of the schemes. The
// parser's error quotes the text, password and all, so it stays here.
func isURL(text string, schemes ...string) bool {
	u, err := url.Parse(text)
	return err == nil && slices.Contains(schemes, u.Scheme) && (u.Hostname() != "" || u.Scheme == "unix" && u.Path != "")
}

func oneOf(value string, allowed ...string) bool { return slices.Contains(allowed, value) }

func (f *findings) queue(q Queue, w Workers) {
	f.want(q.Beat <= q.AckWait/3,
		fmt.Sprintf("(%s) must be at most a third of queue.ack_wait (%s)", show(q.Beat), show(q.AckWait)),
		"queue.beat", "queue.ack_wait")
	f.want(q.RetryBase <= q.RetryMax,
		fmt.Sprintf("(%s) must be at most queue.retry_max (%s)", show(q.RetryBase), show(q.RetryMax)),
		"queue.retry_base", "queue.retry_max")
	f.want(q.RetryMax <= q.RetryFor,
		fmt.Sprintf("(%s) must be at most queue.retry_for (%s)", show(q.RetryMax), show(q.RetryFor)),
		"queue.retry_max", "queue.retry_for")
	f.want(q.MaxPerConversation <= q.MaxMessages,
		fmt.Sprintf("(%d) must be at most queue.max_messages (%d)", q.MaxPerConversation, q.MaxMessages),
		"queue.max_per_conversation", "queue.max_messages")
	f.want(q.MaxAckPending >= w.Slots,
		fmt.Sprintf("(%d) must be at least workers.slots (%d)", q.MaxAckPending, w.Slots),
		"queue.max_ack_pending", "workers.slots")
}

func (f *findings) limits(c Config) {
	f.want(c.Session.KeepRounds >= c.Session.Rounds,
		fmt.Sprintf("(%d) must be at least session.rounds (%d)", c.Session.KeepRounds, c.Session.Rounds),
		"session.keep_rounds", "session.rounds")
	f.want(c.Session.Tokens <= 0 || c.Session.Tokens >= leastMessageTokens, // 0 is refused elsewhere
		fmt.Sprintf("must be at least %d, or the newest round has no room", leastMessageTokens), "session.tokens")
	f.want(c.Session.MessageTokens == 0 || c.Session.MessageTokens >= leastMessageTokens,
		fmt.Sprintf("must be 0 or at least %d", leastMessageTokens), "session.message_tokens")
	f.want(oneOf(c.HTTP.Filter, FilterNormal, FilterStrict), "must be normal or strict", "http.filter")
	f.want(c.Session.Summary.MaxTokens <= 4096, fmt.Sprintf("(%d) must be at most 4096", c.Session.Summary.MaxTokens), "session.summary.max_tokens")
	f.want(c.Reply.DoneTTL >= c.Reply.ResultTTL,
		fmt.Sprintf("(%s) must be at least reply.result_ttl (%s)", show(c.Reply.DoneTTL), show(c.Reply.ResultTTL)),
		"reply.done_ttl", "reply.result_ttl")
	f.want(c.HTTP.ReadTimeout >= c.HTTP.HeaderTimeout,
		fmt.Sprintf("(%s) must be at least http.header_timeout (%s)", show(c.HTTP.ReadTimeout), show(c.HTTP.HeaderTimeout)),
		"http.read_timeout", "http.header_timeout")
	f.want(c.HTTP.MaxOpenAIBody <= maxOpenAIBody,
		fmt.Sprintf("(%d) must be at most %d: a message of the queue has no room for more", c.HTTP.MaxOpenAIBody, maxOpenAIBody), "http.max_openai_body")
	f.want(c.Cache.TTL <= 24*time.Hour, fmt.Sprintf("(%s) must be at most 24h", show(c.Cache.TTL)), "cache.ttl")
	_, err := c.HTTP.Rate()
	f.want(err == nil, rateText, "http.rate_limit")
	f.want(oneOf(c.Log.Level, "trace", "debug", "info", "warn", "error"),
		"must be trace, debug, info, warn or error", "log.level")
	f.want(oneOf(c.Log.Format, "auto", "json", "console"), "must be auto, json or console", "log.format")
}

// rateText says what a rate limit has to be.
const rateText = "must be requests per second (0.01 to 1000000) and burst (1 to 1000000), like 10/20, or off"

// Rate is RateLimit as numbers.
func (h HTTP) Rate() (contracts.Rate, error) { return contracts.ParseRate(h.RateLimit) }
