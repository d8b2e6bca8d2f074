package workers

import (
	"slices"
	"sync"
	"time"
	"unicode/utf8"

	"moltbot/contracts"
	"moltbot/workers/mailbox"
)

// pieceEvery is the shortest time between two pieces of an answer. The first is
// never held back.
const pieceEvery = 30 * time.Millisecond

// pieces sends the answer of one run to those who read along. It keeps all of
// it, for those who come late. Nobody's slowness holds up the run: a piece is
// published and forgotten.
type pieces struct {
	send func(inbox []string, d contracts.Delta)
	d    contracts.Delta // without offset and text

	mu      sync.Mutex
	inboxes []string
	text    []byte
	sent    int  // bytes of text
	shown   bool // somebody was sent some of it
	timer   *time.Timer
	armed   bool // the timer runs: a piece was sent a moment ago
	ended   bool
}

// piecesOf gives nil for a message that nobody reads along.
func (r *replies) piecesOf(m *contracts.Message, task mailbox.Task) *pieces {
	if !m.Flags.Has(contracts.FlagStream) {
		return nil
	}
	p := &pieces{send: r.sendDelta, d: contracts.Delta{ID: m.ID, Run: task.Run, Attempt: task.Attempt}}
	if contracts.IsReplySubject(m.ReplyTo) {
		p.inboxes = []string{m.ReplyTo}
	}
	return p
}

// add is a model.Request's OnDelta.
func (p *pieces) add(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return
	}
	p.text = append(p.text, text...)
	if !p.armed {
		p.flush()
		p.arm()
	}
}

// arm lets what comes next wait.
func (p *pieces) arm() {
	p.armed = true
	if p.timer == nil {
		p.timer = time.AfterFunc(pieceEvery, p.due)
		return
	}
	p.timer.Reset(pieceEvery)
}

func (p *pieces) due() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.armed = false
	if p.ended || p.sent == len(p.text) {
		return
	}
	p.flush()
	p.arm()
}

// flush sends what was not sent yet. Messages of one connection stay in order.
func (p *pieces) flush() {
	p.shown = p.shown || len(p.inboxes) > 0 && p.sent < len(p.text)
	p.sendFrom(p.inboxes, p.sent)
	p.sent = len(p.text)
}

func (p *pieces) sendFrom(inboxes []string, from int) {
	if len(inboxes) == 0 {
		return
	}
	for rest := p.text[from:]; len(rest) > 0; {
		n := cut(rest)
		d := p.d
		d.Offset, d.Text = len(p.text)-len(rest), string(rest[:n])
		p.send(inboxes, d)
		rest = rest[n:]
	}
}

// cut is how much of text one piece takes, without cutting a character.
func cut(text []byte) int {
	if len(text) <= contracts.MaxDelta {
		return len(text)
	}
	for n := contracts.MaxDelta; n > contracts.MaxDelta-utf8.UTFMax; n-- {
		if utf8.RuneStart(text[n]) {
			return n
		}
	}
	return contracts.MaxDelta // it is no text
}

// attach sends inbox the answer so far, and from now on what follows.
func (p *pieces) attach(inbox string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return // the reply comes next
	}
	p.flush()
	p.sendFrom([]string{inbox}, 0)
	p.shown = p.shown || p.sent > 0
	if !slices.Contains(p.inboxes, inbox) {
		p.inboxes = append(slices.Clip(p.inboxes), inbox)
	}
}

// end sends the rest. What is sent after it comes after all pieces.
func (p *pieces) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
	if p.timer != nil {
		p.timer.Stop()
	}
	p.flush()
	p.text = nil
}

// wasShown reports whether somebody was sent some of the answer.
func (p *pieces) wasShown() bool {
	if p == nil {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.shown
}

// said is the answer so far; that of nil, which nobody reads along, is empty.
func (p *pieces) said() string {
	if p == nil {
		return ""
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return string(p.text)
}

// sendDelta hands a piece to inboxes. One that gets lost is no error: the reply
// has the whole answer.
func (r *replies) sendDelta(inboxes []string, d contracts.Delta) {
	var body []byte
	for _, inbox := range inboxes {
		r.metrics.piece()
		if r.hereDelta != nil && r.hereDelta(inbox, d) {
			continue
		}
		if body == nil {
			var err error
			if body, err = contracts.EncodeDelta(d, r.sealer); err != nil {
				r.log.Error().Err(err).Str("message_id", d.ID).Msg("piece of an answer not sent")
				return
			}
		}
		if err := r.conn.Publish(inbox, body); err != nil {
			r.log.Debug().Err(err).Str("message_id", d.ID).Str("inbox", inbox).Msg("piece of an answer not sent")
		}
	}
}
