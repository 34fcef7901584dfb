#!/usr/bin/env python3
"""A peer that misbehaves below the protocol, or as a process.

    hostile.py FAULT [AT [FROM [TRANSPORT ROLE FRAMING]]]

It is the smallest that a run can begin with: it describes itself, echoes and fails as it is asked to, in json and in the one
configuration that it is told (stdio acceptor length). FAULT is what goes wrong, AT is where (`reply` by default), and FROM is
the number of the process from which on it does (1); the processes are counted in a file of the folder. In its environment
DUPLEX_TEST_MARK tells the tests what it left behind.

AT, in the order of a connection:

start      before anything, listening and dialling included
connect    a connection is there, and nothing was sent on it
greeting   the greeting or the answer to it is due
greeted    the greeting is through
describe   the description is due
described  it has been sent
reply      the reply to `conformance.fail` is due
replied    it has been sent
echo       the reply to the first echo behind that is due
echoed     it has been sent
end        the other side has ended, and nothing more is due

FAULT; what is due there is a frame, or nothing:

closes         ends the connection; over stdio the process too, with status 0
resets         ends the connection with a reset
breaks-off     writes half of what is due, and ends the connection
half-frame     writes half of what is due, and then nothing, for ever
exits:N        says so on stderr, and exits with status N
dies:N         is ended by signal N
deaf           does nothing, for ever
ignores        does nothing, for ever, and ignores SIGTERM
late           does what is due after eight seconds
forgets:N      does nothing on the Nth connection of the process, and goes on; on all others, what is due
tires:N        does nothing from the Nth connection of the process on, and goes on
prints         writes a line of text first
says:TEXT      writes a frame of this text in the place of what is due; `_` stands for a space
nonsense       writes bytes in which there is no frame and no line, and then nothing
floods:N       writes what is due again and again, filled up to N bytes
line           writes a line or a frame that never ends
4gib           writes a length of four gibibytes first
log            writes 4 MB on stderr first
little-endian  writes the length in the wrong byte order
unframed       writes it in the other framing
msgpack        writes it in another codec
id-as-string   writes it with the id as a string
twice          writes it twice
forks          goes on in a child; the parent sleeps
grandchild     leaves a program that holds what it has open, and exits with status 0
daemon         leaves one in a session of its own, and goes on
dials          opens a second connection, greets on it, and goes on
nobody         listens nowhere, and names an address all the same
mute           listens, and does not say where
"""
import itertools, json, os, signal, socket, struct, subprocess, sys, threading, time

fault, _, argument = sys.argv[1].partition(":")
words = sys.argv[2:] + ["reply", "1", "stdio", "acceptor", "length"][len(sys.argv) - 2:]
at, since, (transport, role, framing) = words[0], int(words[1]), words[2:]
mine = {"TRANSPORT": transport, "ROLE": role, "FRAMING": framing, "CODEC": "json"}
if any(os.environ.get("DUPLEX_" + name, value) != value for name, value in mine.items()):
    sys.exit(89)
with open("processes", "a+") as processes:
    processes.write("x")
    is_on = processes.tell() >= since
signal.signal(signal.SIGTERM, signal.SIG_IGN if fault == "ignores" else signal.SIG_DFL)
DESCRIPTION = {"contract": 1, "name": "hostile peer", "version": "1", "language": "Python", "profiles": ["core"],
    "codecs": ["json"], "framings": [framing], "transports": [transport], "roles": [role], "limits": {}, "lacks": {}}


class Gone(Exception):
    """This connection is over."""


def framed(frame):
    return struct.pack(">I", len(frame)) + frame if framing == "length" else frame + b"\n"


class Wire:
    """A connection: what comes in, what goes out."""

    numbers = itertools.count(1)

    def __init__(self, socket=None):
        self.number = next(self.numbers) if socket else 0
        self.socket = socket
        self.input = socket.makefile("rb") if socket else sys.stdin.buffer
        self.output = socket.makefile("wb") if socket else sys.stdout.buffer

    def read(self):
        if framing == "newline":
            line = self.input.readline()
            if line:
                return line.rstrip(b"\r\n")
        head = self.input.read(4)
        if len(head) == 4:
            return self.input.read(struct.unpack(">I", head)[0])
        self.pass_by("end")
        raise Gone

    def raw(self, data):
        self.output.write(data)
        self.output.flush()

    def end(self):
        if not self.socket:
            os._exit(0)
        self.input.close()
        self.output.close()
        self.socket.close()
        raise Gone

    def pass_by(self, step, due=None):
        """Does what is due at a step, or what is wrong there."""
        if not is_on or step != at:
            if due is not None:
                self.raw(framed(due))
            return
        rest = misbehave(self, b"" if due is None else due)
        if rest and due is not None:
            self.raw(framed(due))


def other_framing(due):
    return due + b"\n" if framing == "length" else struct.pack(">I", len(due)) + due


