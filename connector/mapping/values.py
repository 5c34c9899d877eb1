"""Values: what Avro holds to what Braze takes, as a table from Python type to converter, one for each Avro type.

Pure. Built by the mapping's compiler, once per writer schema. Converters raise `Rejected` without the entry's name: the
caller puts it in front. Nulls inside objects and arrays are left out, never sent: one of them would make Braze drop
all nested updates of the request.

A record of one field that is a time is that time (`aiq.export.v1.Instant`). A `date` becomes `YYYY-MM-DD`, a decimal a
number or a string by the operator's rule, a UUID and an enum their text. Other bytes, NaN and infinities are refused.

Inside an attribute's object a time that Braze would not read drops all nested updates of the request, those of other
records among them. So it is refused here: one beyond the year 3000, and whatever under a producer's own key `$time` is
no ISO 8601 text. What is, is sent in the form of all our times: we read more spellings of it than Braze's pages name.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from decimal import Decimal
from types import NoneType
from typing import Any, Final, Literal
from uuid import UUID

from connector.mapping.document import MappingInvalid
from connector.mapping.places import Place
from connector.mapping.times import (
    UNIT_OF_LOGICAL,
    clock_of_micros,
    clock_of_millis,
    iso_of_days,
    iso_of_micros,
    iso_of_millis,
    iso_of_nanos,
    millis_of_iso,
)
from connector.records import Rejected
from connector.schema import AvroType

Converter = Callable[[Any], Any]
"""A decoded value -> its JSON value. Raises `Rejected`."""

Table = dict[type, Converter]
"""By the Python type of the decoded value; every type that the Avro type can decode to is a key."""

DOUBLE_MAX: Final = sys.float_info.max
"""Compared from both sides it refuses infinities, and NaN too, which is neither above nor below anything."""

_ISO_OF_UNIT: Final[dict[str, Converter]] = {
    "ms": iso_of_millis,
    "us": iso_of_micros,
    "ns": iso_of_nanos,
    "d": iso_of_days,
}

_CLOCKS: Final[dict[str, Converter]] = {"time-millis": clock_of_millis, "time-micros": clock_of_micros}

_TIME_KEY: Final = "$time"
"""What Braze knows a time inside an object by."""

_NESTED_YEAR_MAX: Final = "3000"
"""As the first four characters of ISO 8601 text (page "Custom attributes": 0 to 3000)."""

_INTEGER_BITS: Final = 63
"""Whole numbers beyond 64 bits with a sign are no JSON number that both sides would read alike."""


def same(value: Any) -> Any:
    """The converter of values that JSON has as they are. The compiler leaves its call out."""
    return value


def finite(value: float) -> float:
    """A double that JSON has."""
    if not -DOUBLE_MAX <= value <= DOUBLE_MAX:
        raise Rejected("bad_value", "not a finite number")
    return value


def unsendable(_: Any) -> Any:
    """Bytes without a meaning."""
    raise Rejected("bad_value", "bytes, which JSON cannot hold")


def uuid_text(value: bytes) -> str:
    """A UUID's sixteen bytes as people write it."""
    return str(UUID(bytes=value))


_SCALARS: Final[dict[str, tuple[type, Converter]]] = {
    "null": (NoneType, same),
    "boolean": (bool, same),
    "float": (float, finite),
    "double": (float, finite),
}


def instant_of(avro_type: AvroType) -> tuple[str, Converter] | None:
    """The one field of a record that is nothing but a time, and how it is written; None for any other type."""
    if avro_type.kind != "record" or len(avro_type.fields) != 1:
        return None
    (field,) = avro_type.fields.values()
    iso = _ISO_OF_UNIT.get(UNIT_OF_LOGICAL.get(field.type.logical, ""))
    return (field.name, iso) if iso is not None else None


