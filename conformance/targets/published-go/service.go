// The methods of the conformance service that serve; those that call are in call.go.

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"runtime/debug"
	"sync"

	duplex "github.com/progrium/duplex/golang"
)

// How deep encoding/json reads. It has no name there.
const jsonDepth = 10000

type object = map[string]any

// service is the conformance service on one RPC object. Tokens, sinks and registered methods belong to the process.
type service struct {
	rpc      *duplex.RPC
	mutex    sync.Mutex
	changed  *sync.Cond // A session has joined, or a sink has grown.
	sessions map[*duplex.Peer]*session
	tokens   map[string]chan struct{}
	sinks    map[string][]any
}

type handler func(*duplex.Channel, *session) error

func newService() *service {
	s := &service{
		rpc:      duplex.NewRPC(duplex.NewJSONCodec()),
		sessions: map[*duplex.Peer]*session{},
		tokens:   map[string]chan struct{}{},
		sinks:    map[string][]any{},
	}
	s.changed = sync.NewCond(&s.mutex)
	for name, serve := range map[string]handler{
		"describe": unary(describe), "echo": unary(echo), "sum": sum, "pipe": pipe, "take": s.take, "count": count,
		"fail": fail, "fail_after": failAfter, "crash": crash,
		"hold": s.holdToken, "release": unary(s.release), "sink": s.sink, "sunk": unary(s.sunk),
		"call": s.call, "offer": unary(s.offer), "register": unary(s.register), "unregister": unary(s.unregister),
		"close": closePeer,
	} {
		s.serve("conformance."+name, serve)
	}
	return s
}

// serve registers a handler that is counted while it runs.
func (s *service) serve(name string, serve handler) {
	s.rpc.Register(name, func(ch *duplex.Channel) error {
		session := s.of(ch)
		session.begin()
		defer session.finish()
		return serve(ch, session)
	})
}

// unary does what the library's RegisterFunc does, which would send the reply when the handler is no longer counted.
func unary(function func(any) (any, error)) handler {
	return func(ch *duplex.Channel, _ *session) error {
		var argument any
		if _, err := ch.Recv(&argument); err != nil {
			return err
		}
		result, err := function(argument)
		if err != nil {
			return err
		}
		return ch.Send(result, false)
	}
}

// instruction reads the next item, which tells a handler what to do, into a struct.
func instruction(ch *duplex.Channel, into any) (more bool, err error) {
	var item any
	if more, err = ch.Recv(&item); err == nil {
		err = convert(item, into)
	}
	return more, err
}

func convert(item any, into any) error {
	text, err := json.Marshal(item)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, into)
}

// ---- Who this is

func describe(any) (any, error) {
	return object{
		"contract": 1, "name": "duplex/golang", "version": version(), "language": "go",
		"homepage": "https://github.com/progrium/duplex", "issues": "https://github.com/progrium/duplex/issues",
		"profiles": []string{"core", "caller", "streaming", "callbacks"},
		"codecs":   []string{"json"}, "framings": []string{"length", "newline"},
		"transports": []string{"stdio", "tcp"}, "roles": []string{"acceptor", "initiator"},
		"limits": object{
			"frame": frameLimit, "greeting_frame": 32, "greeting_time": nil, "depth": jsonDepth, "open_calls": nil,
			"draining_ids": nil, "buffered_items": duplex.BacklogSize, "buffered_bytes": nil, "outbound_bytes": nil, "ext": nil,
			"closing_time": nil,
		},
		"lacks": object{
			"call.reply-ext": "Channel has no way to read an ext, that of a reply or any other",
			"call.end":       "Channel.Send has no way to end a stream without an item",
		},
	}, nil
}

// version is the one that the module has in this build: the library calls itself 0.1.0 at every commit.
func version() string {
	if build, isKnown := debug.ReadBuildInfo(); isKnown {
		for _, module := range build.Deps {
			if module.Path == "github.com/progrium/duplex" {
				return module.Version
			}
		}
	}
	return duplex.Version
}

// ---- Calls and streams

func echo(payload any) (any, error) {
	return payload, nil
}

func sum(ch *duplex.Channel, _ *session) error {
	total := 0.0
	for more := true; more; {
		var item any // A new one each time: a null would leave the last item in it.
		var err error
		if more, err = ch.Recv(&item); err != nil {
			return err
		}
		number, isNumber := item.(float64)
		if !isNumber {
			return fmt.Errorf("no number: %v", item)
		}
		total += number
	}
	return ch.Send(total, false)
}

func pipe(ch *duplex.Channel, _ *session) error {
	for more := true; more; {
		var item any
		var err error
		if more, err = ch.Recv(&item); err != nil {
			return err
		}
		if err = ch.Send(item, more); err != nil {
			return err
		}
	}
	return nil
}

