"""What becomes of a record in the end: into the books, into the counters, room for the next one, and its letter.

Asynchronous only where a dead letter is written: its record is settled when the broker has acknowledged it, not before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

from connector.batching import Batcher
from connector.books import Books
from connector.braze import Endpoint
from connector.breaker import Breaker, BreakerPolicy
from connector.conclusion import Conclusion
from connector.letters import letter_headers
from connector.ports import Clock, DeadLetters, Source, Trouble
from connector.records import (
    OBJECT_ERRORS,
    Assignment,
    CampaignSend,
    Fate,
    KafkaRecord,
    Kind,
    Outbound,
    Reason,
    Rejected,
)
from connector.repeats import Repeats
from connector.telemetry import Telemetry
from connector.troubles import Troubles

_DECODING: frozenset[Reason] = frozenset({"undecodable", "trailing_bytes", "bad_framing", "header_framing"})


class Settlement:
    """The end of every record.

    Args:
        books: Where it is entered.
        source: Told that there is room again.
        dead_letters: Where letters go.
        breaker: When a topic of which too much is bad halts.
        schema_id_of: A record's writer schema, for its letter; None where it has no id.
        repeats: Told of triggers that were not sent after all.
        batcher: Told whose next attributes wait for a letter.
        wake: Called when something may leave that has waited for one.
        clock: Time.
        telemetry: Metrics and log.
        troubles: Told of a topic that halts.
        halted: Called with its name then.
        spawn: Starts a task that the pipeline looks after.
    """

    def __init__(  # noqa: PLR0913  # everything that it is wired to, once
        self,
        *,
        books: Books,
        source: Source,
        dead_letters: DeadLetters,
        breaker: BreakerPolicy,
        schema_id_of: Callable[[str, KafkaRecord], int | None],
        repeats: Repeats,
        batcher: Batcher,
        wake: Callable[[], None],
        clock: Clock,
        telemetry: Telemetry,
        troubles: Troubles,
        halted: Callable[[str], None],
        spawn: Callable[[Coroutine[Any, Any, None]], object],
    ) -> None:
        self._books = books
        self._source = source
        self._dead_letters = dead_letters
        self._breakers = {topic: Breaker(breaker) for topic in books.kinds}
        self._schema_id_of = schema_id_of
        self._repeats = repeats
        self._batcher = batcher
        self._wake = wake
        self._clock = clock
        self._telemetry = telemetry
        self._troubles = troubles
        self._halted = halted
        self._spawn = spawn
        self._open_letters: dict[Assignment, int] = {}
        self.news = asyncio.Event()
        """Set whenever something was settled: wakes whoever drains."""

    async def news_within(self, timeout_s: float) -> None:
        """Return when something more is settled, or after so many seconds."""
        self.news.clear()
        try:
            async with asyncio.timeout(max(timeout_s, 0)):
                await self.news.wait()
        except TimeoutError:
            return

    def has_open_letters(self, stays: set[Assignment]) -> bool:
        """Whether dead letters of these stays are written and not acknowledged."""
        return any(self._open_letters.get(stay) for stay in stays)

    def conclude(self, done: Conclusion, at: float) -> None:
        """Everything that an answer of Braze's (or a rule, before asking) has decided.

        Args:
            done: What was decided.
            at: Epoch seconds of Braze's acceptance.
        """
        if done.delivered:
            for stay, records in self._settle(done.delivered, Fate.DELIVERED).items():
                self._telemetry.observe(
                    "delivery_latency_seconds", _latencies(records, at), self._books.kinds[stay.topic]
                )
        if done.coalesced:
            self._settle(done.coalesced, Fate.COALESCED)
        for written, points in done.data_points.items():
            self._telemetry.count("braze_data_points_total", points, written)
        for record, reason in done.skipped:
            self._forget(record)
            self.skip(record.stay, record.record, reason)
        for dead in done.dead:
            if dead.reason != "ambiguous":  # that one may have been sent
                self._forget(dead.record)
            stay, kind = dead.record.stay, self._books.kinds[dead.record.stay.topic]
            if dead.reason in OBJECT_ERRORS:
                endpoint = Endpoint.TRIGGER if kind is Kind.CAMPAIGN else Endpoint.TRACK
                self._telemetry.count("braze_object_errors_total", 1, endpoint, dead.reason)
            self._bury(
                stay,
                dead.record.record,
                dead.reason,
                dead.detail,
                status=dead.status,
                attempts=dead.attempts,
                refused=dead.record,
            )
        if done.may_double:
            self._telemetry.count("possible_duplicates_total", done.may_double)
        self.news.set()

    def has_halted(self, topic: str) -> bool:
        """Whether so much of the topic is bad that nothing more of it is worked on."""
        return self._breakers[topic].is_tripped

    def _forget(self, record: Outbound) -> None:
        if isinstance(record, CampaignSend):
            self._repeats.forget(record)

    def skip(self, stay: Assignment, record: KafkaRecord, reason: str) -> None:
        """A rule settles the record without sending it."""
        if self._settle_one(stay, record, Fate.SKIPPED):
            self._telemetry.count("records_skipped_total", 1, reason)
            if reason == "tombstone":
                self._telemetry.count("tombstones_total", 1, stay.topic)
            elif reason == "repeated":
                self._telemetry.count("campaign_repeats_dropped_total", 1, stay.topic)

    def reject(self, stay: Assignment, record: KafkaRecord, rejected: Rejected) -> None:
        """The record cannot become an object of Braze's."""
        if rejected.reason in _DECODING:
            self._telemetry.count("decode_errors_total", 1, rejected.reason)
        self._books.reject(stay, record.offset())
        self._bury(stay, record, rejected.reason, rejected.detail)

    def _settle(self, records: Sequence[Outbound], fate: Fate) -> Mapping[Assignment, Sequence[Outbound]]:
        """Returns them by stay, without those whose partition has left."""
        late = self._books.late
        settled = self._books.settle(records, fate)
        if self._books.late > late:
            self._telemetry.count("late_settlements_total", self._books.late - late)
        for stay, group in settled.items():
            self._source.release(stay, len(group), sum([record.size_bytes for record in group]))
            self._count(stay, len(group), fate)
            self._breakers[stay.topic].good(len(group), self._clock.now())
        return settled

    def _settle_one(self, stay: Assignment, record: KafkaRecord, fate: Fate) -> bool:
        if not self._books.settle_one(stay, record.offset(), fate):
            self._telemetry.count("late_settlements_total")
            return False
        self._source.release(stay, 1, len(record.value() or b""))
        self._count(stay, 1, fate)
        self.news.set()
        return True

    def _count(self, stay: Assignment, count: int, fate: Fate) -> None:
        self._telemetry.count("records_settled_total", count, stay.topic, self._books.kinds[stay.topic], fate)

    def _bury(
        self,
        stay: Assignment,
        record: KafkaRecord,
        reason: Reason,
        detail: str,
        *,
        status: int = 0,
        attempts: int = 0,
        refused: Outbound | None = None,
    ) -> None:
        if stay not in self._books.accounts:
            return  # its next owner decides
        if not self._breakers[stay.topic].bad(self._clock.now()):
            self._halt(stay.topic)
            return  # it stays open: whoever comes next, after somebody has looked, decides
        kind = self._books.kinds[stay.topic]
        headers = letter_headers(
            record,
            stay,
            kind,
            reason,
            detail,
            written_at_ms=int(self._clock.at() * 1000),
            schema_id=self._schema_id_of(stay.topic, record),
            status=status,
            attempts=attempts,
        )
        self._open_letters[stay] = self._open_letters.get(stay, 0) + 1
        user = refused.user if refused is not None and kind is Kind.AUDIENCE else None
        if user is not None:
            self._batcher.await_letter(user, self._clock.now())
        self._spawn(self._write(stay, record, headers, reason, user))

    def _halt(self, topic: str) -> None:
        reason = f"dead_letter_breaker:{topic}"
        if reason in self._troubles:
            return
        self._books.stop(topic)
        detail = (
            f"too much of topic {topic} is bad: it halts here with its offsets held, and nothing more of it goes to the"
            " dead letters. Look at the reasons of those that did, mend the producer, the schema or topics.*.mapping,"
            " and restart; or let everything through with dead_letter_breaker (share: 1, run: 0)"
        )
        self._troubles.begin(Trouble(reason, detail))
        self._halted(topic)

    async def _write(
        self,
        stay: Assignment,
        record: KafkaRecord,
        headers: list[tuple[str, bytes]],
        reason: Reason,
        user: str | None,
    ) -> None:
        try:
            is_written = await self._dead_letters.write(record, headers, lambda: stay in self._books.accounts)
            if is_written and self._settle_one(stay, record, Fate.DEAD_LETTERED):
                self._telemetry.count("records_dead_lettered_total", 1, reason)
        finally:
            if user is not None:
                self._batcher.letter_written(user, self._clock.now())
                self._wake()
            left = self._open_letters.pop(stay) - 1
            if left:
                self._open_letters[stay] = left
            self.news.set()


def _latencies(records: Sequence[Outbound], at: float) -> list[float]:
    """Seconds from each record's Kafka timestamp to `at`; records without a timestamp have none."""
    latencies = [at - stamp[1] / 1000 for record in records if (stamp := record.record.timestamp())[0]]
    if min(latencies, default=0.0) < 0.0:  # another clock than ours wrote them
        return [max(0.0, latency) for latency in latencies]
    return latencies
