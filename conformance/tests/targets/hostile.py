#!/usr/bin/env python3
"""A peer that misbehaves below the protocol, or as a process, in the way that its first argument names.

It describes itself and echoes as it has to, so that a run begins; stdio, acceptor, json. What goes wrong begins with
`conformance.fail` unless the name says otherwise. In its environment DUPLEX_TEST_MARK tells the tests what it left behind.

floods-stdout   writes replies without end
floods-stderr   writes megabytes of log, and then answers
claims-4gib     writes a length of four gibibytes
half-frame      writes half a frame, and then nothing
late            answers after the time limit
deaf            answers nothing, and reads nothing more
closes          ends the connection, and exits with status 0
exits           exits with status 3
ignores-term    answers nothing, ignores SIGTERM and the end of its input
grandchild      starts a program that keeps its pipes open, and exits with status 0
forks           answers from a child, and the parent stays
id-as-string    answers with the id as a string
little-endian   writes lengths in little-endian order from then on
newline         writes the reply as a line
second          exits with status 3 in the second session of a process
prints          writes a line of text on stdout before the reply
"""
import json, os, signal, struct, subprocess, sys, time

fault = sys.argv[1]
served = is_asked = False
out = sys.stdout.buffer


def read():
    head = sys.stdin.buffer.read(4)
    if len(head) < 4:
        if fault == "ignores-term":
            time.sleep(3600)
        sys.exit(0)
    return sys.stdin.buffer.read(struct.unpack(">I", head)[0])


def write(message):
    frame = json.dumps(message).encode()
    out.write(struct.pack(">I", len(frame)) + frame)
    out.flush()


def fail(message):
    """Answers `conformance.fail`, each fault in its way."""
    reply = {"type": "rep", "id": message["id"], "error": message["payload"]}
    frame = json.dumps(reply).encode()
    if fault == "floods-stdout":
        while True:
            out.write((struct.pack(">I", len(frame)) + frame) * 1000)
    elif fault == "claims-4gib":
        out.write(b"\xff\xff\xff\xff" + frame)
    elif fault == "half-frame":
        out.write(struct.pack(">I", len(frame)) + frame[:10])
        out.flush()
        time.sleep(3600)
    elif fault == "closes":
        sys.exit(0)
    elif fault == "exits" or fault == "second" and served:
        print("Error: out of cheese", file=sys.stderr)
        sys.exit(3)
    elif fault == "grandchild":
        subprocess.Popen(["sleep", "3600"])
        sys.exit(0)
    elif fault == "little-endian":
        out.write(struct.pack("<I", len(frame)) + frame)
    elif fault == "newline":
        out.write(frame + b"\n")
    elif fault == "prints":
        print("handling a call", flush=True)
        write(reply)
    elif fault == "id-as-string":
        write(reply | {"id": str(message["id"])})
    elif fault in ("ignores-term", "deaf"):
        time.sleep(3600)
    else:
        if fault == "late":
            time.sleep(8)
        elif fault == "floods-stderr":
            sys.stderr.write("nothing of interest\n" * 200_000)
        elif fault == "forks" and os.fork():
            time.sleep(3600)
        write(reply)
    out.flush()


mine = {"TRANSPORT": "stdio", "ROLE": "acceptor", "FRAMING": "length", "CODEC": "json"}
if any(os.environ.get("DUPLEX_" + name, value) != value for name, value in mine.items()):
    sys.exit(89)
signal.signal(signal.SIGTERM, signal.SIG_IGN if fault == "ignores-term" else signal.SIG_DFL)
DESCRIPTION = {"contract": 1, "name": f"hostile peer, {fault}", "version": "1", "language": "Python", "profiles": ["core"],
    "codecs": ["json"], "framings": ["length"], "transports": ["stdio"], "roles": ["acceptor"], "limits": {}, "lacks": {}}
read()
out.write(struct.pack(">I", 3) + b"+OK")
out.flush()
while True:
    try:
        message = json.loads(read())
    except ValueError:
        sys.exit(0)
    if not isinstance(message, dict) or message.get("type") != "req" or not message.get("id"):
        continue
    if message.get("method") == "conformance.describe":
        write({"type": "rep", "id": message["id"], "payload": DESCRIPTION})
    elif message.get("method") == "conformance.echo":
        write({"type": "rep", "id": message["id"], "payload": message.get("payload")})
        # The question behind each session is an echo.
        served = served or is_asked
    elif message.get("method") == "conformance.fail":
        is_asked = True
        fail(message)
