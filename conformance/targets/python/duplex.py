"""A Duplex peer in plain Python: both roles, both directions, streams, callbacks and hooks.

A `Peer` has the methods and hooks; a `Connection` joins it to one transport. A handler is given an `Incoming` call, a
caller holds an `Outgoing` one. Each handler runs in a thread of its own; one thread reads and one writes. A connection has
one lock, `changed`, which guards its calls and tells of every change. The names in brackets are rules of the book.
"""
import copy
import re
import threading
import uuid
from contextlib import contextmanager
from dataclasses import dataclass

from boxes import Inbox, Outbox
from wire import FRAME_LIMIT, Undecodable

GREETING_LIMIT, ANSWER_LIMIT, GREETING_TIME = 32, 1024, 10  # bytes, bytes, seconds
EXT_LIMIT, OPEN_CALLS, DRAINING_IDS = 16 * 1024, 256, 4096  # bytes, calls, ids
CLOSING_TIME = 1  # seconds that handlers which still run have to end
WAITING_TIME = 0.3  # seconds of these for handlers that only another connection can end
INVALID, MISSING, FAILED, TOO_MANY, OVERFLOW, GIVEN_UP = -32600, -32601, -32603, -32000, -32001, -32004


class CallError(Exception):
    """An error reply: one that came, or one that a handler or hook chose."""

    def __init__(self, code, message, data=None):
        super().__init__(code, message, data)
        self.body = {"code": code, "message": message} | ({} if data is None else {"data": data})


class Answer(Exception):
    """Raised by a hook that answers in the handler's place."""

    def __init__(self, value):
        super().__init__(value)
        self.value = value


class LocalError(Exception):
    """What no peer sent: the call failed here."""


class Closed(LocalError):
    """The connection ended."""


class Aborted(LocalError):
    """The arguments of a call did not end well; `error` is what the caller said, if it did."""

    def __init__(self, reason, error=None):
        super().__init__(reason)
        self.error = error


class EndOfItems(Exception):
    """A stream ended as it should."""


@dataclass
class Frame:
    """A message as hooks see it."""

    method: str
    payload: object = None
    ext: dict | None = None
    error: dict | None = None
    more: bool = False
    end: bool = False
    call: object = None
    first: bool = False


class Hook:
    """A middleware. Each method may change the frame, raise Answer or CallError, or fail; it must not wait."""

    def outbound_request(self, frame): pass
    def inbound_request(self, frame): pass
    def outbound_reply(self, frame): pass
    def inbound_reply(self, frame): pass
    def ended(self, call): pass  # told once, if it saw the first frame [middleware.end-once]
    def disconnected(self, connection): pass


def is_id(value):
    return type(value) is int and 0 < value < 2**53  # [message.id.no-coercion]


def as_map(value):
    return value if isinstance(value, dict) else None  # [message.ext.invalid]


def as_error(value):
    """What is known of an error; one that is malformed stays as it came."""
    known = ("code", "message", "data")
    return {name: value[name] for name in known if name in value} if isinstance(value, dict) else value  # [message.unknown-members]


class Peer:
    """Methods and hooks, shared by its connections."""

    def __init__(self, hooks=()):
        self.methods, self.hooks, self.connections = {}, list(hooks), set()

    def register(self, name, function, stream=False):
        """`function(payload, call)` gives the result; a streaming `function(call)` receives and sends by itself."""
        if name.startswith("_callback."):
            raise ValueError("names that start with _callback. are made by the peer")  # [callback.reserved]
        self.methods[name] = (function, stream)

    def unregister(self, name):
        self.methods.pop(name, None)

    def ended(self, connection):
        """Called when a connection has ended, for handlers that wait for something else than its frames."""


