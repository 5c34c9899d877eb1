"""Which records have an express lane, and what the lane does with them: one writer schema, one document, one program.

Pure. Called once per writer schema, after the ordinary decoder and mapping were compiled: whatever is wrong with schema
or document has been said by then. Where anything is out of the common (a promotion, a value map over text, single
fields beside the bag, a schema that holds itself) there is no lane, and nothing is said about it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import orjson

from connector.cost import attribute_points
from connector.decode.resolution import fields_of, reading, symbols_of
from connector.express.program import UNCAUGHT, Node, What, lane_type, node, packed
from connector.mapping.document import MappingDocument
from connector.mapping.names import event_name
from connector.mapping.places import ATTRIBUTES, PROPERTIES
from connector.mapping.rules import MappingRules
from connector.mapping.source import Source, parse_source
from connector.mapping.standard import STANDARD_CHECKS
from connector.mapping.times import BUSINESS_FLOOR_MS, MILLIS_A_DAY, UNIT_OF_LOGICAL, iso_of_millis
from connector.mapping.values import instant_of
from connector.records import Kind, Outbound, Rejected
from connector.schema import AvroType, WriterSchema

if TYPE_CHECKING:
    from connector.express.walk import Lane

_SLOTS_MAX: Final = 16

_NODES_MAX: Final = 10_000
"""Of a program. Types that hold another one twice are written out twice: they would double with each level."""

_NEAR: Final = 2
"""What comes nearer to a limit on bytes than by this factor is left to those who measure it."""

_FIXED_BYTES_MAX: Final = 2**31 - 1
"""A program is of integers of 32 bits. Nobody's record is as large."""

_SAME_WIRE: Final = {
    "null": What.NUL,
    "boolean": What.BOOLEAN,
    "float": What.FLOAT,
    "double": What.DOUBLE,
}
_NUMBERS: Final = {"int": What.INT, "long": What.LONG}
_NO_BYTES: Final = (node(What.NUL), node(What.FIXED, 0), node(What.RECORD, 0))
_MANY: Final = {"array": What.ARRAY, "map": What.MAP}


class _NotPlain(Exception):
    """There is no lane for this."""


@dataclass(slots=True)
class _Caught:
    """What the program catches on its way.

    Attributes:
        slots: Slot of each dotted path that somebody asks for.
        bag: Path of the map of free values; empty: there is none.
        types: What stands at the paths, symbols of enums as they are read.
    """

    slots: dict[str, int] = field(default_factory=dict)
    bag: str = ""
    types: dict[str, AvroType] = field(default_factory=dict)
    symbols: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def slot(self, source: Source) -> int:
        """Of a source that is nothing but a field."""
        if not source.field or source.map is not None:
            raise _NotPlain
        return self.slot_of(source.field)

    def slot_of(self, path: str) -> int:
        """Of a path, asked for by this."""
        if len(self.slots) >= _SLOTS_MAX:
            raise _NotPlain
        return self.slots.setdefault(path, len(self.slots))

    def meet(self, path: str, avro_type: AvroType) -> int:
        """The program passes a value: its slot. A path at which two types may stand has no lane."""
        if path not in self.slots:
            return UNCAUGHT
        if path in self.types:
            raise _NotPlain
        self.types[path] = avro_type
        return self.slots[path]


def compile_lane(
    document: MappingDocument, writer: WriterSchema, reader: WriterSchema | None, rules: MappingRules
) -> Lane | None:
    """The lane of records written with `writer`; None where there is none."""
    lane = lane_type()
    if lane is None or not rules.express or document.kind is Kind.CAMPAIGN:
        return None
    try:
        return lane(**_Plan(document, rules).words(writer, reader))
    except (_NotPlain, RecursionError):
        return None


