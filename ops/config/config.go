// Package config loads the settings of every role: defaults, then the model
// file, then the configuration file, then the environment, later ones winning.
// It reports all mistakes at once, each with its place, and never puts a secret
// into an error; it dials nothing, watches nothing and keeps no global state.
package config

import "time"

// Config is everything that can be set. Keys are the koanf names joined by
// dots; Keys lists them with types, defaults and environment names. Paths are
// relative to the working directory.
type Config struct {
	Listen      string `koanf:"listen" doc:"Address of the public HTTP server, as host:port."`
	AdminListen string `koanf:"admin_listen" doc:"Address of the admin API, as host:port; the host must be loopback. Port 0 picks a free one."`
	DataDir     string `koanf:"data_dir" doc:"Directory of what the process stores: with up everything, with serve ingress the access to its admin API."`
	KeysDir     string `koanf:"keys_dir" doc:"Directory of the key files; empty means keys inside data_dir."`
	Durability  string `koanf:"durability" doc:"When a message counts as stored: fsync (on disk) or os (in the page cache)."`

	Keys      KeyRoot   `koanf:"keys"`
	NATS      NATS      `koanf:"nats"`
	Redis     Redis     `koanf:"redis"`
	Pool      Pool      `koanf:"connection_pool"`
	Queue     Queue     `koanf:"queue"`
	Workers   Workers   `koanf:"workers"`
	Scheduler Scheduler `koanf:"scheduler"`
	Session   Session   `koanf:"session"`
	Reply     Reply     `koanf:"reply"`
	HTTP      HTTP      `koanf:"http"`
	Model     Models    `koanf:"model"`
	Cache     Cache     `koanf:"cache"`
	DingTalk  DingTalks `koanf:"dingtalk"`
	Feishu    Feishus   `koanf:"feishu"`
	Deliver   Deliver   `koanf:"deliver"`
	Callback  Callback  `koanf:"callback"`
	Log       Log       `koanf:"log"`
	Metrics   Metrics   `koanf:"metrics"`
	Trace     Trace     `koanf:"trace"`
}

// NATS says which NATS to use.
type NATS struct {
	URL               string `koanf:"url" secret:"url" doc:"Servers, separated by commas; empty means embedded."`
	MonitorURL        string `koanf:"monitor_url" secret:"url" doc:"Monitoring addresses of the servers, separated by commas, for the proof that they sync to disk; needed with nats.url and durability fsync, unless nats.allow_unproven_sync."`
	User              string `koanf:"user" doc:"User name, together with nats.password; empty means none, or that of nats.url."`
	Password          string `koanf:"password" secret:"value" doc:"Password of nats.user, apart from the address, so that a file can hold it that the server reads too."`
	CredsFile         string `koanf:"creds_file" doc:"NATS credentials file (.creds); empty means none."`
	Replicas          int    `koanf:"replicas" doc:"Copies of each stream: 1, 3 or 5."`
	AllowUnprovenSync bool   `koanf:"allow_unproven_sync" doc:"Start without the proof that the servers sync to disk."`
}

// Redis says which Redis to use.
type Redis struct {
	URL string `koanf:"url" secret:"url" doc:"Server, as redis://user:password@host:port/db; several separated by commas for a cluster, ?master_name= for sentinels; empty means embedded."`

	Password string `koanf:"password" secret:"value" doc:"Password, apart from the address, so that a file can hold it that the server reads too."`
}

// Pool bounds the connections to Redis and to the model. Zero leaves each at its own default.
type Pool struct {
	MaxSize     int           `koanf:"max_size" zero:"default" doc:"Connections to one Redis server, and unused ones to the model that are kept; 0 means 128 for Redis, workers.slots for the model."`
	IdleTimeout time.Duration `koanf:"idle_timeout" zero:"default" doc:"How long an unused connection is kept; 0 means 30m to Redis, 90s to the model."`
	MaxLifetime time.Duration `koanf:"max_lifetime" zero:"off" doc:"Age at which a connection gets no further request and is replaced; 0 means any."`
}

