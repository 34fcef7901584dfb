#!/usr/bin/env python3
"""A minimal Duplex peer that is right: it accepts one connection on stdin and stdout, speaks JSON, and answers calls.

It makes no calls and streams nothing. What it offers is the conformance service, so that
`duplex-conformance --target peer.py` can judge it. The names in brackets are rules of the book.
"""
import json, math, os, queue, re, sys, threading

FRAME, GREETING, DEPTH, EXT = 1024 * 1024, 32, 512, 16 * 1024  # limits: bytes, bytes, containers, bytes
OPEN_CALLS, DRAINING, GREETING_TIME, CLOSING_TIME = 256, 1024, 10, 1  # limits: calls, ids, seconds, seconds
KNOWN = {"TRANSPORT": ["stdio"], "ROLE": ["acceptor"], "FRAMING": ["length", "newline"], "CODEC": ["json"]}
SETTINGS = {name: os.environ.get("DUPLEX_" + name, known[0]) for name, known in KNOWN.items()}
BY_LENGTH = SETTINGS["FRAMING"] == "length"

# ---- Frames. Everything that is sent goes through one queue: frames are never mixed, and the reader never waits for a write.

outbox = queue.SimpleQueue()


def write_frames():
    while (frame := outbox.get()) is not None:
        sys.stdout.buffer.write(len(frame).to_bytes(4, "big") + frame if BY_LENGTH else frame + b"\n")
        sys.stdout.buffer.flush()
    os._exit(0)


def read_frame(limit):
    """The next frame that is not empty, or None at the end. Raises ValueError when it is over the limit [framing.size.over]."""
    stdin, frame = sys.stdin.buffer, b""
    while not frame:  # [framing.keepalive]
        if BY_LENGTH:
            head = stdin.read(4)
            size = int.from_bytes(head, "big")
            if len(head) == 4 and size > limit:  # before memory is set aside [framing.length.limit]
                raise ValueError("frame over the limit")
            frame = stdin.read(size) if len(head) == 4 else b""
            if len(head) < 4 or len(frame) < size:
                return None  # cut short: never decoded [framing.partial]
        else:
            line = stdin.readline(limit + 1)
            if len(line) == limit + 1 and line.endswith(b"\r"):
                line += stdin.read(1)
            if len(line) > limit and not line.endswith(b"\n"):
                raise ValueError("line over the limit")
            if not line.endswith(b"\n"):
                return None
            frame = line[:-2] if line.endswith(b"\r\n") else line[:-1]
    return frame


# ---- The codec: Python's own, made as strict as the book

def number(text):
    if math.isinf(float(text)):
        raise ValueError("number out of range")
    return int(text) if text.lstrip("-").isdigit() else float(text)


def constant(text):
    raise ValueError(f"{text} is not JSON")


def decode(frame):
    """The message, a dict. Raises ValueError or RecursionError for what is none [message.undecodable]."""
    message = json.loads(frame.decode("utf-8"), parse_constant=constant, parse_int=number, parse_float=number)
    depth, row = 0, [message]
    while row := [value for value in row if isinstance(value, (dict, list))]:
        depth, row = depth + 1, [child for value in row for child in (value.values() if isinstance(value, dict) else value)]
    if depth > DEPTH or not isinstance(message, dict):
        raise ValueError("nested too deep, or not a map")
    return message


