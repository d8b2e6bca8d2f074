package contracts

// Every Redis key of a conversation carries the hash tag {conversation}, so
// that a script may touch all of them on a cluster. Every key has a time to live.

// KeySession is the list of sealed turns, oldest first. The user may reset it.
func KeySession(conversation string) string { return "session:" + tag(conversation) }

// KeySummary is the sealed rolling summary of turns that left the window.
func KeySummary(conversation string) string { return "summary:" + tag(conversation) }

// KeyBox is the hash of a conversation's order: fence, holder, last, want,
// epoch, stop, created, the attempts of unfinished messages, and the note that
// the last message left for the next. It survives a reset of the session.
func KeyBox(conversation string) string { return "box:" + tag(conversation) }

// KeyLease holds the token of the worker that has the conversation, or LeaseHeld.
func KeyLease(conversation string) string { return "lease:" + tag(conversation) }

// KeyOut is the list of replies that are committed but not yet stored in SEND.
func KeyOut(conversation string) string { return "out:" + tag(conversation) }

// KeyDone marks a message as finished. Only this key says so.
func KeyDone(conversation, id string) string { return "done:" + tag(conversation) + ":" + id }

// KeyResult holds a message's sealed result for whoever asks.
func KeyResult(conversation, id string) string { return "result:" + tag(conversation) + ":" + id }

// KeyIdempotency is the record of an Idempotency-Key, by its keyed digest.
func KeyIdempotency(digest string) string { return "idem:" + token(digest) }

// KeyLimit is a caller's rate limit, by the keyed digest of who it is.
func KeyLimit(digest string) string { return "limit:" + tag(digest) }

// BoxKeys are the keys by which one mailbox orders one conversation. What a
// message has of its own is named by Done and Result with its id behind them.
type BoxKeys struct{ Lease, Box, Context, Out, Summary, Done, Result string }

// ChatKeys are the keys of the mailbox over StreamChat.
func ChatKeys(conversation string) BoxKeys {
	t := tag(conversation)
	return BoxKeys{
		Lease: "lease:" + t, Box: "box:" + t, Context: "session:" + t, Out: "out:" + t, Summary: "summary:" + t,
		Done: "done:" + t + ":", Result: "result:" + t + ":",
	}
}

// SendKeys are the keys of the mailbox over StreamSend. It keeps no context and
// fills no outbox; their names are there because a script names all its keys.
func SendKeys(conversation string) BoxKeys {
	t := tag(conversation)
	return BoxKeys{
		Lease: "send-lease:" + t, Box: "send-box:" + t, Context: "send-session:" + t, Out: "send-out:" + t, Summary: "send-summary:" + t,
		Done: "send-done:" + t + ":", Result: "send-result:" + t + ":",
	}
}

// KeyDelivery is the hash of what became of each part of a reply on its way out.
// A replayed reply goes by the record of the first.
func KeyDelivery(conversation, id string) string { return "delivery:" + tag(conversation) + ":" + id }

// KeyPace is the time at which a channel may be called next, by the keyed digest
// of what the platform's limit counts: an application, a chat.
func KeyPace(digest string) string { return "pace:" + tag(digest) }

// KeyOwner is the lease of the process that has an application's long connection.
func KeyOwner(channel Channel, app string) string {
	return "owner:" + token(string(channel)) + ":" + tag(app)
}

// KeyBot is what an application's bot is called by its platform, as learned last.
func KeyBot(channel Channel, app string) string {
	return "bot:" + token(string(channel)) + ":" + tag(app)
}

// KeyAbout is the sealed record of whose session a conversation is.
func KeyAbout(conversation string) string { return "about:" + tag(conversation) }

// KeySessions is the sorted set of a caller's conversations by the keyed digest
// of who it is; the score is the time of the first or a later turn, in ms.
func KeySessions(digest string) string { return "sessions:" + tag(digest) }

// KeyJanitor is the lease of whichever worker purges a stream.
func KeyJanitor(stream string) string { return "janitor:" + token(stream) }

// KeyMark is what is known of a stream's life: when it was created, the last
// sequence ever seen in it, and how often it went back in time.
func KeyMark(stream string) string { return KeyJanitor(stream + "-mark") }

// KeyCap holds who has how many of the calls that a model may get at a time.
func KeyCap(model string) string { return "cap:" + token(model) }

// KeyCache holds an answer for identical requests, by their keyed digest.
func KeyCache(digest string) string { return "cache:" + tag(digest) }

// KeyFlight is the lease of the process that asks the model for the answer of KeyCache.
func KeyFlight(digest string) string { return "flight:" + tag(digest) }

// KeyPurge holds, by model, a word that the operator's last purge changed. It is
// part of the digest of KeyCache, so that what was kept before is not found again.
func KeyPurge() string { return "purge:cache" }

// KeyUsage counts tokens, calls and cost of one day (UTC, 2006-01-02), by caller
// and model; the caller is a keyed digest.
func KeyUsage(day string) string { return "usage:" + tag(day) }

// KeyUsageNames has the sealed names of the callers in KeyUsage.
func KeyUsageNames(day string) string { return "usage-names:" + tag(day) }

// KeyReseal is the record of how far Redis is sealed with the primary key.
func KeyReseal() string { return "reseal:{all}:state" }

// KeyResealLease is the lease of whichever process seals Redis anew.
func KeyResealLease() string { return "reseal:{all}:lease" }

// KeyProbe is written by whoever asks whether Redis takes writes: one that is out
// of memory, or a replica, answers a PING all the same.
func KeyProbe() string { return "probe:writes" }

// LeaseHeld is the value of KeyLease while a conversation waits out a back-off.
const LeaseHeld = "hold"

func tag(conversation string) string { return "{" + token(conversation) + "}" }
