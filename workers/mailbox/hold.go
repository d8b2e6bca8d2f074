package mailbox

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"moltbot/contracts"
)

// holding is a conversation in the hands of this worker.
type holding struct {
	conversation string
	subject      string
	token        string
	created      int64  // the stream's life, see View
	connects     uint64 // reconnects of the connection when the delivery came

	delivery  jetstream.Msg
	delivered uint64
	began     time.Time // when the delivery came
	own       *message  // the delivered message; nil once it is finished
	ownID     string
	settled   bool // the delivery was acknowledged or given back

	known   recollection // of the context; begin or claim says whether it holds
	first   *begun       // begin's answer, until its attempt is used or taken back
	fence   int64
	last    uint64 // the search for the next head starts behind it
	reached uint64 // last sequence found finished, to be recorded on release
	want    uint64 // some delivery up to here found us busy
	stop    uint64
}

// hold runs the conversation's messages until nothing is wanted any more. It
// keeps the lease and the delivery alive while it does.
func (m *Mailbox) hold(take, work context.Context, h *holding) (Handled, error) {
	run, stopBeats := m.keepAlive(work, h)
	defer stopBeats()
	if err := m.flush(work, h, h.first.out); err != nil {
		return m.holdOutbox(h, Task{ID: h.ownID}, err)
	}
	if h.first.finished { // the outbox was all that was left to do for it
		m.replyAgain(work, h)
		m.settleOwn(h, h.own.seq)
	}
	for {
		if take.Err() != nil {
			return m.giveBack(h)
		}
		msg, err := m.head(work, h)
		switch {
		case errors.Is(err, errNoHead):
			if more, handled, err := m.leave(work, h); !more {
				return handled, err
			}
			continue
		case err != nil:
			return m.giveUp(h, "", err)
		}
		next, handled, err := m.runHead(run, work, h, msg)
		if !next {
			return handled, err
		}
	}
}

// head finds the first message of the conversation that is not known to be finished.
func (m *Mailbox) head(ctx context.Context, h *holding) (message, error) {
	from, floor := m.searched(h)
	if h.own != nil && h.own.seq > from && m.track.isHead(h.conversation, h.own.seq, floor) {
		return *h.own, nil
	}
	return head(ctx, m.lookup, h.subject, from, h.own)
}

// searched is where the search for the head starts behind: what was finished
// last, or the ack floor where that is further. The broker looks through all
// messages between it and the head, so a conversation that was quiet for long
// would pay for everybody else's. floor is 0 where it is not to be trusted.
func (m *Mailbox) searched(h *holding) (from, floor uint64) {
	v := m.o.Look()
	if v.life() != h.created || v.Connects != h.connects {
		return h.last, 0
	}
	if h.own != nil && h.own.seq <= v.Floor {
		return h.last, 0 // a delivered message is not acknowledged: the floor is not of this stream
	}
	return max(h.last, v.Floor), v.Floor
}

// runHead brings one message to its end. next says that we still hold the
// conversation and that something behind the message is wanted.
func (m *Mailbox) runHead(run, work context.Context, h *holding, msg message) (next bool, handled Handled, _ error) {
	began := m.began(h)
	t, s, failed, err := m.prepare(work, h, msg)
	switch {
	case err != nil:
		handled, err := m.giveUp(h, "", err)
		return false, handled, err
	case s == stateFenced:
		return false, HandledRefused, nil // the fence is somebody else's: they settle it
	case s == stateLost:
		m.nak(h, m.o.BusyDelay) // Redis was emptied under us: begin again
		return false, HandledGiven, nil
	case s == stateFinished:
		m.passed(work, h, t)
		return true, "", nil
	}
	run, work, end := m.traced(run, work, &t, msg, began)
	defer func() { end(handled) }()
	o, err := m.attempt(run, h, t)
	if err != nil {
		if run.Err() != nil {
			handled, err := m.interrupted(run, h, t)
			return false, handled, err
		}
		final := m.verdict(t, failed, err)
		if final == nil {
			handled, err := m.retryLater(work, h, t, failed, err)
			return false, handled, err
		}
		if final.Code.Buried() {
			if err := m.bury(work, h, t, final); err != nil {
				handled, err := m.giveUp(h, t.ID, err)
				return false, handled, err
			}
		}
		waiters := o.Waiters
		o = m.fail(t, final)
		o.Waiters = waiters // they read along when it failed
	}
	return m.finish(work, h, t, o, stoppedByUser(err))
}

