"""A dead letter read back: where its record failed, why, and what it carries when it is put back.

Pure. A record that was put back carries `aiq.replay.*` headers beside its own:

    of           the position that it failed at and now leaves: `topic[partition]:offset`
    letter       the position of the dead letter that it was made from
    count        how often this record has been put back
    reasons      why it failed each time, oldest first; of many only the last ten
    first.*      the whole context of its first failure (`aiq.dlq.*` of the first letter, each cut at 512 bytes)

If it fails again, the new letter has these, as it has all headers of its original, and `aiq.dlq.*` tell of the new
failure alone. Putting that letter back replaces them, so their number never grows. A *mark* is what a replay leaves in
the dead-letter topic: no value, and the record that was put back in `aiq.replay.done` and `aiq.replay.timestamp`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from connector.letters import PREFIX as LETTER_PREFIX
from connector.letters import REPLAY_COUNT, REPLAY_PREFIX
from connector.records import Header, KafkaRecord, TopicPartition, headers_of

CONTEXT: Final = (
    "reason",
    "detail",
    "topic",
    "partition",
    "offset",
    "timestamp",
    "written_at",
    "kind",
    "schema_id",
    "braze_status",
    "attempts",
    "version",
)
"""Every field of a letter's context; each is a header `aiq.dlq.<field>`."""

REASONS_MAX: Final = 10
"""Of the history. With the count beside it nobody is misled by what is missing."""

CONTEXT_BYTES_MAX: Final = 512
"""Of one field that is kept from the first failure."""

_DONE: Final = f"{REPLAY_PREFIX}done"
_TIMESTAMP: Final = f"{REPLAY_PREFIX}timestamp"
_FIRST: Final = f"{REPLAY_PREFIX}first."
_TOPIC: Final = re.compile(r"[A-Za-z0-9._-]{1,249}")
_NUMBER: Final = re.compile(r"[0-9]{1,18}")
_TIME: Final = re.compile(r"-?[0-9]{1,18}")
_WORD: Final = re.compile(r"[a-z_]{1,40}")
_POSITION: Final = re.compile(r"([A-Za-z0-9._-]{1,249})\[([0-9]{1,9})\]:([0-9]{1,18})")


class Position(NamedTuple):
    """Where a record lies."""

    topic: str
    partition: int
    offset: int

    @property
    def place(self) -> TopicPartition:
        """Its partition."""
        return TopicPartition(self.topic, self.partition)

    def __str__(self) -> str:
        """`topic[3]:42`."""
        return f"{self.topic}[{self.partition}]:{self.offset}"


class Failed(NamedTuple):
    """A record that failed, told from every other one.

    The position alone would do, were it not for topics that are deleted and made anew: their offsets begin again.

    Attributes:
        position: Where it lies.
        timestamp_ms: Its Kafka timestamp.
    """

    position: Position
    timestamp_ms: int


@dataclass(frozen=True, slots=True)
class History:
    """What a record has been through before its present failure.

    Attributes:
        count: How often it was put back; 0: never.
        reasons: Why it had failed, the last ones, oldest first.
        first: Field -> header of the first failure; empty if there was none before.
    """

    count: int = 0
    reasons: tuple[str, ...] = ()
    first: tuple[tuple[str, bytes], ...] = ()


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One letter.

    Attributes:
        record: As it was consumed from the dead-letter topic: key, value and headers are the original's and more.
        at: Where the letter lies.
        failed: The record that it is of.
        context: Field -> text, of `aiq.dlq.*`.
        written_at_ms: When it was written, milliseconds since the epoch.
        history: Earlier failures of the same record.
    """

    record: KafkaRecord
    at: Position
    failed: Failed
    context: Mapping[str, str]
    written_at_ms: int
    history: History

    @property
    def origin(self) -> Position:
        """Where its record failed."""
        return self.failed.position

    @property
    def reason(self) -> str:
        """Why. Not necessarily of today's closed list: another version may have written it."""
        return self.context["reason"]

    @property
    def rank(self) -> int:
        """The age of what it says, as an offset of its original partition (`rank_of`)."""
        return _first_offset(dict(self.history.first), self.origin.place, self.origin.offset)


