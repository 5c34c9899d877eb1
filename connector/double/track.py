"""`POST /users/track`: which objects are accepted, which are refused, and with what words.

Pure. Acceptance is all that the answer promises; what was accepted is applied later, attributes before events before
purchases.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from connector.double.exchange import TRACK_ARRAYS, Call, DoubleReply, JsonObject, json_reply, message_reply
from connector.double.settings import DoubleSettings
from connector.double.validation import object_fault
from connector.double.values import spoils_nested
from connector.double.workspace import Origin, Workspace

NOTHING_VALID: Final = "Valid data must be provided in the 'attributes', 'events', or 'purchases' fields."
TOO_MANY_OBJECTS: Final = "Max Input Length Exceeded"

Schedule = Callable[[Callable[[float], None]], None]
"""Takes a function that applies something when it is called with the wall clock's time."""

_LIMITS_APPLY_FROM_BYTES: Final = 51_200
"""A body smaller than the least documented size limit of a part of it needs no measuring of its parts."""


def track(call: Call, settings: DoubleSettings, workspace: Workspace, schedule: Schedule) -> DoubleReply:
    """Answers one request and schedules what it accepted."""
    arrays = call.arrays()
    if is_beyond(arrays, settings.objects_max.combined, settings.objects_max.per_array):
        return message_reply(400, TOO_MANY_OBJECTS)
    reply: JsonObject = {"message": "success"}
    errors: list[JsonObject] = []
    accepted: list[tuple[str, list[tuple[int, JsonObject]]]] = []
    may_be_large = call.size_bytes > _LIMITS_APPLY_FROM_BYTES
    for array, things in arrays:
        kept: list[tuple[int, JsonObject]] = []
        for index, thing in enumerate(things):
            fault = object_fault(array, thing, settings, may_be_large=may_be_large)
            types = [fault] if fault else call.refused.get((array, index)) if call.refused else None
            if types:
                errors.extend({"type": one, "input_array": array, "index": index} for one in types)
            else:
                kept.append((index, thing))
        reply[f"{array}_processed"] = len(kept)
        if kept:
            accepted.append((array, kept))
    if not accepted:
        return json_reply(400, {"message": NOTHING_VALID} | ({"errors": errors} if errors else {}))
    if errors:
        reply["errors"] = errors
    schedule(_application(call, accepted, workspace))
    return json_reply(201, reply)


def is_beyond(arrays: list[tuple[str, list[Any]]], combined: int | None, per_array: int | None) -> bool:
    """Whether these arrays hold more than is allowed, together or each."""
    lengths = [len(things) for name, things in arrays if name in TRACK_ARRAYS]
    return (combined is not None and sum(lengths) > combined) or (
        per_array is not None and any(length > per_array for length in lengths)
    )


def _application(
    call: Call, accepted: list[tuple[str, list[tuple[int, JsonObject]]]], workspace: Workspace
) -> Callable[[float], None]:
    number, arrived_at = call.number, call.at
    # One null inside one nested attribute drops the nested attributes of the whole request (page "Track users", FAQ).
    is_nested_dropped = any(
        spoils_nested(thing) for array, kept in accepted if array == "attributes" for _, thing in kept
    )

    def apply(at: float) -> None:
        for array, kept in accepted:
            origin = Origin(number, arrived_at, at, array)
            for index, thing in kept:
                workspace.apply(origin, index, thing, is_nested_dropped=is_nested_dropped)

    return apply
