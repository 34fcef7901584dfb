// The conformance service on the published Go package `duplex`, exactly as it is published.
//
// This program frames bytes (conn.go), carries them over stdio or TCP, and registers the conformance service through
// the library's own API (service.go, call.go). It deliberately repairs nothing: no panic is recovered, no frame is
// looked at, no reply is added or held back. What the library gets wrong is to be seen on the wire, as silence, or as a
// crash, as its users see it.
package main

import (
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// How long running handlers may go on when the input has ended. A second is the most that a target may take.
const closingTime = 500 * time.Millisecond

// How long what is left unread is read, so that the end does not turn into a reset and take replies with it.
const lingering = 500 * time.Millisecond

func main() {
	// The library's tables have no lock: on more than one processor, who calls much exits now and then, at places that
	// change. One processor does not take the race away; it keeps chance out of the verdicts.
	runtime.GOMAXPROCS(1)
	log.SetFlags(0)
	signal.Ignore(syscall.SIGPIPE) // Who does not read standard output any more is an error of Write, as on a socket.

	role := setting("ROLE", "acceptor", "initiator")
	framing := setting("FRAMING", "length", "newline")
	transport := setting("TRANSPORT", "stdio", "tcp")
	setting("CODEC", "json")
	service := newService()
	carry := func(input io.Reader, output io.Writer, hangUp func(*conn)) {
		link := newConn(input, output, framing == "newline")
		service.carry(link, role == "acceptor")
		hangUp(link)
	}
	switch {
	case transport == "stdio":
		carry(os.Stdin, os.Stdout, func(*conn) {})
	case role == "acceptor":
		listen(address("LISTEN"), carry)
	default:
		dial(address("CONNECT"), carry)
	}
}

// ---- The configuration: exit 89 before the wire is touched, r[target.unknown-value], r[target.not-implemented]

func setting(name string, known ...string) string {
	value := os.Getenv("DUPLEX_" + name)
	if !slices.Contains(known, value) {
		notImplemented("DUPLEX_%s=%s: this target knows %s", name, value, strings.Join(known, ", "))
	}
	return value
}

func address(name string) string {
	value := os.Getenv("DUPLEX_" + name)
	if parsed, err := netip.ParseAddrPort(value); err != nil || !parsed.Addr().Is4() {
		notImplemented("DUPLEX_%s=%s: not an IPv4 address with a port", name, value)
	}
	return value
}

func notImplemented(reason string, values ...any) {
	log.Printf(reason, values...)
	os.Exit(89)
}

// ---- TCP: any number of sessions as acceptor, one after the other as initiator

type carrier func(input io.Reader, output io.Writer, hangUp func(*conn))

func listen(at string, carry carrier) {
	listener, err := net.Listen("tcp4", at)
	if err != nil {
		log.Fatal(err)
	}
	leaveWithStdin()
	fmt.Printf("listening %s\n", listener.Addr())
	for {
		socket, err := listener.Accept()
		if err != nil {
			log.Fatal(err)
		}
		go carrySocket(socket.(*net.TCPConn), carry)
	}
}

func dial(to string, carry carrier) {
	leaveWithStdin()
	for {
		socket, err := net.Dial("tcp4", to)
		if errors.Is(err, syscall.ECONNREFUSED) {
			return
		}
		if err == nil { // A listener that is about to close resets what it has not taken.
			carrySocket(socket.(*net.TCPConn), carry)
		}
	}
}

func carrySocket(socket *net.TCPConn, carry carrier) {
	carry(socket, socket, func(link *conn) {
		link.Close()
		socket.CloseWrite()
		socket.SetReadDeadline(time.Now().Add(lingering))
		<-link.drained
		socket.Close()
	})
}

// r[target.stdin]
func leaveWithStdin() {
	go func() {
		io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
}
