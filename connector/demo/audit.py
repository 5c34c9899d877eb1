"""Compares what was produced with what Braze applied and what lies in the dead-letter topic, record by record.

Pure. It knows nothing of the connector's own counters: a hole in the source would show here, and only here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from connector.demo.workload import NUMBER_PREFIX, Made
from connector.records import TopicPartition

Position = tuple[TopicPartition, int]
"""Where the broker put a record: partition and offset."""

_ARRAY_ORDER: Final = {"attributes": 0, "events": 1, "recipients": 2}


def numbers_in(array: str, sent: Mapping[str, Any]) -> list[int]:
    """The records' own numbers that an object at Braze carries; several where attributes were coalesced."""
    match array:
        case "attributes":
            return [int(key.removeprefix(NUMBER_PREFIX)) for key in sent if key.startswith(NUMBER_PREFIX)]
        case "events":
            return [sent["properties"]["number"]]
        case _:
            return [sent["trigger_properties"]["number"]]


@dataclass(slots=True)
class Audit:
    """What must be known of both ends.

    Attributes:
        made: Every record that was produced, by its number.
        positions: Where each lies.
        arrivals: For each number, the places (request, array, index) in which it reached Braze and was applied.
        dead: Positions that the dead-letter topic names, with how often.
        forgets: The connector was restarted, or partitions moved: a repeated trigger may rightly have been sent.
    """

    made: dict[int, Made] = field(default_factory=dict)
    positions: dict[int, Position] = field(default_factory=dict)
    arrivals: dict[int, list[tuple[int, int, int]]] = field(default_factory=lambda: defaultdict(list))
    dead: dict[Position, int] = field(default_factory=lambda: defaultdict(int))
    forgets: bool = False

    def applied(self, request: int, array: str, index: int, sent: Mapping[str, Any]) -> None:
        """Braze has applied an object."""
        for number in numbers_in(array, sent):
            self.arrivals[number].append((request, _ARRAY_ORDER[array], index))

    def lost(self) -> list[int]:
        """Records that are neither applied nor dead letters although they should be one of the two."""
        return [
            number
            for number, made in self.made.items()
            if made.expected not in {"skipped", "repeated"}
            and not self.arrivals.get(number)
            and not self.dead.get(self.positions[number])
        ]

    def duplicated(self) -> list[int]:
        """Records that were applied twice, or applied and dead-lettered, or sent although a rule skips them."""
        most = {"skipped": 0, "repeated": 1 if self.forgets else 0}
        return [
            number
            for number, made in self.made.items()
            if len(self.arrivals.get(number, ())) + self.dead.get(self.positions[number], 0)
            > most.get(made.expected, 1)
        ]

    def misjudged(self) -> list[int]:
        """Records that ended in the other of the two places: blame that is not exact."""
        return [
            number
            for number, made in self.made.items()
            if (made.expected in {"delivered", "repeated"} and self.dead.get(self.positions[number]))
            or (made.expected == "dead_lettered" and self.arrivals.get(number))
        ]

    def order_violations(self) -> int:
        """Times that a record of a user reached Braze before an earlier one of the same user and partition."""
        lanes: dict[tuple[str, TopicPartition], list[tuple[tuple[int, int, int], int]]] = defaultdict(list)
        for number, places in self.arrivals.items():
            partition, offset = self.positions[number]
            lanes[self.made[number].user, partition].extend((place, offset) for place in places)
        return sum(_inversions(lane) for lane in lanes.values())


def _inversions(lane: Iterable[tuple[tuple[int, int, int], int]]) -> int:
    found = 0
    highest = -1
    for _, offset in sorted(lane):  # records coalesced into one object share a place, and sort by offset
        if offset < highest:
            found += 1
        highest = max(highest, offset)
    return found
