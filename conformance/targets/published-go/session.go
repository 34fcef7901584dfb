// One connection, from its greeting to its end, and the handlers that still run when the input has ended.

package main

import (
	"log"
	"runtime"
	"sync"
	"time"

	duplex "github.com/progrium/duplex/golang"
)

// How often others are let run before the handlers are counted. Each time, one that has not begun may begin.
const yields = 4096

// session is a connection as the library's CloseNotify tells of it. Handlers are counted, so that they may end.
type session struct {
	mutex   sync.Mutex
	running int
	idle    chan struct{} // Closed when the last one ends, if somebody waits for that.
	ended   chan struct{}
}

// carry is one session, from its greeting until it may be hung up.
func (s *service) carry(link *conn, accepts bool) {
	greet := s.rpc.Handshake
	if accepts {
		greet = s.rpc.Accept
	}
	peer, err := greet(link)
	if err != nil {
		log.Printf("greeting: %v", err)
		return
	}
	over := make(chan struct{})
	go func() {
		<-peer.CloseNotify() // It tells one reader, and does not go on before it has.
		close(over)
	}()
	session := s.join(peer)
	select {
	case <-over:
	case <-link.closed:
	}
	if link.hasEnded() {
		session.settle(closingTime)
	}
	close(session.ended)
	s.leave(peer)
}

func (s *service) join(peer *duplex.Peer) *session {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	joined := &session{ended: make(chan struct{})}
	s.sessions[peer] = joined
	s.changed.Broadcast()
	return joined
}

func (s *service) leave(peer *duplex.Peer) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	delete(s.sessions, peer)
}

// of is the session of a handler's channel. The library runs handlers before it has given its user the peer.
func (s *service) of(ch *duplex.Channel) *session {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	for s.sessions[ch.Peer] == nil {
		s.changed.Wait()
	}
	return s.sessions[ch.Peer]
}

func (s *session) begin() {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.running++
}

func (s *session) finish() {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.running--
	if s.running == 0 && s.idle != nil {
		close(s.idle)
		s.idle = nil
	}
}

// settle waits until no handler runs, or for so long.
func (s *session) settle(atMost time.Duration) {
	for i := 0; i < yields; i++ {
		runtime.Gosched() // The library has started goroutines for what it has read, and they may not have begun.
	}
	s.mutex.Lock()
	idle := make(chan struct{})
	if s.running == 0 {
		close(idle)
	} else {
		s.idle = idle
	}
	s.mutex.Unlock()
	select {
	case <-idle:
	case <-time.After(atMost):
	}
}
