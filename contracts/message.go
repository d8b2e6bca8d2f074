package contracts

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Message is one message of a conversation on its way to the workers. What is
// personal or content travels sealed; the rest of the envelope is in the clear
// so that a message can be routed, counted and dead-lettered without a key.
type Message struct {
	ID           string    // see NewID
	Conversation string    // see Namer.Conversation
	Channel      Channel   // never empty
	RequestID    string    // of the HTTP request or webhook, for logs
	ReplyTo      string    // core NATS subject of the process that waits; empty: nobody does
	Accepted     time.Time // when ingress accepted it, to the millisecond

	// The sealed part.
	Caller    string // user id for logs, such as "api:admin"
	SessionID string // the caller's own name of the conversation
	Text      string // what the user wrote last, and what the session keeps of it
	Model     string // explicit model, or empty
	Route     string // the request's path behind /api/chat, such as "/zh/support", or empty
	// Prompt is what EncodePrompt wrote: the client's own context, of which Text
	// is the last message. Empty: the prompt is the session's and Text.
	Prompt string
	Params string // what EncodeParams wrote; empty: the client chose none
	Flags  Flags
	// Allow says which models the caller may use; empty: any.
	Allow ModelNames
	// Say is the answer where no model is to be asked for one, such as to a kind of
	// message that nobody can read; the message then becomes no turn. Empty: ask.
	Say string
	// Images go with Text: where they are, not what they show.
	Images []Image
	// Origin is where a message of an IM channel came from; nil: of another channel.
	Origin *Origin
	// Callback is the URL that the answer is to be sent to; empty: none.
	Callback string
}

// Flags are what a client wants of the answer.
type Flags uint8

// The flags of a message.
const (
	// FlagStream: the client reads the answer while it is made.
	FlagStream Flags = 1 << iota
	// FlagShown: what the client was shown of an answer cannot be taken back, so
	// a run that broke off after its first piece is not repeated.
	FlagShown
	// FlagUnkept: no turn is kept of it.
	FlagUnkept
	// FlagFresh: no answer that was made for another message.
	FlagFresh
	allFlags = FlagStream | FlagShown | FlagUnkept | FlagFresh
)

// Has reports whether all of want are set.
func (f Flags) Has(want Flags) bool { return f&want == want }

// EncodeMessage seals m and gives the bytes to publish on its subject: a line of
// text in the clear, its fields separated by spaces, and behind it the sealed body.
//
//	<version> <id> <channel> <accepted, Unix ms> <request id or -> <reply subject or ->\n
//
// The conversation stands in the id.
func EncodeMessage(m Message, sealer Sealer) ([]byte, error) {
	id, err := ParseID(m.ID)
	if err != nil || id.Conversation != m.Conversation || !isWord(string(m.Channel)) || !isWord(orNone(m.RequestID)) || !isWord(orNone(m.ReplyTo)) {
		return nil, errors.New("encode message: the envelope contradicts its id, or a field is no word")
	}
	w := newFields(32 + len(m.Caller) + len(m.SessionID) + len(m.Text) + len(m.Model) + len(m.Route) + len(m.Prompt) + len(m.Params))
	w.text(m.Caller, m.SessionID, m.Text, m.Model, m.Route, m.Prompt, m.Params)
	w.number(int(m.Flags))
	w.text(strings.Join(m.Allow, " "), m.Say, encodeImages(m.Images), encodeOrigin(m.Origin), m.Callback)
	sealed, err := sealer.Seal(w.b, KindMessage, m.Conversation, m.ID)
	if err != nil {
		return nil, fmt.Errorf("seal message: %w", err)
	}
	b := make([]byte, 0, 32+len(m.ID)+len(m.Channel)+len(m.RequestID)+len(m.ReplyTo)+len(sealed))
	b = append(strconv.AppendInt(b, Version, 10), ' ')
	b = append(append(b, m.ID...), ' ')
	b = append(append(b, m.Channel...), ' ')
	b = append(strconv.AppendInt(b, m.Accepted.UnixMilli(), 10), ' ')
	b = append(append(b, orNone(m.RequestID)...), ' ')
	b = append(append(b, orNone(m.ReplyTo)...), '\n')
	if len(b) > maxClearLine {
		return nil, errors.New("encode message: the fields in the clear are too long")
	}
	return append(b, sealed...), nil
}

