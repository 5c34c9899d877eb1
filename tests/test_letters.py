"""A dead letter's context headers: complete, in our words, the same for every kind of end."""

from __future__ import annotations

from connector import __version__
from connector.letters import letter_headers
from connector.records import Assignment, Kind


class Record:
    def offset(self) -> int:
        return 41

    def timestamp(self) -> tuple[int, int]:
        return 1, 1_700_000_000_123


def test_the_headers_say_why_where_from_and_when() -> None:
    headers = letter_headers(
        Record(), Assignment("aiq.event", 3, 7), Kind.EVENT, "refused", "in our words",
        written_at_ms=1_700_000_099_000, schema_id=5, status=400, attempts=2,
    )  # fmt: skip
    assert dict(headers) == {
        "aiq.dlq.reason": b"refused",
        "aiq.dlq.detail": b"in our words",
        "aiq.dlq.topic": b"aiq.event",
        "aiq.dlq.partition": b"3",
        "aiq.dlq.offset": b"41",
        "aiq.dlq.timestamp": b"1700000000123",
        "aiq.dlq.written_at": b"1700000099000",
        "aiq.dlq.kind": b"event",
        "aiq.dlq.schema_id": b"5",
        "aiq.dlq.braze_status": b"400",
        "aiq.dlq.attempts": b"2",
        "aiq.dlq.version": __version__.encode(),
    }
    assert len(headers) == len(dict(headers))


def test_what_does_not_apply_is_empty() -> None:
    headers = dict(
        letter_headers(Record(), Assignment("t", 0, 0), Kind.AUDIENCE, "undecodable", "", written_at_ms=0)
    )  # fmt: skip
    assert (headers["aiq.dlq.schema_id"], headers["aiq.dlq.braze_status"]) == (b"", b"")
