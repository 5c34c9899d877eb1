"""The whole way of a record on one page: taken in, translated, batched, sent, settled, committed.

Asynchronous, on one event loop; it owns no socket and no thread. Kafka, Braze, the registry, the dead-letter topic and
the time come through `ports`, so the simulation runs this very code. Decisions are made by the pure modules, between
two awaits; what is here moves their answers along:

    source -> take_in -> translate -> batcher -> send -> exchange -> settle -> commit
                             `-> reject -> dead letters ------------^

Backpressure: whatever is not settled counts against the source's bounds, which pauses partitions.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, assert_never

from connector import gauges
from connector.books import Account, Books
from connector.braze import Endpoint
from connector.breaker import BreakerPolicy
from connector.committer import Committer
from connector.conclusion import Conclusion
from connector.delivery import Delivery
from connector.exchange import Exchange
from connector.intake import Intake
from connector.ports import (
    Assigned,
    Chunk,
    Clock,
    Cured,
    DeadLetters,
    Lost,
    PartitionCounts,
    Revoked,
    SchemaLookup,
    Source,
    SourceEnded,
    SourceEvent,
    Spans,
    Transport,
    Trouble,
    Watermarks,
)
from connector.records import KafkaRecord, Kind
from connector.repeats import Repeats
from connector.settlement import Settlement
from connector.stays import Stays
from connector.stopwatch import Stopwatch
from connector.telemetry import Telemetry
from connector.translation import Translator
from connector.troubles import Troubles
from connector.unread import Unread

_LAST_COMMITS_S = 2.0
"""So long a process that leaves tries to commit, even if its drain deadline is over."""

_COMMIT_AGAIN_S = 0.1


@dataclass(frozen=True, slots=True)
class PipelinePolicy:
    """What the operator chose.

    Attributes:
        commit_interval_s: A commit starts at the latest so long after a settlement.
        drain_deadline_s: How long a shutdown waits for what is in flight.
        lease_s: Nothing is sent when the coordinator has not answered for so long (session time-out less two seconds).
        schema_retry_s: How often a schema that halts its topic is asked for again.
        campaign_repeat_window_records: How many event ids of triggers each partition remembers.
        breaker: When a topic of which too much is bad halts.
        writer: A word that no other process has, of letters and digits: tells our commits from all others.
        turn_records: So many are concluded, taken in and sent in one turn of the event loop, of each about: some
            milliseconds, after which sockets and timers have theirs, and a trigger its next chance to be first.
    """

    commit_interval_s: float = 0.5
    drain_deadline_s: float = 20.0
    lease_s: float = 8.0
    schema_retry_s: float = 30.0
    campaign_repeat_window_records: int = 10_000
    breaker: BreakerPolicy = field(default_factory=BreakerPolicy)
    writer: str = ""
    turn_records: int = 500


class Pipeline:
    """One process's flow.

    Args:
        source: Kafka.
        transport: Braze.
        dead_letters: The dead-letter topic.
        schemas: The registry; None: every topic's schema is known already.
        clock: Time.
        translators: One a topic.
        delivery: The pure half that decides what is sent.
        settle_s: How long Braze may take to apply an attribute write.
        policy: What the operator chose.
        telemetry: Metrics and log.
        spans: Traces of the requests; None: there are none.
    """

    def __init__(  # noqa: PLR0913  # everything that it is wired to, once
        self,
        *,
        source: Source,
        transport: Transport,
        dead_letters: DeadLetters,
        schemas: SchemaLookup | None,
        clock: Clock,
        translators: Mapping[str, Translator],
        delivery: Delivery,
        settle_s: float,
        policy: PipelinePolicy,
        telemetry: Telemetry,
        spans: Spans | None = None,
    ) -> None:
        self._source = source
        self._clock = clock
        self._translators = translators
        self.delivery = delivery
        self._policy = policy
        self.telemetry = telemetry
        self.books = Books({topic: each.kind for topic, each in translators.items()}, settle_s, policy.writer)
        self._repeats = Repeats(policy.campaign_repeat_window_records)
        self.troubles = Troubles(telemetry, self._wake)
        self.settlement = Settlement(
            books=self.books,
            source=source,
            dead_letters=dead_letters,
            breaker=policy.breaker,
            schema_id_of=lambda topic, record: translators[topic].schema_id(record),
            repeats=self._repeats,
            batcher=delivery.batcher,
            wake=self._wake,
            clock=clock,
            telemetry=telemetry,
            troubles=self.troubles,
            halted=self._on_halted_topic,
            spawn=self._spawn,
        )
        self.committer = Committer(source, self.books, policy.lease_s, clock, telemetry, self.troubles)
        self._exchange = Exchange(
            transport=transport,
            spans=spans,
            committer=self.committer,
            delivery=delivery,
            books=self.books,
            settlement=self.settlement,
            wake=self._wake,
            clock=clock,
            telemetry=telemetry,
            troubles=self.troubles,
        )
        self._intake = Intake(self.books.kinds)
        self._unread = Unread(
            schemas, translators, policy.schema_retry_s, self._resume, self._spawn, telemetry, self.troubles
        )
        self._stays = Stays(
            books=self.books,
            repeats=self._repeats,
            delivery=delivery,
            committer=self.committer,
            settlement=self.settlement,
            intake=self._intake,
            unread=self._unread,
            wake=self._wake,
            spawn=self._spawn,
            clock=clock,
            telemetry=telemetry,
        )
        self._stopwatch = Stopwatch(clock, telemetry)
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._turn_due = False
        self._told_waits: frozenset[str] = frozenset()
        self._is_over = False
        self._stopping = False
        self._has_begun = False
        self._ended = asyncio.Event()
        self._failure: BaseException | None = None
        self.exit_code = 0

    # ---- life -----------------------------------------------------------------------------------------------------

    async def run(self) -> int:
        """Run until `stop` is called or a fault of ours ends it; returns the exit code.

        Raises:
            BaseException: A fault of ours, from whichever task it came.
        """
        self._loop = asyncio.get_running_loop()
        self._has_begun = True
        self._source.start(self.on_event)
        self._spawn(self._commit_forever())
        self._spawn(self.committer.watch())
        if self._stopping:  # asked to before it had begun
            self._spawn(self._leave())
        try:
            await self._ended.wait()
        finally:
            self._is_over = True
            if self._timer is not None:
                self._timer.cancel()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._failure is not None:
            raise self._failure
        return self.exit_code

    def stop(self) -> None:
        """Stop fetching, drain within the deadline, commit, leave the group."""
        if not self._stopping:
            self._stopping = True
            self.telemetry.log("info", "shutdown_started", drain_deadline_s=self._policy.drain_deadline_s)
            self._source.hold(held=True)
            if self._has_begun:
                self._spawn(self._leave())

    @property
    def is_stopping(self) -> bool:
        """Whether a shutdown has begun."""
        return self._stopping

    async def _leave(self) -> None:
        deadline = self._clock.now() + self._policy.drain_deadline_s
        self._wake()
        # Halted, nothing would come to an end by waiting: what is on the wire is waited for when its partition leaves.
        while self._unfinished() and self._clock.now() < deadline and not self.troubles.is_halted:
            await self.settlement.news_within(deadline - self._clock.now())
        await self._commit_all(max(deadline - self._clock.now(), _LAST_COMMITS_S))
        await self._source.close()  # revokes what is left, which commits it, and that nothing is on the wire any more

    async def _commit_all(self, within_s: float) -> None:
        """Commit while the source still polls.

        In the middle of a rebalance the coordinator refuses the commit with which a partition leaves, and only polling
        brings a rebalance to its end.
        """
        try:
            async with asyncio.timeout(within_s):
                await self.committer.commit()
                while self.books.has_news and self.committer.may_send():
                    await asyncio.sleep(_COMMIT_AGAIN_S)
                    await self.committer.commit()
        except TimeoutError:
            return

    def _unfinished(self) -> int:
        """Open records, without those of campaigns that Braze does not send: of them nothing comes by waiting."""
        still_open = sum(account.ledger.open_count for account in self.books.accounts.values())
        return still_open - self.delivery.campaigns.parked

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self.reap)
        return task

    def reap(self, task: asyncio.Task[None]) -> None:
        """A task has ended: what it raised ends the process."""
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._fail(task.exception())

    def _fail(self, error: BaseException | None) -> None:
        """A fault of ours ends the process: what is not committed is consumed again by its successor."""
        if self._failure is None:
            self._failure = error
        self._ended.set()

    # ---- what the source tells ------------------------------------------------------------------------------------

    def on_event(self, event: SourceEvent) -> None:
        """Take one event of the source's in; called on the loop's thread, in order."""
        try:
            self._take_event(event)
        except Exception as error:  # noqa: BLE001  # not swallowed: it ends the process
            self._fail(error)

    def _take_event(self, event: SourceEvent) -> None:
        match event:
            case Chunk():
                self._intake.add(event)
                self._wake()
            case Assigned():
                self._stays.open(event)
            case Revoked():
                self._stays.drain(event)
            case Lost():
                self._stays.lose(event)
            case PartitionCounts():
                self._stays.share_quota(event.counts)
            case Trouble() | Cured():
                self.troubles.take(event)
            case Watermarks():
                gauges.show_watermarks(self.telemetry, self.books, event)
            case SourceEnded():
                self.exit_code = event.exit_code
                if event.exit_code:
                    self.telemetry.log("error", "source_ended", detail=event.detail)
                self._ended.set()
            case _:
                assert_never(event)

    def waits(self) -> dict[str, str]:
        """What is waited for though nobody has to mend anything here: reasons, and what to know of each."""
        troubles = {each.reason: each.detail for each in self.troubles.present.values() if not each.halts}
        return troubles | self._waits()

    def _waits(self) -> dict[str, str]:
        now = self._clock.now()
        return self.delivery.departures.waits(now) | self._stays.waits(now)

    # ---- one turn -------------------------------------------------------------------------------------------------

    def _wake(self) -> None:
        """Have a turn soon."""
        if not self._turn_due:
            self._turn_due = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        """Hear what Braze said, take records in, send what may leave, and know when to look again.

        No await: nobody sees half of it.
        """
        self._turn_due = False
        if self._is_over:
            return
        try:
            most = self._policy.turn_records
            self._exchange.hear(most)
            self._stays.bring_back()
            taken = 0
            while self._intake and taken < most and self._takes_in:
                taken += self._take_in(self._intake.pop())
            if self._exchange.answers or (taken and self._intake):
                self._wake()
            self._send()
        except Exception as error:  # noqa: BLE001  # not swallowed: it ends the process
            self._fail(error)

    @property
    def _takes_in(self) -> bool:
        """Nothing new is begun while dead letters cannot be written: what is bad could only pile up.

        Nor without a lease: who wakes up after a long sleep finds records that have another owner by now, and would
        write a letter for each that is bad.
        """
        return "dead_letters" not in self.troubles and self.committer.may_send()

    def _take_in(self, chunk: Chunk) -> int:
        """Begin to work on a chunk, unless it may not begin yet. Returns how many records that was."""
        account = self.books.accounts.get(chunk.stay)
        if account is None or not self.delivery.owns(chunk.stay):
            return 0  # it has left, or is leaving: its next owner consumes these
        if chunk.stay in self._intake.aside or not self._stays.may_begin(chunk):
            self._intake.set_aside(chunk)
            return 0
        began = self._stopwatch.begin()
        topic = chunk.stay.topic
        kind = self._translators[topic].kind
        known, truncated = self.books.tallies[topic].known, self.books.truncated_maps
        records = self.books.admit(account, chunk.records)
        known = self.books.tallies[topic].known - known
        if self.books.truncated_maps > truncated:
            self.telemetry.count("offset_map_ignored_total", 1, "truncated")
            detail = "the log was truncated and written anew: what it held before was delivered and is gone from Kafka"
            self.telemetry.log("warning", "log_truncated", partition=str(chunk.stay.name), detail=detail)
        if known:
            self.telemetry.count("records_known_settled_total", known, topic, kind)
            taken = set(map(id, records))
            gone = [record for record in chunk.records if id(record) not in taken]
            self._source.release(chunk.stay, len(gone), sum(len(record.value() or b"") for record in gone))
        self.telemetry.count("records_consumed_total", len(records), topic, kind)
        if records and account.ledger.inherits_claims_from(records[0].offset()):
            records = self._skip_claimed(account, records)
        self._stopwatch.spent("settle", began)
        if self.settlement.has_halted(topic):
            pass  # consumed and open, like what was in flight when it halted
        elif topic in self._unread:
            self._unread.add(Chunk(chunk.stay, list(records)))
        elif records:
            self._translate(account, records)
        return len(chunk.records)

    def _on_halted_topic(self, topic: str) -> None:
        """Nothing more of it leaves: a newer value must not overtake the one that stays open here."""
        stays = {stay for stay in self.books.accounts if stay.topic == topic}
        doubtful = self.delivery.withdraw(stays, self._clock.now())
        self.telemetry.count("possible_duplicates_total", doubtful)

    def _skip_claimed(self, account: Account, records: Sequence[KafkaRecord]) -> Sequence[KafkaRecord]:
        """What an earlier life was about to send is never sent: nobody knows whether it was."""
        ours: list[KafkaRecord] = []
        for record in records:
            if account.ledger.inherits_claim(record.offset()):
                self.settlement.skip(account.stay, record, "claimed_unknown")
            else:
                ours.append(record)
        return ours

    def _translate(self, account: Account, records: Sequence[KafkaRecord]) -> None:
        stay = account.stay
        translator = self._translators[stay.topic]
        began, at_ms = self._stopwatch.begin(), self._at_ms()
        decoded = translator.decode(stay, records, at_ms)
        began = self._stopwatch.spent("decode", began)
        self.telemetry.count("records_express_total", decoded.by_express, stay.topic, translator.kind)
        done = translator.map(stay, decoded, at_ms)
        began = self._stopwatch.spent("map", began)
        now = self._clock.now()
        match translator.kind:
            case Kind.AUDIENCE:
                self.delivery.batcher.add_attributes(done.outbound, now, account.hold_until)
            case Kind.EVENT:
                self.delivery.batcher.add_events(done.outbound, now)
            case Kind.CAMPAIGN:
                sends, repeats = self._repeats.sift(done.outbound)  # type: ignore[arg-type]  # this kind maps to no other
                self.delivery.campaigns.add(sends, now)
                for repeat in repeats:
                    self.settlement.skip(stay, repeat.record, "repeated")
        began = self._stopwatch.spent("pack", began)
        if done.skipped or done.rejected:
            for record, skip in done.skipped:
                self.settlement.skip(stay, record, skip)
            for record, rejected in done.rejected:
                self.settlement.reject(stay, record, rejected)
            self._stopwatch.spent("settle", began)
        if done.rest and done.missing is not None:
            self._unread.learn(Chunk(stay, list(done.rest)), done.missing)

    def _resume(self, chunk: Chunk) -> None:
        """The schema is there for which it has waited."""
        account = self.books.accounts.get(chunk.stay)
        if account is not None and not self.settlement.has_halted(chunk.stay.topic):
            self._translate(account, chunk.records)
            self._wake()

    def _send(self) -> None:
        """Put on the wire whatever may leave now, and set the timer for what may leave later."""
        began, now, at = self._stopwatch.begin(), self._clock.now(), self._clock.at()
        coming = self._intake.endpoints() if self._takes_in else frozenset[Endpoint]()
        sent = 0
        while sent < self._policy.turn_records and self.committer.may_send():
            done = Conclusion()
            request = self.delivery.departures.next_request(now, at, done, draining=self._stopping, coming=coming)
            self.settlement.conclude(done, at)
            if request is None:
                break
            if request.closed_by is not None:
                self.telemetry.count("batches_closed_total", 1, request.closed_by)
                self.telemetry.observe("braze_request_objects", (len(request.load),), request.endpoint)
            self._spawn(self._exchange.attempt(request))
            sent += request.record_count
        self._arm(now, at, coming)
        self._stopwatch.spent("pack", began)

    def _arm(self, now: float, at: float, coming: Collection[Endpoint]) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        due = self.delivery.departures.next_due(now, at, may_send=self.committer.may_send(), coming=coming)
        if due is not None and due != float("inf"):
            self._timer = self._loop.call_later(max(due - now, 0.001), self._wake)

    # ---- commits --------------------------------------------------------------------------------------------------

    async def _commit_forever(self) -> None:
        while True:
            await asyncio.sleep(self._policy.commit_interval_s)
            await self.committer.commit()
            self._wake()  # what is set aside may begin, or somebody has set the clock on the wall: an hour goes by that
            self._exchange.forget_what_was_said()
            taken = sum(len(chunk.records) for chunk in self._intake)
            gauges.show_books(self.telemetry, self.books)
            gauges.show_parked(self.telemetry, self.books, self.delivery.campaigns)
            gauges.show_delivery(self.telemetry, self.delivery, taken, self._clock.now())
            self._tell_waits()

    def _tell_waits(self) -> None:
        """A line in the log when a long wait begins that nobody here has to mend, and one when it ends."""
        waits = self._waits()
        for reason in waits.keys() - self._told_waits:
            self.telemetry.log("warning", "wait_began", reason=reason, detail=waits[reason])
        for reason in self._told_waits - waits.keys():
            self.telemetry.log("info", "wait_ended", reason=reason)
        self._told_waits = frozenset(waits)

    def _at_ms(self) -> int:
        return int(self._clock.at() * 1000)
