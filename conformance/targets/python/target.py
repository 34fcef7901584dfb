#!/usr/bin/env python3
"""The conformance service on the plain-Python peer: settings from the environment, stdio or TCP, and two test hooks."""
import os
import socket
import sys
import threading
import time

import boxes
import duplex
import standard
import wire
from duplex import Aborted, Answer, CallError, Closed, EndOfItems, LocalError

MIDDLEWARES = ["tracing", "authentication", "policy", "deadline", "transactions"]
PROFILES = ["core", "caller", "streaming", "callbacks", "middleware", "inspect", *MIDDLEWARES]
AXES = {
    "TRANSPORT": ["stdio", "tcp"], "ROLE": ["acceptor", "initiator"],
    "FRAMING": list(wire.FRAMINGS), "CODEC": list(wire.CODECS),
}
HOOKED = "dev.duplex.conformance"

# ---- The service. Tokens, sinks and registered methods belong to the process.

state = threading.Condition()
tokens, sinks = {}, {}


class ConformancePeer(duplex.Peer):
    def ended(self, connection):
        with state:
            state.notify_all()


class TestHook(duplex.Hook):
    """Does nothing unless the ext asks for it."""

    def __init__(self, name):
        self.name = name
        for point in ("outbound_request", "inbound_request", "outbound_reply", "inbound_reply"):
            setattr(self, point, lambda frame, at=f"{name}.{point}": self.act(at, frame))

    def act(self, at, frame):
        order = (frame.ext or {}).get(HOOKED)
        frame.call.notes[at] = nth = frame.call.notes.get(at, 0) + 1
        if not isinstance(order, dict):
            return
        order["marks"] = [*order.get("marks", []), at]
        orders = order.get("do", {})
        if frame.first and "sink" in orders.get(f"{self.name}.end", {}):
            frame.call.notes[f"{self.name}.end"] = orders[f"{self.name}.end"]["sink"]
        order = orders.get(at, {})
        match order if order.get("nth", nth) == nth else {}:
            case {"answer": value}:
                raise Answer(value)
            case {"error": error}:
                raise CallError(error["code"], error["message"], error.get("data"))
            case {"fail": text}:
                raise RuntimeError(text)
            case {"payload": payload}:
                frame.payload = payload
            case {"sink": key}:
                append(key, at)

    def ended(self, call):
        if (key := call.notes.get(f"{self.name}.end")) is not None:
            append(key, f"{self.name}.end")


def append(key, value):
    with state:
        sinks.setdefault(key, []).append(value)
        state.notify_all()


transactions = standard.Transactions(append)
peer = ConformancePeer(hooks=[
    standard.Tracing(), standard.Authentication(), standard.Policy(), standard.Deadline(), transactions, TestHook("a"), TestHook("b"),
])


def take_token(key, call, unless=lambda: False):
    """Waits for a token and takes it. False when the connection ended, or `unless` came true, before there was one."""
    with call.waiting(), state:
        state.wait_for(lambda: tokens.get(key, 0) > 0 or call.closed or unless())
        if unless() or tokens.get(key, 0) == 0:
            return False
        tokens[key] -= 1
        return True


def describe(_, call):
    return {
        "contract": 1, "name": "python", "version": "1.0.0", "language": "python", "profiles": PROFILES,
        "codecs": AXES["CODEC"], "framings": AXES["FRAMING"], "transports": AXES["TRANSPORT"], "roles": AXES["ROLE"],
        "limits": {
            "frame": wire.FRAME_LIMIT, "greeting_frame": duplex.GREETING_LIMIT, "greeting_time": duplex.GREETING_TIME,
            "depth": wire.DEPTH_LIMIT, "open_calls": duplex.OPEN_CALLS, "draining_ids": duplex.DRAINING_IDS,
            "buffered_items": boxes.BUFFERED_ITEMS, "buffered_bytes": boxes.BUFFERED_BYTES,
            "outbound_bytes": boxes.OUTBOUND_LIMIT, "ext": duplex.EXT_LIMIT, "closing_time": duplex.CLOSING_TIME,
        },
        "lacks": {},
    }


