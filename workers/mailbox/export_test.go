package mailbox

import "context"

// DenyHead makes the leader say, this many times, that no message waits.
func (m *Mailbox) DenyHead(times int) { m.lookup = &denying{lookup: m.lookup, times: times} }

type denying struct {
	lookup
	times int
}

func (d *denying) direct(ctx context.Context, subject string, from uint64) (message, error) {
	if d.times > 0 {
		return message{}, errNoHead
	}
	return d.lookup.direct(ctx, subject, from)
}

func (d *denying) leader(ctx context.Context, subject string, from uint64) (message, error) {
	if d.times > 0 {
		d.times--
		return message{}, errNoHead
	}
	return d.lookup.leader(ctx, subject, from)
}
