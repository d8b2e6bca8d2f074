package ingress

import (
	"fmt"
	"unicode"

	"moltbot/ingress/im"
)

// sentences are what users of IM platforms are told where no model is asked.
type sentences struct {
	unreadAs map[string]string // by the platforms' kinds of messages
	other    string            // any other kind
	cannot   string            // with the kind
	quota    string
	long     string // with the characters there are, and those that are taken
	tooLarge string
	empty    string
	budget   string
	full     string
}

func chineseSentences() sentences {
	return sentences{
		unreadAs: map[string]string{
			"file": "文件", "folder": "文件夹", "audio": "没有转写文字的语音", "video": "视频", "media": "视频", "sticker": "表情",
			"interactive": "卡片", "image": "图片", "picture": "图片", "location": "位置", "share_chat": "群名片", "share_user": "个人名片",
			"merge_forward": "合并转发的消息", "todo": "任务", "vote": "投票", "hongbao": "红包",
		},
		other: "这类消息", cannot: "抱歉，我暂时无法读取%s，请用文字告诉我。",
		quota: "抱歉，机器人的消息额度已用完，我没有收到您的内容。请联系管理员。",
		long:  "抱歉，您的消息有 %d 个字符，我一次最多读取 %d 个。请缩短或分几条发送。", tooLarge: "抱歉，您的消息太大，我无法处理。请缩短或分几条发送。",
		empty: "您好，请直接写下您的问题。", budget: "抱歉，您今天的用量已达上限，请明天再试。",
		full: "抱歉，等待回答的消息太多，这一条没有收下。请稍后再发。",
	}
}

func englishSentences() sentences {
	return sentences{
		unreadAs: map[string]string{
			"file": "files", "folder": "folders", "audio": "voice messages without a transcript", "video": "videos", "media": "videos",
			"sticker": "stickers", "interactive": "cards", "image": "images", "picture": "images", "location": "locations",
			"share_chat": "shared chats", "share_user": "shared contacts", "merge_forward": "forwarded messages", "todo": "tasks",
			"vote": "polls", "hongbao": "red packets",
		},
		other: "this kind of message", cannot: "Sorry, I cannot read %s yet. Please tell me in words.",
		quota: "Sorry, the bot's quota of messages is used up, and I did not get what you wrote. Please ask the administrator.",
		long:  "Sorry, your message has %d characters, and I read at most %d at a time. Please shorten it or send it in parts.", tooLarge: "Sorry, your message is too large. Please shorten it or send it in parts.",
		empty: "Hello! Please write down your question.", budget: "Sorry, your quota of today is used up. Please try again tomorrow.",
		full: "Sorry, too many messages wait for an answer, and this one was not taken. Please send it again later.",
	}
}

// sentencesFor follows the script of what the user wrote: English for letters
// without a Chinese character among them, else Chinese.
func sentencesFor(text string) sentences {
	letters := false
	for _, r := range text {
		if unicode.Is(unicode.Han, r) {
			return chineseSentences()
		}
		letters = letters || unicode.Is(unicode.Latin, r)
	}
	if letters {
		return englishSentences()
	}
	return chineseSentences()
}

func (w *sentences) unread(kind string) string {
	if kind == im.UnreadQuota {
		return w.quota
	}
	name := w.unreadAs[kind]
	if name == "" {
		name = w.other
	}
	return fmt.Sprintf(w.cannot, name)
}

func (w *sentences) tooLong(chars, most int) string { return fmt.Sprintf(w.long, chars, most) }
