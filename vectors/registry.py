"""Confirms the example bytes of the book's codec registry with encoders that are not this project's.

BSON with the PyPI package `bson`, BERT with `erlastic`, Protocol Buffers with `protobuf`, all pinned in
`requirements.txt`; gob with Go's own encoder, where there is a `go`. The definitions of `Frame` are the page's: its
protobuf one is read, and its Go one is compiled, so that an example cannot stand beside another definition.

`confirm.py` calls this.
"""

import re
import shutil
import subprocess
import tempfile
from pathlib import Path

PAGE = Path(__file__).resolve().parent.parent / "book" / "src" / "codec-registry.md"
MESSAGE = {"type": "req", "id": 1, "method": "echo", "payload": None}
HEX_LINE = re.compile(r"((?:[0-9a-f]{2} {1,2})*[0-9a-f]{2})(?: {3}.*)?")

GO_MAIN = """
func main() {
	method := "echo"
	var out bytes.Buffer
	if err := gob.NewEncoder(&out).Encode(Frame{Type: "req", Method: &method, Id: 1}); err != nil {
		panic(err)
	}
	fmt.Printf("%x", out.Bytes())
}
"""


def section(page, name):
    """The text under a heading."""
    match = re.search(rf"^## {name}\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
    if match is None:
        raise ValueError(f"the page has no section `{name}`")
    return match[1]


def block(text, info):
    """The first fenced block of this kind."""
    match = re.search(rf"^```{re.escape(info)}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    if match is None:
        raise ValueError(f"the section has no block `{info}`")
    return match[1]


def example(text):
    """The bytes of the dump: pairs of digits, up to a remark behind three spaces."""
    lines = [HEX_LINE.fullmatch(line) for line in block(text, "text").splitlines()]
    if None in lines:
        raise ValueError(f"line {lines.index(None) + 1} of the dump does not begin with bytes")
    return bytes.fromhex("".join(line[1] for line in lines))


def encode_bson(_):
    import bson

    return bson.dumps(MESSAGE)


def encode_bert(_):
    import erlastic

    bert, atom = erlastic.Atom("bert"), erlastic.Atom

    def term(value):
        if value is None or isinstance(value, bool):
            return (bert, atom({None: "nil", True: "true", False: "false"}[value]))
        if isinstance(value, dict):
            return (bert, atom("dict"), [(term(key), term(item)) for key, item in value.items()])
        return value.encode() if isinstance(value, str) else value

    return erlastic.encode(term(MESSAGE))


def encode_protobuf(text):
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, struct_pb2  # noqa: F401, registers Value

    field_type = descriptor_pb2.FieldDescriptorProto
    types = {name: getattr(field_type, f"TYPE_{name.upper()}") for name in ("string", "bytes", "bool", "uint64", "sint64")}
    file = descriptor_pb2.FileDescriptorProto(
        name="frame.proto", package="duplex.v1", syntax="proto3", dependency=["google/protobuf/struct.proto"]
    )
    message = choice = None
    optional_ones = []
    for line in block(text, "protobuf").splitlines():
        if head := re.fullmatch(r"message (\w+) \{", line):
            message, optional_ones = file.message_type.add(name=head[1]), []
        elif head := re.fullmatch(r"  oneof (\w+) \{", line):
            choice = len(message.oneof_decl)
            message.oneof_decl.add(name=head[1])
        elif line == "  }":
            choice = None
        elif line == "}":
            for field in optional_ones:  # An optional field is a choice of one, behind the real ones.
                field.oneof_index = len(message.oneof_decl)
                message.oneof_decl.add(name=f"_{field.name}")
        elif parts := re.fullmatch(r" +(optional )?([\w.]+) (\w+) = (\d+);", line):
            optional, kind, name, number = parts.groups()
            field = message.field.add(name=name, number=int(number), label=field_type.LABEL_OPTIONAL)
            if kind in types:
                field.type = types[kind]
            else:
                field.type, field.type_name = field_type.TYPE_MESSAGE, f".{kind}" if "." in kind else f".duplex.v1.{kind}"
            if choice is not None:
                field.oneof_index = choice
            if optional:
                field.proto3_optional = True
                optional_ones.append(field)
    pool = descriptor_pool.Default()
    pool.Add(file)
    frame = message_factory.GetMessageClass(pool.FindMessageTypeByName("duplex.v1.Frame"))
    written = frame(type=MESSAGE["type"], method=MESSAGE["method"], id=MESSAGE["id"])
    written.payload.null_value = 0
    return written.SerializeToString(deterministic=True)


def encode_gob(text):
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "main.go"
        types = block(text, "go,shape")
        program.write_text(f'package main\n\nimport (\n"bytes"\n"encoding/gob"\n"fmt"\n)\n\n{types}{GO_MAIN}', encoding="utf-8")
        run = subprocess.run(["go", "run", str(program)], capture_output=True, text=True, check=False, cwd=folder)
    if run.returncode != 0:
        raise ValueError(f"the definition does not compile: {run.stderr.strip()}")
    return bytes.fromhex(run.stdout)


ENCODERS = {"protobuf": encode_protobuf, "bson": encode_bson, "bert": encode_bert, "gob": encode_gob}


def confirm():
    """What differs, and what was not asked because its encoder is missing. Raises ImportError without the packages."""
    page = PAGE.read_text(encoding="utf-8")
    differences, missing = [], []
    for name, encode in ENCODERS.items():
        if name == "gob" and shutil.which("go") is None:
            missing.append(name)
            continue
        try:
            text = section(page, name)
            here, there = example(text), encode(text)
        except ValueError as error:
            differences.append(f"{PAGE.name}: {name}: {error}")
            continue
        if here != there:
            differences.append(f"{PAGE.name}: {name}: another encoder writes {there.hex()}, and here stands {here.hex()}")
    return differences, missing
