"""What is written: made from a seed, so that it can be told afterwards what should have arrived, and in which order."""

from __future__ import annotations

import io
import random
import time
from array import array
from bisect import bisect
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from typing import Any, NamedTuple

import orjson
from fastavro import parse_schema, schemaless_writer

from bench import registry

REFUSED = "Refused"
"""Name of the events that the double refuses by name, inside a 201."""


class Topic(NamedTuple):
    name: str
    kind: str
    partitions: int


class Record(NamedTuple):
    topic: str
    key: str
    value: bytes


@dataclass(frozen=True)
class Workload:
    """Records of these kinds in turn, numbered from 0; an object carries its number as `count` or `score`.

    Attributes:
        name: Prefix of its topics.
        records: How many.
        kinds: In turn.
        users: Zipf 1.1 over so many: of a million the first has 12 % of all records.
        partitions: Of each topic.
        attributes: Of an audience record.
        properties: Of an event.
        chars: Of a text value, where there are more than the usual ones.
        refused: One in so many records is an event that Braze refuses by name; 0: none.
    """

    name: str
    records: int
    kinds: tuple[str, ...] = ("event", "audience")
    users: int = 1_000_000
    partitions: int = 4
    attributes: int = 2
    properties: int = 6
    chars: int = 8
    refused: int = 0

    @property
    def topics(self) -> tuple[Topic, ...]:
        return tuple(Topic(f"{self.name}-{kind}", kind, self.partitions) for kind in sorted(set(self.kinds)))

    def kind(self, number: int) -> str:
        return self.kinds[number % len(self.kinds)]

    def is_refused(self, number: int) -> bool:
        return bool(self.refused) and number % self.refused == 0 and self.kind(number) == "event"

    def ranks(self) -> array[int]:
        """Of each record, whom it is about."""
        rng = random.Random(1)
        weights = _weights(self.users)
        total, last = weights[-1], self.users - 1
        return array("l", (min(bisect(weights, rng.random() * total), last) for _ in range(self.records)))

    def made(self) -> Iterator[Record]:
        """All records, in the order in which they are to be written."""
        at = int(time.time() * 1000)
        topics = {topic.kind: topic.name for topic in self.topics}
        for number, rank in enumerate(self.ranks()):
            kind = self.kind(number)
            yield Record(topics[kind], user(rank), self.value(number, rank, at))

    def value(self, number: int, rank: int, at: int) -> bytes:
        """One record's bytes."""
        record: dict[str, Any] = {"event_id": f"e-{number}", "identity": {"external_id": user(rank)}}
        if self.kind(number) == "audience":
            record |= {"audience_id": str(rank % 50), "split_id": "a", "change": "ENTERED", "qualified_at": at}
            record["attributes"] = {"tier": "gold", "score": number, **self._more(number, self.attributes - 2)}
        else:
            record |= {"event_name": REFUSED if self.is_refused(number) else "Viewed", "occurred_at": at}
            usual = {"sku": f"sku-{number % 9999}", "price": 12.5, "count": number, "new": True, "shop": "north"}
            record["properties"] = {**usual, "page": "/home", **self._more(number, self.properties - 6)}
        return encoded(self.kind(number), record)

    def _more(self, number: int, count: int) -> dict[str, str]:
        text = f"{number % 9999:04d}".ljust(self.chars, "x")
        return {f"more_{index:02d}": text for index in range(count)}


def user(rank: int) -> str:
    return f"user-{rank:08d}"


def encoded(kind: str, record: dict[str, Any]) -> bytes:
    out = io.BytesIO()
    out.write(registry.header(kind))
    schemaless_writer(out, _schema(kind), record)
    return out.getvalue()


@cache
def _schema(kind: str) -> Any:
    return parse_schema(orjson.loads(registry.text(kind)))


@cache
def _weights(users: int) -> array[float]:
    return array("d", accumulate(1 / rank**1.1 for rank in range(1, users + 1)))
