"""The whole way of a record on one page: taken in, translated, batched, sent, settled, committed.

Asynchronous, on one event loop; it owns no socket and no thread. Kafka, Braze, the registry, the dead-letter topic and
the time come through `ports`, so the simulation runs this very code. Decisions are made by the pure modules, between
two awaits; what is here moves their answers along:

    source -> take_in -> translate -> batcher -> send -> conclude -> settle -> commit
                             `-> reject -> dead letters ------------^

Backpressure: whatever is not settled counts against the source's bounds, which pauses partitions.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, assert_never

from connector import __version__
from connector.books import Account, Books
from connector.braze import Endpoint
from connector.delivery import Conclusion, DeadLetter, Delivery, Request
from connector.mapping import MappingInvalid
from connector.outcomes import Delivered, Misconfigured, PartlyRefused, Reply
from connector.ports import (
    Assigned,
    Chunk,
    Clock,
    Commit,
    CommitRefused,
    Cured,
    DeadLetters,
    Lost,
    PartitionCounts,
    Revoked,
    SchemaLookup,
    SchemaUnknown,
    Source,
    SourceEnded,
    SourceEvent,
    Transport,
    Trouble,
    Watermarks,
)
from connector.records import Assignment, Fate, KafkaRecord, Kind, Outbound, Reason, Rejected
from connector.schema import SchemaInvalid, SchemaUnmappable, WriterSchema
from connector.telemetry import Telemetry
from connector.translation import Translator

_TURN_RECORDS = 500
"""Records translated in one turn of the event loop: some milliseconds, after which answers and timers have theirs."""


_OUTAGE_ATTEMPTS = 5
"""Attempts in a row without an answer of Braze's own, after which it is called an outage."""


