#!/usr/bin/env python3
"""Confirms the golden bytes of `messages/` with encoders that are not this project's.

JSON is checked with Python's own `json`, MessagePack with the PyPI package `u-msgpack-python`, pinned in
`requirements.txt`; `registry.py` beside this file does the like for the book's other codecs. For every valid vector the canonical bytes are what those encoders write for `message`, and every
accepted encoding decodes to the same meaning; for every undecodable one those decoders refuse too.

    python3 vectors/confirm.py              check; exit 0 all confirmed, 1 a difference, 2 something is missing
    python3 vectors/confirm.py --install    first make the virtual environment that holds the packages

It does not judge what a message means to a peer: rules and classes are the harness's.
"""

import io
import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import registry

HERE = Path(__file__).resolve().parent
VENV = HERE.parent / "target" / "confirm-venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def install():
    """Makes the virtual environment, with the pinned packages and nothing else."""
    subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=True)
    pip = [str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run(pip + ["--no-deps", "--require-hashes", "-r", str(HERE / "requirements.txt")], check=True)


def load_packages():
    """The MessagePack package, and what the other codecs take: from this interpreter, or by starting again in the virtual
    environment."""
    try:
        import umsgpack
        return umsgpack, registry.confirm()
    except ImportError:
        pass
    if PYTHON.exists() and Path(sys.prefix).resolve() != VENV.resolve():
        sys.exit(subprocess.run([str(PYTHON), str(Path(__file__).resolve())]).returncode)
    print(
        "error: a Python package of vectors/requirements.txt is missing.\n"
        "Run `python3 vectors/confirm.py --install` once: it makes target/confirm-venv with the versions that\n"
        "this file pins. It needs the standard library's venv and pip, and a package index.",
        file=sys.stderr,
    )
    sys.exit(2)


class Pairs:
    """A map in order, for keys that a `dict` cannot hold twice."""

    def __init__(self, pairs):
        self.pairs = pairs


class Refused(Exception):
    """The decoder does not take the bytes."""


def template(value):
    """A vector's `message` with its `$` forms replaced."""
    if isinstance(value, list):
        return [template(item) for item in value]
    if isinstance(value, str):
        return value[1:] if value.startswith("$$") else value
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        (key, argument), = value.items()
        if key == "$bin":
            return bytes.fromhex(argument)
        if key == "$int":
            return int(argument)
        if key == "$float":
            return float(argument)
        if key == "$pairs":
            return Pairs([(template(k), template(v)) for k, v in argument])
    return {key: template(member) for key, member in value.items()}


def meaning(value):
    """A form in which equal values are equal and values of different types are not."""
    if value is None or isinstance(value, (bool, str)):
        return (type(value).__name__, value)
    if isinstance(value, (int, bytes)):
        return (type(value).__name__, value)
    if isinstance(value, float):
        return ("float", "nan" if math.isnan(value) else value)
    if isinstance(value, (list, tuple)):
        return ("list", tuple(meaning(item) for item in value))
    if isinstance(value, Pairs):
        return ("map", frozenset((meaning(k), meaning(v)) for k, v in value.pairs))
    if isinstance(value, dict):
        return ("map", frozenset((meaning(k), meaning(v)) for k, v in value.items()))
    raise TypeError(f"no vector holds a {type(value).__name__}")


def normal(message):
    """What a receiver makes of a message: the book's rules about absent, null, misplaced and unknown members."""
    kind = message.get("type")
    known = ["type", "id", "payload", "more", "end", "error", "ext"] + (["method"] if kind == "req" else [])
    out = {name: message[name] for name in known if message.get(name) is not None}
    out.setdefault("payload", None)
    if kind == "req" and out.get("id") == 0 and out["id"] is not False:
        del out["id"]
    if out.get("more") is False:
        del out["more"]
    if not isinstance(out.get("ext", {}), dict):
        del out["ext"]
    if kind == "req" and message.get("method") == "conformance.echo":
        out.pop("error", None)  # Frames of streams call other methods; these are first frames, on which `error` is ignored.
    if "error" in out:
        for name in ("payload", "more", "end"):
            out.pop(name, None)
        if isinstance(out["error"], dict):
            parts = {name: out["error"][name] for name in ("code", "message", "data") if name in out["error"]}
            if parts.get("data", 0) is None:
                del parts["data"]
            out["error"] = parts
    if out.get("end") is not True or out.get("more") is True or out.get("payload") is not None or "error" in out:
        out.pop("end", None)
    return out


def replace_surrogates(value):
    """Lone surrogates become U+FFFD, which a receiver may do."""
    if isinstance(value, str):
        return re.sub("[\ud800-\udfff]", "\ufffd", value)
    if isinstance(value, list):
        return [replace_surrogates(item) for item in value]
    if isinstance(value, dict):
        return {replace_surrogates(k): replace_surrogates(v) for k, v in value.items()}
    return value


def json_encode(value):
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def json_decode(data):
    """One RFC 8259 value: `json` without its extensions."""
    def no_constant(name):
        raise ValueError(f"{name} is no JSON")

    try:
        return replace_surrogates(json.loads(data.decode("utf-8"), parse_constant=no_constant))
    except (ValueError, RecursionError) as error:
        raise Refused(str(error)) from error


def msgpack_encode(umsgpack, value):
    return umsgpack.packb(value)


def msgpack_decode(umsgpack, data):
    """One value and nothing behind it."""
    stream = io.BytesIO(data)
    try:
        value = umsgpack.unpack(stream)
    except (umsgpack.UnpackException, MemoryError, OverflowError) as error:
        raise Refused(type(error).__name__) from error
    if stream.read(1):
        raise Refused("bytes behind the value")
    return value


class Confirmation:
    """Goes through the vectors, counts what holds and collects what does not."""

    def __init__(self, umsgpack):
        self.codecs = {
            "json": (json_encode, json_decode),
            "msgpack": (lambda v: msgpack_encode(umsgpack, v), lambda d: msgpack_decode(umsgpack, d)),
        }
        self.counts = {"vectors": 0, "canonical": 0, "accepted": 0, "refused": 0}
        self.differences = []

    def differ(self, vector, field, what):
        self.differences.append(f"messages/{vector['id'].replace('.', '/', 1)}.json: `{field}`: {what}")

    def vector(self, vector):
        self.counts["vectors"] += 1
        for codec, (encode, decode) in self.codecs.items():
            canonical, accepted = frames(vector, codec)
            if canonical is None:
                continue
            if "message" in vector:
                self.same(vector, codec, canonical, encode, decode)
                for index, data in enumerate(accepted):
                    self.accepted(vector, f"accept.{codec}[{index}]", data, decode)
            else:
                self.refused(vector, codec, canonical, decode)

    def same(self, vector, codec, canonical, encode, decode):
        message = template(vector["message"])
        expected = encode(message)
        if canonical != expected:
            return self.differ(vector, codec, f"another encoder writes {show(expected)}, and here stands {show(canonical)}")
        try:
            if meaning(decode(canonical)) != meaning(message):
                return self.differ(vector, codec, f"another decoder reads {decode(canonical)!r}")
        except Refused as error:
            return self.differ(vector, codec, f"another decoder refuses it: {error}")
        self.counts["canonical"] += 1

    def accepted(self, vector, field, data, decode):
        try:
            value = decode(data)
        except Refused as error:
            return self.differ(vector, field, f"another decoder refuses it: {error}")
        if not isinstance(value, dict):
            return self.differ(vector, field, "it is no map")
        if meaning(normal(value)) != meaning(normal(template(vector["message"]))):
            return self.differ(vector, field, f"it means {normal(value)!r}")
        self.counts["accepted"] += 1

    def refused(self, vector, codec, data, decode):
        try:
            value = decode(data)
        except Refused:
            self.counts["refused"] += 1
            return
        if isinstance(value, dict):
            return self.differ(vector, codec, f"it is called undecodable, and another decoder reads {value!r}")
        self.counts["refused"] += 1


def frames(vector, codec):
    """The canonical bytes, or None, and the list of accepted ones."""
    others = vector.get("accept", {}).get(codec, [])
    if codec == "json":
        text = vector.get("json")
        canonical = text.encode("utf-8") if text is not None else hexadecimal(vector.get("json_hex"))
        return canonical, [other.encode("utf-8") for other in others]
    return hexadecimal(vector.get("msgpack")), [bytes.fromhex(other) for other in others]


def hexadecimal(digits):
    return None if digits is None else bytes.fromhex(digits)


def show(data):
    try:
        return data.decode("ascii") if data[:1] == b"{" else data.hex()
    except UnicodeDecodeError:
        return repr(data)


def main():
    if sys.argv[1:] == ["--install"]:
        install()
    elif sys.argv[1:]:
        print(__doc__, file=sys.stderr)
        sys.exit(2)
    umsgpack, (differences, missing) = load_packages()
    confirmation = Confirmation(umsgpack)
    confirmation.differences += differences
    files = sorted((HERE / "messages").glob("*/*.json"))
    if not files:
        print(f"error: no vectors in {HERE / 'messages'}", file=sys.stderr)
        sys.exit(2)
    for path in files:
        confirmation.vector(json.loads(path.read_text(encoding="utf-8")))
    for difference in confirmation.differences:
        print(difference)
    counts = confirmation.counts
    asked = [name for name in registry.ENCODERS if name not in missing]
    print(f"examples of the codec registry: {', '.join(asked)} compared" + (f"; no encoder for {', '.join(missing)}" if missing else ""))
    print(
        f"{counts['vectors']} vectors: {counts['canonical']} canonical encodings and {counts['accepted']} accepted ones "
        f"confirmed, {counts['refused']} undecodable ones refused, {len(confirmation.differences)} differences"
    )
    sys.exit(1 if confirmation.differences else 0)


if __name__ == "__main__":
    main()
