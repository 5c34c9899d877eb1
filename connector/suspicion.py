"""Shapes of object that Braze has refused without a name: they travel apart, in small batches, for a while.

Pure. Finding one culprit among 75 by halving costs up to fourteen requests; where a producer writes the same mistake a
thousand times, the thousandth must not. So after a halving has found a culprit, objects that look like it do not share
a request with others, and few of them share one. How many follows the answers: half as many after a refusal, a quarter
more after an acceptance, and once a full batch was accepted the suspicion is over. It never refuses anything itself.
"""

from __future__ import annotations

from collections.abc import Iterable

from connector.records import Outbound

Shape = tuple[str, str | frozenset[str]]
"""Topic, and what tells its objects apart: an event's name, or the names of the attributes that an object sets.

Memberships are booleans with an audience in their name: they are left out, or no two objects would look alike."""

_SHAPES_MAX = 64
_FIRST_OBJECTS = 8


def shape_of(record: Outbound) -> Shape:
    """What an object for `/users/track` looks like."""
    values = record.object
    name = values.get("name") if "properties" in values or "time" in values else None
    if isinstance(name, str):
        return record.stay.topic, name
    return record.stay.topic, frozenset(key for key, value in values.items() if not isinstance(value, bool))


class Suspicions:
    """The shapes under suspicion, and how many objects of each may share a request.

    Falsy when there is none, which is almost always.
    """

    def __init__(self) -> None:
        self._objects: dict[Shape, int] = {}  # oldest first

    def __len__(self) -> int:
        return len(self._objects)

    def __repr__(self) -> str:
        """State as text: `shapes=2 objects=[8, 1]`."""
        return f"shapes={len(self)} objects={list(self._objects.values())}"

    def find(self, records: Iterable[Outbound]) -> Shape | None:
        """The first suspected shape among these."""
        for record in records:
            shape = shape_of(record)
            if shape in self._objects:
                return shape
        return None

    def objects(self, shape: Shape) -> int:
        """How many objects may share a request with one of this shape."""
        return self._objects[shape]

    def refused(self, shape: Shape) -> None:
        """A culprit of this shape was found by halving."""
        before = self._objects.get(shape)
        self._objects[shape] = _FIRST_OBJECTS if before is None else max(1, before // 2)
        if len(self._objects) > _SHAPES_MAX:
            del self._objects[next(iter(self._objects))]

    def accepted(self, shape: Shape, limit: int) -> None:
        """A batch of this shape was accepted; `limit` is what a request may carry at most."""
        before = self._objects.get(shape)
        if before is None:
            return
        if before >= limit:
            del self._objects[shape]
        else:
            self._objects[shape] = min(limit, before + max(1, before // 4))
