"""Compares what was produced with what Braze applied and what lies in the dead-letter topic, record by record.

Pure. It knows nothing of the connector's own counters: a hole in the source would show here, and only here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from connector.demo.workload import NUMBER_PREFIX, Made
from connector.records import TopicPartition

Position = tuple[TopicPartition, int]
"""Where the broker put a record: partition and offset."""

NOBODYS: Final = -1
"""Number of what no record asked for."""

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
        arrivals: For each number, the places (turn, array, index) in which it reached Braze and was applied.
        dead: Positions that the dead-letter topic names, with how often.
        sent: What was applied, each with the numbers of the records that it carries.
        forgets: The connector was restarted, or partitions moved: a repeated trigger may rightly have been sent.
    """

    made: dict[int, Made] = field(default_factory=dict)
    positions: dict[int, Position] = field(default_factory=dict)
    arrivals: dict[int, list[tuple[int, int, int]]] = field(default_factory=lambda: defaultdict(list))
    dead: dict[Position, int] = field(default_factory=lambda: defaultdict(int))
    sent: list[tuple[list[int], Mapping[str, Any]]] = field(default_factory=list)
    forgets: bool = False

    def applied(self, turn: int, array: str, index: int, sent: Mapping[str, Any]) -> None:
        """Braze has applied an object.

        Args:
            turn: What grows from earlier to later: of its request, or of its application where that must be in order.
            array: As Braze calls it.
            index: Its place in that array.
            sent: The object; a recipient's with the campaign's id.
        """
        numbers = numbers_in(array, sent)
        self.sent.append((numbers, sent))
        for number in numbers:
            self.arrivals[number].append((turn, _ARRAY_ORDER[array], index))

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

    def altered(self) -> list[int]:
        """Records of objects that say something else than they do (later ones over earlier ones), or of another user.

        An object without a record, or of one that was never made, is `NOBODYS`: nobody has asked for it.
        """
        found: list[int] = []
        for numbers, sent in self.sent:
            if not self.made.keys() >= set(numbers):
                found.append(NOBODYS)
                continue
            made = [self.made[number] for number in sorted(numbers, key=self.positions.__getitem__)]
            wanted: dict[str, Any] = {}
            for each in made:
                wanted |= each.becomes
            if all(each.becomes for each in made) and _json(wanted) != _json(sent):
                found += numbers or [NOBODYS]
        return found

    def order_violations(self) -> int:
        """Times that a record of a user reached Braze before an earlier one of the same user and partition."""
        lanes: dict[tuple[str, TopicPartition], list[tuple[tuple[int, int, int], int]]] = defaultdict(list)
        for number, places in self.arrivals.items():
            if number not in self.made:
                continue  # told as altered
            partition, offset = self.positions[number]
            lanes[self.made[number].user, partition].extend((place, offset) for place in places)
        return sum(_inversions(lane) for lane in lanes.values())


def _json(value: Mapping[str, Any]) -> bytes:
    """To compare by: 1 and true are no different to Python."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def _inversions(lane: Iterable[tuple[tuple[int, int, int], int]]) -> int:
    found = 0
    highest = -1
    for _, offset in sorted(lane):  # records coalesced into one object share a place, and sort by offset
        if offset < highest:
            found += 1
        highest = max(highest, offset)
    return found
