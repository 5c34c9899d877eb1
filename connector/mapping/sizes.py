r"""How large a value's JSON can be, told from its schema, so that only records that could be too large are measured.

Pure. Called by the mapping's compiler. For every type two numbers hold for all its values:

    JSON bytes <= fixed + rate x Avro bytes

    string   fixed 2 (quotes), rate 6 (one control character becomes \u0001)
    number   fixed 40 (a time is the longest: {"$time":"2026-11-23T21:22:13.123Z"} has 36), a boolean 5, a null 4
    enum     fixed: its longest symbol
    bytes    rate 6 for decimals (2.5 digits a byte) and UUIDs, fixed 60 for sign, point and the scale's zeros
    array    rate: an item's, and its fixed part and a comma for each of its fewest Avro bytes (one, as a rule)
    map      likewise, with a key for each value: fixed 4 (quotes, colon, comma), rate 6, one Avro byte for its length
    record   fixed: what its names and fields cost together; rate: the worst field's. One that is a time: a number
    union    the worst branch's two numbers

For a map of our contract an array of times is the worst: 6 + 41/1 = 47 in the array, and 47 + 44/2 = 69 in the map, so
an event is measured only beyond 102,400 / 69 = 1.4 KB of Avro.
"""

from __future__ import annotations

from math import inf
from typing import Any, Final

import orjson

from connector.mapping.values import instant_of
from connector.records import Rejected
from connector.schema import AvroType

_FIXED: Final = {"null": 4, "boolean": 5, "int": 40, "long": 40, "float": 24, "double": 24, "string": 2}
"""Whole numbers may be times: 36 bytes and a little room."""

_ESCAPED: Final = 6

_AROUND_NAME: Final = 6
"""Colon, comma, and the four bytes that a name may grow by when it is changed (`names`)."""

_LEVELS_AROUND: Final = 8
"""Levels that a request puts around a value, with room to spare: the whole must not be the one that is too deep."""

_DEPTH_MAX: Final = 100
"""Deeper types are always measured: orjson takes 254 levels."""

_Bound = tuple[float, float, int]
"""Fixed, rate, and how many types are nested in it."""

_ENDLESS: Final[_Bound] = (inf, inf, 0)
"""Of what holds itself: always measured."""


def json_bound(avro_type: AvroType) -> tuple[float, float]:
    """(fixed, rate) of the inequality above."""
    fixed, rate, _ = _bound(avro_type, {})
    return fixed, rate


def _bound(avro_type: AvroType, known: dict[int, _Bound]) -> _Bound:
    """Every type is looked into once: one that holds another twice, or itself, would double with each level."""
    bound = known.get(id(avro_type))
    if bound is None:
        known[id(avro_type)] = _ENDLESS  # for those who meet it again before its own is known
        inner = [_bound(item, known) for item in (*avro_type.items, *(each.type for each in avro_type.fields.values()))]
        levels = max((part[2] + 1 for part in inner), default=0)
        bound = _ENDLESS if levels > _DEPTH_MAX else (*_from_inner(avro_type, inner), levels)
        known[id(avro_type)] = bound
    return bound


def _from_inner(avro_type: AvroType, inner: list[_Bound]) -> tuple[float, float]:
    """(fixed, rate) of a type, from those of its items or fields."""
    if instant_of(avro_type) is not None:
        return _FIXED["long"], 0
    if avro_type.kind == "record":
        names = sum(len(orjson.dumps(name)) + _AROUND_NAME for name in avro_type.fields)
        return 2 + names + sum(part[0] for part in inner), max((part[1] for part in inner), default=0)
    if avro_type.kind in {"array", "map", "union"}:
        fixed, rate = max((part[0] for part in inner), default=0), max((part[1] for part in inner), default=0)
        if avro_type.kind == "union":
            return fixed, rate
        takes = avro_type.items[0].bytes_min
        if avro_type.kind == "array":
            return 2, rate + (1 + fixed) / max(1, takes)
        return 2, max(rate, _ESCAPED) + (4 + fixed) / (1 + takes)
    if avro_type.kind == "enum":
        return max((len(orjson.dumps(symbol)) for symbol in avro_type.symbols), default=0), 0
    # Bytes and fixed travel as decimals (at most 2.5 digits a byte, a sign, a point and the scale's zeros) or UUIDs.
    return _FIXED.get(avro_type.kind, 60 + avro_type.scale), _ESCAPED


def avro_bytes_safe(avro_type: AvroType, json_bytes_max: int) -> int:
    """A record of at most so many Avro bytes cannot hold a value of the type with more JSON than the limit."""
    fixed, rate = json_bound(avro_type)
    return 0 if fixed >= json_bytes_max else int((json_bytes_max - fixed) // max(rate, 1))


def refuse_larger(what: str, value: Any, json_bytes_max: int) -> None:
    """Measures, the dear way. `what` begins the detail.

    Raises:
        Rejected: `object_too_large`; `bad_value` for what JSON cannot hold.
    """
    wrapped = value
    for _ in range(_LEVELS_AROUND):
        wrapped = [wrapped]
    try:
        size: int | None = len(orjson.dumps(wrapped)) - 2 * _LEVELS_AROUND
    except orjson.JSONEncodeError:
        size = None
    if size is None:
        raise Rejected("bad_value", f"{what}: nested too deeply")
    if size > json_bytes_max:
        raise Rejected("object_too_large", f"{what}: {size} bytes as JSON, {json_bytes_max} are allowed")
