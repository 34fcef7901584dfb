#!/usr/bin/env python3
"""A peer that keeps the book as long as bytes come in the pieces that it likes, in the way that its first argument names.

It describes itself, echoes and fails as it has to; tcp, acceptor, length, json.

one-read    takes what one read gives for one frame
prefix      takes the length prefix of a frame from one read, and the rest from as many as it needs
"""
import json, os, socket, struct, sys, threading

fault = sys.argv[1]
mine = {"TRANSPORT": "tcp", "ROLE": "acceptor", "FRAMING": "length", "CODEC": "json"}
if any(os.environ.get("DUPLEX_" + name, value) != value for name, value in mine.items()):
    sys.exit(89)
DESCRIPTION = {"contract": 1, "name": f"peer that minds pieces, {fault}", "version": "1", "language": "Python",
    "profiles": ["core"], "codecs": ["json"], "framings": ["length"], "transports": ["tcp"], "roles": ["acceptor"],
    "limits": {}, "lacks": {}}


def frames(connection):
    """The frames that come."""
    while True:
        head = connection.recv(65536 if fault == "one-read" else 4)
        if not head or len(head) < 4:
            return
        size = struct.unpack(">I", head[:4])[0]
        frame = head[4:4 + size]
        while fault != "one-read" and len(frame) < size:
            more = connection.recv(size - len(frame))
            if not more:
                return
            frame += more
        yield frame


def serve(connection):
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def write(frame):
        connection.sendall(struct.pack(">I", len(frame)) + frame)

    try:
        is_greeted = False
        for frame in frames(connection):
            if not is_greeted:
                is_greeted = True
                write(b"+OK")
            elif frame:
                message = json.loads(frame)
                if not message.get("id"):
                    continue
                reply = {"type": "rep", "id": message["id"]}
                if message["method"] == "conformance.describe":
                    reply["payload"] = DESCRIPTION
                elif message["method"] == "conformance.echo":
                    reply["payload"] = message["payload"]
                else:
                    reply["error"] = message["payload"]
                write(json.dumps(reply).encode())
    except (OSError, ValueError):
        pass
    connection.close()


threading.Thread(target=lambda: (sys.stdin.buffer.read(), os._exit(0)), daemon=True).start()
listener = socket.create_server(("127.0.0.1", 0))
print("listening %s:%d" % listener.getsockname(), flush=True)
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
