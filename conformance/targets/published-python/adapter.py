"""The conformance service on PyPI `duplex`, exactly as it is published.

This file frames bytes, carries them over stdio or TCP, and registers the conformance service through the library's own
API. It deliberately repairs nothing: a route thread that died stays dead, no frame is looked at, no reply is added or held
back. What the library gets wrong is to be seen on the wire, or as silence, as its users see it.
"""
import os
import pathlib
import queue
import socket
import sys
import threading
import time
import traceback
import types

FRAME_LIMIT = 1024 * 1024  # The framing is the adapter's, and so is its limit.
LAST_SECOND = 1.0  # How long running handlers may go on when the session is over.


def load(packages):
    """The sync half of the library, its files untouched.

    `import duplex` is a SyntaxError since Python 3.7, because the package has a module `async` and imports it by that name.
    A package object without the package's `__init__` leads to the modules that still parse.
    """
    package = types.ModuleType("duplex")
    package.__path__ = [str(packages / "duplex")]
    sys.modules["duplex"] = package
    import duplex.sync
    import duplex.version
    return duplex.sync, duplex.version.version


sync, VERSION = load(pathlib.Path(__file__).parent / "packages")

# ---- The configuration: exit 89 before the wire is touched, r[target.unknown-value], r[target.not-implemented]


def not_implemented(reason):
    print(reason, file=sys.stderr)
    sys.exit(89)


def setting(name, *known):
    value = os.environ.get(f"DUPLEX_{name}", known[0])
    return value if value in known else not_implemented(f"DUPLEX_{name}={value}: this target knows {', '.join(known)}")


def address(name):
    host, _, port = os.environ.get(f"DUPLEX_{name}", "").rpartition(":")
    try:
        socket.inet_pton(socket.AF_INET, host)
        if port.isdecimal() and int(port) < 65536:
            return host, int(port)
    except (OSError, ValueError):
        pass
    return not_implemented(f"DUPLEX_{name}: not an IPv4 address with a port")


ROLE = setting("ROLE", "acceptor", "initiator")
FRAMING = setting("FRAMING", "length", "newline")
TRANSPORT = setting("TRANSPORT", "stdio", "tcp")
setting("CODEC", "json")
ENDPOINT = address("LISTEN" if ROLE == "acceptor" else "CONNECT") if TRANSPORT == "tcp" else None

# ---- The framing: the `conn` that the library takes


class EndOfInput(Exception):
    """`recv` raises this at the end, since the library asks again for ever when it is given an empty string."""


class Conn:
    """Frames over a binary file and a `write` that takes bytes. Reads ahead, so that a dead route thread hides no end."""

    def __init__(self, file, write, hang_up):
        self.file, self.write, self.hang_up = file, write, hang_up
        self.frames = queue.SimpleQueue()
        self.over = threading.Event()
        self.writing = threading.Lock()
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        try:
            while (frame := self.next_frame()) is not None:
                self.frames.put(frame.decode())  # The library takes strings: bytes that are none are an end, as on a WebSocket.
        except (OSError, ValueError) as error:
            print(f"reading: {error!r}", file=sys.stderr)
        self.frames.put(None)
        self.over.set()

    def next_frame(self):
        """One frame, or None at the end."""
        if FRAMING == "newline":
            line = self.file.readline(FRAME_LIMIT + 1)
            if len(line) > FRAME_LIMIT and line.endswith(b"\r"):
                line += self.file.readline(1)
            frame = line[:-2] if line.endswith(b"\r\n") else line[:-1]
            is_whole, size = line.endswith(b"\n"), len(line if not line.endswith(b"\n") else frame)
        else:
            head = self.file.read(4)
            size = int.from_bytes(head, "big") if len(head) == 4 else 0
            frame = self.file.read(size) if size <= FRAME_LIMIT else b""
            is_whole = len(head) == 4 and len(frame) == size
        if size > FRAME_LIMIT:
            raise ValueError("a frame over the limit")
        return frame if is_whole else None

    def recv(self):
        frame = self.frames.get()
        if frame is None:
            raise EndOfInput
        return frame

    def send(self, text):
        body = text.encode()
        with self.writing:
            self.write(len(body).to_bytes(4, "big") + body if FRAMING == "length" else body + b"\n")

    def close(self):
        self.frames.put("")  # unblocks `recv`, which the library then does not call again
        self.over.set()


