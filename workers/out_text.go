package workers

import "moltbot/contracts"

// apologies are the sentences that tell a user on an IM platform why there is no
// answer. They say nothing of our insides.
type apologies struct {
	failed, slow, nothing string
}

func apologiesFor(m *contracts.Message) apologies {
	if inChinese(m) {
		return apologies{
			failed:  "抱歉，出了点问题，这条消息暂时无法回答，请稍后再试。",
			slow:    "抱歉，回答用时过长，请稍后再试，或换一种更简短的问法。",
			nothing: "抱歉，这次没有得到内容，请再试一次。",
		}
	}
	return apologies{
		failed:  "Sorry, something went wrong and this message cannot be answered right now. Please try again later.",
		slow:    "Sorry, the answer took too long. Please try again later, or ask for something shorter.",
		nothing: "Sorry, there was no answer this time. Please try again.",
	}
}

// of gives the sentence for a code.
func (a apologies) of(c contracts.Code) string {
	if c == contracts.CodeModelTimeout {
		return a.slow
	}
	return a.failed
}