class _Plan:
    """Reads the document, then writes the program."""

    def __init__(self, document: MappingDocument, rules: MappingRules) -> None:
        self._document = document
        self._rules = rules
        self._caught = _Caught()
        self._is_event = document.kind is Kind.EVENT
        self._place = PROPERTIES if self._is_event else ATTRIBUTES

    def words(self, writer: WriterSchema, reader: WriterSchema | None) -> dict[str, Any]:
        """What a lane is made of, by `walk.c`'s words."""
        document, rules, place = self._document, self._rules, self._place
        users = self._users()
        name = self._name("name" if self._is_event else "attribute.name")
        time = self._time()
        flag = None if self._is_event else parse_source("attribute.value", document.at("attribute.value"))
        skips = self._skips()
        flag_slot = UNCAUGHT if flag is None else self._caught.slot_of(flag.field)
        deletes = self._bag("properties" if self._is_event else "attributes")
        program = _Program(self._caught).of(writer, reader)
        self._check_texts(users, name)
        if time is not None:
            self._check_time(time)
        placeholders = frozenset(each.casefold() for each in rules.placeholder_ids)
        return {
            "program": packed(program),
            "is_event": self._is_event,
            "users": users,
            "placeholders": placeholders,
            "placeholder_chars": max(map(len, placeholders), default=0),
            "name": name,
            "time_slot": UNCAUGHT if time is None else self._caught.slots[time.field],
            "flag_slot": flag_slot,
            "flags": () if flag is None else self._flags(flag),
            "skips": tuple((self._caught.slots[path], self._is_skipped(path, values)) for path, values in skips),
            "floor_ms": BUSINESS_FLOOR_MS,
            "ahead_ms": MILLIS_A_DAY,
            "chars_max": _limit(place.string_chars_max),
            "items_max": _limit(place.array_items_max),
            "item_bytes_max": _limit(place.entry_bytes_max and place.entry_bytes_max // _NEAR),
            "bag_bytes_max": place.bytes_max // _NEAR,
            "deletes": deletes,
            "update_only": rules.unknown_users == "ignore",
            "out_type": Outbound,
            "judge_bag_name": _is_plain(place.name, place.has_deletion),
            "judge_own_name": _is_plain(event_name if self._is_event else place.name, place.has_deletion),
        }

    def _users(self) -> tuple[tuple[int, bytes, bool], ...]:
        known = [key for key in ("external_id", "braze_id") if self._document.at(f"user.{key}") is not None]
        preferred = self._document.at("user.prefer") or self._rules.prefer
        known.sort(key=lambda key: key != preferred)
        sources = {key: parse_source(f"user.{key}", self._document.at(f"user.{key}")) for key in known}
        return tuple((self._caught.slot(sources[key]), f'"{key}":'.encode(), key == "braze_id") for key in known)

    def _name(self, word: str) -> tuple[bytes | int, ...]:
        source = parse_source(word, self._document.at(word))
        if not source.template:
            return (self._caught.slot(source),)
        pieces: list[bytes | int] = []
        for literal, path in source.template:
            if literal:
                pieces.append(literal.encode())
            if path:
                pieces.append(self._caught.slot_of(path))
        whole = "".join(piece.decode() if isinstance(piece, bytes) else "x" for piece in pieces)
        if whole != whole.strip():
            raise _NotPlain
        return tuple(pieces)

    def _time(self) -> Source | None:
        text = self._document.at("time")
        if text is None:
            return None
        source = parse_source("time", text)
        self._caught.slot(source)
        return source

    def _skips(self) -> list[tuple[str, frozenset[Any]]]:
        rules = [
            rule
            for rule in self._document.at("skip") or []
            if rule.get("reason") != "control_split" or not self._rules.write_control_splits
        ]
        for rule in rules:
            self._caught.slot_of(rule["field"])
        return [(rule["field"], frozenset(rule["in"])) for rule in rules]

    def _bag(self, word: str) -> bool:
        """Notes where it comes from; whether its nulls are sent."""
        spec = self._document.at(word) or {}
        if spec.keys() - {"from", "nulls"}:
            raise _NotPlain
        self._caught.bag = spec.get("from", "")
        return self._place.has_deletion and spec.get("nulls", "delete") == "delete"

    def _check_texts(self, users: tuple[tuple[int, bytes, bool], ...], name: tuple[bytes | int, ...]) -> None:
        slots = {slot for slot, _, _ in users} | {piece for piece in name if isinstance(piece, int)}
        for path, slot in self._caught.slots.items():
            if slot in slots and self._type_at(path).kind != "string":
                raise _NotPlain

    def _check_time(self, source: Source) -> None:
        avro_type = self._type_at(source.field)
        told = UNIT_OF_LOGICAL.get(avro_type.logical, "")
        if avro_type.kind not in _NUMBERS or (avro_type.logical and not told) or (told or source.unit) != "ms":
            raise _NotPlain

    def _flags(self, source: Source) -> tuple[bytes | None, ...]:
        if source.map is None:
            raise _NotPlain
        named = {symbol: orjson.dumps(value) for symbol, value in source.map.items()}
        return tuple(named.get(symbol) for symbol in self._symbols_at(source.field))

    def _is_skipped(self, path: str, values: frozenset[Any]) -> tuple[bool, ...]:
        return tuple(symbol in values for symbol in self._symbols_at(path))

    def _symbols_at(self, path: str) -> tuple[str, ...]:
        if self._type_at(path).kind != "enum":
            raise _NotPlain
        return self._caught.symbols[path]

    def _type_at(self, path: str) -> AvroType:
        if path not in self._caught.types:
            raise _NotPlain
        return self._caught.types[path]


class _Program:
    """Writes the nodes that walk a writer's schema, as `decode.compiler` would read it."""

    def __init__(self, caught: _Caught) -> None:
        self._caught = caught
        self._open: list[AvroType] = []
        self._met = 0

    def of(self, writer: WriterSchema, reader: WriterSchema | None) -> Node:
        """The whole program."""
        program = self._node(writer.root, reader.root if reader is not None else None, "")
        if self._caught.bag and self._caught.bag not in self._caught.types:
            raise _NotPlain
        return program

    def _node(self, writer: AvroType, reader: AvroType | None, path: str | None) -> Node:
        """One value at a path; None: somewhere that no path leads to."""
        self._count()
        if writer.kind == "union":
            return node(What.UNION, len(writer.items), inner=[self._node(each, reader, path) for each in writer.items])
        read = reading(writer, reader, "") if reader is not None else writer
        if read.kind != writer.kind:
            raise _NotPlain
        if writer.kind == "record":
            return self._record(writer, read if reader is not None else None, path)
        inner = read.items[0] if reader is not None and read.items else None
        if writer.kind == "map" and path and path == self._caught.bag:
            if path in self._caught.types:
                raise _NotPlain
            self._caught.types[path] = read
            return node(What.BAG, 0, inner=[_value(writer.items[0], inner)])
        if writer.kind in _MANY:
            return node(_MANY[writer.kind], 1, inner=[self._node(writer.items[0], inner, None)])
        slot = self._caught.meet(path, read) if path and writer.kind != "null" else UNCAUGHT
        if path and slot != UNCAUGHT and writer.kind == "enum":
            self._caught.symbols[path] = symbols_of(writer, read, "")
        return _leaf(writer, slot, is_read=True)

    def _record(self, writer: AvroType, reader: AvroType | None, path: str | None) -> Node:
        if writer in self._open:
            raise _NotPlain  # it holds itself: a program has an end
        self._open.append(writer)
        pairs = fields_of(writer, reader, "")[0] if reader is not None else writer.fields
        inner = []
        for written in writer.fields.values():
            into = pairs.get(written.name)
            if into is None:
                inner.append(self._unread(written.type, self._open))
            else:
                is_lost = path is None or "." in into.name  # the dots of a path are between names
                below = None if is_lost else f"{path}.{into.name}" if path else into.name
                inner.append(self._node(written.type, into.type if reader is not None else None, below))
        self._open.pop()
        return _fields(inner)

    def _unread(self, writer: AvroType, around: list[AvroType]) -> Node:
        """Steps over a field that the reader does not have: its text may be anything."""
        self._count()
        if writer.kind == "union":
            return node(What.UNION, len(writer.items), inner=[self._unread(each, around) for each in writer.items])
        if writer.kind in _MANY:
            return node(_MANY[writer.kind], 0, inner=[self._unread(writer.items[0], around)])
        if writer.kind == "record":
            if writer in around:
                raise _NotPlain
            fields = [self._unread(each.type, [*around, writer]) for each in writer.fields.values()]
            return _fields(fields)
        return _leaf(writer, UNCAUGHT, is_read=False)

    def _count(self) -> None:
        """One more value is met."""
        self._met += 1
        if self._met > _NODES_MAX:
            raise _NotPlain


def _fields(each: list[Node]) -> Node:
    """A record, without what takes no bytes: else a few bytes could ask for a step for each field of a large schema."""
    inner = [field for field in each if field not in _NO_BYTES]
    return node(What.RECORD, len(inner), inner=inner)


def _leaf(writer: AvroType, slot: int, *, is_read: bool) -> Node:
    """A value without others in it."""
    match writer.kind:
        case "int" | "long":
            return node(_NUMBERS[writer.kind], slot)
        case "string" if is_read:
            return node(What.STRING, slot)
        case "string" | "bytes":
            return node(What.SKIPPED)
        case "fixed":
            if writer.size > _FIXED_BYTES_MAX:
                raise _NotPlain
            return node(What.FIXED, writer.size)
        case "enum":
            return node(What.ENUM, slot, len(writer.symbols))
        case kind:
            return node(_SAME_WIRE[kind])


def _value(writer: AvroType, reader: AvroType | None, *, is_item: bool = False) -> Node:
    """One value of the bag, written as JSON; whatever the ordinary way would change or look into is declined."""
    if writer.kind == "union":
        branches = [_value(each, reader, is_item=is_item) for each in writer.items]
        return node(What.UNION, len(branches), inner=branches)
    read = reading(writer, reader, "") if reader is not None else writer
    if read.kind != writer.kind:
        return node(What.DECLINE)
    match writer.kind:
        case "null" | "boolean" | "float" | "double" as kind:
            return node(_SAME_WIRE[kind])
        case "string":
            return node(What.STRING, UNCAUGHT)
        case "int" | "long" if not read.logical:
            return node(_NUMBERS[writer.kind], UNCAUGHT)
        case "long" if UNIT_OF_LOGICAL.get(read.logical) == "ms" and not is_item:
            return node(What.TIME)
        case "record" if _is_instant(writer) and _is_instant(read) and not is_item:
            return node(What.TIME)
        case "array" if not is_item:
            inner = _value(writer.items[0], read.items[0] if reader is not None else None, is_item=True)
            return node(What.ARRAY, 0, inner=[inner])
    return node(What.DECLINE)


def _is_instant(record: AvroType) -> bool:
    """Whether its one field is milliseconds: on the wire it is nothing else."""
    found = instant_of(record)
    return found is not None and found[1] is iso_of_millis and record.fields[found[0]].type.kind == "long"


def _is_plain(rule: Callable[[str], str], has_deletion: bool) -> Callable[[str], bool]:
    """Judges names: sent as they come, nothing about their values to be looked at, and billed like any other."""

    def is_plain(name: str) -> bool:
        if has_deletion and (name in STANDARD_CHECKS or attribute_points({name: None}) != 1):
            return False
        try:
            return rule(name) == name
        except Rejected:
            return False

    return is_plain


def _limit(most: int | None) -> int:
    return UNCAUGHT if most is None else most
