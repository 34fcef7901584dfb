#!/usr/bin/env python3
"""A peer over stdin and stdout that is wrong in the way that its first argument names; json in length frames, acceptor.

Every one describes itself and echoes, so that its fault shows in one call: `conformance.fail`.

right      answers the error that it is asked for
wrong-id   answers it with the id plus one
deaf       answers nothing to it, nor to anything after it
crashes    exits with status 7, and says why on stderr
garbage    writes a line of text on stdout, which is the wire
sleeps     reads nothing and says nothing
89         does not implement anything
"""
import json, os, struct, sys, time

fault = sys.argv[1]
if fault == "89":
    sys.exit(89)
if fault == "sleeps":
    time.sleep(3600)
if fault == "garbage":
    print("Server ready!", flush=True)
mine = {"TRANSPORT": "stdio", "ROLE": "acceptor", "FRAMING": "length", "CODEC": "json"}
if any(os.environ.get("DUPLEX_" + name, value) != value for name, value in mine.items()):
    sys.exit(89)


def read():
    head = sys.stdin.buffer.read(4)
    if len(head) < 4:
        sys.exit(0)
    return sys.stdin.buffer.read(struct.unpack(">I", head)[0])


def write(frame):
    sys.stdout.buffer.write(struct.pack(">I", len(frame)) + frame)
    sys.stdout.buffer.flush()


DESCRIPTION = {"contract": 1, "name": f"test peer, {fault}", "version": "1", "language": "Python", "profiles": ["core"],
    "codecs": ["json"], "framings": ["length"], "transports": ["stdio"], "roles": ["acceptor"], "limits": {}, "lacks": {}}
read()
write(b"+OK")
while True:
    frame = read()
    try:
        message = json.loads(frame)
    except ValueError:
        sys.exit(0)
    if not isinstance(message, dict) or message.get("type") != "req" or not message.get("id"):
        continue
    if message.get("method") == "conformance.describe":
        write(json.dumps({"type": "rep", "id": message["id"], "payload": DESCRIPTION}).encode())
    elif message.get("method") == "conformance.echo":
        write(json.dumps({"type": "rep", "id": message["id"], "payload": message.get("payload")}).encode())
    elif message.get("method") == "conformance.fail":
        if fault == "crashes":
            print("cannot go on", file=sys.stderr)
            sys.exit(7)
        if fault == "deaf":
            sys.stdin.buffer.read()
            sys.exit(0)
        id = message["id"] + 1 if fault == "wrong-id" else message["id"]
        write(json.dumps({"type": "rep", "id": id, "error": message["payload"]}).encode())