class Values:
    """Makes the tables of one place.

    Args:
        place: Whose limits hold.
        decimal_as: The operator's rule.
    """

    def __init__(self, place: Place, decimal_as: Literal["number", "string"]) -> None:
        self._place = place
        self._decimal_as = decimal_as
        self._nested: dict[tuple[int, bool], Table] = {}

    def text(self, value: str) -> str:
        """A string within the place's limit."""
        limit = self._place.string_chars_max
        if limit is not None and len(value) > limit:
            raise Rejected("value_too_long", f"a string of more than {limit} characters")
        if "\0" in value:
            raise Rejected("bad_value", "a string that holds a NUL")
        return value

    def table(self, avro_type: AvroType, where: str, *, inside: bool = False) -> Table:
        """How each alternative of the type is written.

        Args:
            avro_type: A union is looked into.
            where: For the error.
            inside: Within an object of an entry.

        Raises:
            MappingInvalid: Two alternatives decode to one Python type and mean different things.
        """
        table: Table = {}
        tagged: dict[str, Converter] = {}
        meanings: dict[type, tuple[object, ...]] = {}
        for branch in avro_type.items if avro_type.kind == "union" else (avro_type,):
            if avro_type.is_tagged and branch.kind == "record":
                tagged[branch.name] = self._record(branch, where, inside)
                continue
            python, converter, *meaning = self._entry(branch, where, inside)
            if meanings.setdefault(python, (converter, *meaning)) != (converter, *meaning):
                raise MappingInvalid(f"{where}: the schema's alternatives {branch} and another look alike once read")
            table[python] = converter
        if tagged:
            table[tuple] = lambda pair: tagged[pair[0]](pair[1])
        return table

    def _entry(self, avro_type: AvroType, where: str, inside: bool) -> tuple[Any, ...]:
        """Python type, converter, and whatever else makes two of them different."""
        match avro_type.kind:
            case "int" | "long":
                return int, self._integer(avro_type.logical, inside)
            case "string" | "enum":
                return str, self.text
            case "bytes" | "fixed":
                return bytes, *self._bytes(avro_type)
            case "array":
                return list, self._array(avro_type.items[0], where, inside)
            case "map":
                return dict, self._map(avro_type.items[0], where)
            case "record":
                return dict, self._record(avro_type, where, inside)
            case scalar:
                return _SCALARS[scalar]

    def _bytes(self, avro_type: AvroType) -> tuple[Any, ...]:
        if avro_type.logical == "decimal":
            return self._decimal(avro_type.scale), avro_type.scale
        if avro_type.logical == "uuid" and avro_type.size == 16:
            return (uuid_text,)
        return (unsendable,)

    def _integer(self, logical: str, inside: bool) -> Converter:
        iso = _ISO_OF_UNIT.get(UNIT_OF_LOGICAL.get(logical, ""))
        if iso is None:
            return _CLOCKS.get(logical, same)
        return _wrapped(iso) if inside and self._place.wraps_nested_times else iso

    def _decimal(self, scale: int) -> Converter:
        as_string = self._decimal_as == "string"

        def decimal(value: bytes) -> Any:
            unscaled = int.from_bytes(value, "big", signed=True)
            # A decimal of 4,300 digits and more is refused by Python itself; Braze's numbers end long before.
            if unscaled.bit_length() > 1024:
                raise Rejected("bad_value", "a decimal of more than 1024 bits")
            exact = Decimal(f"{unscaled}E-{scale}")  # exact, unlike arithmetic, which rounds to the context
            if as_string:
                return self.text(f"{exact:f}")
            if scale == 0 and unscaled.bit_length() <= _INTEGER_BITS:
                return unscaled
            return finite(float(exact))

        return decimal

    def _array(self, item: AvroType, where: str, inside: bool) -> Converter:
        table = self._shared(item, f"{where}[]", inside)
        limit = self._place.array_items_max

        def array(values: list[Any]) -> list[Any]:
            items = [table[type(value)](value) for value in values if value is not None]
            if limit is not None and len(items) > limit:
                raise Rejected("value_too_long", f"an array of more than {limit} items")
            return items

        return array

    def _map(self, value_type: AvroType, where: str) -> Converter:
        table = self._shared(value_type, f"{where}{{}}", inside=True)
        rule, has_times = self._place.nested_key, self._place.wraps_nested_times

        def nested(entries: dict[str, Any]) -> dict[str, Any]:
            converted: dict[str, Any] = {}
            for key, value in entries.items():
                if value is not None:
                    sent = rule(key)
                    if sent in converted:
                        raise Rejected("bad_name", "two nested keys become the same")
                    converted[sent] = table[type(value)](value)
            if has_times and _TIME_KEY in converted:
                converted[_TIME_KEY] = _told_time(converted[_TIME_KEY])
            return converted

        return nested

    def _record(self, avro_type: AvroType, where: str, inside: bool) -> Converter:
        instant = instant_of(avro_type)
        if instant is not None:
            name, iso = instant
            written = _wrapped(iso) if inside and self._place.wraps_nested_times else iso
            return lambda record: written(record[name])
        tables = {
            name: self._shared(field.type, f"{where}.{name}", inside=True) for name, field in avro_type.fields.items()
        }
        rule = self._place.nested_key
        try:
            names = {name: rule(name) for name in tables}
        except Rejected as refused:
            raise MappingInvalid(f"{where}: {refused.detail}") from None

        has_times = self._place.wraps_nested_times

        def nested(record: dict[str, Any]) -> dict[str, Any]:
            converted = {
                names[name]: tables[name][type(value)](value) for name, value in record.items() if value is not None
            }
            if has_times and _TIME_KEY in converted:
                converted[_TIME_KEY] = _told_time(converted[_TIME_KEY])
            return converted

        return nested

    def _shared(self, avro_type: AvroType, where: str, inside: bool) -> Table:
        """A nested type's table. A type nested in itself meets its own table, which is filled by then."""
        key = id(avro_type), inside
        table = self._nested.get(key)
        if table is None:
            table = self._nested[key] = {}
            table.update(self.table(avro_type, where, inside=inside))
        return table


def _wrapped(iso: Converter) -> Converter:
    return lambda value: {_TIME_KEY: _within_years(iso(value))}


def _told_time(value: Any) -> str:
    """What stands under a key `$time` of the producer's."""
    if type(value) is not str:
        raise Rejected("bad_value", "a nested $time that is no text")
    return _within_years(iso_of_millis(millis_of_iso(value)))


def _within_years(iso: str) -> str:
    if iso[:4] > _NESTED_YEAR_MAX:
        raise Rejected("bad_value", "a nested time beyond the year 3000")
    return iso
