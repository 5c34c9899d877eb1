"""Avro as the tests write it: an encoder of their own, and random schemas with random values.

The encoder shares no code with fastavro, Apache Avro or the connector. A value of a union is `(branch index, value)`,
so that nothing has to be guessed.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from connector.schema import AvroType, WriterSchema

SCHEMAS = Path(__file__).parents[1] / "schemas"


def schema_text(name: str) -> str:
    return (SCHEMAS / f"{name}.avsc").read_text(encoding="utf-8")


def our_schema(name: str) -> WriterSchema:
    return WriterSchema(schema_text(name))


def varint(number: int) -> bytes:
    bits = (number << 1) ^ (number >> 63)
    encoded = bytearray()
    while bits > 127:
        encoded.append(bits & 127 | 128)
        bits >>= 7
    return bytes([*encoded, bits])


def encoded(avro_type: AvroType, value: Any) -> bytes:  # noqa: C901, PLR0912  # one branch a kind
    """The wire bytes of one value."""
    match avro_type.kind:
        case "null":
            return b""
        case "boolean":
            return bytes([value])
        case "int" | "long":
            return varint(value)
        case "float":
            return struct.pack("<f", value)
        case "double":
            return struct.pack("<d", value)
        case "string":
            text = value.encode()
            return varint(len(text)) + text
        case "bytes":
            return varint(len(value)) + value
        case "fixed":
            return bytes(value)
        case "enum":
            return varint(avro_type.symbols.index(value))
        case "union":
            index, inner = value
            return varint(index) + encoded(avro_type.items[index], inner)
        case "record":
            return b"".join(encoded(field.type, value[field.name]) for field in avro_type.fields.values())
        case "array":
            items = [encoded(avro_type.items[0], item) for item in value]
        case "map":
            items = [
                encoded(AvroType("string"), key) + encoded(avro_type.items[0], item) for key, item in value.items()
            ]
    return varint(len(items)) + b"".join(items) + b"\0" if items else b"\0"


def doubling(levels: int) -> Any:
    """A record that holds another one twice, which holds another one twice, and so on: few types, many ways."""
    inner: Any = "long"
    for level in range(levels):
        fields = [{"name": "a", "type": inner}, {"name": "b", "type": f"L{level - 1}" if level else "long"}]
        inner = {"type": "record", "name": f"L{level}", "fields": fields}
    return inner


def plain(value: Any) -> Any:
    """A decoded value without the names of its records."""
    if isinstance(value, tuple):
        return plain(value[1])
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return value


def branched(avro_type: AvroType, value: Any) -> Any:
    """A plain Python value with the branch of each union named; records in unions of several are `(name, dict)`."""
    if avro_type.kind == "union":
        for index, branch in enumerate(avro_type.items):
            name, inner = value if isinstance(value, tuple) else ("", value)
            if (
                _is(branch, inner)
                and (not name or branch.name == name)
                and (bool(name) or not _needs_name(branch, avro_type))
            ):
                return index, branched(branch, inner)
        raise AssertionError(f"{value!r} is none of {[str(branch) for branch in avro_type.items]}")
    if avro_type.kind == "record":
        return {name: branched(field.type, value.get(name, field.default)) for name, field in avro_type.fields.items()}
    if avro_type.kind == "array":
        return [branched(avro_type.items[0], item) for item in value]
    if avro_type.kind == "map":
        return {key: branched(avro_type.items[0], item) for key, item in value.items()}
    return value


def _needs_name(branch: AvroType, union: AvroType) -> bool:
    return branch.kind == "record" and union.is_tagged


_PYTHON = {
    "null": type(None),
    "boolean": bool,
    "int": int,
    "long": int,
    "float": float,
    "double": float,
    "string": str,
    "enum": str,
    "bytes": bytes,
    "fixed": bytes,
    "array": list,
    "map": dict,
    "record": dict,
}


def _is(branch: AvroType, value: Any) -> bool:
    return type(value) is _PYTHON[branch.kind]


def written(schema: WriterSchema, value: Any) -> bytes:
    """One record, from a plain Python value."""
    return encoded(schema.root, branched(schema.root, value))


# Random schemas, as JSON, without logical types: fastavro reads those into Python's own.

_SCALARS = ("null", "boolean", "int", "long", "float", "double", "string", "bytes")


@st.composite
def schemas(draw: st.DrawFn) -> dict[str, Any]:
    """A record of anything, with its own names throughout."""
    counter = iter(range(1000))
    return draw(_records(counter, 3))


@st.composite
def _records(draw: st.DrawFn, counter: Any, depth: int) -> dict[str, Any]:
    name = f"R{next(counter)}"
    types = draw(st.lists(_types(counter, depth - 1), min_size=1, max_size=4))
    fields = [{"name": f"f{place}", "type": avro_type} for place, avro_type in enumerate(types)]
    return {"type": "record", "name": name, "namespace": "test.space", "fields": fields}


@st.composite
def _types(draw: st.DrawFn, counter: Any, depth: int) -> Any:
    kinds = ["scalar", "enum", "fixed", *(["array", "map", "record", "union"] if depth > 0 else [])]
    match draw(st.sampled_from(kinds)):
        case "enum":
            symbols = [f"S{place}" for place in range(draw(st.integers(1, 4)))]
            return {"type": "enum", "name": f"E{next(counter)}", "symbols": symbols}
        case "fixed":
            return {"type": "fixed", "name": f"F{next(counter)}", "size": draw(st.integers(1, 4))}
        case "array":
            # Items that take no bytes are refused, and have their own test.
            items = draw(_types(counter, depth - 1))
            empty = items == "null" or (isinstance(items, dict) and WriterSchema(items).root.bytes_min == 0)
            return {"type": "array", "items": "long" if empty else items}
        case "map":
            return {"type": "map", "values": draw(_types(counter, depth - 1))}
        case "record":
            return draw(_records(counter, depth))
        case "union":
            return draw(_unions(counter, depth))
    return draw(st.sampled_from(_SCALARS))


@st.composite
def _unions(draw: st.DrawFn, counter: Any, depth: int) -> list[Any]:
    branches: dict[str, Any] = {}
    for branch in draw(st.lists(_types(counter, depth - 1), min_size=1, max_size=4)):
        if isinstance(branch, list):
            continue
        kind = branch if isinstance(branch, str) else branch.get("name", branch["type"])
        branches.setdefault(kind, branch)
    return list(branches.values()) or ["null"]


def values(  # noqa: C901, PLR0912  # one branch a kind
    avro_type: AvroType, text: st.SearchStrategy[str] | None = None
) -> st.SearchStrategy[Any]:
    """Values of a type as `encoded` takes them. `text`: what strings and keys are made of."""
    text = st.text(max_size=6) if text is None else text
    match avro_type.kind:
        case "null":
            return st.none()
        case "boolean":
            return st.booleans()
        case "int":
            return st.integers(-(2**31), 2**31 - 1)
        case "long":
            return st.integers(-(2**63), 2**63 - 1) | st.integers(-70, 70)
        case "float":
            return st.floats(width=32, allow_nan=False)
        case "double":
            return st.floats(allow_nan=False)
        case "string":
            return text
        case "bytes":
            return st.binary(max_size=6)
        case "fixed":
            return st.binary(min_size=avro_type.size, max_size=avro_type.size)
        case "enum":
            return st.sampled_from(avro_type.symbols)
        case "union":
            return st.one_of(
                *(st.tuples(st.just(index), values(branch, text)) for index, branch in enumerate(avro_type.items))
            )
        case "array":
            return st.lists(values(avro_type.items[0], text), max_size=3)
        case "map":
            return st.dictionaries(text, values(avro_type.items[0], text), max_size=3)
    return st.fixed_dictionaries({name: values(field.type, text) for name, field in avro_type.fields.items()})


@st.composite
def schemas_with_values(draw: st.DrawFn) -> tuple[str, Any]:
    """JSON of a schema, and one of its values."""
    source = draw(schemas())
    return json.dumps(source), draw(values(WriterSchema(source).root))