def hold_session(conn):
    """One connection, from its greeting until it may be hung up."""
    try:
        peer = rpc.accept(conn) if ROLE == "acceptor" else rpc.handshake(conn)
    except EndOfInput:
        return conn.hang_up()
    except Exception:  # The API's way to say that a greeting failed is any exception.
        traceback.print_exc()
        return conn.hang_up()
    conn.over.wait()
    end = time.monotonic() + LAST_SECOND
    for task in peer.tasks:  # The route thread, and one for every call. They live for ever if they wait for the library.
        task.join(max(0.0, end - time.monotonic()))
    conn.hang_up()


def report(fault):
    if fault.exc_type is not EndOfInput:  # The route thread of every session ends with this one.
        threading.__excepthook__(fault)


threading.excepthook = report

# ---- The conformance service. Tokens, sinks and registered methods belong to the process.

rpc = sync.RPC("json")
state = threading.Condition()
tokens, sinks = {}, {}


def append(key, value):
    with state:
        sinks.setdefault(key, []).append(value)
        state.notify_all()


def take_token(key, unless=lambda: False):
    """Waits until it can take a token, or `unless` has come true. The library tells a handler of no close: none ends this."""
    with state:
        state.wait_for(lambda: tokens.get(key, 0) > 0 or unless())
        if not unless():
            tokens[key] -= 1


def describe(_, ch):
    return {
        "contract": 1, "name": "duplex", "version": VERSION, "language": "python",
        "homepage": "https://github.com/progrium/duplex", "issues": "https://github.com/progrium/duplex/issues",
        "profiles": ["core", "caller", "streaming", "callbacks", "inspect"],
        "codecs": ["json"], "framings": ["length", "newline"], "transports": ["stdio", "tcp"], "roles": ["acceptor", "initiator"],
        "limits": {
            "frame": FRAME_LIMIT, "greeting_frame": None, "greeting_time": None, "depth": None, "open_calls": None,
            "draining_ids": None, "buffered_items": None, "buffered_bytes": None, "outbound_bytes": None, "ext": None,
            "closing_time": None,
        },
        "lacks": {
            "call.reply-ext": "Channel.recv gives the payload and whether there is more, and nothing else of a reply",
            "call.notify": "Peer.call with wait=False sends an id all the same",
            "call.end": "Channel.send has no way to end a stream without an item",
            "call.abort": "Channel.senderr is refused on the caller's side, and nothing else gives a stream up",
            "inspect.callbacks": "callbacks stand among the methods of the RPC object and belong to no connection",
            "inspect.connections": "an RPC object does not know its peers",
        },
    }


def echo(payload, ch):
    return payload


def add(ch):
    total, more = 0, True
    while more:
        item, more = ch.recv()
        total += item
    ch.send(total)


def pipe(ch):
    more = True
    while more:
        item, more = ch.recv()
        ch.send(item, more)


def take(ch):
    order, more = ch.recv()
    items = []
    while more and len(items) < order["n"]:
        item, more = ch.recv()
        items.append(item)
        trace(order, {"item": item})
    if not more:
        trace(order, {"end": True})
    ch.send(items)


def trace(order, event):
    if order.get("trace") is not None:
        append(order["trace"], event)


def count(ch):
    order, _ = ch.recv()
    for number in range(1, order["n"] + 1):
        ch.send(number, number < order["n"])


def fail(ch, order=None):
    order = order or ch.recv()[0]
    ch.senderr(order["code"], order["message"], order.get("data"))


def fail_after(ch):
    order, _ = ch.recv()
    for number in range(1, order["n"] + 1):
        ch.send(number, True)
    fail(ch, order)


def crash(ch):
    order, _ = ch.recv()
    for number in range(1, order.get("after", 0) + 1):
        ch.send(number, True)
    raise RuntimeError(order["text"])


def hold(key, ch):
    take_token(key)
    return key


def release(key, ch):
    with state:
        tokens[key] = tokens.get(key, 0) + 1
        state.notify_all()


def sink(ch):
    order, _ = ch.recv()
    append(order["key"], order["value"])


