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
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, assert_never

from connector import gauges
from connector.books import Account, Books
from connector.braze import Endpoint
from connector.breaker import BreakerPolicy
from connector.committer import Committer
from connector.delivery import Conclusion, Delivery
from connector.intake import Intake
from connector.mapping import MappingInvalid
from connector.metrics import Stage
from connector.outcomes import Ambiguous, Attempt, Delivered, Misconfigured, NoReply, PartlyRefused, Reply
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
    SchemaUnknown,
    Source,
    SourceEnded,
    SourceEvent,
    Span,
    Spans,
    Transport,
    Trouble,
    Watermarks,
)
from connector.records import Assignment, CampaignSend, KafkaRecord, Kind, Outbound
from connector.repeats import Repeats
from connector.request import Request
from connector.schema import SchemaInvalid, SchemaUnmappable, WriterSchema
from connector.settlement import Settlement
from connector.telemetry import Telemetry
from connector.translation import Translator
from connector.troubles import Troubles

_LAST_COMMITS_S = 2.0
"""So long a process that leaves tries to commit, even if its drain deadline is over."""

_COMMIT_AGAIN_S = 0.1

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


class _Answer(NamedTuple):
    """What came of a request, and waits for its turn.

    Attributes:
        request: Which.
        attempt: What came.
        is_asked: Whether it was sent, or at least tried to be.
        claimed: Its records, if they had to be claimed before.
        span: Its trace.
        at: When it came, epoch seconds.
    """

    request: Request
    attempt: Attempt
    is_asked: bool
    claimed: Sequence[Outbound]
    span: Span | None
    at: float

    @property
    def is_success(self) -> bool:
        """Whether Braze took the request, at least in part."""
        return isinstance(self.attempt, Reply) and self.attempt.status < 300


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
        self._transport = transport
        self._spans = spans
        self._schemas = schemas
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
        self._intake = Intake(self.books.kinds)
        self._answers: deque[_Answer] = deque()  # no more than there may be requests in hand
        self._blocked: dict[str, deque[Chunk]] = {}  # topic -> chunks that wait for a schema
        self._sealed: dict[Assignment, list[Chunk]] = {}  # chunks that wait for their stay's first commit
        self._partitions: dict[str, int] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._turn_due = False
        self._is_over = False
        self._stopping = False
        self._has_begun = False
        self._ended = asyncio.Event()
        self._failure: BaseException | None = None
        self.committer = Committer(source, self.books, policy.lease_s, clock, telemetry, self.troubles)
        self._failures = 0  # attempts at Braze in a row that it did not answer
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
        while self._open_records() and self._clock.now() < deadline and not self.troubles.is_halted:
            await self._news_or(deadline - self._clock.now())
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
                self._intake.add(event)
                self._wake()
            case Assigned():
                self._open(event)
            case Revoked():
                self.committer.leaving.update(event.stays)
                self._spawn(self._drain(event))
            case Lost():
                self._abandon(event.stays, "lost")
            case PartitionCounts():
                self._partitions = dict(event.counts)
                self._share_quota()
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
        self.committer.renew(self._clock.boot())
        self._share_quota()
        if any(account.is_sealed for account in self.books.accounts.values()):
            self._spawn(self._break_seals())

    async def _break_seals(self) -> None:
        """Have Kafka say that something may be on the wire, at once; else the next commit does."""
        await self.committer.commit()
        self._wake()

    def _abandon(self, stays: Sequence[Assignment], how: str) -> None:
        """The partitions are not ours any more: forget what waits for them; late answers will settle nothing."""
        gone = set(stays)
        if how == "lost":
            doubtful = self.delivery.withdraw(gone, self._clock.now()) + self.delivery.on_wire(gone)
            self.telemetry.count("possible_duplicates_total", doubtful)
        for stay in stays:
            gauges.forget_partition(self.telemetry, stay)
            self._sealed.pop(stay, None)
        self._repeats.close(stays)
        for topic, returned in self.books.close(stays).items():
            self.telemetry.count("records_returned_total", returned, topic, self._translators[topic].kind)
        self._intake.drop(gone)
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
        self._intake.drop(stays)
        doubtful = self.delivery.withdraw(stays, self._clock.now())
        while self._unfinished(stays) and self._clock.now() < deadline:
            await self._news_or(deadline - self._clock.now())
        doubtful += self.delivery.on_wire(stays)
        at_ms = self._at_ms()
        accounts = [self.books.accounts[stay] for stay in event.stays if stay in self.books.accounts]
        commits = [self.books.commit_of(account, at_ms, closed=not doubtful) for account in accounts]
        if doubtful:
            self.telemetry.count("possible_duplicates_total", doubtful)
        self.committer.leaving -= stays
        self._abandon(event.stays, "revoked")
        event.done(commits)

    def _unfinished(self, stays: set[Assignment]) -> bool:
        """Whether something of these stays is on its way to Braze or to the dead-letter topic."""
        return bool(self.delivery.on_wire(stays)) or self.settlement.has_open_letters(stays)

    async def _news_or(self, timeout_s: float) -> None:
        self.settlement.news.clear()
        try:
            async with asyncio.timeout(max(timeout_s, 0)):
                await self.settlement.news.wait()
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
            concluded = taken = 0
            most = self._policy.turn_records
            while self._answers and concluded < most:
                answer = self._answers.popleft()
                concluded += len(answer.request.records)
                self._conclude(answer)
            if self._sealed:
                self._unseal()
            while self._intake and taken < most and self._takes_in:
                chunk = self._intake.pop()
                taken += len(chunk.records)
                self._take_in(chunk)
            if self._answers or (taken and self._intake):
                self._wake()
            self._send()
        except Exception as error:  # noqa: BLE001  # not swallowed: it ends the process
            self._fail(error)

    def _unseal(self) -> None:
        """Give back the chunks of stays that have committed since."""
        for stay in [stay for stay in self._sealed if not self.books.accounts[stay].is_sealed]:
            self._intake.put_back(self._sealed.pop(stay))

    @property
    def _takes_in(self) -> bool:
        """Nothing new is begun while dead letters cannot be written: what is bad could only pile up.

        Nor without a lease: who wakes up after a long sleep finds records that have another owner by now, and would
        write a letter for each that is bad.
        """
        return "dead_letters" not in self.troubles and self.committer.may_send()

    def _take_in(self, chunk: Chunk) -> None:
        account = self.books.accounts.get(chunk.stay)
        if account is None or not self.delivery.owns(chunk.stay):
            return  # it has left, or is leaving: its next owner consumes these
        if account.is_sealed:
            self._sealed.setdefault(chunk.stay, []).append(chunk)
            return
        began = self._clock.cpu()
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
        self._spent("settle", began)
        if self.settlement.has_halted(topic):
            return  # consumed and open, like what was in flight when it halted
        if self._blocked.get(topic):
            self._blocked[topic].append(Chunk(chunk.stay, list(records)))
        elif records:
            self._translate(account, records)

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
        began, at_ms = self._clock.cpu(), self._at_ms()
        decoded = translator.decode(stay, records, at_ms)
        began = self._spent("decode", began)
        self.telemetry.count("records_express_total", decoded.by_express, stay.topic, translator.kind)
        done = translator.map(stay, decoded, at_ms)
        began = self._spent("map", began)
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
        began = self._spent("pack", began)
        if done.skipped or done.rejected:
            for record, skip in done.skipped:
                self.settlement.skip(stay, record, skip)
            for record, rejected in done.rejected:
                self.settlement.reject(stay, record, rejected)
            self._spent("settle", began)
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
                self.troubles.begin(Trouble(reason, detail))
                await asyncio.sleep(self._policy.schema_retry_s)
        self.troubles.end(reason)
        self.telemetry.gauge("schema_cache_entries", sum(each.schemas for each in self._translators.values()))
        for chunk in self._blocked.pop(translator.topic, ()):
            account = self.books.accounts.get(chunk.stay)
            if account is None or self.settlement.has_halted(translator.topic):
                continue
            if self._blocked.get(translator.topic):  # the next one is missing another schema
                self._blocked[translator.topic].append(chunk)
            else:
                self._translate(account, chunk.records)
        self._wake()

    def _send(self) -> None:
        """Put on the wire whatever may leave now, and set the timer for what may leave later."""
        began, now, at = self._clock.cpu(), self._clock.now(), self._clock.at()
        sent = 0
        while sent < self._policy.turn_records and self.committer.may_send():
            done = Conclusion()
            request = self.delivery.next_request(
                now, at, done, draining=self._stopping, coming=self._intake.endpoints() if self._takes_in else ()
            )
            self.settlement.conclude(done, at)
            if request is None:
                break
            if request.closed_by is not None and request.attempts == 0:
                self.telemetry.count("batches_closed_total", 1, request.closed_by)
                self.telemetry.observe("braze_request_objects", (len(request.load),), request.endpoint)
            self._spawn(self._attempt(request))
            sent += len(request.records)
        self._arm(now, at)
        self._spent("pack", began)

    def _arm(self, now: float, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        due = self.delivery.next_due(now, at, may_send=self.committer.may_send())
        if due is not None and due != float("inf"):
            self._timer = self._loop.call_later(max(due - now, 0.001), self._wake)

    async def _attempt(self, request: Request) -> None:
        claimed = request.records if self.delivery.must_claim(request) else ()
        attempt: Attempt = NoReply(sent=False, cause="claim not acknowledged")
        is_asked = not claimed or (await self.committer.claim(claimed) and self._is_fresh(request))
        span = self._spans.begin(request) if self._spans is not None and is_asked else None
        if is_asked:
            began = self._clock.cpu()
            body = request.body()
            self._spent("pack", began)
            attempt = await self._transport.attempt(request.endpoint, body, self.committer.may_send)
        answer = _Answer(request, attempt, is_asked, claimed, span, self._clock.at())
        if answer.is_success:
            self._answers.append(answer)
        else:
            self._answers.appendleft(answer)  # heard first: it may tell us to stop
        self._wake()

    def _conclude(self, answer: _Answer) -> None:
        """What an attempt has brought: for the users in it, for the quota, for what is known of Braze.

        As of now: the quota's windows have moved on since it came, and a settle time that begins late is no harm.
        """
        began, now, at = self._clock.cpu(), self._clock.now(), self._clock.at()
        request, attempt, endpoint = answer.request, answer.attempt, answer.request.endpoint
        self.books.wrote_attributes(request.attribute_stays(), int(at * 1000))
        limit, bytes_limit = gauges.objects_limit(self.delivery, endpoint), self.delivery.batcher.limit.body_bytes
        done = self.delivery.conclude(request, attempt, now, at)
        if answer.span is not None:
            answer.span.end(attempt, done.outcome)
        if answer.is_asked:
            status = f"{attempt.status // 100}xx" if isinstance(attempt, Reply) else "none"
            self.telemetry.count("braze_requests_total", 1, endpoint, status)
            self.telemetry.observe("braze_request_duration_seconds", (attempt.elapsed_s,), endpoint)
            self._note_answer(answered=isinstance(attempt, Reply) and attempt.status < 500)
            if not isinstance(done.outcome, Delivered | PartlyRefused):
                self.telemetry.count("braze_retries_total", 1, type(done.outcome).__name__)
        fewer, lighter = gauges.objects_limit(self.delivery, endpoint), self.delivery.batcher.limit.body_bytes
        if fewer < limit or lighter < bytes_limit:
            detail = f"Braze takes less in a request than configured: see the contract's limits of {endpoint}"
            self.telemetry.log("warning", "limit_lowered", objects=fewer, body_bytes=lighter, detail=detail)
        self.settlement.conclude(done, answer.at)
        if answer.claimed and not isinstance(done.outcome, Ambiguous):
            self.books.unclaim(answer.claimed)  # what was sent is settled by now; everything else surely was not sent
        self.telemetry.count("stage_seconds_total", attempt.elapsed_s, "http")
        self._tell_halts()
        self._spent("settle", began)

    def _is_fresh(self, request: Request) -> bool:
        """Whether no trigger of it has passed its time while Kafka took its claim: what has is dropped at its turn."""
        at = self._clock.at()
        sends = (record for record in request.records if isinstance(record, CampaignSend))
        return not any(self.delivery.campaigns.stale(send, at) for send in sends)

    def _note_answer(self, *, answered: bool) -> None:
        """An outage of Braze's is said once, after some attempts in a row, and so is its end."""
        self._failures = 0 if answered else self._failures + 1
        if answered:
            self.troubles.end("braze_outage")
        elif self._failures == _OUTAGE_ATTEMPTS:
            self.troubles.begin(
                Trouble("braze_outage", "Braze does not answer; everything waits and is tried again", halts=False)
            )

    def _tell_halts(self) -> None:
        """Braze's refusals of us, told once a change."""
        for channel in self.delivery.channels:
            reason = f"braze:{channel.endpoint}"
            halt = channel.halt
            if halt is not None and reason not in self.troubles:
                self.troubles.begin(Trouble(reason, _explain(halt.why)))
            elif halt is None and reason in self.troubles:
                self.troubles.end(reason)

    # ---- commits --------------------------------------------------------------------------------------------------

    async def _commit_forever(self) -> None:
        while True:
            await asyncio.sleep(self._policy.commit_interval_s)
            await self.committer.commit()
            if self._sealed:
                self._wake()
            chunks = [*self._intake, *(chunk for waiting in self._sealed.values() for chunk in waiting)]
            taken = sum(len(chunk.records) for chunk in chunks)
            gauges.show_books(self.telemetry, self.books)
            gauges.show_delivery(self.telemetry, self.delivery, taken, self._clock.now())

    def _spent(self, stage: Stage, since: float) -> float:
        """The loop's processor time since then was this stage's. Returns the time at which the next one begins."""
        now = self._clock.cpu()
        self.telemetry.count("stage_seconds_total", now - since, stage)
        return now

    def _at_ms(self) -> int:
        return int(self._clock.at() * 1000)


def _explain(why: Misconfigured) -> str:
    return f"{why.cause.replace('_', ' ')}: {why.remedy}"
