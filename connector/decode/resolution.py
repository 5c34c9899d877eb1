"""How a writer's type is read as a reader's: Avro's schema resolution, decided once per pair of schemas.

Pure. Called by the decoder's compiler only. Whatever cannot be resolved is refused here, with the field's path, before
any record is read: an incompatible schema is nobody's bad record.
"""

from __future__ import annotations

from typing import Any, Final

from connector.schema import AvroType, Field, SchemaUnmappable

_PROMOTIONS: Final = {
    "int": ("long", "float", "double"),
    "long": ("float", "double"),
    "float": ("double",),
    "string": ("bytes",),
    "bytes": ("string",),
}
"""Kinds that a reader may widen into (Avro specification, "Schema Resolution")."""


def reading(writer: AvroType, reader: AvroType, where: str) -> AvroType:
    """The reader's type that a value of `writer` becomes: `reader` itself, or the branch of it that fits.

    Raises:
        SchemaUnmappable: Nothing fits.
    """
    if reader.kind != "union":
        if _distance(writer, reader) is None:
            raise SchemaUnmappable(f"{where or 'record'}: written as {writer}, which cannot be read as {reader}")
        return reader
    fitting = [(distance, branch) for branch in reader.items if (distance := _distance(writer, branch)) is not None]
    if not fitting:
        wanted = ", ".join(map(str, reader.items))
        raise SchemaUnmappable(f"{where}: written as {writer}, which is none of {wanted}")
    return min(fitting, key=lambda pair: pair[0])[1]


def _distance(writer: AvroType, reader: AvroType) -> int | None:
    """0 for the same type, more for a worse fit, None for no fit. Judges the outside: the inside may still fail."""
    if writer.kind != reader.kind:
        return 3 if reader.kind in _PROMOTIONS.get(writer.kind, ()) else None
    if not writer.name or writer.name == reader.name:
        return None if writer.size != reader.size else 0
    known_as = {writer.name, writer.name.rpartition(".")[2]}
    if reader.name.rpartition(".")[2] in known_as:
        return None if writer.size != reader.size else 1
    return 2 if known_as & {*reader.aliases, *(alias.rpartition(".")[2] for alias in reader.aliases)} else None


def fields_of(writer: AvroType, reader: AvroType, where: str) -> tuple[dict[str, Field], list[Field]]:
    """Which field of the reader each field of the writer becomes, and the reader's fields that must default.

    Fields of the writer that are absent from the answer are skipped.

    Raises:
        SchemaUnmappable: The reader needs a field that the writer does not have.
    """
    pairs: dict[str, Field] = {}
    absent: list[Field] = []
    for field in reader.fields.values():
        source = next((name for name in (field.name, *field.aliases) if name in writer.fields), None)
        if source is not None:
            pairs[source] = field
        elif field.has_default:
            absent.append(field)
        else:
            path = f"{where}.{field.name}" if where else field.name
            raise SchemaUnmappable(f"{path}: missing from the writer's schema, and it has no default")
    return pairs, absent


def symbols_of(writer: AvroType, reader: AvroType, where: str) -> tuple[str, ...]:
    """What each index of the writer's enum reads as; an unknown symbol becomes the reader's default.

    Raises:
        SchemaUnmappable: A symbol is unknown to the reader, which has no default.
    """
    for symbol in writer.symbols:
        if symbol not in reader.symbols and reader.default is None:
            raise SchemaUnmappable(f"{where}: symbol {symbol} is unknown to our {reader}, which has no default symbol")
    return tuple(symbol if symbol in reader.symbols else str(reader.default) for symbol in writer.symbols)


def default_of(avro_type: AvroType, default: Any, where: str) -> Any:
    """A field's JSON default as a decoded value. Of a union, the first branch that fits (older Avro: the first).

    Raises:
        SchemaUnmappable: The default is no value of the type.
    """
    if avro_type.kind == "union":
        for branch in avro_type.items:
            if _fits(branch, default):
                value = default_of(branch, default, where)
                return (branch.name, value) if avro_type.is_tagged and branch.kind == "record" else value
    elif not _fits(avro_type, default):
        pass
    elif avro_type.kind == "record":
        return {
            field.name: default_of(field.type, default.get(field.name, field.default), f"{where}.{field.name}")
            for field in avro_type.fields.values()
        }
    elif avro_type.kind == "array":
        return [default_of(avro_type.items[0], item, where) for item in default]
    elif avro_type.kind == "map":
        return {key: default_of(avro_type.items[0], item, where) for key, item in default.items()}
    elif avro_type.kind in {"bytes", "fixed"}:
        return default.encode("latin-1", "replace")
    elif avro_type.kind in {"float", "double"}:
        return float(default)
    else:
        return default
    raise SchemaUnmappable(f"{where}: the default is no {avro_type}")


_JSON: Final[dict[str, type | tuple[type, ...]]] = {
    "null": type(None),
    "boolean": bool,
    "int": int,
    "long": int,
    "float": (int, float),
    "double": (int, float),
    "array": list,
    "map": dict,
    "record": dict,
}


def _fits(avro_type: AvroType, default: Any) -> bool:
    """Whether a JSON value may stand for the type; bool is no number here."""
    return isinstance(default, _JSON.get(avro_type.kind, str)) and (
        isinstance(default, bool) == (avro_type.kind == "boolean")
    )
