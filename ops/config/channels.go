package config

import (
	"maps"
	"slices"
	"time"

	"moltbot/contracts"
)

// IM is what an application of every IM platform has.
type IM struct {
	Scope      string        `koanf:"scope" doc:"Who shares a conversation in a group: chat (all its members), user_in_chat (each member has one) or thread (each topic or thread has one)."`
	Groups     string        `koanf:"groups" doc:"What is answered in groups: mention (messages that mention the bot), all (every message that the platform sends) or off."`
	AtAll      bool          `koanf:"at_all" doc:"Whether a mention of everybody is a mention of the bot."`
	AllowChats []string      `koanf:"allow_chats" doc:"Ids of the groups that are answered; empty means any. Direct chats are bound by allow_users alone."`
	AllowUsers []string      `koanf:"allow_users" doc:"Ids of the users that are answered (DingTalk: staff id, Feishu: open_id); empty means any."`
	Received   string        `koanf:"received" doc:"Sign that a message was received: reaction, text or off. It stays when the answer has come."`
	Rate       int           `koanf:"rate" doc:"Most calls of the platform in a second for this application, by all processes together."`
	ChatRate   int           `koanf:"chat_rate" doc:"Most messages into one chat in a second."`
	MaxAge     time.Duration `koanf:"max_age" doc:"Age of a user's message at which it is no longer answered but becomes a dead letter."`
	Timeout    time.Duration `koanf:"timeout" doc:"Longest wait for the platform's answer to one call."`
}

// DingTalk is one application (robot) of DingTalk.
type DingTalk struct {
	ClientID       string   `koanf:"client_id" doc:"Client id (AppKey) of the application; empty means that there is none."`
	ClientSecret   string   `koanf:"client_secret" secret:"value" doc:"Its client secret (AppSecret)."`
	RobotCode      string   `koanf:"robot_code" doc:"Code of the robot; empty means the client id."`
	CorpID         string   `koanf:"corp_id" doc:"Organization whose messages are taken; empty means any."`
	Mode           string   `koanf:"mode" doc:"How messages come: webhook (DingTalk calls /dingtalk/webhook) or stream (we call DingTalk, which needs no public address)."`
	OnUncertain    string   `koanf:"on_uncertain" doc:"What becomes of a message of which nobody knows whether it was sent: hold (it becomes a dead letter, and is never seen twice) or resend (it is never lost)."`
	Endpoint       string   `koanf:"endpoint" doc:"Base URL of the API."`
	WebhookOrigins []string `koanf:"webhook_origins" doc:"Origins (scheme and host) that a session webhook may have. What DingTalk sends is not signed, so nothing else is ever called. Empty means https://oapi.dingtalk.com and https://api.dingtalk.com."`
	IM             `koanf:",squash"`
}

// Robot is RobotCode, or what stands for it.
func (d DingTalk) Robot() string {
	if d.RobotCode != "" {
		return d.RobotCode
	}
	return d.ClientID
}

// Origins is WebhookOrigins, or what stands for it.
func (d DingTalk) Origins() []string {
	if len(d.WebhookOrigins) > 0 {
		return d.WebhookOrigins
	}
	return []string{"https://oapi.dingtalk.com", "https://api.dingtalk.com"}
}

// String hides the settings, because a careless %v would print the secret.
func (DingTalk) String() string { return "DingTalk configuration" }

// GoString hides the settings from %#v too.
func (d DingTalk) GoString() string { return d.String() }

// DingTalks is the dingtalk section: one application without a name, and others with.
type DingTalks struct {
	DingTalk `koanf:",squash"`
	Named    map[string]DingTalk `koanf:"-"` // from dingtalk.apps
}

// Apps gives all applications by name.
func (d DingTalks) Apps() map[string]DingTalk {
	all := maps.Clone(d.Named)
	if all == nil {
		all = map[string]DingTalk{}
	}
	if d.ClientID != "" {
		all[contracts.DefaultApp] = d.DingTalk
	}
	return all
}

