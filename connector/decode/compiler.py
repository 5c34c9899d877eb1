"""Turns a schema into one plain function from bytes to a dict, and hostile bytes into `Rejected`.

Pure. Called once per writer schema. Why not fastavro's reader: this takes half the time (straight code for just this
schema, unread fields stepped over), resolves two schemas before the first record instead of within each, and its answer
to hostile bytes is ours to bound. fastavro and Apache Avro are what the tests compare it with.

What bounds it: every turn of a loop takes at least one byte (types that take none are refused as array items), a length
only ever slices what is there, and recursion is Python's own, which stops. What is read past the end yields short
slices, so the position is compared with the length once, at the end.

Decoded values: records and maps are dicts, enums and strings str, bytes and fixed bytes, logical types what is on the
wire. In a union that holds a record beside a map or another record, a record comes as `(full name, dict)`.
"""

from __future__ import annotations

import copy
import struct
from collections.abc import Callable
from typing import Any, Final

from connector.decode.resolution import default_of, fields_of, reading, symbols_of
from connector.decode.wire import int_at, long_at
from connector.records import Rejected
from connector.schema import AvroType, SchemaUnmappable, WriterSchema
from connector.source_code import SourceCode

Decoder = Callable[[bytes, int], dict[str, Any]]
"""(value, where the Avro starts) -> the record. Raises nothing but `Rejected`: `undecodable` or `trailing_bytes`."""

_Key = tuple[int, int, bool]
"""Writer's type, reader's type, stepped over."""

_INDENT_MAX: Final = 8
"""Deeper code moves into a function of its own: CPython takes 20 nested loops at most."""

_LINES_MAX: Final = 3000
"""Past this every record gets one function, shared: types that hold each other twice would double with each level."""

_COMMON_FIRST: Final = ("string", "long", "int", "double", "float", "boolean", "null", "enum", "record")
"""Order in which a union's branches are asked for."""

_SIX_BYTES: Final = sum(128 << 7 * place for place in range(5))
"""The continuation bits of a six-byte long, as they add up: milliseconds between 1970-07 and 2039 take six bytes."""

_HEAD: Final = ("def decode(d, p):", " z = len(d)", " try:")

_TAIL: Final = (
    " except (IndexError, ValueError, OverflowError, RecursionError, struct_error):",
    "  pass",  # raised below, outside: a UnicodeDecodeError holds the bytes, and would ride along as the context
    " else:",
    "  if p == z:",
    "   return r",
    "  if p < z:",
    "   raise Rejected('trailing_bytes', f'{z - p} bytes follow a whole record')",
    " raise Rejected('undecodable', f'no record of its schema: given up at byte {min(p, z)} of {z}')",
)


def compile_decoder(writer: WriterSchema, reader: WriterSchema | None) -> Decoder:
    """The function that reads records of `writer`, as `reader` sees them if there is one.

    Raises:
        SchemaUnmappable: The two cannot be resolved, or the schema is none that records can safely be read with. Names
            the field.
    """
    if writer.root.kind != "record":
        raise SchemaUnmappable(f"the schema's outermost type is {writer.root.kind}; it must be a record")
    emitter = _Emitter(
        Rejected=Rejected,
        copy=copy.deepcopy,
        double_at=struct.Struct("<d").unpack_from,
        float_at=struct.Struct("<f").unpack_from,
        int_at=int_at,
        long_at=long_at,
        struct_error=struct.error,
    )
    try:
        emitter.value(writer.root, reader.root if reader else None, "r", 2, "")
        emitter.lines = [*emitter.functions, *_HEAD, *emitter.lines, *_TAIL]
        decoder: Decoder = emitter.build("decode", f"decoder of {writer.root}")
    except RecursionError:  # ours, or of Python's compiler, to which each branch of a union lies within the one before
        raise SchemaUnmappable("the schema is nested too deeply, or a union has too many branches") from None
    return decoder