// none stands for an empty field of the clear line.
const none = "-"

func orNone(s string) string {
	if s == "" {
		return none
	}
	return s
}

func orEmpty(s string) string {
	if s == none {
		return ""
	}
	return s
}

// isWord reports whether s can stand in the clear line.
func isWord(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r >= 0x7f })
}

// Letter is a message as it lies in the stream: readable as far as routing
// goes, its body still sealed.
type Letter struct {
	Message
	body []byte
}

const (
	clearFields  = 6
	maxClearLine = 1 << 10
)

// DecodeLetter reads the clear part of what EncodeMessage wrote, in this version
// or the one before. An unknown version gives an error that wraps ErrVersion.
// The letter shares b's memory.
func DecodeLetter(b []byte) (Letter, error) {
	end := bytes.IndexByte(b[:min(len(b), maxClearLine)], '\n')
	if end < 0 {
		return Letter{}, errors.New("decode message: no clear line")
	}
	line := string(b[:end])
	version, rest, _ := strings.Cut(line, " ")
	v, err := canonicalInt(version, 10, maxVersionLen)
	if err != nil {
		return Letter{}, errors.New("decode message: no version")
	}
	if !supported(int(v)) {
		return Letter{}, fmt.Errorf("decode message: %w %d", ErrVersion, v)
	}
	var f [clearFields - 1]string
	for i := range f {
		var more bool
		f[i], rest, more = strings.Cut(rest, " ")
		if !isWord(f[i]) || more != (i < len(f)-1) {
			return Letter{}, errors.New("decode message: the clear line has not its six fields")
		}
	}
	id, err := ParseID(f[0])
	if err != nil {
		return Letter{}, fmt.Errorf("decode message: %w", err)
	}
	accepted, err := strconv.ParseInt(f[2], 10, 64)
	if err != nil || strconv.FormatInt(accepted, 10) != f[2] {
		return Letter{}, errors.New("decode message: no time of acceptance")
	}
	return Letter{
		Message: Message{
			ID: f[0], Conversation: id.Conversation, Channel: Channel(f[1]), RequestID: orEmpty(f[3]), ReplyTo: orEmpty(f[4]),
			Accepted: time.UnixMilli(accepted).UTC(),
		},
		body: b[end+1:],
	}, nil
}

// Open unseals the body. It fails for a body that was sealed for another id.
func (l Letter) Open(sealer Sealer) (Message, error) {
	plain, err := sealer.Open(l.body, KindMessage, l.Conversation, l.ID)
	if err != nil {
		return Message{}, fmt.Errorf("open message: %w", err)
	}
	m := l.Message
	if err := versioned(plain); err != nil {
		return Message{}, fmt.Errorf("decode message body: %w", err)
	}
	r := readFields(plain)
	m.Caller, m.SessionID, m.Text, m.Model = r.text(), r.text(), r.text(), r.text()
	m.Route, m.Prompt, m.Params = r.text(), r.text(), r.text()
	flags := r.number()
	if flags < 0 || Flags(flags)&^allFlags != 0 || flags > int(allFlags) {
		r.fail()
	}
	m.Flags = Flags(flags)
	m.Allow = strings.Fields(r.text())
	if r.version > 4 {
		m.Say = r.text()
		images, origin := r.text(), r.text()
		m.Callback = r.text()
		if m.Images, err = decodeImages(images); err != nil {
			return Message{}, fmt.Errorf("decode message body: %w", err)
		}
		if m.Origin, err = decodeOrigin(origin); err != nil {
			return Message{}, fmt.Errorf("decode message body: %w", err)
		}
	}
	if err := r.end(); err != nil {
		return Message{}, fmt.Errorf("decode message body: %w", err)
	}
	return m, nil
}
