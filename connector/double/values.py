"""What a custom attribute's value becomes: set, deleted, added to, merged, coerced, or left as it was.

Pure; never changes a value in place, so that a stored value may be shared with the request that set it.
"""

from __future__ import annotations

from typing import Any, Final

import orjson

from connector.double.exchange import JsonObject
from connector.double.settings import ForcedType
from connector.double.validation import NESTED_BYTES_MAX, TEXT_CHARS_MAX, instant, is_over_long

DROPPED: Final = object()
"""In place of a value: Braze ignores it without a word."""

ARRAY_ITEMS_MAX: Final = 500

_YEAR_MAX: Final = 3000
"""A later time is no time but text."""

_LIST_OPERATIONS: Final = frozenset({"add", "remove"})
_OBJECT_OPERATIONS: Final = frozenset({"$add", "$update", "$remove"})
_TRUE: Final = frozenset({"1", "true", "t"})
_FALSE: Final = frozenset({"0", "false", "f"})


def is_nested(value: Any) -> bool:
    """Whether this is a nested custom attribute: an object or an array of objects, and no operation on scalars."""
    if type(value) is list:
        return any(type(one) is dict for one in value)
    return type(value) is dict and value.keys() != {"inc"} and not value.keys() <= _LIST_OPERATIONS


def spoils_nested(thing: JsonObject) -> bool:
    """Whether an attributes object holds a nested attribute that drops all nested attributes of its request."""
    for value in thing.values():
        kind = type(value)
        if (kind is dict or kind is list) and is_nested(value) and not is_sound(value):
            return True
    return False


def is_sound(nested: Any) -> bool:
    """Whether nothing inside is null or a `$time` that is unreadable or too far away."""
    if type(nested) is dict:
        if "$time" in nested:
            return _is_time(nested["$time"])
        return all(is_sound(value) for value in nested.values())
    if type(nested) is list:
        return all(is_sound(value) for value in nested)
    return nested is not None


def is_storable(nested: Any) -> bool:
    """Whether no key inside holds a space, and neither a key nor a text is over-long."""
    if type(nested) is dict:
        return all(
            " " not in key and len(key) <= TEXT_CHARS_MAX and is_storable(value) for key, value in nested.items()
        )
    return all(map(is_storable, nested)) if type(nested) is list else not is_over_long(nested)


def _is_time(value: Any) -> bool:
    found = instant(value)
    return found is not None and found.year <= _YEAR_MAX


def coerced(forced: ForcedType, value: Any) -> Any:
    """The value in the dashboard's type, or `DROPPED`. Only booleans are coerced (page "Managing custom data")."""
    kind = type(value)
    if forced == "boolean":
        if kind is bool:
            return value
        word = str(value).lower() if kind in {str, int} else ""
        return True if word in _TRUE else False if word in _FALSE else DROPPED
    fits = {
        "number": kind in {int, float} or (kind is dict and value.keys() == {"inc"}),
        "string": kind is str,
        "time": _is_time(value),
        "array": kind is list or (kind is dict and bool(value) and value.keys() <= _LIST_OPERATIONS),
        "object": is_nested(value),
    }
    return value if fits[forced] else DROPPED


def updated(stored: Any, value: Any, *, is_merge: bool) -> tuple[Any, int]:
    """The attribute after an update, and the data points that it costs.

    Args:
        stored: What the profile holds; None when it holds nothing.
        value: What the request says; not null (null deletes and is no matter of values).
        is_merge: The object's `_merge_objects`.

    Returns:
        The new value, or `DROPPED` with the stored one standing and nothing billed.
    """
    if type(value) is list:
        return _fitting(_unique(value), 1)
    if type(value) is not dict:
        return (DROPPED, 0) if is_over_long(value) else (value, 1)
    keys = value.keys()
    if keys == {"inc"}:
        return _incremented(stored, value["inc"])
    if value and keys <= _LIST_OPERATIONS:
        return _listed(stored, value)
    if value and keys <= _OBJECT_OPERATIONS:
        return _operated(stored, value, is_merge=is_merge)
    merged = _merged(stored, value) if is_merge and type(stored) is dict else value
    return _fitting(merged, len(value))


def _fitting(value: Any, points: int) -> tuple[Any, int]:
    """Over-limit updates leave the value unchanged."""
    return (value, points) if len(orjson.dumps(value)) <= NESTED_BYTES_MAX else (DROPPED, 0)


def _unique(values: list[Any]) -> list[Any]:
    """Scalars once each, where they last appeared, the oldest falling off; arrays of objects stay as they are."""
    if any(type(one) in {dict, list} for one in values):
        return values
    # Keyed by type too: 1, 1.0 and true are one key of a dict but three values of JSON.
    latest = {(type(one), one): one for one in reversed(values)}
    return list(reversed(latest.values()))[-ARRAY_ITEMS_MAX:]


def _incremented(stored: Any, step: Any) -> tuple[Any, int]:
    if type(step) is not int or (stored is not None and type(stored) not in {int, float}):
        return DROPPED, 0
    return (stored or 0) + step, 1


def _listed(stored: Any, value: JsonObject) -> tuple[Any, int]:
    added, removed = value.get("add", []), value.get("remove", [])
    if type(added) is not list or type(removed) is not list or (stored is not None and type(stored) is not list):
        return DROPPED, 0
    return _fitting(
        _unique([one for one in [*(stored or []), *added] if one not in removed]), len(added) + len(removed)
    )


def _operated(stored: Any, value: JsonObject, *, is_merge: bool) -> tuple[Any, int]:
    points = 0
    for entry in [entry for entries in value.values() for entry in (entries if type(entries) is list else [None])]:
        if type(entry) is not dict:
            return DROPPED, 0
        new = entry.get("$new_object", entry)
        points += len(new) if type(new) is dict else 1
    if stored is not None and type(stored) is not list:
        return DROPPED, 0
    kept = [*(stored or []), *value.get("$add", [])]
    for change in value.get("$update", []):
        key, wanted, new = change.get("$identifier_key"), change.get("$identifier_value"), change.get("$new_object")
        if type(new) is not dict:
            return DROPPED, 0
        kept = [
            (_merged(one, new) if is_merge else new) if type(one) is dict and one.get(key) == wanted else one
            for one in kept
        ]
    for removal in value.get("$remove", []):
        key, wanted = removal.get("$identifier_key"), removal.get("$identifier_value")
        kept = [one for one in kept if type(one) is not dict or one.get(key) != wanted]
    return _fitting(kept, points)


def _merged(stored: JsonObject, value: JsonObject) -> JsonObject:
    merged = dict(stored)
    for name, new in value.items():
        old = merged.get(name)
        merged[name] = _merged(old, new) if type(old) is dict and type(new) is dict else new
    return merged