class Incoming:
    """A call that this peer serves: what its handler reads from and replies through."""

    def __init__(self, connection, id, method, arguments_open):
        self.connection, self.id, self.method, self.key = connection, id, method, id or object()
        self.arguments_open, self.arguments = arguments_open, Inbox(connection)
        self.ext, self.replied = None, False
        self.notes, self.seen, self.told = {}, 0, False  # what hooks keep, how many saw the first frame, of what they were told

    def receive(self):
        """The next argument. Raises EndOfItems, Aborted or Closed."""
        return self.arguments.get()

    def __iter__(self):
        try:
            while True:
                yield self.receive()
        except EndOfItems:
            return

    def send(self, item):
        self.connection.outbox.wait_for_room()
        self.reply(payload=item, more=True)

    def finish(self):
        self.reply(end=True)

    def reply(self, hooks=None, **members):
        """Sends a reply frame; one without `more` is terminal, and nothing goes out after it [call.reply.nothing-after]."""
        with self.connection.changed:
            if self.replied:
                return
            if self.id is not None:
                frame = Frame(self.method, ext=copy.deepcopy(self.ext), call=self, **members)
                try:
                    for hook in reversed(self.connection.peer.hooks if hooks is None else hooks):  # [middleware.reverse]
                        run_reply_hook(hook.outbound_reply, frame)
                    data = self._encode(frame)
                except Exception:  # a hook that failed, or a result that cannot be sent [middleware.fail.reply] [error.unsendable]
                    frame = Frame(self.method, ext=self.ext, error={"code": FAILED, "message": "the reply failed"})
                    data = self._encode(frame)
                self.connection.outbox.put(data)
                if frame.more:
                    return
            elif members.get("more"):
                return  # what a handler sends for a notification goes nowhere [call.notification]
            self.replied = True
            self.arguments.close(Aborted("the call has ended"), discard=True)
            self.connection.forget(self)
            self.connection.tell(self)

    def refuse(self, code, message):
        """-32600, -32000 and -32001, in which no hook has a say [middleware.refused.reply]."""
        self.reply(hooks=(), error={"code": code, "message": message})

    def _encode(self, frame):
        message = {"type": "rep", "id": self.id}
        if frame.error is not None:
            message["error"] = frame.error
        else:
            message |= {"payload": None, "end": True} if frame.end else {"payload": frame.payload}
            message["more"] = frame.more  # [message.more.false]
        return self.connection.encode(message, frame.ext)

    def call(self, method, ext=None, deadline=None, unit=False):
        """A call through this one: it inherits the ext [ext.inherit]. `deadline` is a time in seconds since 1970, `unit` is for
        a unit of work of its own."""
        if deadline is not None:
            deadline, own = int(deadline * 1000), (self.ext or {}).get("deadline")  # [deadline.form]
            ext = (ext or {}) | {"deadline": min(deadline, own) if type(own) is int else deadline}  # [deadline.nested]
        if unit:
            ext = (ext or {}) | {"transaction": str(uuid.uuid4())}  # [transaction.form] [transaction.unique]
        inherited = None if self.ext is None and ext is None else copy.deepcopy(self.ext or {}) | (ext or {})
        return Outgoing(self.connection, method, inherited)

    def waiting(self):
        """A context for a wait that only another call can end: it does not hold up the end of the connection."""
        return self.connection.waits()

    @property
    def closed(self):
        return self.connection.ended


def run_reply_hook(hook, frame):
    """A hook's own answer takes the place of the reply that it saw; an end stays an end."""
    try:
        hook(frame)
    except Answer as answer:
        frame.payload, frame.more, frame.end, frame.error = answer.value, False, False, None  # [middleware.answer.reply]
    except CallError as error:
        frame.error, frame.more, frame.end = error.body, False, False


