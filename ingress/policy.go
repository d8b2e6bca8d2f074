package ingress

import (
	"slices"

	"moltbot/ingress/im"
)

// What becomes of a message of an IM platform, as metrics and logs say it.
const (
	takenNew        = "new"
	takenRepeated   = "repeated"
	takenFull       = "refused"       // answered that too many wait
	leftBot         = "from_bot"      // no bot is answered
	leftOutsider    = "outsider"      // of another organization
	leftChat        = "chat_refused"  // not on the list of chats
	leftUser        = "user_refused"  // not on the list of users
	leftGroups      = "groups_off"    // groups are not answered
	leftUnmentioned = "not_mentioned" // said in a group, and not to the bot
)

func takenWords() []string {
	return []string{takenNew, takenRepeated, takenFull, leftBot, leftOutsider, leftChat, leftUser, leftGroups, leftUnmentioned}
}

// leaves says why a message is not answered; empty: it is. The lists come before
// what is said in the message, so that a mention opens no door. A direct chat is
// bound by the list of users alone: nobody knows its id before it is used.
func (p *ChannelPolicy) leaves(m *im.Incoming) string {
	switch {
	case m.FromBot:
		return leftBot
	case m.Outsider:
		return leftOutsider
	case !m.Direct && len(p.AllowChats) > 0 && !slices.Contains(p.AllowChats, m.Chat):
		return leftChat
	case len(p.AllowUsers) > 0 && !slices.Contains(p.AllowUsers, m.Sender):
		return leftUser
	case m.Direct:
		return ""
	case p.Groups == GroupsOff:
		return leftGroups
	case p.Groups != GroupsAll && !m.Mentioned && !(p.AtAll && m.AtAll):
		return leftUnmentioned
	}
	return ""
}

// audited reports whether an operator may ask why a message was not answered.
func audited(why string) bool {
	return why == leftOutsider || why == leftChat || why == leftUser || why == leftGroups
}