def misbehave(wire, due):
    """What is wrong. Whether what is due is to be written afterwards."""
    if fault in ("closes", "grandchild"):
        if fault == "grandchild":
            subprocess.Popen(["sleep", "3600"], pass_fds=[wire.socket.fileno()] if wire.socket else [])
            os._exit(0)
        wire.end()
    elif fault == "resets":
        wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        wire.end()
    elif fault == "breaks-off":
        wire.raw(framed(due)[:len(due) // 2 + 1])
        wire.end()
    elif fault == "half-frame":
        wire.raw(framed(due)[:len(due) // 2 + 1])
        time.sleep(3600)
    elif fault == "exits":
        print("Error: out of cheese", file=sys.stderr, flush=True)
        os._exit(int(argument))
    elif fault == "dies":
        os.kill(os.getpid(), int(argument))
        time.sleep(3600)
    elif fault in ("deaf", "ignores", "mute"):
        time.sleep(3600)
    elif fault == "late":
        time.sleep(8)
        return True
    elif fault in ("forgets", "tires"):
        return wire.number < int(argument) or fault == "forgets" and wire.number > int(argument)
    elif fault == "prints":
        wire.raw(b"Server ready!\n")
        return True
    elif fault == "says":
        wire.raw(framed(argument.replace("_", " ").encode()))
    elif fault == "nonsense":
        wire.raw(b"\xff\xfe\xfd" * 30)
        time.sleep(3600)
    elif fault == "floods":
        block = framed(due + b" " * (int(argument) - len(due)))
        while True:
            wire.raw(block * (1 + 65536 // len(block)))
    elif fault == "line":
        wire.raw(b"\x7f\xff\xff\xff" if framing == "length" else b"{")
        while True:
            wire.raw(b"x" * 65536)
    elif fault == "4gib":
        wire.raw(b"\xff\xff\xff\xff")
        return True
    elif fault == "log":
        sys.stderr.write("nothing of interest\n" * 200_000)
        return True
    elif fault == "little-endian":
        wire.raw(struct.pack("<I", len(due)) + due)
    elif fault == "unframed":
        wire.raw(other_framing(due))
    elif fault == "msgpack":
        wire.raw(framed(b"\x83\xa4type\xa3rep\xa2id\x01\xa7payload\xc0"))
    elif fault == "id-as-string":
        message = json.loads(due)
        wire.raw(framed(json.dumps(message | {"id": str(message["id"])}).encode()))
    elif fault == "twice":
        wire.raw(framed(due) * 2)
    elif fault == "forks":
        if os.fork():
            time.sleep(3600)
        return True
    elif fault == "daemon":
        subprocess.Popen(["sleep", "3600"], start_new_session=True)
        return True
    elif fault == "dials":
        second = Wire(dial())
        second.raw(framed(b"SIMPLEX/1.0;json"))
        return True
    return False


def serve(wire):
    """Serves one connection to its end."""
    wire.pass_by("connect")
    if role == "acceptor":
        wire.read()
        wire.pass_by("greeting", b"+OK")
    else:
        wire.pass_by("greeting", b"SIMPLEX/1.0;json")
        if not wire.read().startswith(b"+"):
            wire.end()
    wire.pass_by("greeted")
    is_asked = False
    while True:
        frame = wire.read()
        if not frame:
            continue
        try:
            message = json.loads(frame)
        except ValueError:
            wire.end()
        if not isinstance(message, dict) or message.get("type") != "req" or not message.get("id"):
            continue
        method, reply = message.get("method"), {"type": "rep", "id": message["id"]}
        if method == "conformance.describe":
            wire.pass_by("describe", json.dumps(reply | {"payload": DESCRIPTION}).encode())
            wire.pass_by("described")
        elif method == "conformance.echo":
            due = json.dumps(reply | {"payload": message.get("payload")}).encode()
            wire.pass_by("echo" if is_asked else "", due)
            wire.pass_by("echoed" if is_asked else "")
        elif method == "conformance.fail":
            wire.pass_by("reply", json.dumps(reply | {"error": message["payload"]}).encode())
            wire.pass_by("replied")
            is_asked = True


def served(connection):
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        serve(Wire(connection))
    except (Gone, OSError, ValueError):
        pass
    connection.close()


def dial():
    host, port = os.environ["DUPLEX_CONNECT"].split(":")
    return socket.create_connection((host, int(port)))


start = Wire()
if transport == "stdio":
    try:
        start.pass_by("start")
        serve(start)
    except Gone:
        sys.exit(0)
if fault != "ignores":
    threading.Thread(target=lambda: (sys.stdin.buffer.read(), os._exit(0)), daemon=True).start()
if fault not in ("nobody", "mute"):
    start.pass_by("start")
if role == "initiator":
    while True:
        try:
            served(dial())
        except ConnectionError:
            sys.exit(0)
listener = socket.create_server(("127.0.0.1", 0))
address = "listening %s:%d" % listener.getsockname()
if is_on and fault in ("nobody", "mute"):
    if fault == "nobody":
        listener.close()
        print(address, flush=True)
    time.sleep(3600)
print(address, flush=True)
while True:
    threading.Thread(target=served, args=(listener.accept()[0],), daemon=True).start()
