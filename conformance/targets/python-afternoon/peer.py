#!/usr/bin/env python3
"""A whole target in about a hundred lines: a Duplex peer and the conformance service, profile `core`.

The peer is the one of the book's chapter "Write a peer in an afternoon": JSON, newline framing, STDIO, acceptor. It does
not stream, call, or look after its limits; `../python` does all that.
"""
import json, os, sys, threading, time

out = sys.stdout.buffer
LIMIT, DEPTH = 1024 * 1024, 64
lock = threading.RLock()                     # a frame is written whole
changed = threading.Condition(lock)
running, draining = set(), set()             # ids whose reply is due; ids whose arguments are discarded
tokens, sinks, closing = {}, {}, threading.Event()

class Failed(Exception):
    """An error that a handler chose: the members of `error`."""

def frame(id, ext, body):
    message = {"type": "rep", "id": id, **body} | ({"ext": ext} if type(ext) is dict else {})
    data = json.dumps(message, allow_nan=False, separators=(",", ":")).encode()
    if len(data) > LIMIT:
        raise ValueError("too large")
    return data

def frames(stream):
    while line := stream.readline(LIMIT + 1):
        if not line.endswith(b"\n"):
            return                           # the end cut it short, or it is too long
        line = line[:-1].removesuffix(b"\r")
        if line:                             # an empty frame is a keepalive
            yield line

def greet(stream):
    while (line := stream.readline(33)) in (b"\n", b"\r\n"):
        pass                                 # an empty frame counts for nothing, here too
    if not line.endswith(b"\n") and len(line) < 33:
        return False                         # the end came first: nobody is there to refuse
    name, *rest = line.removesuffix(b"\n").removesuffix(b"\r").split(b";")
    good = line.endswith(b"\n") and name == b"SIMPLEX/1.0" and rest[:1] == [b"json"] and all(0x21 <= c < 0x7F for c in b"".join(rest))
    out.write(b"+OK\n" if good else b"-ERR unsupported\n")
    out.flush()
    return good

def decode(frame):
    deepest = depth = 0
    in_string = escaped = False
    for byte in frame:                       # json.loads would take any depth that its stack allows
        if in_string:
            in_string, escaped = byte != 0x22 or escaped, byte == 0x5C and not escaped
        elif byte == 0x22:
            in_string = True
        else:
            depth += (byte in b"{[") - (byte in b"}]")
            deepest = max(deepest, depth)
    if deepest > DEPTH:
        raise ValueError("too deep")
    def constant(name):
        raise ValueError(name)               # NaN and Infinity are no JSON
    message = json.loads(frame.decode("utf-8"), parse_constant=constant)
    if type(message) is not dict:
        raise ValueError("no map")
    return message

def reply(id, ext, body):
    if id:                                   # a notification is never answered
        with lock:
            out.write(frame(id, ext, body) + b"\n")
            out.flush()

def failure(code, message):
    return {"error": {"code": code, "message": message}}

def run(id, ext, handler, payload):
    try:
        body = {"payload": handler(payload), "more": False}
        frame(id, ext, body)                 # a result that cannot be sent is a failure, too
    except Failed as failed:
        body = {"error": failed.args[0]}
    except Exception:
        body = failure(-32603, "internal error")
    running.discard(id)                      # before the reply: its id is free once the caller has it
    reply(id, ext, body)
    if closing.is_set():
        os._exit(0)

def request(message):
    id, name, more, ext = (message.get(key) for key in ("id", "method", "more", "ext"))
    if id is None or type(id) in (int, float) and id == 0:
        id = None                            # a notification
    elif type(id) is not int or not 1 <= id < 2**53 or id in running:
        return                               # nothing to answer to, or a duplicate in flight
    if id in draining:
        if more in (None, False):
            draining.remove(id)
        return
    if more not in (None, False) and id:     # the handlers here read one item: what follows is discarded
        draining.add(id)
    if type(name) is not str or type(more) not in (bool, type(None)):
        return reply(id, None, failure(-32600, "invalid request"))
    if name not in methods:
        return reply(id, ext, failure(-32601, "method not found"))
    if id or not more:                       # a notification is one frame
        if id:
            running.add(id)
        threading.Thread(target=run, args=(id, ext, methods[name], message.get("payload")), daemon=True).start()

def until(ready):
    with changed:
        return changed.wait_for(ready)

def change(act):
    with changed:
        act()
        changed.notify_all()

def take(key):
    return tokens.get(key, 0) > 0 and (tokens.update({key: tokens[key] - 1}) or True)

def fail(payload):
    raise Failed(payload)

def crash(payload):
    raise RuntimeError(payload["text"])

def echo(payload):
    return payload

methods = {"conformance." + name: handler for name, handler in {
    "describe": lambda _: {
        "contract": 1, "name": "python-afternoon", "version": "1", "language": "python", "profiles": ["core"], "codecs": ["json"],
        "framings": ["newline"], "transports": ["stdio"], "roles": ["acceptor"],
        "limits": {"frame": LIMIT, "greeting_frame": 32, "depth": DEPTH}, "lacks": {}},
    "echo": echo,
    "fail": fail,
    "crash": crash,
    "hold": lambda key: until(lambda: take(key)) and key,
    "release": lambda key: change(lambda: tokens.update({key: tokens.get(key, 0) + 1})),
    "sink": lambda at: change(lambda: sinks.setdefault(at["key"], []).append(at["value"])),
    "sunk": lambda at: until(lambda: len(sinks.get(at["key"], [])) >= at["n"]) and sinks.get(at["key"], []),
    "register": lambda at: methods.update({at["name"]: echo}),
    "unregister": lambda at: methods.pop(at["name"], None) and None,
    "close": lambda _: closing.set(),
}.items()}

def main():
    wanted = {"TRANSPORT": "stdio", "ROLE": "acceptor", "FRAMING": "newline", "CODEC": "json"}
    if any(os.environ.get("DUPLEX_" + name) != value for name, value in wanted.items()):
        sys.exit(89)                         # not implemented here
    for frame in frames(sys.stdin.buffer) if greet(sys.stdin.buffer) else ():
        try:
            message = decode(frame)
        except (ValueError, RecursionError):
            break                            # undecodable: close
        if message.get("type") == "req":
            request(message)
    end = time.monotonic() + 1               # running handlers may end
    for thread in set(threading.enumerate()) - {threading.current_thread()}:
        thread.join(max(0, end - time.monotonic()))
    with lock:
        os._exit(0)

main()