// Feishu is one application of Feishu or Lark.
type Feishu struct {
	AppID             string `koanf:"app_id" doc:"App id (cli_…); empty means that there is none."`
	AppSecret         string `koanf:"app_secret" secret:"value" doc:"Its app secret."`
	EncryptKey        string `koanf:"encrypt_key" secret:"value" doc:"Encrypt Key of its events; needed with mode webhook, because nothing is signed without it."`
	VerificationToken string `koanf:"verification_token" secret:"value" doc:"Verification Token of its events; needed with mode webhook."`
	TenantKey         string `koanf:"tenant_key" doc:"Tenant whose messages are taken; empty means any."`
	Mode              string `koanf:"mode" doc:"How messages come: webhook (Feishu calls /feishu/webhook) or websocket (we call Feishu, which needs no public address)."`
	BotOpenID         string `koanf:"bot_open_id" doc:"open_id of the bot; empty means that it is asked for at start."`
	Endpoint          string `koanf:"endpoint" doc:"Base URL of the API: https://open.feishu.cn, or https://open.larksuite.com for Lark."`
	IM                `koanf:",squash"`
}

// String hides the settings, because a careless %v would print the secrets.
func (Feishu) String() string { return "Feishu configuration" }

// GoString hides the settings from %#v too.
func (f Feishu) GoString() string { return f.String() }

// Feishus is the feishu section: one application without a name, and others with.
type Feishus struct {
	Feishu `koanf:",squash"`
	Named  map[string]Feishu `koanf:"-"` // from feishu.apps
}

// Apps gives all applications by name.
func (f Feishus) Apps() map[string]Feishu {
	all := maps.Clone(f.Named)
	if all == nil {
		all = map[string]Feishu{}
	}
	if f.AppID != "" {
		all[contracts.DefaultApp] = f.Feishu
	}
	return all
}

// Deliver says how replies go out to IM platforms and callback URLs.
type Deliver struct {
	Slots       int           `koanf:"slots" doc:"Replies that one process with workers sends at the same time."`
	MaxAttempts int           `koanf:"max_attempts" doc:"Tries to send one reply before it becomes a dead letter; tries that the platform's limits or an outage spoiled do not count."`
	RetryFor    time.Duration `koanf:"retry_for" doc:"Total time one reply to an IM platform may be tried again."`
	// AllowNetworks lets what we call be at home.
	AllowNetworks []string `koanf:"allow_networks" doc:"Networks (CIDR) that callback URLs and session webhooks may lie in although they are private, loopback or link-local."`
	LinkHosts     []string `koanf:"link_hosts" doc:"Hosts that links in answers may lead to, like docs.example.com, or *.example.com for example.com and all hosts below it; other links are shown as text. Empty means any."`
}

// Callback says what becomes of callback_url.
type Callback struct {
	Hosts       []string      `koanf:"hosts" doc:"Hosts that a caller's callback_url may name, as user=host, or *=host for every caller; *.domain stands for all hosts below it, http://host allows it without TLS; none means that callback_url is refused."`
	Generations []string      `koanf:"generations" doc:"Number of the callback secret of a caller, as user=2; 1 is that of all others. Callbacks are signed with the secret of that number and with the next one."`
	RetryFor    time.Duration `koanf:"retry_for" doc:"Total time an answer is tried again that its URL did not take."`
	Timeout     time.Duration `koanf:"timeout" doc:"Longest wait for the URL to take an answer."`
}

// How messages of an application come.
const (
	ModeWebhook   = "webhook"
	ModeStream    = "stream"    // DingTalk's long connection
	ModeWebSocket = "websocket" // Feishu's
)

// The other choices of an application.
const (
	ScopeChat       = "chat"
	ScopeUserInChat = "user_in_chat"
	ScopeThread     = "thread"

	GroupsMention = "mention"
	GroupsAll     = "all"
	GroupsOff     = "off"

	ReceivedReaction = "reaction"
	ReceivedText     = "text"
	ReceivedOff      = "off"

	UncertainHold   = "hold"
	UncertainResend = "resend"
)

// DefaultDingTalk is an application of which only the credentials are said.
// DingTalk allows 20 calls a second for each API (facts).
func DefaultDingTalk() DingTalk {
	return DingTalk{
		Mode: ModeWebhook, OnUncertain: UncertainHold, Endpoint: "https://api.dingtalk.com",
		IM: defaultIM(ReceivedOff, 20),
	}
}