// Queue holds the limits and times of the message streams.
type Queue struct {
	MaxMessages        int64         `koanf:"max_messages" doc:"Unfinished messages the stream has room for, before new ones are refused; it gets a quarter more for finished ones."`
	MaxBytes           int64         `koanf:"max_bytes" doc:"Bytes of messages that the queue holds before it refuses new ones; for answers on their way out there is half of it on top."`
	MaxPerConversation int64         `koanf:"max_per_conversation" doc:"Unfinished messages of one conversation it has room for, with a quarter more as well."`
	Duplicates         time.Duration `koanf:"duplicates" doc:"How long the stream itself recognizes a repeated message id."`
	AckWait            time.Duration `koanf:"ack_wait" doc:"Silence of a worker after which its message is delivered again."`
	Beat               time.Duration `koanf:"beat" doc:"How often a running message tells the stream that it is alive; at most a third of queue.ack_wait."`
	Lease              time.Duration `koanf:"lease" doc:"How long a worker owns a conversation without renewing; it renews at least every third of it."`
	BusyDelay          time.Duration `koanf:"busy_delay" doc:"Wait before a message whose conversation is owned by another worker comes again."`
	MaxAttempts        int           `koanf:"max_attempts" doc:"Runs of one message before it becomes a dead letter; runs that a dependency spoiled do not count."`
	RetryBase          time.Duration `koanf:"retry_base" doc:"Wait before the second run; doubles with each further one."`
	RetryMax           time.Duration `koanf:"retry_max" doc:"Longest wait between two runs."`
	RetryFor           time.Duration `koanf:"retry_for" doc:"Total time one message may be retried."`
	PurgeEvery         time.Duration `koanf:"purge_every" doc:"How often finished messages are removed from the stream."`
	MaxAckPending      int           `koanf:"max_ack_pending" doc:"Deliveries that may be outstanding; at least workers.slots."`
	GroupCommit        bool          `koanf:"group_commit" doc:"Store messages that wait at the same moment as one batch, where durability is fsync and nats.replicas is 1; elsewhere it gains nothing and is not done."`
	PublishTimeout     time.Duration `koanf:"publish_timeout" doc:"Longest wait for the stream to confirm a message."`
}

// Workers sizes the pool.
type Workers struct {
	Slots    int           `koanf:"slots" doc:"Messages one process works on at the same time."`
	SoftStop time.Duration `koanf:"soft_stop" doc:"Time running messages get to finish after a stop signal."`
}

// Scheduler says how background tasks are run.
type Scheduler struct {
	Slots     int           `koanf:"slots" doc:"Background tasks one process with the scheduler role works on at the same time."`
	SoftStop  time.Duration `koanf:"soft_stop" doc:"Time running tasks get to finish after a stop signal; what still runs then is begun again elsewhere."`
	Timezone  string        `koanf:"timezone" doc:"Time zone of the timetable, like Asia/Shanghai; the same in every process."`
	LookBack  time.Duration `koanf:"look_back" doc:"How late a due time of the timetable is made up for when no process was there."`
	Timeout   time.Duration `koanf:"timeout" doc:"Longest time of one run of a task that has no other."`
	Retries   int           `koanf:"retries" doc:"Runs of a failing task after the first, before it is given up."`
	RetryBase time.Duration `koanf:"retry_base" doc:"Wait before the second run; doubles with each further one."`
	RetryMax  time.Duration `koanf:"retry_max" doc:"Longest wait between two runs."`
	Retention time.Duration `koanf:"retention" doc:"How long a finished task is remembered and shown."`
}

