"""One object of a request, and the records that it was made of: a user's attributes merge, all else stands alone.

Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import orjson

from connector.braze import ADDED_TO, ATTRIBUTE_OPERATIONS, STEPS
from connector.cost import EVENT_POINTS, attribute_points
from connector.records import Outbound

Array = Literal["attributes", "events", "recipients"]
"""Where in a request an object stands; Braze calls the first two `input_array`."""


class UserLane:
    """One user, and whether a request of his is in flight."""

    __slots__ = ("busy", "user")

    def __init__(self, user: str) -> None:
        self.user = user
        self.busy = False


class Piece:
    """One object of a request: encoded once, with the records that it carries.

    Attributes:
        lane: Whose it is.
        array: Where in the request it stands.
        encoded: The JSON object.
        records: One, or several in order when attributes were coalesced: the newest is last.
        points: Data points that Braze bills for it.
    """

    __slots__ = ("array", "encoded", "lane", "points", "records")

    def __init__(self, lane: UserLane, array: Array, records: list[Outbound]) -> None:
        self.lane = lane
        self.array: Array = array
        self.records = records
        if len(records) == 1 and (encoded := records[0].encoded) is not None:
            self.encoded = encoded
            self.points = records[0].points
            return
        written = records[0].object if len(records) == 1 else merged(records)
        self.encoded = orjson.dumps(written)
        self.points = EVENT_POINTS if array == "events" else attribute_points(written) if array == "attributes" else 0

    @property
    def may_double(self) -> bool:
        """Whether Braze does more when it gets this twice: an event, a message, a step of a stored value."""
        if self.array != "attributes":
            return True
        # A step is never merged, and nothing nested goes by the express lane.
        values = () if len(self.records) > 1 or self.records[0].encoded is not None else self.records[0].object.values()
        return any(type(value) is dict and not STEPS.isdisjoint(value) for value in values)


def merged(records: Sequence[Outbound]) -> dict[str, Any]:
    """One attributes object that says what all of them say, later ones over earlier ones."""
    encoded = [record.encoded for record in records if record.encoded is not None]
    if len(encoded) == len(records):  # read at once: half the price of one by one
        objects: Iterable[dict[str, Any]] = orjson.loads(b"[" + b",".join(encoded) + b"]")
    else:
        objects = [record.object for record in records]
    whole: dict[str, Any] = {}
    for each in objects:
        whole.update(each)
    return whole


def _is_plain(values: dict[str, Any]) -> bool:
    """Whether merging commutes with applying: no operation on the stored value, no deep merge."""
    if "_merge_objects" in values:
        return False  # whatever it holds itself: in one object with a neighbour it would merge the neighbour's values
    if not ADDED_TO.isdisjoint(values):
        return False
    if dict not in map(type, values.values()):  # nearly always
        return True
    return not any(type(value) is dict and not ATTRIBUTE_OPERATIONS.isdisjoint(value) for value in values.values())


def mergeable(attributes: Sequence[Outbound]) -> int:
    """How many from the front make one object; at least one."""
    if len(attributes) == 1:
        return 1
    group = attributes[0].group
    count = 0
    for record in attributes:
        # Nothing nested goes by the express lane.
        if record.group != group or not (record.encoded is not None or _is_plain(record.object)):
            break
        count += 1
    return count or 1