def echo(payload, call):
    return payload


def add(call):
    call.reply(payload=sum(call))


def pipe(call):
    for item in call:
        call.send(item)


def take(call):
    head = call.receive()
    items = []
    try:
        while len(items) < head["n"]:
            items.append(call.receive())
            trace(head, {"item": items[-1]})
    except EndOfItems:
        trace(head, {"end": True})
    except Aborted as aborted:
        trace(head, {"failed": True} if aborted.error is None else {"error": aborted.error})
        raise
    except Closed:
        trace(head, {"closed": True})
        raise
    call.reply(payload=items)


def trace(order, event):
    if order.get("trace") is not None:
        append(order["trace"], event)


def count(call):
    for number in range(1, call.receive()["n"] + 1):
        call.send(number)


def fail(order, call):
    raise CallError(order["code"], order["message"], order.get("data"))


def fail_after(call):
    order = call.receive()
    for number in range(1, order["n"] + 1):
        call.send(number)
    fail(order, call)


def crash(call):
    order = call.receive()
    for number in range(1, order.get("after", 0) + 1):
        call.send(number)
    raise RuntimeError(order["text"])


def hold(key, call):
    if take_token(key, call):
        return key
    append(key, "closed")
    raise Closed("the connection ended")


def release(key, call):
    with state:
        tokens[key] = tokens.get(key, 0) + 1
        state.notify_all()


def sink(order, call):
    append(order["key"], order["value"])


def sunk(order, call):
    key, enough = order["key"], lambda: len(sinks.get(order["key"], [])) >= order["n"]
    with call.waiting(), state:
        state.wait_for(lambda: enough() or call.closed)
        if not enough():
            raise Closed("the connection ended")
        return list(sinks.get(key, []))


def make_calls(order, call):
    """Calls the other side as `order` says, and returns what the API showed: a list of events."""
    if order.get("when") == "after":
        call.reply(payload=None)
    events = []
    for _ in range(order.get("times", 1)):
        make_call(order, call, events)
    return events


def make_call(order, call, events):
    def saw(event):
        events.append(event)
        trace(order, event)

    deadline = None if "within" not in order else time.time() + order["within"] / 1000
    outgoing = call.call(order["method"], order.get("ext"), deadline, order.get("unit", False))
    arguments = order.get("args", [None]) + (["x" * order["fill"]] if "fill" in order else [])
    if order.get("notify"):
        try:
            outgoing.notify(arguments[0])
        except Exception:
            saw({"failed": True})
        return
    if not order.get("single"):
        threading.Thread(target=send_arguments, args=(order, arguments, outgoing, call), daemon=True).start()
    try:
        if order.get("single"):
            saw({"item": outgoing.result(arguments[0])})
            raise EndOfItems
        while True:
            if order.get("read") is not None:
                take_token(order["read"], call)
            saw({"item": outgoing.receive()})
    except EndOfItems:
        saw({"end": True})
    except CallError as error:
        saw({"error": error.body})
    except Closed:
        saw({"closed": True})
    except LocalError:
        saw({"failed": True})
    with state:
        state.notify_all()  # the sender may wait for a token
    if outgoing.reply_ext is not None:
        saw({"ext": outgoing.reply_ext})


def send_arguments(order, arguments, outgoing, call):
    last = len(arguments) - 1
    for index, item in enumerate(arguments):
        if index == order.get("abort"):
            return outgoing.abort()
        if index > 0 and order.get("pace") is not None and not take_token(order["pace"], call, lambda: outgoing.over):
            return
        if not outgoing.send(item, more=index < last or bool(order.get("end")) or order.get("abort") == len(arguments)):
            return
    if order.get("abort") == len(arguments):
        outgoing.abort()
    elif order.get("end") or not arguments:
        outgoing.finish()