// Session shapes what the model is told of a conversation.
type Session struct {
	TTL           time.Duration `koanf:"ttl" doc:"How long a silent conversation is remembered."`
	MaxAge        time.Duration `koanf:"max_age" zero:"off" doc:"Age at which a conversation ends even if it is in use; 0 means any."`
	MaxBytes      int           `koanf:"max_bytes" doc:"Most bytes stored of one conversation; the oldest rounds go first, the newest always stays."`
	Rounds        int           `koanf:"rounds" doc:"Latest rounds given to the model."`
	Tokens        int           `koanf:"tokens" doc:"Most tokens of past rounds and their summary given to the model; the newest round is always there, shortened if it must be. At least 64."`
	MessageTokens int           `koanf:"message_tokens" zero:"off" doc:"Most tokens of a new message given to the model; a longer one is shortened, with a note. At least 64; 0 means any. Messages of /v1 are never shortened."`
	KeepRounds    int           `koanf:"keep_rounds" doc:"Rounds stored per conversation; at least session.rounds."`
	System        string        `koanf:"system" doc:"System prompt where none of session.systems matches; empty means none."`
	Systems       []System      `koanf:"-"` // system prompts of routes

	Summary Summary `koanf:"summary"`
}

// Summary says how what fell out of the window is summarized.
type Summary struct {
	Enabled   bool   `koanf:"enabled" doc:"Summarize rounds that the model is not given any more, so that it is told of them."`
	After     int    `koanf:"after" doc:"Rounds that must have fallen out before; session.keep_rounds must have room for them beside session.rounds."`
	Model     string `koanf:"model" doc:"Name of the model that summarizes, a cheap one for instance; empty means the one that answers by default. The demo model summarizes only when it is named here."`
	MaxTokens int    `koanf:"max_tokens" doc:"Most tokens of a summary; at most 4096."`
}

// Reply says how long answers are waited for and kept.
type Reply struct {
	Cap       time.Duration `koanf:"cap" doc:"Longest time the server lets a request wait before it answers 202."`
	OpenAICap time.Duration `koanf:"openai_cap" doc:"Longest time a request to /v1 waits, where there is no 202 and the answer is 504 then."`
	StreamCap time.Duration `koanf:"stream_cap" doc:"Longest time a client may read an answer while it is made."`
	ResultTTL time.Duration `koanf:"result_ttl" doc:"How long an answer can be fetched; also the window of Idempotency-Key."`
	DoneTTL   time.Duration `koanf:"done_ttl" doc:"How long a finished message id is remembered; at least reply.result_ttl."`
}

// HTTP holds the limits of the public server.
type HTTP struct {
	MaxBody        int64         `koanf:"max_body" doc:"Largest request body, in bytes."`
	MaxOpenAIBody  int64         `koanf:"max_openai_body" doc:"Largest request body of /v1, in bytes; at most 983040, which is what the queue takes."`
	MaxChars       int           `koanf:"max_chars" doc:"Longest message text of /api/chat, in characters, as the filter leaves it."`
	Filter         string        `koanf:"filter" doc:"What users' texts may hold: normal (no control or invisible characters) or strict (only letters, digits, _, white space, Chinese and its punctuation; commands stay)."`
	HeaderTimeout  time.Duration `koanf:"header_timeout" doc:"Time a client has to send its headers."`
	ReadTimeout    time.Duration `koanf:"read_timeout" doc:"Time a client has to send the whole request; at least http.header_timeout."`
	MaxHeader      int           `koanf:"max_header" doc:"Largest request header, in bytes."`
	RateLimit      string        `koanf:"rate_limit" doc:"Requests per second and burst of one caller, as 10/20, or off."`
	TrustedProxies []string      `koanf:"trusted_proxies" doc:"Networks (CIDR) whose X-Forwarded-For is believed."`
	MaxWaiting     int           `koanf:"max_waiting" doc:"Requests of one process that may wait for an answer."`
	DailyTokens    int           `koanf:"daily_tokens" zero:"off" doc:"Tokens of models that one caller may use in a day (UTC); 0 means any. A token made with --budget has its own."`
}

