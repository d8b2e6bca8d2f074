package ingress

import (
	"moltbot/contracts"
	"moltbot/ingress/im"
)

// ChannelApp is one application of an IM platform.
type ChannelApp struct {
	Channel contracts.Channel
	Name    string // contracts.DefaultApp for the one without a name
	// Webhook reads its callbacks; nil: they are answered 404.
	Webhook im.Webhook
	// Connection is its long connection; nil: there is none.
	Connection im.Connection
	Policy     ChannelPolicy
}

// ChannelPolicy says which of an application's messages are answered, and who
// shares a conversation.
type ChannelPolicy struct {
	Scope      Scope
	Groups     Groups
	AtAll      bool     // a mention of everybody is one of the bot
	AllowChats []string // groups; empty: any
	AllowUsers []string // empty: any
}

// Scope says who shares a conversation in a group.
type Scope string

// The scopes.
const (
	ScopeChat       Scope = "chat"
	ScopeUserInChat Scope = "user_in_chat"
	ScopeThread     Scope = "thread"
)

// Groups says what is answered in groups.
type Groups string

// The choices of Groups.
const (
	GroupsMention Groups = "mention"
	GroupsAll     Groups = "all"
	GroupsOff     Groups = "off"
)
