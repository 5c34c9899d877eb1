"""An Avro schema, taken apart once: what the decoder is compiled from and what mapping paths are checked against.

Pure. Made by whoever has the JSON (a registry's answer, a file of `schemas/`), read by `decode` and `mapping`.
`fastavro` parses (namespaces, references, defaults); what it lets pass and Avro forbids is refused here. Two spellings
of one schema give the same tree; logical types are kept as a remark beside the type that is really on the wire.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson
from fastavro.schema import parse_schema

_LOGICAL: Final = {
    "int": {"date", "time-millis"},
    "long": {
        "time-micros",
        "timestamp-millis",
        "timestamp-micros",
        "timestamp-nanos",
        "local-timestamp-millis",
        "local-timestamp-micros",
        "local-timestamp-nanos",
    },
    "bytes": {"decimal"},
    "fixed": {"decimal", "uuid"},
    "string": {"uuid"},
}
"""Where a logical type means something; anywhere else the specification says: ignore it."""

_SCALE_MAX: Final = 10_000
"""Of a decimal, as its zeros are written out. With more, or with what is no integer, it is plain bytes."""

_WIRE_MIN: Final = {"null": 0, "float": 4, "double": 8}
"""Fewest bytes of a value, where that is not 1."""

_UNFINISHED: Final = -1
"""Stands in `AvroType.bytes_min` while a record's own fields are being summed."""


class SchemaInvalid(ValueError):
    """The text is no Avro schema."""


class SchemaUnmappable(ValueError):
    """A schema, but one whose records cannot become ours. Halts its topic: no record is to blame."""


class Field:
    """One field of a record.

    Attributes:
        name: As the schema spells it.
        type: What it holds.
        default: The JSON default; meaningless without `has_default`.
        has_default: Whether a reader may do without the field.
        aliases: Names that a reader also knows it by.
    """

    __slots__ = ("aliases", "default", "has_default", "name", "type")

    def __init__(self, name: str, avro_type: AvroType, source: Mapping[str, Any]) -> None:
        self.name = name
        self.type = avro_type
        self.has_default = "default" in source
        self.default: Any = source.get("default")
        self.aliases: tuple[str, ...] = tuple(source.get("aliases", ()))


class AvroType:
    """One type of a schema. A recursive record is one object that is met again.

    Attributes:
        kind: `null`, `boolean`, `int`, `long`, `float`, `double`, `bytes`, `string`, `fixed`, `enum`, `array`, `map`,
            `record` or `union`.
        name: Full name of a record, enum or fixed; empty otherwise.
        logical: The logical type, empty where there is none or where it means nothing.
        aliases: Full names that a reader also knows it by.
        fields: Of a record, in wire order.
        items: Of an array its item, of a map its value; at most one type. Of a union its branches.
        symbols: Of an enum.
        default: Of an enum: the symbol for those that the reader does not know.
        size: Of a fixed, in bytes.
        scale: Of a decimal.
    """

    __slots__ = (
        "_bytes_min",
        "aliases",
        "default",
        "fields",
        "items",
        "kind",
        "logical",
        "name",
        "scale",
        "size",
        "symbols",
    )

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.name = ""
        self.logical = ""
        self.aliases: tuple[str, ...] = ()
        self.fields: dict[str, Field] = {}
        self.items: tuple[AvroType, ...] = ()
        self.symbols: tuple[str, ...] = ()
        self.default: str | None = None
        self.size = 0
        self.scale = 0
        self._bytes_min: int | None = None

    def __str__(self) -> str:
        """As people say it: the name, or the kind."""
        return self.name or self.kind

    @property
    def bytes_min(self) -> int:
        """Fewest bytes that a value takes on the wire. Zero only for null, an empty fixed and records of nothing else.

        Raises:
            SchemaInvalid: The record holds itself without a union, array or map between: no value of it is finite.
        """
        if self._bytes_min is None:
            if self.kind == "record":
                self._bytes_min = _UNFINISHED
                self._bytes_min = sum(field.type.bytes_min for field in self.fields.values())
            else:
                self._bytes_min = self.size if self.kind == "fixed" else _WIRE_MIN.get(self.kind, 1)
        if self._bytes_min == _UNFINISHED:
            raise SchemaInvalid(f"record {self.name} holds itself: no value of it would ever end")
        return self._bytes_min

    @property
    def is_tagged(self) -> bool:
        """A union whose records are told apart by name, since a record and a map look alike once decoded."""
        return sum(branch.kind in {"record", "map"} for branch in self.items) > 1 and self.kind == "union"


