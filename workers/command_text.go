package workers

import (
	"fmt"
	"strings"
	"unicode"

	"moltbot/contracts"
)

// words are the sentences that commands are answered with.
type words struct {
	help, fresh             string
	stoppedNone, stoppedOne string
	stoppedMany             string // with how many
	list, none, choose      string
	isChosen, isDefault     string // behind a name
	nowChosen               string // with the name
	unchosen, noModel       string
}

func english() words {
	return words{
		help: `/new – forget what was said and begin anew
/stop – stop the answer that is being made, and the messages that wait
/model – list the models
/model NAME – choose a model for this session; /model default goes back
/help – this list`,
		fresh:       "A new conversation begins. What was said before is forgotten.",
		stoppedNone: "Nothing to stop.", stoppedOne: "Stopped.", stoppedMany: "Stopped %d messages.",
		list: "The models:", none: "There is no model to choose from.", choose: "Choose one for this session with /model NAME.",
		isChosen: "chosen", isDefault: "default", nowChosen: "From now on %s answers in this session.",
		unchosen: "No model is chosen any more; the default answers.", noModel: "There is no such model for you. /model lists those that you can choose.",
	}
}

func chinese() words {
	return words{
		help: `/新会话（/new）：清除之前的内容，重新开始
/停止（/stop）：停止正在生成的回答和排队中的消息
/模型（/model）：列出可用模型
/模型 名称：为本会话选择模型；/模型 默认 恢复默认模型
/帮助（/help）：显示本列表`,
		fresh:       "新会话已开始，之前的内容已清除。",
		stoppedNone: "没有需要停止的内容。", stoppedOne: "已停止。", stoppedMany: "已停止 %d 条消息。",
		list: "可用模型：", none: "没有可选的模型。", choose: "发送“/模型 名称”为本会话选择模型。",
		isChosen: "已选择", isDefault: "默认", nowChosen: "本会话之后由 %s 回答。",
		unchosen: "已取消选择，之后由默认模型回答。", noModel: "没有这个模型，或您无权使用。发送“/模型”查看可选的模型。",
	}
}

func wordsFor(m *contracts.Message) words {
	if inChinese(m) {
		return chinese()
	}
	return english()
}

// inChinese follows the script of the message, and else its route.
func inChinese(m *contracts.Message) bool {
	for _, c := range m.Text {
		if unicode.Is(unicode.Han, c) {
			return true
		}
	}
	for part := range strings.SplitSeq(m.Route, "/") {
		if part == "zh" || strings.HasPrefix(part, "zh-") {
			return true
		}
	}
	return false
}

func (w *words) stop(messages int) string {
	switch messages {
	case 0:
		return w.stoppedNone
	case 1:
		return w.stoppedOne
	}
	return fmt.Sprintf(w.stoppedMany, messages)
}

func (w *words) chosen(name string) string { return fmt.Sprintf(w.nowChosen, name) }

// models lists names, with the chosen one marked and the one that answers otherwise.
func (w *words) models(names []string, chosen, otherwise string) string {
	if len(names) == 0 {
		return w.none
	}
	lines := []string{w.list}
	for _, name := range names {
		line := "- " + name
		var marks []string
		if name == chosen {
			marks = append(marks, w.isChosen)
		}
		if name == otherwise {
			marks = append(marks, w.isDefault)
		}
		if len(marks) > 0 {
			line += " (" + strings.Join(marks, ", ") + ")"
		}
		lines = append(lines, line)
	}
	return strings.Join(append(lines, w.choose), "\n")
}