// prepare counts the attempt and gathers what the run needs.
func (m *Mailbox) prepare(ctx context.Context, h *holding, msg message) (Task, state, failures, error) {
	m.identify(h, &msg)
	t := m.task(h, &msg)
	if b := h.first; b != nil && t.ID == h.ownID {
		h.first = nil
		if b.finished {
			return t, stateFinished, failures{}, nil
		}
		t.Context, t.Epoch, t.Attempt = b.turns, b.epoch, b.tries
		t.Memory, t.Known, t.Summary, t.Note = h.recall(b.same), b.same, b.summary, b.note
		return t, stateGo, b.failed, nil
	}
	undo := ""
	if h.first != nil && !h.first.finished {
		undo = h.ownID
	}
	h.known = m.memory.of(h.conversation)
	c, err := m.box.claim(ctx, h, t.ID, undo)
	if err != nil {
		return t, "", failures{}, err
	}
	h.first = nil
	h.stop = max(h.stop, c.stop)
	t.Context, t.Epoch, t.Attempt = c.turns, c.epoch, c.tries
	t.Memory, t.Known, t.Summary, t.Note = h.recall(c.same), c.same, c.summary, c.note
	return t, c.state, c.failed, nil
}

// recall gives what is remembered of the context, if Redis said that it is the same.
func (h *holding) recall(same int) any {
	if same == 0 {
		return nil
	}
	return h.known.value
}

// attempt runs the message, unless it is to be stopped or was tried too often.
func (m *Mailbox) attempt(ctx context.Context, h *holding, t Task) (o Outcome, err error) {
	switch {
	case t.Raw:
		return Outcome{}, dead("the message cannot be read", nil)
	case m.stopped(h, t):
		return Outcome{}, stopError(ErrStopped)
	case t.Attempt > m.o.MaxAttempts:
		return Outcome{}, dead(fmt.Sprintf("no answer after %d attempts", m.o.MaxAttempts), nil)
	}
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("run panicked: %v\n%s", p, debug.Stack())
		}
	}()
	ctx, end := m.stoppable(ctx, h, t)
	defer end()
	o, err = m.o.Runner.Run(ctx, t)
	return o, stoppedRun(ctx, err)
}

// fail is the outcome of a message that gets no answer.
func (m *Mailbox) fail(t Task, why *contracts.Error) Outcome {
	o := m.o.Runner.Fail(t, why)
	o.failed = true
	return o
}

// finish commits the outcome, stores what is to be sent, replies and settles.
func (m *Mailbox) finish(work context.Context, h *holding, t Task, o Outcome, stopped bool) (next bool, _ Handled, _ error) {
	endCommit := m.step(work, "commit")
	c, err := m.commitSurely(work, h, t, &o, stopped)
	endCommit(err)
	if err != nil {
		handled, err := m.giveUp(h, t.ID, err)
		return false, handled, err
	}
	work = context.WithoutCancel(work) // what is committed is also stored, sent and settled
	switch c.state {
	case stateFenced, stateLost:
		return false, HandledRefused, nil
	case stateFinished:
		m.passed(work, h, t)
		return true, "", nil
	}
	if c.entries > 1 || !t.hadContext() { // else what it went by ended while it ran
		m.memory.keep(h.conversation, c.version, o)
	}
	m.track.finished(h.conversation, t.Sequence)
	m.crash("committed")
	m.ended(t, !o.failed)
	if c.entries > 0 && m.o.Committed != nil {
		m.o.Committed(t, o, c.entries)
	}
	h.last, h.reached, h.want = t.Sequence, t.Sequence, c.want
	if c.state == stateMore && (len(o.Out) > 0 || c.want <= t.Sequence) {
		if err := m.flushStored(work, h); err != nil {
			handled, err := m.holdOutbox(h, t, err)
			return false, handled, err
		}
	}
	endReply := m.step(work, "reply")
	m.o.Runner.Reply(work, t, o)
	endReply(nil)
	m.crash("replied")
	m.settleOwn(h, t.Sequence)
	m.newest.saw(h.created, c.want)
	m.tidy(h, t, c.kept)
	if c.state == stateReleased {
		return false, m.released(h), nil
	}
	if h.want > h.last {
		return true, "", nil
	}
	more, handled, err := m.leave(work, h)
	return more, handled, err
}

