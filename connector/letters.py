"""What stands on a dead letter: the headers beside the original's own.

Pure. A letter says why and where from, in our words; never a user, a value or Braze's text (promise P9).
"""

from __future__ import annotations

from connector import __version__
from connector.records import Assignment, KafkaRecord, Kind, Reason

PREFIX = "aiq.dlq."
REPLAY_PREFIX = "aiq.replay."
"""Headers of a record that `aiq-braze replay` has put back."""

REPLAY_COUNT = f"{REPLAY_PREFIX}count"
"""How often it was put back."""


def letter_headers(  # noqa: PLR0913  # one argument a header
    record: KafkaRecord,
    stay: Assignment,
    kind: Kind,
    reason: Reason,
    detail: str,
    *,
    written_at_ms: int,
    schema_id: int | None = None,
    status: int = 0,
    attempts: int = 0,
) -> list[tuple[str, bytes]]:
    """The context headers of one letter; what does not apply is empty.

    `timestamp` is the record's own. `written_at` is the wall clock in milliseconds since the epoch when the letter was
    first tried to be written: the letter's Kafka timestamp cannot tell, since that is the record's, too.
    """
    context: dict[str, object] = {
        "reason": reason,
        "detail": detail,
        "topic": stay.topic,
        "partition": stay.partition,
        "offset": record.offset(),
        "timestamp": record.timestamp()[1],
        "written_at": written_at_ms,
        "kind": kind,
        "schema_id": "" if schema_id is None else schema_id,
        "braze_status": status or "",
        "attempts": attempts,
        "version": __version__,
    }
    return [(f"{PREFIX}{name}", str(value).encode()) for name, value in context.items()]
