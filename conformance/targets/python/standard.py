"""The standard middlewares as hooks, with the conventions of the target contract, each asleep until a call wakes it."""
import re
import secrets
import time

from duplex import CallError, Hook

USE = "dev.duplex.conformance.use"
UNAUTHENTICATED, FORBIDDEN, LATE = -32002, -32003, -32005
TRACEPARENT = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})")


class Asleep(Hook):
    """A hook that sees only the calls whose first frame names it."""

    name = None

    def is_awake(self, frame):
        awake = frame.call.notes.setdefault("awake", set())
        names = (frame.ext or {}).get(USE)
        if frame.first and isinstance(names, list) and self.name in names:
            awake.add(self.name)
        return self.name in awake

    def outbound_request(self, frame):
        if self.is_awake(frame):
            self.outbound(frame)

    def inbound_request(self, frame):
        if self.is_awake(frame):
            self.inbound(frame)

    def outbound(self, frame): pass
    def inbound(self, frame): pass


class Tracing(Asleep):
    name = "tracing"

    def outbound(self, frame):
        if frame.first:
            came = (frame.ext or {}).get("trace")
            match = TRACEPARENT.fullmatch(came) if isinstance(came, str) else None  # [trace.invalid]
            trace_id, flags = (match[1], match[3]) if match else (new_id(16), "01")
            frame.call.notes["trace"] = f"00-{trace_id}-{new_id(8)}-{flags}"  # [trace.form]
        frame.ext = (frame.ext or {}) | {"trace": frame.call.notes["trace"]}  # [trace.send] [trace.continue]

    inbound = outbound


def new_id(size):
    while not int(digits := secrets.token_hex(size), 16):
        pass
    return digits


class Authentication(Asleep):
    name = "authentication"

    def inbound(self, frame):
        credential = (frame.ext or {}).pop("auth", None)  # [auth.remove]
        if not frame.first:
            return  # [auth.first-frame]
        if not isinstance(credential, str) or not credential.startswith("valid:"):
            raise CallError(UNAUTHENTICATED, "who calls is not known")  # [auth.refuse]
        frame.call.notes["identity"] = credential.removeprefix("valid:")


class Policy(Asleep):
    name = "policy"

    def inbound(self, frame):
        method, item = frame.method, frame.payload  # the method of the first frame [policy.method]
        if (
            method.startswith("conformance.forbidden")
            or (method.startswith("conformance.private") and frame.call.notes.get("identity") != "ada")
            or (method != "conformance.echo" and isinstance(item, dict) and item.get("forbidden") is True)
        ):
            raise CallError(FORBIDDEN, "this may not be called")  # [policy.refuse] [policy.hidden]


class Deadline(Asleep):
    name = "deadline"

    def inbound(self, frame):
        deadline = (frame.ext or {}).get("deadline")
        if frame.first and type(deadline) is int and deadline <= time.time() * 1000:  # [deadline.invalid]
            raise CallError(LATE, "the deadline has passed")  # [deadline.passed]


class Transactions(Asleep):
    name = "transactions"

    def __init__(self, append):
        self.append, self.units = append, {}

    def inbound(self, frame):
        name = (frame.ext or {}).get("transaction")
        if not frame.first or not isinstance(name, str):
            return
        # One name on two connections is two units [transaction.scope]. An ended one stays, as None.
        units = self.units.setdefault(frame.call.connection, {})
        if units.setdefault(name, []) is None:
            raise CallError(1, "the unit has ended")  # [transaction.ended]
        frame.call.notes["unit"] = name

    def disconnected(self, connection):
        for name in list(self.units.get(connection, {})):
            self.end(connection, name, "lost")  # [transaction.lost]
        self.units.pop(connection, None)

    def end(self, connection, name, how):
        sinks, self.units[connection][name] = self.units[connection][name], None
        for key in sinks or []:
            self.append(key, how)

    # ---- What is called inside a unit

    def enlist(self, key, call):
        with call.connection.changed:
            self.unit(call).append(key)

    def commit(self, _, call):
        self.finish(call, "committed")

    def rollback(self, _, call):
        self.finish(call, "rolled back")

    def finish(self, call, how):
        with call.connection.changed:
            self.unit(call)
            self.end(call.connection, call.notes["unit"], how)

    def unit(self, call):
        unit = self.units.get(call.connection, {}).get(call.notes.get("unit"))
        if unit is None:
            raise CallError(1, "no unit that is open")
        return unit


def whoami(call):
    for _ in call:
        pass
    call.reply(payload=call.notes.get("identity"))
