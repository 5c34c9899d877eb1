"""One replay from end to end: read the letters, judge them, put back what may go back.

An edge; the decisions are its neighbours'. The dead-letter topic is read twice, first for the marks of earlier replays,
then for the letters, a *window* at a time. Each window is divided by original partition; each of these is scanned once,
and put back in chunks, one transaction each. What is held in memory is one window, one chunk, and a digest (some eighty
bytes) of every record that was put back or is looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final, Protocol

from connector.mapping import MappingInvalid
from connector.ports import SchemaUnknown
from connector.records import Assignment, Header, KafkaRecord, Kind, Outbound, TopicPartition
from connector.replay.dead_letter import (
    DeadLetter,
    Failed,
    mark_headers,
    read_letter,
    replay_headers,
)
from connector.replay.kafka import KafkaRefused, PartitionReader, RetentionPassed, TransactionalWriter, Untaken
from connector.replay.pace import Pace
from connector.replay.selection import Selection
from connector.replay.supersession import Supersession
from connector.replay.verdicts import Account, Verdict
from connector.schema import SchemaInvalid, SchemaUnmappable, WriterSchema
from connector.translation import Translated, Translator

_WINDOW_LETTERS: Final = 20_000
_WINDOW_BYTES: Final = 67_108_864
_CHUNK_BYTES: Final = 500_000
"""Half of what librdkafka puts into one batch: a chunk that is one batch lies in one piece."""

_CATCH_UP_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class ReplayOptions:
    """What is asked for.

    Attributes:
        dead_letter_topic: Where the letters are.
        selection: Which are meant.
        is_dry: Write nothing.
        per_s: Records a second; None: as fast as Kafka takes them.
        limit: Put back so many at most; None: all.
    """

    dead_letter_topic: str
    selection: Selection
    is_dry: bool = False
    per_s: float | None = None
    limit: int | None = None


class Watch(Protocol):
    """Shown how it goes."""

    def begin(self, what: str, total: int) -> None:
        """A new piece of work of so many units."""

    def advance(self, count: int) -> None:
        """So many more are done."""


class Clock(Protocol):
    """Time, and waiting."""

    def now(self) -> float:
        """Monotonic seconds."""

    def at_ms(self) -> int:
        """Milliseconds since the epoch."""

    def sleep(self, seconds: float) -> None:
        """Wait."""


class Replay:
    """One run.

    Args:
        options: What is asked for.
        translators: As the connector's, by topic.
        fetch: A writer schema's JSON by id; raises `SchemaUnknown`.
        letters: Reads the dead-letter topic.
        originals: Reads everything else.
        writer: None in a dry run.
        watch: Shown how it goes.
        clock: Time.
    """

    def __init__(  # one argument a part
        self,
        options: ReplayOptions,
        translators: Mapping[str, Translator],
        fetch: Callable[[int], str],
        letters: PartitionReader,
        originals: PartitionReader,
        writer: TransactionalWriter | None,
        watch: Watch,
        clock: Clock,
    ) -> None:
        self.account = Account(options.is_dry)
        self._options = options
        self._translation = _Translation(translators, fetch, clock)
        self._letters = letters
        self._originals = originals
        self._writer = writer
        self._watch = watch
        self._clock = clock
        self._pace = Pace(options.per_s)
        self._done: set[bytes] = set()  # records that were put back by an earlier replay
        self._seen: set[bytes] = set()  # records that have their turn in this one
        self._partitions: dict[str, int] = {}
        self._open = 0  # letters that are selected and not judged yet

    def run(self) -> None:
        """Do it all; `account` says what was done, also if this raises.

        Raises:
            KafkaRefused: Kafka does not do what is needed.
            RegistryAway: The schema registry does not answer.
        """
        try:
            self._run()
        finally:
            self.account.left = self._open

    def _run(self) -> None:
        topic = self._options.dead_letter_topic
        self._partitions = self._originals.partitions()
        if topic not in self._partitions:
            raise KafkaRefused(f"{topic}: the dead-letter topic does not exist, or may not be described")
        places = [TopicPartition(topic, partition) for partition in range(self._partitions[topic])]
        spans = {place: self._letters.bounds(place) for place in places}
        size = sum(end - low for low, end in spans.values())
        self._watch.begin("looking for earlier replays", size)
        for found in self._read_topic(self._originals, spans):
            if isinstance(found, Failed):
                self._done.add(_digest(found))
        self._watch.begin("judging dead letters" if self._options.is_dry else "putting dead letters back", size)
        for window in self._windows(spans):
            for place, letters in sorted(window.items()):
                self._put_back(place, sorted(letters, key=lambda letter: letter.rank))
            if self.account.limit_reached:
                return

    # ---- reading ----------------------------------------------------------------------------------------------------

    def _read_topic(
        self, reader: PartitionReader, spans: Mapping[TopicPartition, tuple[int, int]]
    ) -> Iterator[DeadLetter | Failed | None]:
        """Every record of the dead-letter topic."""
        for place, (low, end) in spans.items():
            reached = low
            while reached < end:
                try:
                    for records in reader.read(place, reached, end):
                        yield from map(read_letter, records)
                        self._watch.advance(records[-1].offset() + 1 - reached)
                        reached = records[-1].offset() + 1
                except RetentionPassed as passed:  # they went while we were about to read them
                    self._watch.advance(min(passed.low, end) - reached)
                    reached = passed.low
                else:
                    self._watch.advance(end - reached)
                    reached = end

    def _windows(
        self, spans: Mapping[TopicPartition, tuple[int, int]]
    ) -> Iterator[dict[TopicPartition, list[DeadLetter]]]:
        """The letters that are meant and may go back as far as they themselves can tell, by original partition."""
        window: dict[TopicPartition, list[DeadLetter]] = {}
        letters = size = 0
        for found in self._read_topic(self._letters, spans):
            if isinstance(found, Failed):
                continue
            self.account.read += 1
            if found is None:
                self.account.foreign += 1
            elif not self._options.selection.takes(found):
                self.account.not_selected += 1
            else:
                verdict = self._first_verdict(found)
                if verdict is not None:
                    self.account.enter(found.reason, verdict)
                    continue
                self._seen.add(_digest(found.failed))
                self._open += 1
                window.setdefault(found.origin.place, []).append(found)
                letters, size = letters + 1, size + len(found.record.value() or b"")
                if letters >= _WINDOW_LETTERS or size >= _WINDOW_BYTES:
                    yield window
                    window, letters, size = {}, 0, 0
        if window:
            yield window

    def _first_verdict(self, letter: DeadLetter) -> Verdict | None:
        """What can be said without a look at the original partition."""
        digest = _digest(letter.failed)
        if digest in self._done:
            return Verdict.ALREADY_REPLAYED
        if digest in self._seen:
            return Verdict.REPEATED
        if letter.reason == "ambiguous" and not self._options.selection.names_reason("ambiguous"):
            return Verdict.MAY_BE_APPLIED
        topic, partition = letter.origin.place
        if not self._translation.knows(topic):
            return Verdict.NOT_CONFIGURED
        if topic not in self._partitions:
            return Verdict.TOPIC_GONE
        if partition >= self._partitions[topic]:
            return Verdict.PARTITION_GONE
        return None

    # ---- putting back -----------------------------------------------------------------------------------------------

    def _put_back(self, place: TopicPartition, letters: Sequence[DeadLetter]) -> None:
        """All letters of one original partition, oldest first."""
        if self._is_at_limit():
            return
        scan = None
        if self._translation.kind(place.topic) is Kind.AUDIENCE:
            scan = _Scan(place, self._originals, self._translation)
        queue = []
        for letter in letters:
            found = self._translation.of_letter(letter)
            if isinstance(found, Verdict):
                self._enter(letter, found)
                continue
            queue.append(letter)
            if scan is not None:
                scan.supersession.watch(letter, found)
        if scan is not None:
            scan.begin()
        while queue and not self._is_at_limit():
            chunk = self._chunk(queue)
            del queue[: len(chunk)]
            self._put_back_chunk(place, chunk, scan)

    def _chunk(self, queue: Sequence[DeadLetter]) -> list[DeadLetter]:
        """From the front, what may go together."""
        most = self._pace.chunk
        if self._options.limit is not None:
            most = min(most, self._options.limit - self.account.total(Verdict.REPLAYED))
        chunk: list[DeadLetter] = []
        size = 0
        for letter in queue[:most]:
            size += len(letter.record.value() or b"")
            if chunk and size > _CHUNK_BYTES:
                break
            chunk.append(letter)
        return chunk

    def _put_back_chunk(self, place: TopicPartition, chunk: list[DeadLetter], scan: _Scan | None) -> None:
        """One transaction; where it cannot be proven or is not taken, two of half the size, down to single letters."""
        chunk = self._still_wanted(chunk, scan)
        if not chunk:
            return
        if self._writer is None:
            for letter in chunk:
                self._enter(letter, Verdict.REPLAYED)
            return
        wait_s = self._pace.wait_s(self._clock.now())
        if wait_s:
            self._clock.sleep(wait_s)
        records: list[tuple[KafkaRecord, Sequence[Header]]] = [
            (letter.record, replay_headers(letter)) for letter in chunk
        ]
        marks = [(letter.at.place, mark_headers(letter)) for letter in chunk]
        try:
            offsets = self._writer.write(place, records, marks)
        except Untaken:
            if len(chunk) == 1:
                self._enter(chunk[0], Verdict.UNWRITABLE)
            else:
                self._halve(place, chunk, scan)
            return
        if scan is not None and not self._is_proven(chunk, offsets, scan):
            self._writer.abort()
            # Alone a letter lies in one piece; what then is against it has become a verdict, or somebody holds us up.
            if len(chunk) > 1:
                self._halve(place, chunk, scan)
            elif self._still_wanted(chunk, scan):
                self._enter(chunk[0], Verdict.BUSY)
            return
        self._writer.commit()
        if scan is not None:
            scan.reached = offsets[-1] + 1
        self._pace.took(len(chunk), self._clock.now())
        for letter in chunk:
            self._enter(letter, Verdict.REPLAYED)

    def _halve(self, place: TopicPartition, chunk: list[DeadLetter], scan: _Scan | None) -> None:
        middle = len(chunk) // 2
        self._put_back_chunk(place, chunk[:middle], scan)
        self._put_back_chunk(place, chunk[middle:], scan)

    def _is_proven(self, chunk: Sequence[DeadLetter], offsets: Sequence[int], scan: _Scan) -> bool:
        """Whether nothing newer came before what we have just written, and not committed."""
        if offsets != list(range(offsets[0], offsets[0] + len(chunk))):
            return False  # somebody wrote between our records
        try:
            scan.catch_up(offsets[0], _CATCH_UP_S)
        except TimeoutError:
            return False
        return all(scan.supersession.verdict(letter) is None for letter in chunk)

    def _still_wanted(self, chunk: Sequence[DeadLetter], scan: _Scan | None) -> list[DeadLetter]:
        """Without those that a newer write has overtaken; these get their verdict."""
        if scan is None:
            return list(chunk)
        wanted = []
        for letter in chunk:
            verdict = scan.supersession.verdict(letter)
            if verdict is None:
                wanted.append(letter)
            else:
                self._enter(letter, verdict)
        return wanted

    def _enter(self, letter: DeadLetter, verdict: Verdict) -> None:
        self._open -= 1
        self.account.enter(letter.reason, verdict)

    def _is_at_limit(self) -> bool:
        limit = self._options.limit
        self.account.limit_reached = limit is not None and self.account.total(Verdict.REPLAYED) >= limit
        return self.account.limit_reached


class _Scan:
    """One original partition, looked through behind its oldest letter, and up to our own writes afterwards."""

    def __init__(self, place: TopicPartition, reader: PartitionReader, translation: _Translation) -> None:
        low, self.reached = reader.bounds(place)
        self.supersession = Supersession(low, self.reached)
        self._place = place
        self._reader = reader
        self._translation = translation

    def begin(self) -> None:
        """Look at all there is, once for all letters."""
        start = self.supersession.start
        if start is not None:
            self._look(start, self.reached, float("inf"))

    def catch_up(self, end: int, within_s: float) -> None:
        """Look at what has come since, below `end`.

        Raises:
            TimeoutError: It is held back by somebody's open transaction.
        """
        self._look(self.reached, end, within_s)
        self.reached = end

    def _look(self, start: int, end: int, within_s: float) -> None:
        supersession = self.supersession
        while start < end:
            try:
                for records in self._reader.read(self._place, start, end, within_s):
                    for record in records:
                        supersession.saw_at(record.offset(), record.timestamp()[1])
                    writes, unmapped, unread = self._translation.of_partition(self._place, records)
                    supersession.saw(writes)
                    supersession.could_not_map(unmapped)
                    for offset in unread:
                        supersession.could_not_read(offset)
                    start = records[-1].offset() + 1
            except RetentionPassed as passed:
                supersession.lost_below(passed.low)
                start = passed.low
            else:
                return


class _Translation:
    """The connector's own translators, with the schemas that records turn out to need."""

    def __init__(self, translators: Mapping[str, Translator], fetch: Callable[[int], str], clock: Clock) -> None:
        self._translators = translators
        self._fetch = fetch
        self._clock = clock
        self._unknown: set[tuple[str, int]] = set()  # (topic, schema id) that cannot be had, or mapped

    def knows(self, topic: str) -> bool:
        """Whether the connector reads it."""
        return topic in self._translators

    def kind(self, topic: str) -> Kind:
        """What it holds."""
        return self._translators[topic].kind

    def of_letter(self, letter: DeadLetter) -> Outbound | Verdict:
        """What the letter's record becomes today, or why nothing."""
        done = self._translate(letter.origin.place, [letter.record])
        if done.outbound:
            return done.outbound[0]
        return Verdict.WOULD_BE_SKIPPED if done.skipped else Verdict.STILL_UNMAPPABLE

    def of_partition(
        self, place: TopicPartition, records: Sequence[KafkaRecord]
    ) -> tuple[list[Outbound], list[KafkaRecord], list[int]]:
        """What a partition's records write, those that cannot be mapped, and offsets whose schema is not to be had."""
        writes: list[Outbound] = []
        unmapped: list[KafkaRecord] = []
        unread: list[int] = []
        while records:
            done = self._translate(place, records)
            writes += done.outbound
            unmapped += (record for record, _ in done.rejected)
            records = done.rest
            if records:
                unread.append(records[0].offset())
                records = records[1:]
        return writes, unmapped, unread

    def _translate(self, place: TopicPartition, records: Sequence[KafkaRecord]) -> Translated:
        """Up to the first record whose schema cannot be had; that one is the first of `rest`."""
        translator, stay = self._translators[place.topic], Assignment(place.topic, place.partition, 0)
        whole = Translated(rest=records)
        while whole.rest:
            done = translator.translate(stay, whole.rest, self._clock.at_ms())
            whole.outbound += done.outbound
            whole.rejected += done.rejected
            whole.skipped += done.skipped
            whole.rest = done.rest
            if done.missing is None or not self._learn(translator, done.missing):
                break
        return whole

    def _learn(self, translator: Translator, schema_id: int) -> bool:
        if (translator.topic, schema_id) in self._unknown:
            return False
        try:
            translator.learn(WriterSchema(self._fetch(schema_id)), schema_id)
        except (SchemaUnknown, SchemaInvalid, SchemaUnmappable, MappingInvalid):
            self._unknown.add((translator.topic, schema_id))
            return False
        return True


def _digest(failed: Failed) -> bytes:
    return blake2b(f"{failed.position} {failed.timestamp_ms}".encode(), digest_size=16).digest()