def offer(order, call):
    return call.connection.callback(make_calls if order["as"] == "call" else echo)


def register(order, call):
    if not isinstance(order, dict) or not isinstance(order.get("name"), str):
        raise CallError(-32602, "a map with a name is wanted")  # [error.payload-unfit]
    peer.register(order["name"], echo)


def unregister(order, call):
    peer.unregister(order["name"])
    call.connection.release(order["name"])


def inspect(_, call):
    at = call.connection
    with at.changed:
        return {
            "incoming": len(at.incoming) - 1, "outgoing": len(at.outgoing), "handlers": at.handlers - 1,
            "callbacks": len(at.callbacks), "connections": len(peer.connections),
        }


def close(_, call):
    call.reply(payload=None)
    call.connection.close()


for function in (describe, echo, fail, hold, release, sink, sunk, offer, register, unregister, inspect, close):
    peer.register(f"conformance.{function.__name__}", function)
peer.register("conformance.call", make_calls)
peer.register("conformance.sum", add, stream=True)
for function in (transactions.enlist, transactions.commit, transactions.rollback):
    peer.register(f"conformance.{function.__name__}", function)
for function in (pipe, take, count, fail_after, crash, standard.whoami):
    peer.register(f"conformance.{function.__name__}", function, stream=True)

# ---- The life of a target


def not_implemented(reason):
    print(reason, file=sys.stderr)
    sys.exit(89)  # [target.unknown-value] [target.not-implemented]


def setting(name):
    value = os.environ.get("DUPLEX_" + name, AXES[name][0])
    return value if value in AXES[name] else not_implemented(f"DUPLEX_{name}={value}: this target knows {', '.join(AXES[name])}")


def address(name):
    try:
        host, _, port = os.environ.get("DUPLEX_" + name, "").rpartition(":")
        socket.inet_pton(socket.AF_INET, host)
        if not 0 <= int(port) < 65536:
            raise ValueError("no such port")
        return host, int(port)
    except (OSError, ValueError):
        return not_implemented(f"DUPLEX_{name}: not an IPv4 address with a port")


def serve(reader, write, hang_up):
    duplex.Connection(peer, reader, write, hang_up, ROLE, FRAMING, CODEC).run()


def serve_socket(link):
    def hang_up():
        try:
            link.shutdown(socket.SHUT_WR)
            link.settimeout(0.5)
            while link.recv(65536):  # a reset would take what was written with it
                pass
            link.shutdown(socket.SHUT_RDWR)  # wakes a reader that still waits
        except OSError:
            pass
        link.close()

    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    serve(link.makefile("rb"), link.sendall, hang_up)


def leave_when_stdin_ends():
    while sys.stdin.buffer.read(65536):
        pass
    os._exit(0)  # [target.stdin]


def write_stdout(data):
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    TRANSPORT, ROLE, FRAMING, CODEC = setting("TRANSPORT"), setting("ROLE"), wire.FRAMINGS[setting("FRAMING")], wire.CODECS[setting("CODEC")]
    if CODEC.binary and not FRAMING.binary:
        not_implemented("newline framing carries text codecs only")
    if TRANSPORT == "stdio":
        serve(sys.stdin.buffer, write_stdout, lambda: None)
        os._exit(0)  # [target.exit]
    endpoint = address("LISTEN" if ROLE == "acceptor" else "CONNECT")
    threading.Thread(target=leave_when_stdin_ends, daemon=True).start()
    if ROLE == "acceptor":
        listener = socket.create_server(endpoint)
        print(f"listening {endpoint[0]}:{listener.getsockname()[1]}", flush=True)
        while True:
            threading.Thread(target=serve_socket, args=(listener.accept()[0],), daemon=True).start()
    while True:
        try:
            link = socket.create_connection(endpoint)
        except ConnectionRefusedError:
            os._exit(0)
        except OSError:
            continue
        serve_socket(link)
