"""Bytes: how frames are cut out of a stream, and how messages become frames.

It knows no calls and no connection. The names in brackets are rules of the book.
"""
import json
import math
import struct

FRAME_LIMIT = 1024 * 1024  # bytes
DEPTH_LIMIT = 256  # containers, the message's own map counted as 1


class Undecodable(Exception):
    """What came is no frame or no message: the connection is closed without a word [message.undecodable]."""


# ---- Framings: `read` gives the next frame, empty ones included, and None at the end, a cut-off frame dropped [framing.partial]

class LengthFraming:
    name, binary = "length", True

    def wrap(self, frame):
        return len(frame).to_bytes(4, "big") + frame

    def read(self, stream, limit):
        head = stream.read(4)
        if len(head) < 4:
            return None
        size = int.from_bytes(head, "big")
        if size > limit:  # before memory is set aside [framing.length.limit]
            raise Undecodable(f"a frame of {size} bytes")
        frame = stream.read(size)
        return frame if len(frame) == size else None


class NewlineFraming:
    name, binary = "newline", False  # [framing.newline.text]

    def wrap(self, frame):
        return frame + b"\n"

    def read(self, stream, limit):
        line = stream.readline(limit + 1)
        if len(line) == limit + 1 and line.endswith(b"\r"):
            line += stream.read(1)  # this one `\r` may yet belong to the line's end
        if not line.endswith(b"\n"):
            if len(line) > limit:  # [framing.newline.limit]
                raise Undecodable("an endless line")
            return None
        return line[:-2] if line.endswith(b"\r\n") else line[:-1]  # [framing.newline.cr]


# ---- Codecs: `encode` raises ValueError or TypeError for what cannot be sent, `decode` raises Undecodable

class Json:
    name, binary = "json", False

    def encode(self, message):
        text = json.dumps(message, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return repair(text)

    def decode(self, frame):
        try:
            message = json.loads(frame.decode("utf-8"), parse_constant=_refuse, parse_int=_number, parse_float=_number)
        except (ValueError, RecursionError) as error:
            raise Undecodable(str(error)) from None
        depth, row = 0, [message]
        while row := [value for value in row if isinstance(value, (dict, list))]:
            depth += 1
            row = [child for value in row for child in (value.values() if isinstance(value, dict) else value)]
        if depth > DEPTH_LIMIT:
            raise Undecodable("nested too deep")  # [codec.depth.over]
        return message


def repair(text):
    """UTF-8, with U+FFFD for lone surrogates [codec.json.surrogate.send]."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").encode()


def _refuse(text):
    raise ValueError(f"{text} is not JSON")


def _number(text):
    if math.isinf(float(text)):
        raise ValueError("a number out of range")
    return int(text) if text.lstrip("-").isdigit() else float(text)


class MsgPack:
    name, binary = "msgpack", True

    def encode(self, message):
        parts = []
        _pack(message, parts.append)
        return b"".join(parts)

    def decode(self, frame):
        reader = _Unpacker(frame)
        try:
            message = reader.value(depth=1)
        except (ValueError, struct.error, TypeError) as error:  # TypeError: a map as a key
            raise Undecodable(str(error)) from None
        if reader.at != len(frame):
            raise Undecodable("bytes behind the message")
        if isinstance(message, dict) and not all(isinstance(name, str) for name in message):
            raise Undecodable("a member whose name is no string")  # [codec.msgpack.keys]
        return message


def _pack(value, put):
    match value:
        case None:
            put(b"\xc0")
        case bool():
            put(b"\xc3" if value else b"\xc2")
        case int():
            put(_pack_int(value))
        case float():
            put(struct.pack(">Bd", 0xCB, value))
        case str():
            text = repair(value)
            put(_head(len(text), 0xA0, 32, (0xD9, 0xDA, 0xDB)) + text)
        case bytes():
            put(_head(len(value), None, 0, (0xC4, 0xC5, 0xC6)) + value)
        case list() | tuple():
            put(_head(len(value), 0x90, 16, (None, 0xDC, 0xDD)))
            for item in value:
                _pack(item, put)
        case dict():
            put(_head(len(value), 0x80, 16, (None, 0xDE, 0xDF)))
            for key, item in value.items():
                _pack(key, put)
                _pack(item, put)
        case _:
            raise TypeError(f"MessagePack has no {type(value).__name__}")


def _pack_int(value):
    if -32 <= value < 128:
        return struct.pack("b", value) if value < 0 else bytes([value])
    formats = [(0xCC, "B"), (0xCD, "H"), (0xCE, "I"), (0xCF, "Q")] if value > 0 else [(0xD0, "b"), (0xD1, "h"), (0xD2, "i"), (0xD3, "q")]
    for first, form in formats:
        try:
            return struct.pack(">B" + form, first, value)
        except struct.error:
            continue
    raise ValueError("MessagePack has no integer of more than 64 bits")


def _head(size, fixed, fixed_limit, firsts):
    """The first bytes of a sized value: the short form, or the first of 8, 16 and 32 bits that exists and fits."""
    if size < fixed_limit:
        return bytes([fixed | size])
    for first, form, limit in zip(firsts, "BHI", (1 << 8, 1 << 16, 1 << 32)):
        if first is not None and size < limit:
            return struct.pack(">B" + form, first, size)
    raise ValueError("too large for MessagePack")


class _Unpacker:
    FIXED = {0xCA: "f", 0xCB: "d", 0xCC: "B", 0xCD: "H", 0xCE: "I", 0xCF: "Q", 0xD0: "b", 0xD1: "h", 0xD2: "i", 0xD3: "q"}
    SIZED = {
        0xC4: (bytes, "B"), 0xC5: (bytes, "H"), 0xC6: (bytes, "I"), 0xD9: (str, "B"), 0xDA: (str, "H"), 0xDB: (str, "I"),
        0xDC: (list, "H"), 0xDD: (list, "I"), 0xDE: (dict, "H"), 0xDF: (dict, "I"),
    }
    CONSTANT = {0xC0: None, 0xC2: False, 0xC3: True}

    def __init__(self, frame):
        self.frame, self.at = frame, 0

    def value(self, depth):
        first = self.number("B")
        if first in self.CONSTANT:
            return self.CONSTANT[first]
        if first in self.FIXED:
            return self.number(self.FIXED[first])
        if first < 0x80 or first >= 0xE0:
            return first if first < 0x80 else first - 256
        if first < 0xC0:
            kind, size = (str, first & 0x1F) if first >= 0xA0 else (list, first & 0x0F) if first >= 0x90 else (dict, first & 0x0F)
        elif first in self.SIZED:
            kind, form = self.SIZED[first]
            size = self.number(form)
        else:
            raise ValueError(f"unexpected byte {first:#x}")  # the unused 0xc1, and ext types
        if kind in (bytes, str):
            data = self.take(size)
            return data if kind is bytes else data.decode("utf-8")
        if depth > DEPTH_LIMIT:
            raise ValueError("nested too deep")  # [codec.depth.over]
        if kind is list:
            return [self.value(depth + 1) for _ in range(size)]
        return {self.value(depth + 1): self.value(depth + 1) for _ in range(size)}

    def number(self, form):
        return struct.unpack(">" + form, self.take(struct.calcsize(form)))[0]

    def take(self, size):
        if self.at + size > len(self.frame):
            raise ValueError("truncated")
        self.at += size
        return self.frame[self.at - size : self.at]


FRAMINGS = {framing.name: framing for framing in (LengthFraming(), NewlineFraming())}
CODECS = {codec.name: codec for codec in (Json(), MsgPack())}
