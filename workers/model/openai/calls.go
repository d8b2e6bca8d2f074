package openai

import (
	"errors"
	"strconv"
	"strings"

	"moltbot/contracts"
	"moltbot/workers/model/upstream"
)

// calls puts the model's tool calls together, of which a stream brings pieces.
// The older function_call is not read: none of our requests asks for it.
type calls struct {
	all []*pending
}

// pending is a call that may not be complete yet.
type pending struct {
	id, name  string
	arguments strings.Builder
}

var (
	errCallIndex = errors.New("decode answer: a tool call's index is negative")
	errCallName  = errors.New("decode answer: a tool call has no name")
)

func (c *calls) add(pieces []wireCall) error {
	for i := range pieces {
		p := &pieces[i]
		at := c.place(p)
		if at >= upstream.MaxCalls {
			return upstream.ErrCalls
		}
		if at < 0 {
			return errCallIndex
		}
		for len(c.all) <= at {
			c.all = append(c.all, &pending{})
		}
		call := c.all[at]
		if call.id == "" {
			call.id = p.ID
		}
		if call.name == "" {
			call.name = p.Function.Name
		}
		call.arguments.WriteString(p.Function.Arguments)
	}
	return nil
}

// place is where a piece belongs. Without an index a new id begins a new call.
func (c *calls) place(p *wireCall) int {
	last := len(c.all) - 1
	switch {
	case p.Index != nil:
		return *p.Index
	case last >= 0 && (p.ID == "" || p.ID == c.all[last].id):
		return last
	}
	return last + 1
}

// done gives the calls. Places that were left empty are no calls; a call that
// has no id gets one, since its client must name it in return.
func (c *calls) done() ([]contracts.ToolCall, error) {
	var all []contracts.ToolCall
	for i, p := range c.all {
		switch {
		case p.name == "" && p.id == "" && p.arguments.Len() == 0:
			continue
		case p.name == "":
			return nil, errCallName
		case p.id == "":
			p.id = "call_" + strconv.Itoa(i)
		}
		all = append(all, contracts.ToolCall{ID: p.id, Name: p.name, Arguments: p.arguments.String()})
	}
	return all, nil
}