def read_letter(record: KafkaRecord) -> DeadLetter | Failed | None:
    """What a record of the dead-letter topic is: a letter, a mark (whose record was put back), or foreign (None)."""
    headers = headers_of(record)
    texts = {name: text for name, text in map(_decoded, headers) if text is not None}
    mark = texts.get(_DONE)
    if mark is not None and record.value() is None:
        position, timestamp = _position(mark), texts.get(_TIMESTAMP, "")
        return None if position is None or not _TIME.fullmatch(timestamp) else Failed(position, int(timestamp))
    context = {field: texts[f"{LETTER_PREFIX}{field}"] for field in CONTEXT if f"{LETTER_PREFIX}{field}" in texts}
    topic, partition, offset = (context.get(field, "") for field in ("topic", "partition", "offset"))
    is_whole = _TOPIC.fullmatch(topic) and _NUMBER.fullmatch(partition) and _NUMBER.fullmatch(offset)
    if (
        not is_whole
        or not _TIME.fullmatch(context.get("timestamp", ""))
        or not _WORD.fullmatch(context.get("reason", ""))
    ):
        return None
    written_at = context.get("written_at", "")
    return DeadLetter(
        record,
        Position(record.topic(), record.partition(), record.offset()),
        Failed(Position(topic, int(partition), int(offset)), int(context["timestamp"])),
        context,
        int(written_at) if _NUMBER.fullmatch(written_at) else record.timestamp()[1],
        _history(headers),
    )


def replay_headers(letter: DeadLetter) -> list[Header]:
    """All headers of the record that is put back: its own ones, and where it has been."""
    history = letter.history
    first = history.first or tuple(
        (field, letter.context[field].encode()[:CONTEXT_BYTES_MAX]) for field in CONTEXT if field in letter.context
    )
    reasons = (*history.reasons, letter.reason)[-REASONS_MAX:]
    return [
        *original_headers(letter.record),
        (f"{REPLAY_PREFIX}of", str(letter.origin).encode()),
        (f"{REPLAY_PREFIX}letter", str(letter.at).encode()),
        (REPLAY_COUNT, str(history.count + 1).encode()),
        (f"{REPLAY_PREFIX}reasons", ",".join(reasons).encode()),
        *((f"{_FIRST}{field}", value) for field, value in first),
    ]


def mark_headers(letter: DeadLetter) -> list[Header]:
    """Headers of the mark that says that the letter's record was put back."""
    return [(_DONE, str(letter.origin).encode()), (_TIMESTAMP, str(letter.failed.timestamp_ms).encode())]


def original_headers(record: KafkaRecord) -> list[Header]:
    """The headers that the producer gave it."""
    return [each for each in headers_of(record) if not each[0].startswith((LETTER_PREFIX, REPLAY_PREFIX))]


def rank_of(record: KafkaRecord) -> int:
    """The age of what a record says, as an offset of its partition.

    A record that was put back says what it said when it failed first: whatever was written between then and now is
    newer, although it lies in front of it.
    """
    headers = headers_of(record)
    if not headers:
        return record.offset()
    first = {name.removeprefix(_FIRST): value for name, value in headers if name.startswith(_FIRST) and value}
    return _first_offset(first, TopicPartition(record.topic(), record.partition()), record.offset())


def _first_offset(first: Mapping[str, bytes], place: TopicPartition, offset: int) -> int:
    """The first failure's offset, if that was in this partition and before `offset`; else `offset`."""
    topic, partition, found = (first.get(field, b"").decode("ascii", "replace") for field in _WHERE)
    if (topic, partition) != (place.topic, str(place.partition)) or not _NUMBER.fullmatch(found):
        return offset
    return min(int(found), offset)


_WHERE: Final = ("topic", "partition", "offset")


def _history(headers: Sequence[Header]) -> History:
    """Whatever is not as we write it counts as no history: it is somebody else's."""
    texts = {name: text for name, text in map(_decoded, headers) if text is not None and name.startswith(REPLAY_PREFIX)}
    count = texts.get(REPLAY_COUNT, "")
    reasons = [word for word in texts.get(f"{REPLAY_PREFIX}reasons", "").split(",") if _WORD.fullmatch(word)]
    first = {
        name.removeprefix(_FIRST): value[:CONTEXT_BYTES_MAX]
        for name, value in headers
        if value is not None and name.startswith(_FIRST) and name.removeprefix(_FIRST) in CONTEXT
    }
    if not _NUMBER.fullmatch(count) or not int(count) or not reasons or not first:
        return History()
    return History(int(count), tuple(reasons[-REASONS_MAX:]), tuple(first.items()))


def _decoded(header: Header) -> tuple[str, str | None]:
    name, value = header
    try:
        return name, None if value is None else value.decode()
    except UnicodeDecodeError:
        return name, None


def _position(text: str) -> Position | None:
    found = _POSITION.fullmatch(text)
    return None if found is None else Position(found[1], int(found[2]), int(found[3]))