class _Emitter(SourceCode):
    """Writes the statements that read one type after the other.

    In them `d` are the bytes, `z` their number and `p` the position. `where` is the field's path, for complaints.
    """

    def __init__(self, **namespace: object) -> None:
        super().__init__(**namespace)
        self.functions: list[str] = []
        self._shared: dict[_Key, str] = {}
        self._open: frozenset[_Key] = frozenset()

    def value(self, writer: AvroType, reader: AvroType | None, target: str | None, indent: int, where: str) -> None:
        """Reads one `writer`, as `reader` sees it, into the variable `target`, or steps over it if that is None."""
        key = (id(writer), id(reader), target is None)
        is_crowded = indent > _INDENT_MAX and (writer.items or writer.fields)
        is_again = writer.kind == "record" and (
            key in self._open or key in self._shared or len(self.lines) + len(self.functions) > _LINES_MAX
        )
        if is_crowded or is_again:
            name = self._shared.get(key) or self._function(key, writer, reader, where)
            self.put(indent, f"{target or '_'}, p = {name}(d, p)")
        else:
            self._inline(writer, reader, target, indent, where)

    def _function(self, key: _Key, writer: AvroType, reader: AvroType | None, where: str) -> str:
        """A function of its own for the type; a record's is shared, and may call itself."""
        name = self.name("f")
        if writer.kind == "record":
            self._shared[key] = name
        target = None if key[2] else "r"
        outside = self.lines, self._open
        self.lines, self._open = [f"def {name}(d, p):", " z = len(d)"], frozenset()
        self._inline(writer, reader, target, 1, where)
        self.functions += [*self.lines, f" return {target}, p"]
        self.lines, self._open = outside
        return name

    def _inline(self, writer: AvroType, reader: AvroType | None, target: str | None, indent: int, where: str) -> None:
        if writer.kind == "union":
            self._union(writer, reader, target, indent, where)
            return
        branch = reading(writer, reader, where) if reader is not None else None
        emit: Callable[[AvroType, AvroType | None, str | None, int, str], None] = getattr(self, f"_{writer.kind}")
        emit(writer, branch, target, indent, where)
        if target and branch is not None:
            if branch.kind in {"float", "double"} and writer.kind in {"int", "long"}:
                self.put(indent, f"{target} = float({target})")
            self._tag(reader, branch, target, indent)

    def _tag(self, union: AvroType | None, branch: AvroType, target: str, indent: int) -> None:
        if union is not None and union.is_tagged and branch.kind == "record":
            self.put(indent, f"{target} = ({self.constant(branch.name)}, {target})")

    def _union(self, writer: AvroType, reader: AvroType | None, target: str | None, indent: int, where: str) -> None:
        if len(writer.items) < 64:  # the index is one byte: 2 x 63 < 128
            self.put(indent, "n = d[p]", "p += 1")
        else:
            self.put(indent, "n, p = long_at(d, p)", "n += n")
        word = "if"
        for branch in sorted(writer.items, key=_rank):
            self.put(indent, f"{word} n == {2 * writer.items.index(branch)}:")
            before = len(self.lines)
            self.value(branch, reader, target, indent + 1, where)
            if target and reader is None:
                self._tag(writer, branch, target, indent + 1)
            if len(self.lines) == before:
                self.put(indent + 1, "pass")
            word = "elif"
        self.put(indent, "else:", " raise ValueError")

    def _record(self, writer: AvroType, reader: AvroType | None, target: str | None, indent: int, where: str) -> None:
        key = (id(writer), id(reader), target is None)
        outside, self._open = self._open, self._open | {key}
        pairs, absent = fields_of(writer, reader, where) if reader is not None else (writer.fields, [])
        variables = {}
        for field in writer.fields.values():
            into = pairs.get(field.name) if target else None
            path = f"{where}.{field.name}" if where else field.name
            if into is None:
                self.value(field.type, None, None, indent, path)
            else:
                variables[into.name] = self.name("v")
                self.value(field.type, into.type if reader is not None else None, variables[into.name], indent, path)
        for field in absent if target else ():
            variables[field.name] = self._default(default_of(field.type, field.default, f"{where}.{field.name}"))
        if target:
            order = (reader or writer).fields
            pairs_text = ", ".join(f"{self.constant(name)}: {variables[name]}" for name in order)
            self.put(indent, f"{target} = {{{pairs_text}}}")
        self._open = outside

    def _default(self, value: object) -> str:
        """An expression that makes the value anew: whoever maps the record may change what he was given."""
        constant = self.constant(value)
        return f"copy({constant})" if isinstance(value, dict | list | tuple) else constant

    def _array(self, writer: AvroType, reader: AvroType | None, target: str | None, indent: int, where: str) -> None:
        item = writer.items[0]
        if item.bytes_min == 0:
            # Sixteen bytes could claim 2^62 of them.
            raise SchemaUnmappable(f"{where}: items of type {item} take no bytes, so their number has no bound")
        store = f"{target}.append({{}})" if target else ""
        self._blocks(item, reader, target and f"{target} = []", store, indent, f"{where}[]")

    def _map(self, writer: AvroType, reader: AvroType | None, target: str | None, indent: int, where: str) -> None:
        store = f"{target}[{self.name('k')}] = {{}}" if target else ""
        self._blocks(writer.items[0], reader, target and f"{target} = {{}}", store, indent, f"{where}{{}}")

    def _blocks(
        self, item: AvroType, reader: AvroType | None, start: str | None, store: str, indent: int, where: str
    ) -> None:
        """Counted blocks up to an empty one. A negative count is followed by the block's size, which nobody needs."""
        count, kept = self.name("c"), self.name("v") if store else None
        if start:
            self.put(indent, start)
        self._varint(count, indent)
        self.put(indent, f"while {count}:", f" if {count} < 0:", f"  {count} = -{count}", "  _, p = long_at(d, p)")
        self.put(indent, f" for _ in range({count}):")
        if where.endswith("{}"):
            self._text(store[store.index("[") + 1 : store.index("]")] if store else None, ".decode()", indent + 2)
        self.value(item, reader.items[0] if reader is not None else None, kept, indent + 2, where)
        if store:
            self.put(indent + 2, store.format(kept))
        self._varint(count, indent + 1)

    def _varint(self, target: str, indent: int, function: str = "long_at") -> None:
        one_byte = f" {target} = (n >> 1) ^ -(n & 1)"
        self.put(indent, "n = d[p]", "if n < 128:", " p += 1", one_byte, "else:", f" {target}, p = {function}(d, p)")

    def _int(self, writer: AvroType, _: AvroType | None, target: str | None, indent: int, _where: str) -> None:
        self._varint(target or "_", indent, "int_at" if writer.kind == "int" else "long_at")

    def _long(self, writer: AvroType, reader: AvroType | None, target: str | None, indent: int, where: str) -> None:
        if target is None or not writer.logical.endswith("millis"):
            self._int(writer, reader, target, indent, where)
            return
        self.put(
            indent,
            f"{target} = None",
            "if d[p] > 127 and p + 6 <= z:",
            " a, b, c, e, f, g = d[p : p + 6]",
            " if b > 127 and c > 127 and e > 127 and f > 127 and g < 128:",
            "  p += 6",
            f"  n = a + (b << 7) + (c << 14) + (e << 21) + (f << 28) + (g << 35) - {_SIX_BYTES}",
            f"  {target} = (n >> 1) ^ -(n & 1)",
            f"if {target} is None:",
            f" {target}, p = long_at(d, p)",
        )

    def _text(self, target: str | None, decode: str, indent: int) -> None:
        self.put(indent, "n = d[p]", "if n & 129:", " n, p = long_at(d, p)", " if n < 0:", "  raise ValueError")
        self.put(indent, " e = p + n", "else:", " p += 1", " e = p + (n >> 1)")
        if target:
            self.put(indent, f"{target} = d[p:e]{decode}")
        self.put(indent, "p = e")

    def _string(self, writer: AvroType, reader: AvroType | None, target: str | None, indent: int, _: str) -> None:
        self._text(target, ".decode()" if (reader or writer).kind == "string" else "", indent)

    _bytes = _string

    def _fixed(self, writer: AvroType, _: AvroType | None, target: str | None, indent: int, _where: str) -> None:
        self.put(indent, f"{target or '_'} = d[p : p + {writer.size}]", f"p += {writer.size}")
        self.put(indent, "if p > z:", " raise ValueError")  # or a loop over them would not end with the bytes

    def _enum(self, writer: AvroType, reader: AvroType | None, target: str | None, indent: int, where: str) -> None:
        symbols = symbols_of(writer, reader, where) if reader is not None else writer.symbols
        self._varint("n", indent, "int_at")
        self.put(indent, "if n < 0:", " raise ValueError", f"{target or '_'} = {self.constant(symbols)}[n]")

    def _null(self, _: AvroType, _reader: AvroType | None, target: str | None, indent: int, _where: str) -> None:
        if target:
            self.put(indent, f"{target} = None")

    def _boolean(self, _: AvroType, _reader: AvroType | None, target: str | None, indent: int, _where: str) -> None:
        self.put(indent, "n = d[p]", "p += 1", "if n > 1:", " raise ValueError", f"{target or '_'} = n == 1")

    def _float(self, writer: AvroType, _: AvroType | None, target: str | None, indent: int, _where: str) -> None:
        self.put(indent, f"{target or '_'}, = {writer.kind}_at(d, p)", f"p += {4 if writer.kind == 'float' else 8}")

    _double = _float


def _rank(branch: AvroType) -> int:
    return _COMMON_FIRST.index(branch.kind) if branch.kind in _COMMON_FIRST else len(_COMMON_FIRST)
