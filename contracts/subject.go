package contracts

import "strings"

// Streams and their durable consumers.
const (
	StreamChat   = "CHAT"    // messages on their way to the workers
	StreamSend   = "SEND"    // replies on their way to IM platforms and callback URLs
	StreamDead   = "DEAD"    // dead letters
	ConsumerChat = "workers" // the one consumer of StreamChat
	ConsumerSend = "deliver" // the one consumer of StreamSend
)

const (
	subjectChat   = "chat.in."
	subjectSend   = "chat.out."
	subjectDead   = "chat.dead."
	subjectReply  = "chat.reply."
	subjectAttach = "chat.attach."
	subjectCancel = "chat.cancel."
)

// Subject filters of the streams and of process-wide subscriptions.
const (
	SubjectsChat   = subjectChat + "*"
	SubjectsSend   = subjectSend + "*.*"
	SubjectsDead   = subjectDead + "*"
	SubjectsAttach = subjectAttach + ">"
	SubjectsCancel = subjectCancel + "*"
)

// SubjectWorkersStatus is where every process with the workers role answers who
// it is and what its pools do.
func SubjectWorkersStatus() string { return "chat.workers.status" }

// SubjectModelsReload is where every process with the workers role is told to
// read its configuration of models again. It answers with its WorkerStatus.
func SubjectModelsReload() string { return "chat.models.reload" }

// SubjectChat is where ingress stores the messages of a conversation.
func SubjectChat(conversation string) string { return subjectChat + token(conversation) }

// ConversationOf is the conversation that a subject of StreamChat or StreamSend
// belongs to; ok is false for anything that no Namer made.
func ConversationOf(subject string) (conversation string, ok bool) {
	rest, chat := strings.CutPrefix(subject, subjectChat)
	if !chat {
		out, send := strings.CutPrefix(subject, subjectSend)
		channel, c, two := strings.Cut(out, ".")
		if !send || !two || channel != token(channel) {
			return "", false
		}
		rest = c
	}
	return rest, IsConversation(rest)
}

// SubjectSend is where a reply to channel waits for delivery.
func SubjectSend(channel Channel, conversation string) string {
	return subjectSend + token(string(channel)) + "." + token(conversation)
}

// SubjectDead is where role puts what it gave up on.
func SubjectDead(role string) string { return subjectDead + token(role) }

// SubjectReply is the inbox of one ingress process.
func SubjectReply(node string) string { return subjectReply + token(node) }

// SubjectAttach asks whoever runs the message to answer one more waiter.
func SubjectAttach(id ID) string { return subjectAttach + id.String() }

// SubjectCancel tells the workers that a conversation's running message is to stop.
func SubjectCancel(conversation string) string { return subjectCancel + token(conversation) }

// token makes any string one subject token. Names made by a Namer pass as they
// are; every other byte becomes '_'.
func token(s string) string {
	if s == "" {
		return "_"
	}
	if !strings.ContainsFunc(s, unclean) {
		return s // nearly always
	}
	return strings.Map(func(r rune) rune {
		if unclean(r) {
			return '_'
		}
		return r
	}, s)
}

func unclean(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_'
}