func (s *service) take(ch *duplex.Channel, _ *session) error {
	var order struct {
		N     int
		Trace *string
	}
	more, err := instruction(ch, &order)
	items := []any{}
	for err == nil && more && len(items) < order.N {
		var item any
		if more, err = ch.Recv(&item); err == nil {
			items = append(items, item)
			s.trace(order.Trace, object{"item": item})
		}
	}
	if err != nil {
		return err
	}
	if !more {
		s.trace(order.Trace, object{"end": true})
	}
	return ch.Send(items, false)
}

func count(ch *duplex.Channel, _ *session) error {
	var order struct{ N int }
	if _, err := instruction(ch, &order); err != nil {
		return err
	}
	return countTo(ch, order.N, order.N)
}

// countTo streams numbers, and says of the one that is `last` that it is.
func countTo(ch *duplex.Channel, n int, last int) error {
	for number := 1; number <= n; number++ {
		if err := ch.Send(number, number != last); err != nil {
			return err
		}
	}
	return nil
}

type failure struct {
	Code    int
	Message string
	Data    any
	N       int
}

func fail(ch *duplex.Channel, _ *session) error {
	var order failure
	if _, err := instruction(ch, &order); err != nil {
		return err
	}
	return ch.SendErr(order.Code, order.Message, order.Data)
}

func failAfter(ch *duplex.Channel, _ *session) error {
	var order failure
	if _, err := instruction(ch, &order); err != nil {
		return err
	}
	if err := countTo(ch, order.N, 0); err != nil {
		return err
	}
	return ch.SendErr(order.Code, order.Message, order.Data)
}

// crash fails in the way that the API has for it. A panic would be one of this program, and end it.
func crash(ch *duplex.Channel, _ *session) error {
	var order struct {
		Text  string
		After int
	}
	if _, err := instruction(ch, &order); err != nil {
		return err
	}
	if err := countTo(ch, order.After, 0); err != nil {
		return err
	}
	return errors.New(order.Text)
}

func closePeer(ch *duplex.Channel, _ *session) error {
	var nothing any
	if _, err := ch.Recv(&nothing); err != nil {
		return err
	}
	if err := ch.Send(nil, false); err != nil {
		return err
	}
	return ch.Close()
}

// ---- Order and traces

// tokensOf holds the free tokens of a key: elements without a size, so any number fits.
func (s *service) tokensOf(key string) chan struct{} {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if s.tokens[key] == nil {
		s.tokens[key] = make(chan struct{}, math.MaxInt32)
	}
	return s.tokens[key]
}

func (s *service) holdToken(ch *duplex.Channel, session *session) error {
	var key string
	if _, err := instruction(ch, &key); err != nil {
		return err
	}
	select {
	case <-s.tokensOf(key):
		return ch.Send(key, false)
	case <-session.ended:
		s.append(key, "closed")
		return nil
	}
}

func (s *service) release(key any) (any, error) {
	name, isText := key.(string)
	if !isText {
		return nil, fmt.Errorf("no key: %v", key)
	}
	s.tokensOf(name) <- struct{}{}
	return nil, nil
}

func (s *service) sink(ch *duplex.Channel, _ *session) error {
	var order struct {
		Key   string
		Value any
	}
	if _, err := instruction(ch, &order); err != nil {
		return err
	}
	s.append(order.Key, order.Value)
	return nil // The library answers nothing by itself, and would not survive an answer to a notification.
}

func (s *service) sunk(argument any) (any, error) {
	var order struct {
		Key string
		N   int
	}
	if err := convert(argument, &order); err != nil {
		return nil, err
	}
	s.mutex.Lock()
	defer s.mutex.Unlock()
	for len(s.sinks[order.Key]) < order.N {
		s.changed.Wait()
	}
	return append([]any{}, s.sinks[order.Key]...), nil
}

func (s *service) append(key string, value any) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.sinks[key] = append(s.sinks[key], value)
	s.changed.Broadcast()
}

func (s *service) trace(key *string, event any) {
	if key != nil {
		s.append(*key, event)
	}
}

// ---- Names

func (s *service) offer(argument any) (any, error) {
	var order struct{ As string }
	if err := convert(argument, &order); err != nil {
		return nil, err
	}
	serve := unary(echo)
	if order.As == "call" {
		serve = s.call
	}
	// The API makes callbacks of functions alone: a handler takes the name over.
	name := s.rpc.CallbackFunc(func(payload any, _ *duplex.Channel) (any, error) { return payload, nil })
	s.serve(name, serve)
	return name, nil
}

func (s *service) register(argument any) (any, error) {
	var order struct{ Name string }
	if err := convert(argument, &order); err != nil {
		return nil, err
	}
	s.serve(order.Name, unary(echo))
	return nil, nil
}

func (s *service) unregister(argument any) (any, error) {
	var order struct{ Name string }
	if err := convert(argument, &order); err != nil {
		return nil, err
	}
	s.rpc.Unregister(order.Name)
	return nil, nil
}
