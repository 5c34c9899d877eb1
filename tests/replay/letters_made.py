"""Dead letters and records for tests, as Kafka would hand them out."""

from __future__ import annotations

from typing import Any

from connector.records import Outbound
from connector.replay.dead_letter import DeadLetter, read_letter

TOPIC = "aiq.audience"


class Record:
    """A consumed record."""

    def __init__(
        self,
        offset: int,
        headers: Any = None,
        topic: str = TOPIC,
        partition: int = 0,
        value: bytes | None = b"value",
        key: bytes | None = b"key",
        timestamp_ms: int = 1_000,
    ) -> None:
        self._parts = (topic, partition, offset, key, value, headers, (1, timestamp_ms))

    def topic(self) -> str:
        return self._parts[0]

    def partition(self) -> int:
        return self._parts[1]

    def offset(self) -> int:
        return self._parts[2]

    def key(self) -> bytes | None:
        return self._parts[3]

    def value(self) -> bytes | None:
        return self._parts[4]

    def headers(self) -> Any:
        return self._parts[5]

    def timestamp(self) -> tuple[int, int]:
        return self._parts[6]


def context(offset: int = 7, **changes: str) -> list[tuple[str, bytes | None]]:
    """The headers of a letter of ours."""
    fields = {
        "reason": "refused",
        "detail": "in our words",
        "topic": TOPIC,
        "partition": "0",
        "offset": str(offset),
        "timestamp": "1000",
        "written_at": "5000",
        "kind": "audience",
        "schema_id": "",
        "braze_status": "400",
        "attempts": "1",
        "version": "0.1.0",
    } | changes
    return [(f"aiq.dlq.{name}", text.encode()) for name, text in fields.items()]


def letter(offset: int = 7, own: Any = (), at: int = 100, **changes: str) -> DeadLetter:
    """A letter of the record at `offset`, with headers of the record's own."""
    found = read_letter(Record(at, [*own, *context(offset, **changes)], "aiq.dead-letters"))
    assert isinstance(found, DeadLetter)
    return found


def write(offset: int, user: str, *names: str, headers: Any = None) -> Outbound:
    """What a partition's record writes."""
    out = Outbound(user, {"external_id": user, **dict.fromkeys(names, True)})
    out.record = Record(offset, headers)
    out.offset = offset
    return out