class WriterSchema:
    """A parsed schema.

    Args:
        source: JSON text, or what it decodes to.

    Raises:
        SchemaInvalid: It is no Avro schema.

    Attributes:
        root: The outermost type.
        name: Its full name; empty when it is no named type.
    """

    __slots__ = ("name", "root")

    def __init__(self, source: str | bytes | Mapping[str, Any] | Sequence[Any]) -> None:
        try:
            loaded: Any = orjson.loads(source) if isinstance(source, str | bytes) else source
        except orjson.JSONDecodeError as error:
            raise SchemaInvalid(f"the schema is no JSON: {error.msg}") from None
        try:
            parsed = parse_schema(loaded, named_schemas={}, _write_hint=False)
            named: dict[str, AvroType] = {}
            self.root = _build(parsed, named)
            for avro_type in named.values():
                _ = avro_type.bytes_min  # refuses the endless
        except SchemaInvalid:
            raise
        except RecursionError:
            raise SchemaInvalid("the schema is nested too deeply") from None
        except Exception as error:  # fastavro answers a bad schema with KeyError, TypeError, AttributeError...
            raise SchemaInvalid(f"the schema is no Avro schema: {type(error).__name__}: {error}") from error
        self.name = self.root.name

    def __repr__(self) -> str:
        """Enough to find it: `WriterSchema(aiq.export.v1.ProfileEvent)`."""
        return f"WriterSchema({self.root})"


def _build(source: Any, named: dict[str, AvroType]) -> AvroType:
    """The tree of one normalised JSON type; `named` collects what has a name, for references and recursion."""
    if isinstance(source, str):
        return named[source] if source in named else AvroType(source)
    if isinstance(source, list):
        return _union(source, named)
    kind = source["type"]
    if not isinstance(kind, str) or kind in named:
        return _build(kind, named)
    built = AvroType("record" if kind == "error" else kind)
    if built.kind in {"record", "enum", "fixed"}:
        _introduce(built, source, named)
    logical = source.get("logicalType")
    if logical in _LOGICAL.get(kind, ()):
        scale = source.get("scale", 0) if logical == "decimal" else 0
        if type(scale) is int and 0 <= scale <= _SCALE_MAX:  # fastavro lets true and null pass
            built.logical, built.scale = logical, scale
    if kind == "enum":
        built.symbols, built.default = tuple(source["symbols"]), source.get("default")
        if not built.symbols or not all(isinstance(symbol, str) for symbol in built.symbols):
            raise SchemaInvalid(f"enum {built.name} has no symbols, or some that are no names")
    elif kind in {"array", "map"}:
        built.items = (_build(source["items" if kind == "array" else "values"], named),)
    elif built.kind == "record":
        _add_fields(built, source["fields"], named)
    return built


def _add_fields(record: AvroType, sources: Sequence[Mapping[str, Any]], named: dict[str, AvroType]) -> None:
    for source in sources:
        name = source["name"]
        if not isinstance(name, str):  # fastavro lets any JSON value pass
            raise SchemaInvalid(f"record {record.name} has a field whose name is no text")
        if name in record.fields:
            raise SchemaInvalid(f"record {record.name} has two fields {name}")
        record.fields[name] = Field(name, _build(source["type"], named), source)


def _introduce(built: AvroType, source: Mapping[str, Any], named: dict[str, AvroType]) -> None:
    """Gives a type its name (and a fixed its size), before its fields are built: they may refer to it."""
    if source["name"] in named:
        raise SchemaInvalid(f"{source['name']} is defined twice")
    built.name = source["name"]
    space = built.name.rpartition(".")[0]
    built.aliases = tuple(
        alias if "." in alias or not space else f"{space}.{alias}" for alias in source.get("aliases", ())
    )
    named[built.name] = built
    if built.kind == "fixed":
        built.size = int(source["size"])
        if built.size < 0:  # whoever reads it would go back, and before the first byte
            raise SchemaInvalid(f"fixed {built.name} has fewer than no bytes")


def _union(branches: list[Any], named: dict[str, AvroType]) -> AvroType:
    if not branches:
        raise SchemaInvalid("a union without branches: it has no value")
    union = AvroType("union")
    union.items = tuple(_build(branch, named) for branch in branches)
    seen = set()
    for branch in union.items:
        if branch.kind == "union":
            raise SchemaInvalid("a union directly inside a union")
        if str(branch) in seen:
            # fastavro would take ["long", {"long", timestamp-millis}]; no other Avro does, and the two cannot be told
            # apart once decoded.
            raise SchemaInvalid(f"a union holds {branch} twice; a logical type does not tell branches apart")
        seen.add(str(branch))
    return union
