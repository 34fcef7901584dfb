// The method `conformance.call`: the target as a caller, and what the library shows to one.

package main

import (
	"errors"
	"net"
	"strings"
	"syscall"

	duplex "github.com/progrium/duplex/golang"
)

// order is what `conformance.call` is asked to do.
type order struct {
	Method string
	Args   []any
	Fill   *int
	End    bool
	Pace   *string
	Abort  int
	Ext    any
	Notify bool
	When   string
	Single bool
	Read   *string
	Times  int
	Trace  *string
}

// call calls the other side, and replies with what the library showed: a list of events.
func (s *service) call(ch *duplex.Channel, session *session) error {
	told := order{Args: []any{nil}, Times: 1}
	if _, err := instruction(ch, &told); err != nil {
		return err
	}
	if told.Fill != nil {
		told.Args = append(told.Args, strings.Repeat("x", *told.Fill))
	}
	if told.When == "after" {
		if err := ch.Send(nil, false); err != nil {
			return err
		}
	}
	events := []any{}
	saw := func(event object) {
		events = append(events, event)
		s.trace(told.Trace, event)
	}
	for round := 0; round < told.Times; round++ {
		s.callOnce(told, ch, session, saw)
	}
	if told.When == "after" {
		return nil
	}
	return ch.Send(events, false)
}

func (s *service) callOnce(told order, ch *duplex.Channel, session *session, saw func(object)) {
	switch {
	case told.Notify:
		// Call gives every request an id, also where no reply is wanted; a channel that nobody opened has none.
		if err := duplex.NewChannel(ch.Peer, duplex.TypeRequest, told.Method).Send(told.Args[0], false); err != nil {
			saw(failed(err))
		}
	case told.Single:
		var value any
		if err := ch.Call(told.Method, told.Args[0], &value); err != nil {
			saw(failed(err))
			return
		}
		saw(object{"item": value})
		saw(object{"end": true})
	default:
		s.stream(told, ch, session, saw)
	}
}

func (s *service) stream(told order, ch *duplex.Channel, session *session, saw func(object)) {
	child := ch.Open(told.Method)
	if told.Ext != nil {
		child.SetExt(told.Ext) // What the call inherits cannot be added to it: the API shows no ext.
	}
	if err := told.send(child, 0); err != nil {
		saw(failed(err))
		return
	}
	over := make(chan struct{})
	defer close(over)
	go s.sendRest(told, child, over)
	for more := true; more; {
		if told.Read != nil {
			select {
			case <-s.tokensOf(*told.Read):
			case <-session.ended:
			}
		}
		var item any
		var err error
		if more, err = child.Recv(&item); err != nil {
			saw(failed(err))
			return
		}
		saw(object{"item": item})
	}
	saw(object{"end": true})
}

// sendRest sends what follows the first item, until the call is over or nothing can be sent.
func (s *service) sendRest(told order, child *duplex.Channel, over chan struct{}) {
	for index := 1; index < told.frames(); index++ {
		if told.Pace != nil && index < len(told.Args) && index != told.Abort {
			select {
			case <-s.tokensOf(*told.Pace):
			case <-over:
			}
		}
		select {
		case <-over:
			return
		default:
		}
		if told.send(child, index) != nil {
			return
		}
	}
}

// frames is how many a call has: one for each item, and one for an end or an abort that no item carries.
func (told order) frames() int {
	switch {
	case told.Abort > 0:
		return told.Abort + 1
	case told.End || len(told.Args) == 0:
		return len(told.Args) + 1
	default:
		return len(told.Args)
	}
}

func (told order) send(child *duplex.Channel, index int) error {
	switch {
	case told.Abort > 0 && index == told.Abort:
		return child.SendErr(-32004, "given up", nil)
	case index < len(told.Args):
		return child.Send(told.Args[index], index+1 < told.frames())
	default:
		return child.SendLast(nil) // The nearest to an itemless end that the API has.
	}
}

// failed is how the API has shown that something went wrong. What fails in this program's own conn passes through it.
func failed(err error) object {
	var remote *duplex.Error
	switch {
	case errors.As(err, &remote):
		return object{"error": remote}
	case errors.Is(err, net.ErrClosed), errors.Is(err, syscall.EPIPE), errors.Is(err, syscall.ECONNRESET):
		return object{"closed": true}
	default:
		return object{"failed": true}
	}
}
