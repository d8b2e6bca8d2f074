package workers

import (
	"fmt"
	"unicode"

	"moltbot/contracts"
)

// imageWords are the sentences about images that no model got to see.
type imageWords struct{ blind, none, some string }

func (w imageWords) missing(seen int) string {
	if seen == 0 {
		return w.none
	}
	return fmt.Sprintf(w.some, seen)
}

// imageWordsFor follows the script of the message. An image has none: then it is both.
func imageWordsFor(m *contracts.Message, alone bool) imageWords {
	zh := imageWords{
		blind: "当前模型看不到图片，请用文字描述。", none: "图片没有取到，请重新发送，或用文字描述。", some: "（这条消息里只看到了 %d 张图片。）",
	}
	en := imageWords{
		blind: "The model that answers here cannot see images; please describe it in words.",
		none:  "The image could not be loaded; please send it again, or describe it in words.", some: "(Of the images in this message only %d could be seen.)",
	}
	if alone {
		return imageWords{zh.blind + "\n" + en.blind, zh.none + "\n" + en.none, "（这条消息里只看到了 %[1]d 张图片。 / Of the images in this message only %[1]d could be seen.）"}
	}
	for _, r := range m.Text {
		if unicode.Is(unicode.Han, r) {
			return zh
		}
	}
	return en
}