class Outgoing:
    """A call that this peer makes."""

    def __init__(self, connection, method, ext=None):
        self.connection, self.method, self.ext, self.id = connection, method, ext, None
        self.arguments_open, self.over, self.results, self.reply_ext = False, False, Inbox(connection), None
        self.notes, self.seen, self.told, self.begun = {}, 0, False, False

    def send(self, item, more=True):
        """Sends an argument, the last one with `more=False`. False when the call has ended [stream.early.caller]."""
        self.connection.outbox.wait_for_room()
        return self._request(Frame(self.method, payload=item, more=more))

    def finish(self):
        return self._request(Frame(self.method, end=True))

    def abort(self, code=GIVEN_UP, message="given up"):
        """The arguments cannot be finished; without any sent, nothing goes out [stream.abort.send]."""
        with self.connection.changed:
            if self.arguments_open:
                self._request(Frame(self.method, error={"code": code, "message": message}))
            elif self.id is None:
                self.end(LocalError(message))

    def notify(self, item):
        """Sends the item without an id [call.notify]. What a hook raises comes through."""
        with self.connection.changed:
            frame = Frame(self.method, payload=item, ext=copy.deepcopy(self.ext))
            try:
                self._outbound(frame)
                self.connection.outbox.put(self._encode(frame))
            finally:
                self.connection.tell(self)

    def receive(self):
        """The next result. Raises EndOfItems, CallError, Closed or another LocalError."""
        return self.results.get()

    def result(self, item):
        """Calls with a single value and waits for the one that comes back. An end without an item is None [stream.end.single]."""
        self.send(item, more=False)
        values = []
        try:
            while True:
                values.append(self.receive())
        except EndOfItems:
            if len(values) > 1:
                raise LocalError("a stream came where a single value was expected") from None
            return values[0] if values else None

    def _request(self, frame):
        with self.connection.changed:
            if self.over or (self.id is not None and not self.arguments_open):
                return False
            if self.connection.closing:
                self.end(Closed("the connection has ended"))
                return False
            frame.ext = copy.deepcopy(self.ext)
            try:
                self._outbound(frame)
                if self.id is None:
                    self.id = self.connection.next_id = self.connection.next_id + 1
                data = self._encode(frame)
            except Answer as answer:
                self.results.put(answer.value, 0)
                self.end(EndOfItems())
                return False
            except CallError as error:
                self.end(error)
                return False
            except Exception as error:
                self.end(LocalError(f"the request cannot be sent: {error!r}"))
                return False
            self.connection.outgoing[self.id] = self
            self.arguments_open = frame.more
            self.connection.outbox.put(data)
            return True

    def _outbound(self, frame):
        frame.call, frame.first, self.begun = self, not self.begun, True
        for hook in self.connection.peer.hooks:  # [middleware.outbound]
            self.seen += frame.first
            hook.outbound_request(frame)
        if frame.end or frame.error:
            frame.payload = None  # of these a hook can change the ext only

    def _encode(self, frame):
        message = {"type": "req"} | ({} if self.id is None else {"id": self.id}) | {"method": self.method, "payload": frame.payload}
        message |= {} if frame.error is None else {"error": frame.error}
        message |= {"end": True} if frame.end else {}
        if frame.more or frame.end or self.arguments_open:
            message["more"] = frame.more
        return self.connection.encode(message, frame.ext)

    def end(self, reason, by_provider=False):
        """The call is over; if the arguments are still open, one last frame ends them. The connection's lock is held."""
        if self.over:
            return
        if self.arguments_open:
            last = Frame(self.method, ext=copy.deepcopy(self.ext), end=by_provider)
            last.error = None if by_provider else {"code": GIVEN_UP, "message": "given up"}
            try:
                self._outbound(last)
            except Exception:
                last.ext = None  # the provider has to be told, whatever the hooks think of it
            self.connection.outbox.put(self._encode(last))
        self.over, self.arguments_open = True, False
        self.connection.outgoing.pop(self.id, None)
        self.results.close(reason)
        self.connection.tell(self)

    def on_reply(self, message, size):
        error, more, ext = message.get("error"), message.get("more"), as_map(message.get("ext"))
        well_formed = isinstance(error, dict) and type(error.get("code")) is int and isinstance(error.get("message"), str)
        if not well_formed and (error is not None or not isinstance(more, (bool, type(None)))):
            return self.end(LocalError("a bad reply"))  # [call.bad-reply]
        ext = ext if self.connection.is_small(ext) else None  # [ext.size.reply]
        more = more is True and error is None  # [error.wins]
        end = message.get("end") is True and not more and message.get("payload") is None and error is None
        frame = Frame(self.method, message.get("payload"), ext, error, more, end, call=self)
        by_provider = not more  # whatever hooks make of the reply [stream.early.caller]
        try:
            for hook in reversed(self.connection.peer.hooks):  # [middleware.inbound-reply]
                run_reply_hook(hook.inbound_reply, frame)
        except Exception as failure:
            return self.end(LocalError(f"a hook failed: {failure!r}"), by_provider)  # [middleware.fail.caller]
        if frame.ext is not None:
            self.reply_ext = frame.ext
        if frame.error is not None:
            return self.end(CallError(frame.error["code"], frame.error["message"], frame.error.get("data")), by_provider)
        if not frame.end and not self.results.put(frame.payload, size):
            return self.end(LocalError("too many results wait unread"))
        if not frame.more:
            self.end(EndOfItems(), by_provider)


