// The framing: what the library takes for a connection. The library has none of its own.

package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"log"
	"net"
	"sync"

	duplex "github.com/progrium/duplex/golang"
)

// The framing is this program's, and so is its limit: the size of the buffer that the library reads into.
var frameLimit = duplex.MaxFrameSize

var errOversize = errors.New("a frame over the limit")

// conn is what the library takes: one Read is one frame, and so is one Write.
type conn struct {
	input     *bufio.Reader
	output    io.Writer
	isNewline bool
	writing   sync.Mutex
	frames    chan []byte   // Unbuffered: what the library does not read stays with the system.
	end       error         // Why no more frames come, once `frames` is closed.
	closed    chan struct{} // The library has closed.
	closing   sync.Once
	drained   chan struct{} // Nothing reads the input any more.
}

func newConn(input io.Reader, output io.Writer, isNewline bool) *conn {
	size := 64 * 1024
	if isNewline {
		size = frameLimit + 1 // As many bytes without an end are over the limit, unless the last is a carriage return.
	}
	c := &conn{
		input:     bufio.NewReaderSize(input, size),
		output:    output,
		isNewline: isNewline,
		frames:    make(chan []byte),
		closed:    make(chan struct{}),
		drained:   make(chan struct{}),
	}
	go c.pump()
	return c
}

// pump reads in a goroutine of its own, so that Close can end a Read.
func (c *conn) pump() {
	defer close(c.drained)
	for c.end == nil {
		frame, err := c.nextFrame()
		if err != nil {
			c.end = err
			break
		}
		select {
		case c.frames <- frame:
		case <-c.closed:
			c.end = net.ErrClosed
		}
	}
	if c.end != io.EOF {
		log.Printf("reading: %v", c.end)
	}
	close(c.frames)
	io.Copy(io.Discard, c.input)
}

// nextFrame is one frame, or io.EOF at the end, where a part of a frame is none.
func (c *conn) nextFrame() ([]byte, error) {
	if c.isNewline {
		return c.nextLine()
	}
	var head [4]byte
	if _, err := io.ReadFull(c.input, head[:]); err != nil {
		return nil, wholeEnd(err)
	}
	size := binary.BigEndian.Uint32(head[:])
	if int64(size) > int64(frameLimit) {
		return nil, errOversize
	}
	frame := make([]byte, size)
	_, err := io.ReadFull(c.input, frame)
	return frame, wholeEnd(err)
}

func (c *conn) nextLine() ([]byte, error) {
	line, err := c.input.ReadSlice('\n')
	line = bytes.Clone(line)
	if err == bufio.ErrBufferFull && line[frameLimit] == '\r' {
		var last byte
		last, err = c.input.ReadByte()
		line = append(line, last)
	}
	frame, isLine := bytes.CutSuffix(line, []byte("\n"))
	frame = bytes.TrimSuffix(frame, []byte("\r"))
	if err == bufio.ErrBufferFull || len(frame) > frameLimit || err == nil && !isLine {
		return nil, errOversize
	}
	return frame, err
}

func wholeEnd(err error) error {
	if err == io.ErrUnexpectedEOF {
		return io.EOF
	}
	return err
}

func (c *conn) Read(buffer []byte) (int, error) {
	if c.isClosed() {
		return 0, net.ErrClosed
	}
	select {
	case frame, isOne := <-c.frames:
		if !isOne {
			return 0, c.end
		}
		if len(frame) > len(buffer) { // The greeting is read into 32 bytes.
			return 0, io.ErrShortBuffer
		}
		return copy(buffer, frame), nil
	case <-c.closed:
		return 0, net.ErrClosed
	}
}

func (c *conn) Write(frame []byte) (int, error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	if c.isClosed() {
		return 0, net.ErrClosed
	}
	framed := append(bytes.Clone(frame), '\n')
	if !c.isNewline {
		framed = append(binary.BigEndian.AppendUint32(nil, uint32(len(frame))), frame...)
	}
	if _, err := c.output.Write(framed); err != nil {
		return 0, err
	}
	return len(frame), nil
}

func (c *conn) Close() error {
	c.closing.Do(func() { close(c.closed) })
	return nil
}

func (c *conn) isClosed() bool {
	select {
	case <-c.closed:
		return true
	default:
		return false
	}
}

// hasEnded says that the other side has ended its own direction, and may still read. To be asked when Read has failed.
func (c *conn) hasEnded() bool {
	return !c.isClosed() && c.end == io.EOF
}