@dataclass(frozen=True, slots=True)
class PipelinePolicy:
    """What the operator chose.

    Attributes:
        commit_interval_s: A commit starts at the latest so long after a settlement.
        drain_deadline_s: How long a shutdown waits for what is in flight.
        lease_s: Nothing is sent when the coordinator has not answered for so long (session time-out less two seconds).
        schema_retry_s: How often a schema that halts its topic is asked for again.
    """

    commit_interval_s: float = 0.5
    drain_deadline_s: float = 20.0
    lease_s: float = 8.0
    schema_retry_s: float = 30.0


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
    ) -> None:
        self._source = source
        self._transport = transport
        self._dead_letters = dead_letters
        self._schemas = schemas
        self._clock = clock
        self._translators = translators
        self.delivery = delivery
        self._policy = policy
        self.telemetry = telemetry
        self.books = Books({topic: each.kind for topic, each in translators.items()}, settle_s)
        self._chunks: deque[Chunk] = deque()
        self._blocked: dict[str, deque[Chunk]] = {}  # topic -> chunks that wait for a schema
        self._buried: dict[Assignment, int] = {}  # dead letters that the broker has not acknowledged
        self._draining: list[Revoked] = []
        self._partitions: dict[str, int] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._turn_due = False
        self._lease_at = float("-inf")
        self._lease_lost = False
        self._stopping = False
        self._ended = asyncio.Event()
        self._news = asyncio.Event()  # something was settled: wakes whoever drains
        self._failure: BaseException | None = None
        self.troubles: dict[str, Trouble] = {}
        """What is waited for, by reason, with what to do about it."""
        self._failures = 0  # attempts at Braze in a row that it did not answer
        self.exit_code = 0

    # ---- life -----------------------------------------------------------------------------------------------------

    async def run(self) -> int:
        """Run until `stop` is called or a fault of ours ends it; returns the exit code.

        Raises:
            BaseException: A fault of ours, from whichever task it came.
        """
        self._loop = asyncio.get_running_loop()
        self._source.start(self.on_event)
        self._spawn(self._commit_forever())
        try:
            await self._ended.wait()
        finally:
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
            self._spawn(self._leave())

    @property
    def is_halted(self) -> bool:
        """Whether somebody has to mend something before all can go on."""
        return any(trouble.halts for trouble in self.troubles.values())

    @property
    def is_stopping(self) -> bool:
        """Whether a shutdown has begun."""
        return self._stopping

    async def _leave(self) -> None:
        deadline = self._clock.now() + self._policy.drain_deadline_s
        self._wake()
        # Halted, nothing would come to an end by waiting: what is on the wire is waited for when its partition leaves.
        while self._open_records() and self._clock.now() < deadline and not self.is_halted:
            await self._news_or(deadline - self._clock.now())
        await self._source.close()  # revokes what is left, which commits it

    def _open_records(self) -> int:
        return sum(account.ledger.open_count for account in self.books.accounts.values())

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._reap)

    def _reap(self, task: asyncio.Task[None]) -> None:
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
                self._chunks.append(event)
                self._wake()
            case Assigned():
                self._open(event)
            case Revoked():
                self._draining.append(event)
                self._spawn(self._drain(event))
            case Lost():
                self._abandon(event.stays, "lost")
            case PartitionCounts():
                self._partitions = dict(event.counts)
                self._share_quota()
            case Trouble():
                self._trouble(event)
            case Cured():
                self._cured(event.reason)
            case Watermarks():
                self._measure(event)
            case SourceEnded():
                self.exit_code = event.exit_code
                if event.exit_code:
                    self.telemetry.log("error", "source_ended", detail=event.detail)
                self._ended.set()
            case _:
                assert_never(event)

    def _open(self, event: Assigned) -> None:
        now, at_ms = self._clock.now(), self._at_ms()
        ignored = self.books.ignored_maps
        for start in event.stays:
            self.books.open(start, now, at_ms)
            self.delivery.welcome(start.stay)
        if self.books.ignored_maps > ignored:
            self.telemetry.count("offset_map_ignored_total", self.books.ignored_maps - ignored, "foreign_or_damaged")
        self.telemetry.count("rebalances_total", 1, "assigned")
        self.telemetry.log("info", "partitions_assigned", partitions=[str(start.stay) for start in event.stays])
        self._renew_lease()
        self._share_quota()

    def _abandon(self, stays: Sequence[Assignment], how: str) -> None:
        """The partitions are not ours any more: forget what waits for them; late answers will settle nothing."""
        gone = set(stays)
        if how == "lost":
            doubtful = self.delivery.withdraw(gone, self._clock.now()) + self.delivery.on_wire(gone)
            self.telemetry.count("possible_duplicates_total", doubtful)
        for topic, returned in self.books.close(stays).items():
            self.telemetry.count("records_returned_total", returned, topic, self._translators[topic].kind)
        self._chunks = deque(chunk for chunk in self._chunks if chunk.stay not in gone)
        for topic, waiting in self._blocked.items():
            self._blocked[topic] = deque(chunk for chunk in waiting if chunk.stay not in gone)
        self.telemetry.count("rebalances_total", 1, how)
        self.telemetry.log("info", f"partitions_{how}", partitions=[str(stay) for stay in stays])
        self._share_quota()
        self._wake()

    async def _drain(self, event: Revoked) -> None:
        """Let what is on the wire come home, then hand over the last commits; what waits is given back unsent."""
        stays = set(event.stays)
        deadline = self._clock.now() + event.deadline_s
        self._chunks = deque(chunk for chunk in self._chunks if chunk.stay not in stays)
        doubtful = self.delivery.withdraw(stays, self._clock.now())
        while self._unfinished(stays) and self._clock.now() < deadline:
            await self._news_or(deadline - self._clock.now())
        doubtful += self.delivery.on_wire(stays)
        at_ms = self._at_ms()
        accounts = [self.books.accounts[stay] for stay in event.stays if stay in self.books.accounts]
        commits = [self.books.commit_of(account, at_ms, closed=not doubtful) for account in accounts]
        if doubtful:
            self.telemetry.count("possible_duplicates_total", doubtful)
        self._draining.remove(event)
        self._abandon(event.stays, "revoked")
        event.done(commits)

    def _unfinished(self, stays: set[Assignment]) -> bool:
        """Whether something of these stays is on its way to Braze or to the dead-letter topic."""
        return bool(self.delivery.on_wire(stays)) or any(self._buried.get(stay) for stay in stays)

    async def _news_or(self, timeout_s: float) -> None:
        self._news.clear()
        try:
            async with asyncio.timeout(max(timeout_s, 0)):
                await self._news.wait()
        except TimeoutError:
            return

    def _share_quota(self) -> None:
        """Own partitions over all partitions, for each pool: sums to one over the group."""
        now = self._clock.now()
        pools = {Endpoint.TRACK: (Kind.AUDIENCE, Kind.EVENT), Endpoint.TRIGGER: (Kind.CAMPAIGN,)}
        for channel in self.delivery.channels:
            topics = {t for t, each in self._translators.items() if each.kind in pools[channel.endpoint]}
            everything = sum(self._partitions.get(topic, 0) for topic in topics)
            own = sum(1 for stay in self.books.accounts if stay.topic in topics)
            share = min(1.0, own / everything) if everything else 0.0
            channel.pool.set_share(share, now)
            self.telemetry.gauge("quota_share_ratio", share, channel.endpoint)
        self.telemetry.gauge("assigned_partitions", len(self.books.accounts))
        self._wake()

    def _trouble(self, event: Trouble) -> None:
        self.troubles[event.reason] = event
        self.telemetry.gauge("halted", 1, event.reason)
        level = "error" if event.halts else "warning"
        self.telemetry.change(event.reason, "began", level, "trouble_began", reason=event.reason, detail=event.detail)

    def _cured(self, reason: str) -> None:
        if self.troubles.pop(reason, None) is not None:
            self.telemetry.gauge("halted", 0, reason)
            self.telemetry.change(reason, "ended", "info", "trouble_ended", reason=reason)
            self._wake()

    def _measure(self, event: Watermarks) -> None:
        for stay, (low, high) in event.low_high.items():
            account = self.books.accounts.get(stay)
            if account is not None:
                at = account.ledger.committable
                labels = (stay.topic, str(stay.partition))
                self.telemetry.gauge("consumer_lag_records", max(0, high - at), *labels)
                self.telemetry.gauge("retention_left_records", max(0, at - low), *labels)

    # ---- one turn -------------------------------------------------------------------------------------------------

    def _wake(self) -> None:
        """Have a turn soon."""
        if not self._turn_due:
            self._turn_due = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        """Take one chunk in, send what may leave, and know when to look again. No await: nobody sees half of it."""
        self._turn_due = False
        try:
            taken = 0
            while self._chunks and taken < _TURN_RECORDS and self._takes_in:
                taken += len(self._chunks[0].records)
                self._take_in(self._chunks.popleft())
            if taken and self._chunks:
                self._wake()  # after the answers that have come meanwhile
            self._send()
        except Exception as error:  # noqa: BLE001  # not swallowed: it ends the process
            self._fail(error)

    @property
    def _takes_in(self) -> bool:
        """Nothing new is begun while dead letters cannot be written: what is bad could only pile up."""
        return "dead_letters" not in self.troubles

    def _take_in(self, chunk: Chunk) -> None:
        account = self.books.accounts.get(chunk.stay)
        if account is None or not self.delivery.owns(chunk.stay):
            return  # it has left, or is leaving: its next owner consumes these
        topic = chunk.stay.topic
        kind = self._translators[topic].kind
        known = self.books.tallies[topic].known
        records = self.books.admit(account, chunk.records)
        known = self.books.tallies[topic].known - known
        if known:
            self.telemetry.count("records_known_settled_total", known, topic, kind)
            taken = set(map(id, records))
            gone = [record for record in chunk.records if id(record) not in taken]
            self._source.release(chunk.stay, len(gone), sum(len(record.value() or b"") for record in gone))
        self.telemetry.count("records_consumed_total", len(records), topic, kind)
        if self._blocked.get(topic):
            self._blocked[topic].append(Chunk(chunk.stay, list(records)))
        elif records:
            self._translate(account, records)

    def _translate(self, account: Account, records: Sequence[KafkaRecord]) -> None:
        stay = account.stay
        translator = self._translators[stay.topic]
        done = translator.translate(stay, records, self._at_ms())
        now = self._clock.now()
        match translator.kind:
            case Kind.AUDIENCE:
                self.delivery.batcher.add_attributes(done.outbound, now, account.hold_until)
            case Kind.EVENT:
                self.delivery.batcher.add_events(done.outbound, now)
            case Kind.CAMPAIGN:
                self.delivery.campaigns.add(done.outbound, now)  # type: ignore[arg-type]  # this kind maps to no other
        for record, skip in done.skipped:
            self._skip(stay, record, skip)
        for record, rejected, schema_id in done.rejected:
            self._reject(stay, record, rejected, schema_id)
        if done.rest and done.missing is not None:
            waiting = self._blocked.setdefault(stay.topic, deque())
            waiting.append(Chunk(stay, list(done.rest)))
            if self._schemas is not None:  # without one every schema is known from the start
                self._spawn(self._learn(self._schemas, translator, done.missing))

    async def _learn(self, schemas: SchemaLookup, translator: Translator, schema_id: int) -> None:
        """Get a schema and compile it; until that works the topic waits, and only the topic."""
        reason = f"schema:{translator.topic}"
        while True:
            try:
                text = await schemas.fetch(schema_id)
                translator.learn(WriterSchema(text), schema_id)
                break
            except (SchemaUnknown, SchemaInvalid, SchemaUnmappable, MappingInvalid) as error:
                detail = f"topic {translator.topic}, schema id {schema_id}: {error}"
                self._trouble(Trouble(reason, detail))
                await asyncio.sleep(self._policy.schema_retry_s)
        self._cured(reason)
        self.telemetry.gauge("schema_cache_entries", sum(each.schemas for each in self._translators.values()))
        for chunk in self._blocked.pop(translator.topic, ()):
            account = self.books.accounts.get(chunk.stay)
            if account is None:
                continue
            if self._blocked.get(translator.topic):  # the next one is missing another schema
                self._blocked[translator.topic].append(chunk)
            else:
                self._translate(account, chunk.records)
        self._wake()

    def _send(self) -> None:
        """Put on the wire whatever may leave now, and set the timer for what may leave later."""
        now, at = self._clock.now(), self._clock.at()
        while self._may_send():
            done = Conclusion()
            request = self.delivery.next_request(
                now, at, done, draining=self._stopping, more_is_coming=bool(self._chunks) and self._takes_in
            )
            self._settle(done, at)
            if request is None:
                break
            if request.closed_by is not None and request.attempts == 0:
                self.telemetry.count("batches_closed_total", 1, request.closed_by)
                self.telemetry.observe("braze_request_objects", (len(request.load),), request.endpoint)
            self._spawn(self._attempt(request))
        self._arm(now, at)

    def _arm(self, now: float, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._may_send():
            due = self.delivery.next_due(now, at)
            if due is not None and due != float("inf"):
                self._timer = self._loop.call_later(max(due - now, 0.001), self._wake)

    async def _attempt(self, request: Request) -> None:
        attempt = await self._transport.attempt(request.endpoint, request.body(), self._may_send)
        now, at = self._clock.now(), self._clock.at()
        endpoint = request.endpoint
        stays = {record.stay for piece in request.load if piece.array == "attributes" for record in piece.records}
        self.books.wrote_attributes(stays, int(at * 1000))
        limit = self._objects_limit(endpoint)
        done = self.delivery.conclude(request, attempt, now, at)
        status = f"{attempt.status // 100}xx" if isinstance(attempt, Reply) else "none"
        self.telemetry.count("braze_requests_total", 1, endpoint, status)
        self.telemetry.observe("braze_request_duration_seconds", (attempt.elapsed_s,), endpoint)
        self._note_answer(answered=isinstance(attempt, Reply) and attempt.status < 500)
        if not isinstance(done.outcome, Delivered | PartlyRefused):
            self.telemetry.count("braze_retries_total", 1, type(done.outcome).__name__)
        if self._objects_limit(endpoint) < limit:
            detail = f"Braze takes fewer objects a request than configured: lower the limit of {endpoint}"
            self.telemetry.log("warning", "limit_lowered", objects=self._objects_limit(endpoint), detail=detail)
        self._settle(done, at)
        self._tell_halts()
        self._wake()

    def _note_answer(self, *, answered: bool) -> None:
        """An outage of Braze's is said once, after some attempts in a row, and so is its end."""
        self._failures = 0 if answered else self._failures + 1
        if answered:
            self._cured("braze_outage")
        elif self._failures == _OUTAGE_ATTEMPTS:
            self._trouble(
                Trouble("braze_outage", "Braze does not answer; everything waits and is tried again", halts=False)
            )

    def _objects_limit(self, endpoint: Endpoint) -> int:
        is_track = endpoint is Endpoint.TRACK
        return self.delivery.batcher.limit.objects if is_track else self.delivery.campaigns.recipients_max

    # ---- fates ----------------------------------------------------------------------------------------------------

    def _settle(self, done: Conclusion, at: float) -> None:
        if done.delivered:
            self._settled(done.delivered, Fate.DELIVERED)
            for kind, latencies in _latencies(done.delivered, self._translators, at).items():
                self.telemetry.observe("delivery_latency_seconds", latencies, kind)
        if done.coalesced:
            self._settled(done.coalesced, Fate.COALESCED)
        for record, reason in done.skipped:
            self._skip(record.stay, record.record, reason)
        for dead in done.dead:
            self._reject_object(dead)
        if done.may_double:
            self.telemetry.count("possible_duplicates_total", done.may_double)
        self._news.set()

    def _settled(self, records: Sequence[Outbound], fate: Fate) -> None:
        late = self.books.late
        self.books.settle(records, fate)
        if self.books.late > late:
            self.telemetry.count("late_settlements_total", self.books.late - late)
        counts: dict[Assignment, tuple[int, int]] = {}
        for record in records:
            count, size = counts.get(record.stay, (0, 0))
            counts[record.stay] = (count + 1, size + len(record.record.value() or b""))
        for stay, (count, size) in counts.items():
            if stay in self.books.accounts:
                self._source.release(stay, count, size)
                self.telemetry.count(
                    "records_settled_total", count, stay.topic, self._translators[stay.topic].kind, fate
                )

    def _settled_one(self, stay: Assignment, record: KafkaRecord, fate: Fate) -> bool:
        if not self.books.settle_one(stay, record.offset(), fate):
            self.telemetry.count("late_settlements_total")
            return False
        self._source.release(stay, 1, len(record.value() or b""))
        self.telemetry.count("records_settled_total", 1, stay.topic, self._translators[stay.topic].kind, fate)
        self._news.set()
        return True

    def _skip(self, stay: Assignment, record: KafkaRecord, reason: str) -> None:
        if self._settled_one(stay, record, Fate.SKIPPED):
            self.telemetry.count("records_skipped_total", 1, reason)
            if reason == "tombstone":
                self.telemetry.count("tombstones_total", 1, stay.topic)

    def _reject(self, stay: Assignment, record: KafkaRecord, rejected: Rejected, schema_id: int | None) -> None:
        if rejected.reason in {"undecodable", "trailing_bytes", "bad_framing", "header_framing"}:
            self.telemetry.count("decode_errors_total", 1, rejected.reason)
        self._bury(stay, record, rejected.reason, rejected.detail, schema_id=schema_id)

    def _reject_object(self, dead: DeadLetter) -> None:
        if dead.reason == "refused":
            kind = self._translators[dead.record.stay.topic].kind
            self.telemetry.count(
                "braze_object_errors_total", 1, Endpoint.TRIGGER if kind is Kind.CAMPAIGN else Endpoint.TRACK
            )  # fmt: skip
        self._bury(
            dead.record.stay, dead.record.record, dead.reason, dead.detail, status=dead.status, attempts=dead.attempts
        )  # fmt: skip

    def _bury(
        self,
        stay: Assignment,
        record: KafkaRecord,
        reason: Reason,
        detail: str,
        *,
        schema_id: int | None = None,
        status: int = 0,
        attempts: int = 0,
    ) -> None:
        """Write a dead letter; the record is settled when the broker has acknowledged it, not before."""
        if stay not in self.books.accounts:
            return  # its next owner decides
        context: dict[str, object] = {
            "reason": reason,
            "detail": detail,
            "topic": stay.topic,
            "partition": stay.partition,
            "offset": record.offset(),
            "timestamp": record.timestamp()[1],
            "kind": self._translators[stay.topic].kind,
            "schema_id": "" if schema_id is None else schema_id,
            "braze_status": status or "",
            "attempts": attempts,
            "version": __version__,
        }
        headers = [(f"aiq.dlq.{name}", str(value).encode()) for name, value in context.items()]
        self._buried[stay] = self._buried.get(stay, 0) + 1
        self._spawn(self._write_dead_letter(stay, record, headers, reason))

    async def _write_dead_letter(
        self, stay: Assignment, record: KafkaRecord, headers: list[tuple[str, bytes]], reason: Reason
    ) -> None:
        try:
            await self._dead_letters.write(record, headers)
            if self._settled_one(stay, record, Fate.DEAD_LETTERED):
                self.telemetry.count("records_dead_lettered_total", 1, reason)
        finally:
            left = self._buried[stay] - 1
            if left:
                self._buried[stay] = left
            else:
                del self._buried[stay]
            self._news.set()

    def trouble(self, event: Trouble | Cured) -> None:
        """Other edges (the registry, the dead-letter topic) tell their troubles here."""
        if isinstance(event, Trouble):
            self._trouble(event)
        else:
            self._cured(event.reason)

    def _tell_halts(self) -> None:
        """Braze's refusals of us, told once a change."""
        for channel in self.delivery.channels:
            reason = f"braze:{channel.endpoint}"
            halt = channel.halt
            if halt is not None and reason not in self.troubles:
                self._trouble(Trouble(reason, _explain(halt.why)))
            elif halt is None and reason in self.troubles:
                self._cured(reason)

    # ---- commits --------------------------------------------------------------------------------------------------

    async def _commit_forever(self) -> None:
        while True:
            await asyncio.sleep(self._policy.commit_interval_s)
            await self._commit()
            self._gauge()

    async def _commit(self) -> None:
        at_ms = self._at_ms()
        cut = self.books.cut_offsets
        leaving = {stay for event in self._draining for stay in event.stays}
        versions = {stay: account.ledger.version for stay, account in self.books.accounts.items()}
        commits = [commit for commit in self.books.commits(at_ms) if commit.stay not in leaving]
        if not commits and self._lease_age() > self._policy.lease_s / 3:
            idle = [account for stay, account in self.books.accounts.items() if stay not in leaving]
            commits = [self.books.commit_of(idle[0], at_ms, closed=False)] if idle else []
        if self.books.cut_offsets > cut:
            self.telemetry.count("offset_map_cut_total", self.books.cut_offsets - cut)
        if not commits:
            return
        asked = self._clock.boot()
        try:
            acknowledged = await self._source.commit(commits)
        except CommitRefused:
            self.telemetry.count("commit_failures_total")
            return
        if acknowledged:
            self._renew_lease(asked)
        self._acknowledge(acknowledged, versions)

    def _acknowledge(self, commits: Iterable[Commit], versions: Mapping[Assignment, int]) -> None:
        for commit in commits:
            account = self.books.accounts.get(commit.stay)
            if account is not None:
                account.ledger.committed(commit.next_offset, versions[commit.stay])
                labels = (commit.stay.topic, str(commit.stay.partition))
                self.telemetry.gauge("committed_offset", commit.next_offset, *labels)
                self.telemetry.gauge("last_commit_timestamp_seconds", self._clock.at(), *labels)

    # ---- lease ----------------------------------------------------------------------------------------------------

    def _renew_lease(self, since: float | None = None) -> None:
        """The coordinator has answered a question that was asked at `since` (default: now)."""
        self._lease_at = self._clock.boot() if since is None else max(since, self._lease_at)
        if self._lease_lost:
            self._lease_lost = False
            self._cured("lease")

    def _lease_age(self) -> float:
        return self._clock.boot() - self._lease_at

    def _may_send(self) -> bool:
        """Whether the coordinator has confirmed lately enough that the partitions are ours."""
        if self._lease_age() < self._policy.lease_s:
            return True
        if self.books.accounts and not self._lease_lost:
            self._lease_lost = True
            self.telemetry.count("lease_lost_total")
            detail = "the Kafka coordinator has not answered: nothing is sent until it does (check the brokers)"
            self._trouble(Trouble("lease", detail))
        return False

    # ---- gauges ---------------------------------------------------------------------------------------------------

    def _at_ms(self) -> int:
        return int(self._clock.at() * 1000)

    def _gauge(self) -> None:
        """Bring the gauges up to date; a scrape never computes anything."""
        telemetry = self.telemetry
        for topic, translator in self._translators.items():
            telemetry.gauge("records_in_flight", self.books.in_flight(topic), topic, translator.kind)
        for stay, account in self.books.accounts.items():
            labels = (stay.topic, str(stay.partition))
            oldest = account.oldest_ms()
            if oldest is None:
                telemetry.forget("oldest_unsettled_record_timestamp_seconds", *labels)
            else:
                telemetry.gauge("oldest_unsettled_record_timestamp_seconds", oldest / 1000, *labels)
        for channel in self.delivery.channels:
            endpoint = channel.endpoint
            telemetry.gauge("inflight_requests", channel.in_hand, endpoint)
            telemetry.gauge("objects_limit", self._objects_limit(endpoint), endpoint)
            if channel.pool.remaining is not None:
                telemetry.gauge("braze_rate_limit_remaining", channel.pool.remaining, endpoint)
            if channel.pool.limit is not None:
                telemetry.gauge("braze_rate_limit_limit", channel.pool.limit, endpoint)
            telemetry.count("throttled_seconds_total", channel.pool.frozen_s(self._clock.now()), endpoint)
        telemetry.gauge("queue_records", self.delivery.batcher.waiting, "track")
        telemetry.gauge("queue_records", self.delivery.campaigns.waiting, "trigger")
        telemetry.gauge("queue_records", sum(len(chunk.records) for chunk in self._chunks), "taken")
        telemetry.gauge("parked_campaigns", self.delivery.campaigns.parked_campaigns)
        telemetry.gauge("parked_records", self.delivery.campaigns.parked)
        imbalance = self.books.imbalance()
        telemetry.gauge("audit_imbalance_records", imbalance)
        if imbalance:
            telemetry.change("audit", "fault", "error", "audit_imbalance", records=imbalance)


def _explain(why: Misconfigured) -> str:
    return f"{why.cause.replace('_', ' ')}: {why.remedy}"


def _latencies(
    records: Iterable[Outbound], translators: Mapping[str, Translator], at: float
) -> dict[Kind, list[float]]:
    """Seconds from each record's Kafka timestamp to now, by kind; records without a timestamp have none."""
    by_kind: dict[Kind, list[float]] = {}
    for record in records:
        kind, millis = record.record.timestamp()
        if kind:
            by_kind.setdefault(translators[record.stay.topic].kind, []).append(max(0.0, at - millis / 1000))
    return by_kind