class Connection:
    """One greeting and what follows it. `run` returns when it has ended."""

    def __init__(self, peer, reader, write, hang_up, role, framing, codec):
        self.peer, self.reader, self.hang_up, self.role, self.framing, self.codec = peer, reader, hang_up, role, framing, codec
        self.changed = threading.Condition()
        self.incoming, self.outgoing, self.callbacks, self.next_id = {}, {}, {}, 0
        self.handlers = self.waiting = self.buffered = 0
        self.closing = self.broken = self.ended = False
        self.over = threading.Event()
        peer.connections.add(self)
        self.outbox = Outbox(lambda frame: write(framing.wrap(frame)), self.close)

    def run(self):
        threading.Thread(target=self._read, daemon=True).start()
        self.over.wait()

    def close(self):
        """Ends the connection from this side: legal anywhere, waits for nobody."""
        with self.changed:
            if not self.closing:
                self.closing = True
                self.outbox.finish()
                threading.Thread(target=self._end, daemon=True).start()

    def callback(self, function, stream=False):
        """Registers a function for the other side of this connection alone [callback.scope]; the name is to be passed on."""
        with self.changed:
            if self.ended:
                raise Closed("the connection has ended")
            name = f"_callback.{uuid.uuid4()}"
            self.callbacks[name] = (function, stream)
            return name

    def release(self, name):
        self.callbacks.pop(name, None)

    @contextmanager
    def waits(self):
        """Around what a handler waits in."""
        with self.changed:
            self.waiting += 1
            self.changed.notify_all()
        try:
            yield
        finally:
            with self.changed:
                self.waiting -= 1

    def encode(self, message, ext):
        """Raises ValueError or TypeError when the message cannot be sent [framing.size.send]."""
        data = self.codec.encode(message | ({} if ext is None else {"ext": ext}))
        if len(data) > FRAME_LIMIT:
            raise ValueError("larger than a frame may be")
        return data

    def forget(self, call):
        if not call.arguments_open:
            self.incoming.pop(call.key, None)  # [close.channels]

    def tell(self, call):
        """Tells the hooks that saw the first frame of a call its end, once [middleware.end-once]."""
        if not call.told:
            call.told = True
            for hook in reversed(self.peer.hooks[:call.seen]):
                hook.ended(call)

    # ---- Reading

    def _read(self):
        timer = threading.Timer(GREETING_TIME, self.close)  # [greeting.timeout]
        timer.daemon = True
        timer.start()
        try:
            through = self._greet()
            timer.cancel()
            while through and (data := self._frame(FRAME_LIMIT)) is not None:
                message = self.codec.decode(data)
                if not isinstance(message, dict):
                    raise Undecodable("not a map")  # [message.not-a-map]
                with self.changed:
                    if self.closing:
                        break  # [close.local.after]
                    self._take(message, len(data))
        except (Undecodable, OSError, ValueError) as error:
            self.broken = isinstance(error, Undecodable)
        finally:
            timer.cancel()
            with self.changed:
                closed_here, self.closing = self.closing, True
            if not closed_here:
                self._end()

    def _frame(self, limit):
        while (data := self.framing.read(self.reader, limit)) == b"":
            pass  # [framing.keepalive]
        return data

    def _greet(self):
        if self.role == "initiator":
            self.outbox.put(b"SIMPLEX/1.0;" + self.codec.name.encode())
            return (self._frame(ANSWER_LIMIT) or b"").startswith(b"+")  # [greeting.refused.initiator] [greeting.answer.size]
        try:
            offer = self._frame(GREETING_LIMIT)
        except Undecodable:
            offer = b"too long"  # [greeting.refuse.size]
        if offer is None:
            return False
        through = re.fullmatch(rb"SIMPLEX/1\.0;%s(;[ -~]*)?" % re.escape(self.codec.name.encode()), offer) is not None
        self.outbox.put(b"+OK" if through else b"-ERR not SIMPLEX/1.0;" + self.codec.name.encode())
        return through

    def _take(self, message, size):
        id = message.get("id")
        if message.get("type") == "rep":
            if is_id(id) and id in self.outgoing:  # [call.reply.unknown]
                self.outgoing[id].on_reply(message, size)
        elif message.get("type") == "req":
            if id is None or (type(id) is int and id == 0):
                self._begin(None, message, size)
            elif is_id(id) and id not in self.incoming:
                self._begin(id, message, size)
            elif is_id(id) and self.incoming[id].arguments_open:  # else dropped, whatever it holds [call.duplicate]
                self._go_on(self.incoming[id], message, size)

    def is_small(self, ext):
        return ext is None or len(self.codec.encode(ext)) <= EXT_LIMIT

    def _is_valid(self, message):
        return self.is_small(as_map(message.get("ext"))) and isinstance(message.get("more"), (bool, type(None)))  # [ext.size]

    def _begin(self, id, message, size):
        more, method = message.get("more"), message.get("method")
        call = Incoming(self, id, method, arguments_open=more is not None and more is not False)
        valid = self._is_valid(message) and isinstance(method, str)
        full = sum(not other.replied for other in self.incoming.values()) >= OPEN_CALLS
        if id is None and (not valid or full or call.arguments_open):
            return  # [message.invalid.notification] [call.notification.more]
        self.incoming[call.key] = call
        if not valid:
            call.refuse(INVALID, "invalid request")
        elif full:
            call.refuse(TOO_MANY, "too many open calls")
        elif (frame := self._inbound(call, Frame(method, message.get("payload"), more=more is True), message)) is not None:
            handler = self.callbacks.get(method) or self.peer.methods.get(method)
            if handler is None:
                call.reply(error={"code": MISSING, "message": "no such method"})  # [middleware.before-lookup]
            else:
                self._start(call, handler, frame, size)
        if sum(other.replied for other in self.incoming.values()) > DRAINING_IDS:
            raise Undecodable("too many ids are being discarded")  # [limit.draining]

    def _go_on(self, call, message, size):
        """A later frame of a stream of arguments."""
        error, more = message.get("error"), message.get("more")
        if error is not None or more is None or more is False:
            call.arguments_open = False
        if call.replied:
            return self.forget(call)  # draining [stream.early]
        if error is not None:
            if not self.is_small(as_map(message.get("ext"))):
                message = message | {"ext": None}  # [ext.size.abort]
            if self._inbound(call, Frame(call.method, error=error), message) is not None:
                call.arguments.close(Aborted("the caller gave up", as_error(error)))  # [stream.abort]
        elif not self._is_valid(message):
            call.refuse(INVALID, "invalid request")  # [stream.args.invalid]
        elif (frame := self._inbound(call, Frame(call.method, message.get("payload"), more=more is True), message)) is not None:
            if not frame.end and not call.arguments.put(frame.payload, size):
                call.refuse(OVERFLOW, "too many arguments wait unread")  # [limit.buffered-items.over]
            elif not frame.more:
                call.arguments.close(EndOfItems())

    def _inbound(self, call, frame, message):
        """Passes a request frame through the hooks. None when one of them ended the call."""
        ext = as_map(message.get("ext"))
        frame.ext = copy.deepcopy(call.ext) if ext is None else ext  # hooks are shown the channel's
        frame.call, frame.first = call, call.seen == 0
        frame.end = message.get("end") is True and not frame.more and frame.payload is None and frame.error is None  # [stream.abort.first]
        passed = 0
        try:
            for hook in self.peer.hooks:  # [middleware.inbound]
                call.seen += frame.first
                hook.inbound_request(frame)
                passed += 1
            return frame
        except Answer as answer:
            result = {"payload": answer.value}
        except CallError as error:
            result = {"error": error.body}
        except Exception:
            result = {"error": {"code": FAILED, "message": "the call failed"}}  # [middleware.fail]
        finally:
            call.ext = call.ext if frame.ext is None else frame.ext  # [ext.newest] [middleware.ext]
        call.reply(hooks=self.peer.hooks[:passed], **result)  # [middleware.answer.reverse]
        return None

    # ---- Handlers

    def _start(self, call, handler, frame, size):
        function, stream = handler
        if stream and not frame.end:
            call.arguments.put(frame.payload, size)
        if not frame.more:
            call.arguments.close(EndOfItems())
        self.handlers += 1
        arguments = (call,) if stream else (frame.payload, call)
        threading.Thread(target=self._handle, args=(call, function, stream, arguments), daemon=True).start()

    def _handle(self, call, function, stream, arguments):
        try:
            result = function(*arguments)
            self.outbox.wait_for_room()
            call.reply(**({"end": True} if stream else {"payload": result}))
        except CallError as error:
            call.reply(error=error.body)
        except Closed:
            pass  # there is nobody left to reply to
        except Aborted:
            call.reply(error={"code": GIVEN_UP, "message": "the arguments were given up"})  # [stream.abort.reply]
        except Exception:
            call.reply(error={"code": FAILED, "message": "the call failed"})  # [error.no-insides]
        finally:
            with self.changed:
                self.handlers -= 1
                self.changed.notify_all()

    # ---- The end

    def _end(self):
        """Fails what waits, lets handlers end, writes what they sent, and hangs up."""
        with self.changed:
            if self.broken:  # only what was due already is written [message.undecodable.flush]
                self._let_handlers_end(lambda: self.handlers <= self.waiting)
                self.outbox.finish()
            for call in list(self.outgoing.values()):
                call.arguments_open = False
                call.end(Closed("the connection ended"))  # [close.pending]
            for call in self.incoming.values():
                if call.arguments_open:
                    call.arguments.close(Closed("the connection ended"))  # [close.args]
            # Those that can finish do so first: what was asked before the end may still be answered [close.half].
            self._let_handlers_end(lambda: self.handlers <= self.waiting)
            self._let_handlers_end(lambda: not self.handlers, WAITING_TIME)
            self.ended = True
            self.changed.notify_all()
        self.peer.connections.discard(self)
        self.peer.ended(self)  # [close.handlers]
        with self.changed:
            self._let_handlers_end(lambda: not self.handlers)
            for call in list(self.incoming.values()):
                self.tell(call)
            self.incoming.clear()
            self.callbacks.clear()  # [close.forget]
        self.outbox.finish()
        self.outbox.thread.join(CLOSING_TIME)
        for hook in reversed(self.peer.hooks):
            hook.disconnected(self)
        self.hang_up()
        self.over.set()

    def _let_handlers_end(self, enough, seconds=CLOSING_TIME):
        self.changed.wait_for(lambda: self.outbox.finished or enough(), seconds)