// DefaultFeishu is an application of which only the credentials are said. Feishu
// allows 50 calls a second, and 5 into one chat (facts).
func DefaultFeishu() Feishu {
	return Feishu{Mode: ModeWebhook, Endpoint: "https://open.feishu.cn", IM: defaultIM(ReceivedReaction, 50)}
}

func defaultIM(received string, rate int) IM {
	return IM{
		Scope: ScopeChat, Groups: GroupsMention, Received: received, Rate: rate, ChatRate: 5,
		MaxAge: 2 * time.Hour, Timeout: 90 * time.Second,
	}
}

// sampleSecrets are those that examples print.
var sampleSecrets = []string{"secret", "changeme", "change-me", "your-app-secret", "your_app_secret", "app_secret", "xxx", "test", "example"}

// leastSecret is the shortest secret of a channel. Feishu and DingTalk make theirs
// of 32 and 64 characters; an Encrypt Key is the operator's own.
const leastSecret = 16

func (f *findings) channels(c Config) {
	secrets := map[string]string{}
	once := func(value, key string) {
		if other, twice := secrets[value]; twice && value != "" {
			f.want(false, "is the same secret as "+other, key)
		}
		secrets[value] = key
	}
	for _, name := range slices.Sorted(maps.Keys(c.DingTalk.Apps())) {
		f.dingtalk(c.DingTalk.Apps()[name], appPrefix("dingtalk", name), once)
	}
	for _, name := range slices.Sorted(maps.Keys(c.Feishu.Apps())) {
		f.feishu(c.Feishu.Apps()[name], appPrefix("feishu", name), once)
	}
}

// appPrefix is where the keys of an application stand.
func appPrefix(section, name string) string {
	if name == contracts.DefaultApp {
		return section + "."
	}
	return section + ".apps." + name + "."
}

func (f *findings) dingtalk(d DingTalk, at string, once func(value, key string)) {
	f.named(d, at, d.ClientID, "client_id")
	f.channelSecret(d.ClientSecret, at+"client_secret", once)
	f.want(oneOf(d.Mode, ModeWebhook, ModeStream), "must be webhook or stream", at+"mode")
	f.want(oneOf(d.OnUncertain, UncertainHold, UncertainResend), "must be hold or resend", at+"on_uncertain")
	f.want(isURL(d.Endpoint, "https", "http"), "must be a URL like https://api.dingtalk.com", at+"endpoint")
	for _, o := range d.WebhookOrigins {
		f.want(isURL(o, "https", "http"), "must be origins like https://oapi.dingtalk.com", at+"webhook_origins")
	}
	f.im(d.IM, at)
}

func (f *findings) feishu(a Feishu, at string, once func(value, key string)) {
	f.named(a, at, a.AppID, "app_id")
	f.channelSecret(a.AppSecret, at+"app_secret", once)
	if a.Mode == ModeWebhook {
		f.channelSecret(a.EncryptKey, at+"encrypt_key", once)
		f.channelSecret(a.VerificationToken, at+"verification_token", once)
	}
	f.want(oneOf(a.Mode, ModeWebhook, ModeWebSocket), "must be webhook or websocket", at+"mode")
	f.want(isURL(a.Endpoint, "https", "http"), "must be a URL like https://open.feishu.cn", at+"endpoint")
	f.im(a.IM, at)
}

// channelSecret refuses a secret with which anybody could sign.
func (f *findings) channelSecret(value, key string, once func(value, key string)) {
	f.want(value != "", "must not be empty: anybody could write messages", key)
	f.want(value == "" || len(value) >= leastSecret, "is too short for a secret", key)
	f.want(!slices.Contains(sampleSecrets, value), "is a sample, not a secret", key)
	once(value, key)
}

func (f *findings) im(i IM, at string) {
	f.want(oneOf(i.Scope, ScopeChat, ScopeUserInChat, ScopeThread), "must be chat, user_in_chat or thread", at+"scope")
	f.want(oneOf(i.Groups, GroupsMention, GroupsAll, GroupsOff), "must be mention, all or off", at+"groups")
	f.want(oneOf(i.Received, ReceivedReaction, ReceivedText, ReceivedOff), "must be reaction, text or off", at+"received")
}