def sunk(order, ch):
    with state:
        state.wait_for(lambda: len(sinks.get(order["key"], [])) >= order["n"])
        return list(sinks.get(order["key"], []))


def call(ch):
    """Calls the other side as the order says, and replies with what the library showed: a list of events."""
    order, _ = ch.recv()
    is_after = order.get("when") == "after"
    if is_after:
        ch.send(None)
    events = []
    for _ in range(order.get("times", 1)):
        call_once(order, ch, events)
    if not is_after:
        ch.send(events)


def call_once(order, ch, events):
    if order.get("single"):
        events += [{"item": ch.call(order["method"], order.get("args", [None])[0])}, {"end": True}]
        return
    child = ch.open(order["method"])
    if order.get("ext"):
        child.ext = {**(child.ext or {}), **order["ext"]}
    over = threading.Event()

    def saw(event):
        events.append(event)
        trace(order, event)

    def send():
        args = order.get("args", [None]) + (["x" * order["fill"]] if "fill" in order else [])
        for index, item in enumerate(args):
            if index > 0 and order.get("pace") is not None:
                take_token(order["pace"], over.is_set)
            if not over.is_set():
                child.send(item, index + 1 < len(args))

    threading.Thread(target=send, daemon=True).start()
    more = True
    while more:
        if order.get("read") is not None:
            take_token(order["read"])
        item, more = child.recv()
        saw({"item": item})  # An error as well: the library gives it out as if it were the result.
    saw({"end": True})
    over.set()
    with state:
        state.notify_all()  # The sender may wait for a token.


def offer(order, ch):
    if order["as"] == "echo":
        return rpc.callback_func(echo)
    name = rpc.callback_func(echo)  # The API makes callbacks of functions alone: a handler takes the name over.
    rpc.register(name, call)
    return name


def register(order, ch):
    rpc.register_func(order["name"], echo)


def unregister(order, ch):
    rpc.unregister(order["name"])


def inspect(_, ch):
    handlers = sum(task.is_alive() for task in ch.peer.tasks) - 2  # Without the route thread, and this very call.
    return {
        # A call that is served has a thread, and an entry too while its arguments stream: the larger count is zero only
        # when nothing is left of any.
        "incoming": max(handlers, len(ch.peer.req_chans)),
        "outgoing": len(ch.peer.rep_chans),
        "handlers": handlers,
        "callbacks": None, "connections": None,
    }


def close(ch):
    ch.recv()
    ch.send(None)
    ch.close()


for function in (describe, echo, hold, release, sunk, offer, register, unregister, inspect):
    rpc.register_func(f"conformance.{function.__name__}", function)
for handler in (pipe, take, count, fail, fail_after, crash, sink, call, close):
    rpc.register(f"conformance.{handler.__name__}", handler)
rpc.register("conformance.sum", add)

# ---- The life of a target


def serve_stdio():
    def write(data):
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()

    hold_session(Conn(sys.stdin.buffer, write, lambda: None))
    os._exit(0)  # The library's threads would keep the interpreter for ever.


def serve_socket(link):
    def hang_up():
        try:
            link.shutdown(socket.SHUT_WR)
            link.settimeout(0.5)
            while link.recv(65536):  # What is left unread would turn the end into a reset, and take replies with it.
                pass
            link.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        link.close()

    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    hold_session(Conn(link.makefile("rb"), link.sendall, hang_up))


def leave_with_stdin():
    while os.read(0, 65536):
        pass
    os._exit(0)  # r[target.stdin]


def serve_tcp():
    threading.Thread(target=leave_with_stdin, daemon=True).start()
    if ROLE == "acceptor":
        listener = socket.create_server(ENDPOINT)
        print(f"listening {ENDPOINT[0]}:{listener.getsockname()[1]}", flush=True)
        while True:
            threading.Thread(target=serve_socket, args=(listener.accept()[0],), daemon=True).start()
    while True:
        try:
            link = socket.create_connection(ENDPOINT)
        except ConnectionRefusedError:
            os._exit(0)
        except OSError:
            continue  # A listener that is about to close resets what it has not taken.
        serve_socket(link)


if __name__ == "__main__":
    serve_stdio() if TRANSPORT == "stdio" else serve_tcp()
