package contracts

import "strings"

// CommandName is what a user tells the bot, not the model.
type CommandName string

// The commands.
const (
	CommandNew   CommandName = "new"   // forget what was said
	CommandStop  CommandName = "stop"  // end the answer that is being made, and those that wait
	CommandHelp  CommandName = "help"  // list the commands
	CommandModel CommandName = "model" // list the models, or choose one for this session
)

// Command is a message that is a command.
type Command struct {
	Name     CommandName
	Argument string // of CommandModel: the model's name, or empty
}

// commandWords are how users write commands. Those without a slash count only
// where they stand alone, as they are words of a language, too.
var commandWords = map[string]CommandName{
	"/new": CommandNew, "/stop": CommandStop, "/help": CommandHelp, "/model": CommandModel,
	"/新会话": CommandNew, "/停止": CommandStop, "/帮助": CommandHelp, "/模型": CommandModel,
	"新会话": CommandNew, "停止": CommandStop, "帮助": CommandHelp, "模型": CommandModel,
}

// ParseCommand reads a message as a command. Anything else that begins with a
// slash is for the model.
func ParseCommand(text string) (c Command, ok bool) {
	words := strings.Fields(text)
	if len(words) == 0 || len(words) > 2 {
		return c, false
	}
	word := strings.ToLower(words[0])
	if rest, wide := strings.CutPrefix(word, "／"); wide {
		word = "/" + rest
	}
	if c.Name, ok = commandWords[word]; !ok {
		return Command{}, false
	}
	if len(words) == 2 {
		if c.Name != CommandModel || word[0] != '/' {
			return Command{}, false
		}
		c.Argument = words[1]
	}
	return c, true
}
