"""What Braze bills for an object that it accepted, in data points.

Pure. By the page "Data points": every attribute of a request costs one, changed or not; a whole list costs one, adding
to or removing from it one a value; a nested object costs one a key; every event costs one. Identifiers, request
controls and subscription states are free. It is a reckoning by published rules, no invoice: contracts differ.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

EVENT_POINTS: Final = 1

_FREE: Final = frozenset(
    {
        "external_id",
        "braze_id",
        "user_alias",
        "_update_existing_only",
        "_merge_objects",
        "push_token_import",
        "app_id",
        "email_subscribe",
        "push_subscribe",
        "subscription_groups",
    }
)
_STEP: Final = {"inc"}
_LIST_CHANGES: Final = {"add", "remove"}
_OBJECT_CHANGES: Final = {"$add", "$update", "$remove"}


def attribute_points(attributes: Mapping[str, Any]) -> int:
    """Data points of one object of `attributes[]`."""
    free = len(_FREE & attributes.keys())
    if dict not in map(type, attributes.values()):  # nearly always
        return len(attributes) - free
    objects = [value for name, value in attributes.items() if type(value) is dict and name not in _FREE]
    return len(attributes) - free - len(objects) + sum(map(_points_of_object, objects))


def _points_of_object(value: Mapping[str, Any]) -> int:
    keys = value.keys()
    if keys == _STEP:
        return 1
    if keys and keys <= _LIST_CHANGES:
        return sum(len(values) for values in value.values() if isinstance(values, list))
    if keys and keys <= _OBJECT_CHANGES:
        return sum(_points_of_changes(changes) for changes in value.values())
    return len(value)


def _points_of_changes(changes: Any) -> int:
    """A producer may write anything here, and Braze is the one to refuse it."""
    return sum(map(_points_of_change, changes)) if isinstance(changes, list) else 1


def _points_of_change(change: Any) -> int:
    new = change.get("$new_object", change) if isinstance(change, dict) else change
    return len(new) if isinstance(new, dict) else 1
