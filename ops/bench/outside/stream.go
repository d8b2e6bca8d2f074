package outside

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/valyala/fasthttp"
)

// A streamed answer begins with a token that says when it was sent, so that a
// reader on this machine knows how long it was under way. The others are numbers.

// Streamed is what follows the first of so many tokens.
func Streamed(tokens int) string {
	var b strings.Builder
	for i := 1; i < tokens; i++ {
		b.WriteString(token(i))
	}
	return b.String()
}

// SentAt takes the first token off an answer, or off the beginning of one.
func SentAt(text string) (at time.Time, rest string, ok bool) {
	stamp, rest, ok := strings.Cut(strings.TrimPrefix(text, "t"), " ")
	ns, err := strconv.ParseInt(stamp, 10, 64)
	return time.Unix(0, ns), rest, ok && err == nil && strings.HasPrefix(text, "t")
}

func token(i int) string { return "word" + strconv.Itoa(i) + " " }

// stream sends o.Tokens tokens, evenly spread over o.Takes.
func stream(ctx context.Context, c *fasthttp.RequestCtx, o *ModelOptions) {
	tokens, every := o.Tokens, o.Takes/time.Duration(o.Tokens)
	c.SetContentType("text/event-stream")
	c.SetBodyStreamWriter(func(w *bufio.Writer) {
		tick := time.NewTicker(max(every, time.Microsecond))
		defer tick.Stop()
		send := func(event string) bool {
			_, _ = w.WriteString("data: " + event + "\n\n") // Flush says what went wrong
			return w.Flush() == nil
		}
		if !send(chunk("t"+strconv.FormatInt(time.Now().UnixNano(), 10)+" ", "null")) {
			return
		}
		for i := 1; i < tokens; i++ {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
			if !send(chunk(token(i), "null")) {
				return
			}
		}
		_ = send(chunk("", `"stop"`)) && send("[DONE]")
	})
}

func chunk(text, finish string) string {
	content, err := json.Marshal(text)
	if err != nil {
		return "" // a string always can be
	}
	return fmt.Sprintf(`{"id":"bench","object":"chat.completion.chunk","model":"slow","choices":[{"index":0,"delta":{"content":%s},"finish_reason":%s}]}`,
		content, finish)
}