def encode(message):
    text = json.dumps(message, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").encode()  # no lone surrogates


# ---- Calls

class CallError(Exception):
    """An error that a handler chose: code, message, and data if there is any."""


class Call:
    def __init__(self, id, ext, arguments_open):
        self.id, self.ext, self.arguments_open, self.replied = id, ext, arguments_open, False


lock = threading.Condition()  # guards all below, and tells of every change
calls = {}  # id -> Call; a notification stands under a key of its own. An entry that has replied is draining.
tokens, sinks = {}, {}


def reply(key, call, **result):
    """Sends the terminal reply of a call, unless it had one."""
    with lock:
        if call.replied:
            return
        call.replied = True
        if not call.arguments_open:
            calls.pop(key, None)
        if call.id is not None:
            outbox.put(encode_reply(call, result))
        lock.notify_all()


def encode_reply(call, result):
    message = {"type": "rep", "id": call.id, **result} | ({} if call.ext is None else {"ext": call.ext})
    try:
        frame = encode(message)
        if len(frame) <= FRAME:
            return frame
    except (ValueError, TypeError, RecursionError):
        pass
    return encode_reply(call, failure(-32603, "the result cannot be sent"))  # [error.unsendable]


def failure(code, message, data=None):
    return {"error": {"code": code, "message": message} | ({} if data is None else {"data": data})}


def take(message):
    """Handles one message. Raises ValueError when the connection has to be closed."""
    id, more, ext = message.get("id"), message.get("more"), message.get("ext")
    notification = id is None or (type(id) is int and id == 0)
    if message.get("type") != "req" or not (notification or (type(id) is int and 0 < id < 2**53)):
        return  # [message.type.unknown] [message.id.invalid], and replies: no call of ours is open [call.reply.unknown]
    ext = ext if isinstance(ext, dict) else None
    last = more is None or more is False
    valid = (last or more is True) and (ext is None or len(encode(ext)) <= EXT)
    with lock:
        if notification or id not in calls:
            begin(None if notification else id, message, ext, last, valid)
        elif calls[id].arguments_open:
            go_on(id, calls[id], message, ext, last, valid)  # else dropped, whatever it holds [call.duplicate]


def begin(id, message, ext, last, valid):
    key, method = object() if id is None else id, message.get("method")
    call, error = Call(id, ext if valid else None, not last), None
    if not valid or not isinstance(method, str):
        error = failure(-32600, "invalid request")
    elif sum(not other.replied for other in calls.values()) >= OPEN_CALLS:
        error = failure(-32000, "too many open calls")
    elif method not in methods:
        error = failure(-32601, "no such method")
    if id is None and (error or not last):
        return  # [message.invalid.notification] [call.notification.missing] [call.notification.more]
    calls[key] = call
    if error:
        reply(key, call, **error)
    else:
        threading.Thread(target=run, args=(key, call, methods[method], message.get("payload")), daemon=True).start()
    if sum(other.replied for other in calls.values()) > DRAINING:
        raise ValueError("too many ids are being discarded")  # [limit.draining]


def go_on(id, call, message, ext, last, valid):
    """A later frame of a stream: the handlers here look at the first item only [stream.args.single]."""
    aborted = message.get("error") is not None
    if last or aborted:
        call.arguments_open = False
        if call.replied:
            del calls[id]  # [stream.early.reuse]
    if not valid and not aborted:
        reply(id, call, **failure(-32600, "invalid request"))  # [stream.args.invalid]
    elif ext is not None:
        call.ext = ext  # [ext.newest]


def run(key, call, handler, payload):
    """A handler has a thread of its own, so that one that waits holds up nobody [call.progress]."""
    try:
        reply(key, call, payload=handler(payload), more=False)  # [message.more.false]
        if handler is close:
            outbox.put(None)
    except CallError as error:
        reply(key, call, **failure(*error.args))
    except Exception as error:
        print(f"handler failed: {error!r}", file=sys.stderr)
        reply(key, call, **failure(-32603, "the handler failed"))  # [error.no-insides]


# ---- The conformance service

def describe(_):
    return {
        "contract": 1, "name": "python-minimal", "version": "1.0.0", "language": "python",
        "profiles": ["core"], "codecs": ["json"], "framings": ["length", "newline"], "transports": ["stdio"], "roles": ["acceptor"],
        "limits": {
            "frame": FRAME, "greeting_frame": GREETING, "greeting_time": GREETING_TIME, "depth": DEPTH, "open_calls": OPEN_CALLS,
            "draining_ids": DRAINING, "buffered_items": None, "buffered_bytes": None, "outbound_bytes": None, "ext": EXT,
            "closing_time": CLOSING_TIME,
        },
        "lacks": {},
    }


def fail(order):
    raise CallError(order["code"], order["message"], order.get("data"))


def crash(order):
    raise RuntimeError(order["text"])


def hold(key):
    with lock:
        lock.wait_for(lambda: tokens.get(key, 0) > 0)
        tokens[key] -= 1
    return key


def release(key):
    with lock:
        tokens[key] = tokens.get(key, 0) + 1
        lock.notify_all()


def sink(order):
    with lock:
        sinks.setdefault(order["key"], []).append(order["value"])
        lock.notify_all()


def sunk(order):
    with lock:
        lock.wait_for(lambda: len(sinks.get(order["key"], [])) >= order["n"])
        return list(sinks.get(order["key"], []))


def register(order):
    if not isinstance(order, dict) or not isinstance(order.get("name"), str):
        raise CallError(-32602, "a map with a name is wanted")  # [error.payload-unfit]
    if order["name"].startswith("_callback."):
        raise CallError(-32602, "names of callbacks are not the application's to choose")  # [callback.reserved]
    methods[order["name"]] = lambda payload: payload


def unregister(order):
    methods.pop(order["name"], None)


def close(_):
    """`run` closes once the reply is on its way."""


handlers = (describe, fail, crash, hold, release, sink, sunk, register, unregister, close)
methods = {f"conformance.{handler.__name__}": handler for handler in handlers}
methods["conformance.echo"] = lambda payload: payload


# ---- The connection

def greet():
    """Answers the greeting. True if it is through."""
    try:
        offer = read_frame(GREETING)
        if offer is None:
            return False
        through = re.fullmatch(rb"SIMPLEX/1\.0;json(;[ -~]*)?", offer) is not None
    except ValueError:
        through = False  # [greeting.refuse.size]
    outbox.put(b"+OK" if through else b"-ERR only SIMPLEX/1.0;json")
    return through


def main():
    if any(value not in KNOWN[name] for name, value in SETTINGS.items()):
        sys.exit(89)  # [target.unknown-value] [target.not-implemented]
    writer = threading.Thread(target=write_frames, daemon=True)
    writer.start()
    too_late = threading.Timer(GREETING_TIME, os._exit, [0])  # [greeting.timeout]
    too_late.daemon = True
    too_late.start()
    through = greet()
    too_late.cancel()
    try:
        while through and (frame := read_frame(FRAME)) is not None:
            take(decode(frame))
    except (ValueError, RecursionError) as error:
        print(f"connection closed: {error!r}", file=sys.stderr)
    with lock:  # handlers that still run may answer, for a while [close.half]
        lock.wait_for(lambda: all(call.replied for call in calls.values()), CLOSING_TIME)
    outbox.put(None)
    writer.join(CLOSING_TIME)
    os._exit(0)


if __name__ == "__main__":
    main()