// Cache says which answers are given again to the same question.
type Cache struct {
	Enabled bool          `koanf:"enabled" doc:"Answer a repeated question from the cache, where the client did not choose another temperature than the configured one."`
	TTL     time.Duration `koanf:"ttl" doc:"How long an answer is kept, ±10 %; at most 24h."`
	Memory  int           `koanf:"memory" doc:"Bytes of answers that each process with workers keeps in memory, before those in Redis."`
	Shared  bool          `koanf:"shared" doc:"Give one caller what was answered to another. Leave it off where a prompt may hold what only its caller knows."`
	Demo    bool          `koanf:"demo" doc:"Also for the demo model."`
}

// Model says which model answers. These are the keys of model_config.yaml.
type Model struct {
	Provider          string        `koanf:"model_provider" doc:"Provider: demo, openai, anthropic, or another one that speaks OpenAI's protocol at endpoint."`
	Name              string        `koanf:"model" doc:"Model name as the provider knows it; empty means the provider's default."`
	APIKey            string        `koanf:"api_key" secret:"value" doc:"Key for the provider."`
	Endpoint          string        `koanf:"endpoint" secret:"url" doc:"Base URL of the provider's API; needed unless model_provider is demo, openai or anthropic."`
	MaxTokens         int           `koanf:"max_tokens" doc:"Most tokens of one answer."`
	Temperature       float64       `koanf:"temperature" doc:"Sampling temperature, from 0 to 2."`
	Stream            bool          `koanf:"stream" doc:"Ask the provider for a stream of tokens."`
	FirstTokenTimeout time.Duration `koanf:"first_token_timeout" doc:"Longest wait for the first token; at most timeout."`
	IdleTimeout       time.Duration `koanf:"idle_timeout" doc:"Longest silence between two tokens."`
	Timeout           time.Duration `koanf:"timeout" doc:"Longest time of a whole answer."`
	MaxResponseBytes  int64         `koanf:"max_response_bytes" doc:"Largest answer read from the provider, in bytes."`
	Vision            bool          `koanf:"vision" doc:"Whether the model sees images. One that does not is asked with the text alone, and the user is told."`
	MaxConcurrent     int           `koanf:"max_concurrent" zero:"off" doc:"Most calls of the model at a time, by all processes together; 0 means no limit."`
	TotalTimeout      time.Duration `koanf:"total_timeout" zero:"default" doc:"Longest time that one message's retries and fall-backs take together; 0 means twice timeout."`
	OnFailure         string        `koanf:"on_failure" doc:"When no model answers: retry (the message waits and is tried again) or apologize (one sentence is its final answer)."`
	Apology           string        `koanf:"apology" doc:"That sentence; empty means one in Chinese for Chinese messages, else in English."`
}

// Log says what is logged and how.
type Log struct {
	Level  string `koanf:"level" doc:"Lowest level written: trace, debug, info, warn or error."`
	Format string `koanf:"format" doc:"Form of a line: json, console, or auto (console on a terminal)."`
}

// Metrics says where metrics and probes are served.
type Metrics struct {
	Listen string `koanf:"listen" doc:"Address of /metrics, /livez and /readyz of every role, as host:port; empty means none. No token is asked for, so keep it where only the monitoring can reach it. If the default is taken, a free port is chosen."`
}

// Trace says where traces are sent.
type Trace struct {
	Endpoint string  `koanf:"endpoint" secret:"url" doc:"Base URL of an OpenTelemetry collector (OTLP over HTTP), such as http://127.0.0.1:4318; empty means OTEL_EXPORTER_OTLP_ENDPOINT, and without that no traces."`
	Sample   float64 `koanf:"sample" doc:"Part of the requests that is traced, from 0 to 1. A request that brings a traceparent follows that."`
}