// passed goes on behind a message that turned out to be finished.
func (m *Mailbox) passed(ctx context.Context, h *holding, t Task) {
	h.last, h.reached = t.Sequence, t.Sequence
	m.track.finished(h.conversation, t.Sequence)
	if h.own != nil && h.own.seq == t.Sequence {
		m.replyAgain(ctx, h)
	}
	m.settleOwn(h, t.Sequence)
}

func (m *Mailbox) settleOwn(h *holding, seq uint64) {
	if h.own != nil && h.own.seq == seq {
		m.ack(h)
		h.own = nil
	}
}

// leave releases the conversation unless something newer is wanted. It is
// called when nothing waits behind last.
func (m *Mailbox) leave(ctx context.Context, h *holding) (more bool, _ Handled, _ error) {
	refund := ""
	if h.first != nil && !h.first.finished {
		refund = h.ownID
	}
	s, want, err := m.box.release(ctx, h, max(h.want, h.last), refund)
	h.first = nil
	if err != nil {
		handled, err := m.giveUp(h, "", err)
		return false, handled, err
	}
	if s == stateMore {
		h.want = want
		return true, "", nil
	}
	if h.settled {
		return false, HandledDone, nil
	}
	// Our own message is not in the stream. If the leader was right, the broker
	// drops the redelivery; if it was not, the message comes again. Never ack.
	m.nak(h, m.o.BusyDelay)
	return false, HandledNotFound, nil
}

// released ends a holding whose commit gave the conversation up. The word that
// our own message waits may have been lost with Redis: then it comes again.
func (m *Mailbox) released(h *holding) Handled {
	if h.settled {
		return HandledDone
	}
	m.nak(h, 0)
	return HandledGiven
}

// giveBack returns everything at shutdown: the lease at once, so that another
// worker can go on, and the delivery without delay, because we fetch no more.
func (m *Mailbox) giveBack(h *holding) (Handled, error) {
	ctx, cancel := context.WithTimeout(context.Background(), m.o.CallTimeout)
	defer cancel()
	refund := ""
	if h.first != nil && !h.first.finished {
		refund = h.ownID
	}
	_, _, err := m.box.release(ctx, h, everything, refund)
	if h.settled {
		return HandledDone, err
	}
	m.nak(h, 0)
	return HandledGiven, err
}

// giveUp is the end of a holding when a dependency failed: the conversation is
// released if Redis still answers, the attempt is taken back, the delivery comes again.
func (m *Mailbox) giveUp(h *holding, refund string, cause error) (Handled, error) {
	ctx, cancel := context.WithTimeout(context.Background(), m.o.CallTimeout)
	defer cancel()
	if refund == "" && h.first != nil && !h.first.finished {
		refund = h.ownID
	}
	if _, _, err := m.box.release(ctx, h, everything, refund); err != nil {
		m.o.Log.Debug().Err(err).Str("conversation", h.conversation).Msg("lease left to run out")
	}
	m.nak(h, m.o.BusyDelay)
	return HandledGiven, cause
}

// tidy deletes a finished message at once where waiting for the purge would
// make a lively conversation look full, or the stream. Before it comes to that, a
// purge is asked for: one write to disk instead of one for each message. The last
// message of the stream stays in any case, see newest.
func (m *Mailbox) tidy(h *holding, t Task, kept int) {
	if 2*kept > m.o.MaxKept && m.o.Urge != nil {
		m.o.Urge()
	}
	if kept <= m.o.MaxKept && !m.o.Look().Crowded {
		return
	}
	for _, seq := range m.newest.free(h.created, t.Sequence) {
		m.remove(seq)
	}
}

// remove deletes one finished message.
func (m *Mailbox) remove(seq uint64) {
	ctx, cancel := context.WithTimeout(context.Background(), m.o.CallTimeout)
	defer cancel()
	stream, err := m.handle(ctx)
	if err == nil {
		err = stream.DeleteMsg(ctx, seq)
	}
	if err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) {
		m.o.Log.Debug().Err(err).Uint64("sequence", seq).Msg("finished message left for the purge")
	}
}
