package feishu

import (
	"maps"
	"time"

	"moltbot/ingress/feishu/frame"
	"moltbot/ingress/im"
)

// Limits of messages that came in part.
const (
	maxParts   = 128
	maxPending = 64        // messages
	maxWhole   = 512 << 10 // bytes; a text has 150 KB at most (facts)
	partsTTL   = 10 * time.Second
)

// parts puts messages together that came in several frames. It is for one goroutine.
type parts struct {
	now     func() time.Time
	pending map[string]*puzzle
}

type puzzle struct {
	parts [][]byte
	left  int
	size  int
	until time.Time
}

func newParts(now func() time.Time) *parts {
	return &parts{now: now, pending: map[string]*puzzle{}}
}

// add gives the whole message once its last part has come.
func (p *parts) add(f *frame.Frame) (whole []byte, ok bool, err error) {
	sum, seq, id := f.Int(headerSum), f.Int(headerSeq), f.Get(headerID)
	part := f.Payload
	if sum <= 1 {
		return part, true, nil
	}
	if sum > maxParts || seq < 0 || seq >= sum || id == "" {
		return nil, false, im.ErrMalformed
	}
	now := p.now()
	maps.DeleteFunc(p.pending, func(_ string, z *puzzle) bool { return now.After(z.until) })
	z := p.pending[id]
	if z == nil {
		if len(p.pending) >= maxPending {
			return nil, false, im.ErrMalformed
		}
		z = &puzzle{parts: make([][]byte, sum), left: sum, until: now.Add(partsTTL)}
		p.pending[id] = z
	}
	if len(z.parts) != sum || z.size+len(part) > maxWhole {
		delete(p.pending, id)
		return nil, false, im.ErrMalformed
	}
	if z.parts[seq] != nil {
		return nil, false, nil // the same again
	}
	z.parts[seq], z.size, z.left = append([]byte{}, part...), z.size+len(part), z.left-1
	if z.left > 0 {
		return nil, false, nil
	}
	delete(p.pending, id)
	for _, b := range z.parts {
		whole = append(whole, b...)
	}
	return whole, true, nil
}