// Default is the configuration of a process that is told nothing.
func Default() Config {
	return Config{
		Listen: "127.0.0.1:18789", AdminListen: "127.0.0.1:0", DataDir: "moltbot-data", Durability: "fsync",
		Keys: DefaultKeyRoot(),
		NATS: NATS{Replicas: 1},
		Queue: Queue{
			MaxMessages: 100_000, MaxBytes: 2 << 30, MaxPerConversation: 64, Duplicates: 2 * time.Minute,
			AckWait: 30 * time.Second, Beat: 10 * time.Second, Lease: 15 * time.Second, BusyDelay: time.Second,
			MaxAttempts: 5, RetryBase: time.Second, RetryMax: time.Minute, RetryFor: 30 * time.Minute,
			PurgeEvery: 250 * time.Millisecond, MaxAckPending: 20_000, GroupCommit: true, PublishTimeout: 2 * time.Second,
		},
		Workers: Workers{Slots: 64, SoftStop: 25 * time.Second},
		Scheduler: Scheduler{
			Slots: 4, SoftStop: 25 * time.Second, Timezone: "UTC", LookBack: 24 * time.Hour, Timeout: 5 * time.Minute,
			Retries: 12, RetryBase: 5 * time.Second, RetryMax: 10 * time.Minute, Retention: time.Hour,
		},
		Session: Session{TTL: 30 * time.Minute, MaxAge: 30 * 24 * time.Hour, MaxBytes: 1 << 20, Rounds: 10, Tokens: 1024, MessageTokens: 8192, KeepRounds: 200, Summary: Summary{Enabled: true, After: 5, MaxTokens: 256}},
		Reply:   Reply{Cap: 55 * time.Second, OpenAICap: 5 * time.Minute, StreamCap: 10 * time.Minute, ResultTTL: time.Hour, DoneTTL: 24 * time.Hour},
		HTTP: HTTP{
			MaxBody: 65_536, MaxOpenAIBody: maxOpenAIBody, MaxChars: 2048, Filter: FilterNormal, HeaderTimeout: 5 * time.Second, ReadTimeout: 15 * time.Second,
			MaxHeader: 16_384, RateLimit: "10/20", MaxWaiting: 20_000,
		},
		Model:    Models{Model: DefaultModel()},
		DingTalk: DingTalks{DingTalk: DefaultDingTalk()}, Feishu: Feishus{Feishu: DefaultFeishu()},
		Deliver:  Deliver{Slots: 32, MaxAttempts: 20, RetryFor: 2 * time.Hour},
		Callback: Callback{RetryFor: 24 * time.Hour, Timeout: 30 * time.Second},
		Cache:    Cache{Enabled: true, TTL: 5 * time.Minute, Memory: 32 << 20},
		Log:      Log{Level: "info", Format: "auto"},
		Metrics:  Metrics{Listen: "127.0.0.1:18790"},
		Trace:    Trace{Sample: 1},
	}
}

// maxOpenAIBody leaves 64 KiB of a NATS message for what is put around a body.
const maxOpenAIBody = 983_040

// leastMessageTokens leaves room for the note that a text was shortened.
const leastMessageTokens = 64

// What users' texts may hold.
const (
	FilterNormal = "normal"
	FilterStrict = "strict"
)

// What happens to a message that no model answers.
const (
	FailureRetry     = "retry"
	FailureApologize = "apologize"
)

// DefaultModel is the model of a process that is told nothing.
func DefaultModel() Model {
	return Model{
		Provider: "demo", MaxTokens: 1024, Temperature: 0.7, Stream: true, Vision: true,
		FirstTokenTimeout: 30 * time.Second, IdleTimeout: 30 * time.Second, Timeout: 2 * time.Minute,
		MaxResponseBytes: 1 << 20, OnFailure: FailureRetry,
	}
}

// String hides the settings, because a careless %v would print the secrets.
func (Config) String() string { return "configuration (print it with Show)" }

// GoString hides the settings from %#v too.
func (c Config) GoString() string { return c.String() }

// String hides the settings, because a careless %v would print the API key.
func (Model) String() string { return "model configuration" }

// GoString hides the settings from %#v too.
func (m Model) GoString() string { return m.String() }
