"""The Kafka thread on librdkafka's in-process broker; its arithmetic on a consumer that only takes notes."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
from confluent_kafka import TopicPartition as KafkaPartition

from connector.backpressure import Bounds, Flow, regulate
from connector.kafka_errors import InstanceTaken
from connector.offset_map import OffsetMap, encode
from connector.ports import (
    Assigned,
    Chunk,
    Commit,
    CommitRefused,
    Cured,
    Lost,
    PartitionCounts,
    Revoked,
    SourceEnded,
    SourceEvent,
    Trouble,
    Watermarks,
)
from connector.records import Assignment, NextOffset
from connector.source import KafkaSource, _CommitCommand
from tests.real.brokers import InProcessBroker

WAIT_S = 60
FIRST = encode(OffsetMap(), 0).text
"""The metadata beside a first position."""

names = (f"source-{number}" for number in itertools.count())

Event = TypeVar("Event")


class Listening:
    """A started source, everything that it tells, and what is needed to ask the broker."""

    def __init__(self, broker: InProcessBroker, topic: str, bounds: Bounds, kafka: dict[str, Any]) -> None:
        self.topic = topic
        self.events: list[SourceEvent] = []
        self.drains = True
        """Answer a revoke at once, with `last_commits`."""
        self.last_commits: Sequence[Commit] = ()
        self._news = asyncio.Event()
        shared = {"bootstrap.servers": broker.address, "group.id": topic, "log_level": 0}
        self.source = KafkaSource({**shared, **kafka}, [topic], bounds, 0.1)
        self.asking = Consumer({**shared, "enable.auto.commit": False})

    def start(self) -> None:
        self.source.start(self._hear)

    def _hear(self, event: SourceEvent) -> None:
        self.events.append(event)
        if isinstance(event, Revoked) and self.drains:
            event.done(self.last_commits)
        self._news.set()

    def of(self, kind: type[Event]) -> list[Event]:
        return [event for event in self.events if isinstance(event, kind)]

    async def until(self, is_so: Callable[[], Any]) -> None:
        """Until it is so; looked at after every event, and a few times a second besides."""
        async with asyncio.timeout(WAIT_S):
            while not is_so():
                self._news.clear()
                try:
                    async with asyncio.timeout(0.05):
                        await self._news.wait()
                except TimeoutError:
                    continue

    async def stays(self) -> list[Assignment]:
        """The stays of the first assignment, by partition."""
        await self.until(lambda: self.of(Assigned))
        return sorted(start.stay for start in self.of(Assigned)[0].stays)

    def offsets(self) -> dict[Assignment, list[int]]:
        """What was handed out, by stay."""
        found: dict[Assignment, list[int]] = {}
        for chunk in self.of(Chunk):
            found.setdefault(chunk.stay, []).extend(record.offset() for record in chunk.records)
        return found

    def handed(self) -> int:
        return sum(map(len, self.offsets().values()))

    async def committed(self, partition: int = 0) -> tuple[int, str]:
        (found,) = await asyncio.to_thread(self.asking.committed, [KafkaPartition(self.topic, partition)], WAIT_S)
        return found.offset, found.metadata or ""


@pytest.fixture(scope="module")
def broker() -> InProcessBroker:
    return InProcessBroker()


@pytest.fixture
def topic(broker: InProcessBroker) -> str:
    """A topic of four partitions."""
    name = next(names)
    broker.create_topic(name)
    return name


@pytest.fixture
def produce(broker: InProcessBroker, topic: str) -> Callable[..., None]:
    producer = Producer({"bootstrap.servers": broker.address, "enable.idempotence": True, "log_level": 0})

    def write(records: int, partition: int = 0, size_bytes: int = 10) -> None:
        for _ in range(records):
            producer.produce(topic, b"x" * size_bytes, partition=partition)
        assert producer.flush(WAIT_S) == 0

    return write


@pytest.fixture
async def listening(broker: InProcessBroker, topic: str) -> AsyncIterator[Callable[..., Listening]]:
    """Starts a source of the topic; all are closed in the end."""
    started: list[Listening] = []

    def start(bounds: Bounds | None = None, **kafka: Any) -> Listening:
        one = Listening(broker, topic, bounds or Bounds(), {k.replace("_", "."): v for k, v in kafka.items()})
        started.append(one)
        one.start()
        return one

    yield start
    for one in started:
        one.drains = True
        await one.source.close()
        one.asking.close()


# ---- on a broker ----------------------------------------------------------------------------------------------------


async def test_records_are_handed_over_in_order_and_without_a_hole(listening: Any, produce: Any) -> None:
    for partition, records in enumerate((1500, 700, 1)):
        produce(records, partition)
    life = listening()
    await life.until(lambda: life.handed() == 2201)
    produce(300, 1)
    await life.until(lambda: life.handed() == 2501)
    offsets = {stay.partition: each for stay, each in life.offsets().items()}
    assert offsets == {0: list(range(1500)), 1: list(range(1000)), 2: [0]}
    assert life.of(PartitionCounts)[0].counts == {life.topic: 4}
    assert life.source.has_joined


async def test_an_assignment_tells_when_the_coordinator_was_asked(listening: Any) -> None:
    life = listening()
    asked: list[float] = []
    life.source._boot = lambda: asked.append(float(len(asked))) or asked[-1]
    await life.stays()
    assert [event.asked_at for event in life.of(Assigned)] == asked


async def test_events_arrive_on_the_loops_own_thread(listening: Any, produce: Any) -> None:
    threads: set[threading.Thread] = set()
    produce(10)
    life = listening()
    hear = life.source._listener

    def heard(event: SourceEvent) -> None:
        threads.add(threading.current_thread())
        hear(event)

    life.source._listener = heard
    await life.until(lambda: life.handed() == 10)
    assert threads == {threading.main_thread()}


async def test_the_first_position_is_committed_before_a_record_is_handed_over(listening: Any, produce: Any) -> None:
    produce(5, 0)
    life = listening(auto_offset_reset="latest")
    await life.stays()
    assert [await life.committed(partition) for partition in range(4)] == [
        (5, FIRST),
        (0, FIRST),
        (0, FIRST),
        (0, FIRST),
    ]
    produce(3, 0)
    await life.until(lambda: life.handed() == 3)
    assert list(life.offsets().values()) == [[5, 6, 7]]


async def test_where_nothing_was_committed_reading_starts_at_the_earliest(listening: Any, produce: Any) -> None:
    produce(5, 0)
    life = listening()
    await life.stays()
    assert await life.committed(0) == (0, FIRST)
    await life.until(lambda: life.handed() == 5)


async def test_an_offset_beyond_the_end_halts_its_partition_also_where_the_operator_chose_the_earliest(
    broker: InProcessBroker, topic: str, listening: Any, produce: Any
) -> None:
    """Reading falls back to records of which the ledger says that they are done, and no commit lowers an offset."""
    produce(5, 0)
    produce(5, 1)
    earlier = Consumer({"bootstrap.servers": broker.address, "group.id": topic, "log_level": 0})
    await asyncio.to_thread(earlier.commit, offsets=[KafkaPartition(topic, 0, 100)], asynchronous=False)
    earlier.close()
    life = listening(auto_offset_reset="earliest")
    await life.until(lambda: life.of(Trouble) and life.handed())

    produce(200, 0)
    produce(3, 1)
    await life.until(lambda: life.handed() == 8)
    assert {stay.partition for stay in life.offsets()} == {1}
    (trouble,) = life.of(Trouble)
    assert trouble.reason == f"offset_out_of_range:{life.topic}[0]"
    assert "--reset-offsets" in trouble.detail
    await life.until(lambda: life.source.paused == 1)


async def test_without_an_offset_and_told_to_refuse_it_ends_with_code_3(listening: Any) -> None:
    life = listening(auto_offset_reset="error")
    await life.until(lambda: life.of(SourceEnded))
    (ended,) = life.of(SourceEnded)
    assert ended.exit_code == 3
    assert "--reset-offsets" in ended.detail


async def test_a_commit_comes_back_with_its_metadata_at_the_next_assignment(listening: Any, produce: Any) -> None:
    produce(10, 2)
    first = listening()
    stay = (await first.stays())[2]
    await first.until(lambda: first.handed() == 10)
    commit = Commit(stay, NextOffset(4), "what the next life should know")
    assert await first.source.commit([commit]) == [commit]
    await first.source.close()
    second = listening()
    await second.until(lambda: second.of(Assigned))
    starts = {start.stay.partition: (start.offset, start.metadata) for start in second.of(Assigned)[0].stays}
    assert starts == {0: (0, FIRST), 1: (0, FIRST), 2: (4, "what the next life should know"), 3: (0, FIRST)}
    await second.until(lambda: second.handed() == 6)
    assert list(second.offsets().values()) == [[4, 5, 6, 7, 8, 9]]


async def test_a_commit_never_lowers_an_offset(listening: Any, produce: Any) -> None:
    produce(10)
    life = listening()
    stay = (await life.stays())[0]
    up, down = Commit(stay, NextOffset(7), "up"), Commit(stay, NextOffset(3), "down")
    assert await life.source.commit([up]) == [up]
    assert await life.source.commit([down]) == []
    assert await life.committed() == (7, "up")
    again = Commit(stay, NextOffset(7), "more to tell")
    assert await life.source.commit([again]) == [again]
    assert await life.committed() == (7, "more to tell")


async def test_a_commit_for_a_stay_that_is_over_is_dropped(listening: Any, produce: Any) -> None:
    produce(10)
    life = listening()
    stays = await life.stays()
    stale = Commit(stays[0]._replace(epoch=stays[0].epoch + 100), NextOffset(9), "stale")
    good = Commit(stays[1], NextOffset(0), "good")
    assert await life.source.commit([stale, good]) == [good]
    assert await life.source.commit([stale]) == []
    assert await life.committed() == (0, FIRST)


async def test_leaving_waits_for_done_and_commits_what_it_brings(listening: Any, produce: Any) -> None:
    produce(10)
    life = listening()
    stays = await life.stays()
    life.last_commits = [Commit(stays[0], NextOffset(6), "closing")]
    await life.source.close()
    (revoked,) = life.of(Revoked)
    assert sorted(revoked.stays) == stays
    assert isinstance(life.events[-1], SourceEnded)
    assert life.events[-1].exit_code == 0
    assert await life.committed() == (6, "closing")


async def test_commits_are_served_while_a_partition_is_leaving(listening: Any, produce: Any) -> None:
    produce(10)
    life = listening()
    stay = (await life.stays())[0]
    life.drains = False
    closing = asyncio.ensure_future(life.source.close())
    await life.until(lambda: life.of(Revoked))
    commit = Commit(stay, NextOffset(2), "while leaving")
    assert await life.source.commit([commit]) == [commit]
    life.of(Revoked)[0].done([Commit(stay, NextOffset(3), "last")])
    await closing
    assert await life.committed() == (3, "last")


async def test_leaving_ends_at_its_deadline_whoever_does_not_answer(listening: Any, produce: Any) -> None:
    produce(10)
    life = listening()
    await life.stays()
    life.drains = False
    await life.source.close()
    assert life.of(Revoked)
    assert await life.committed() == (0, FIRST)


async def test_closing_before_there_is_an_assignment_ends_well(listening: Any) -> None:
    life = listening()
    await life.source.close()
    assert life.of(SourceEnded) == [SourceEnded(0, "")]


async def test_closing_ends_where_kafka_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    answered = threading.Event()
    monkeypatch.setattr(KafkaSource, "_consume_until_closing", lambda _: answered.wait())
    source = KafkaSource({"bootstrap.servers": "none", "group.id": "g"}, ["t"], Bounds(), -4.9)  # a tenth of a second
    told: list[SourceEvent] = []
    source.start(told.append)
    try:
        await source.close()
    finally:
        answered.set()

    trouble, ended = told
    assert isinstance(trouble, Trouble)
    assert (trouble.reason, trouble.halts) == ("no_farewell", False)
    assert "check the brokers" in trouble.detail
    assert isinstance(ended, SourceEnded)
    assert ended.exit_code == 0


async def test_past_its_bound_a_partition_is_paused_and_goes_on_once_enough_is_settled(
    listening: Any, produce: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses = 0  # told by the thread: between two looks of ours it may go on and stop again

    def regulating(*flows: Any, **held: Any) -> Any:
        nonlocal pauses
        pause, resume = regulate(*flows, **held)
        pauses += len(pause)
        return pause, resume

    monkeypatch.setattr("connector.source.regulate", regulating)
    produce(4000)
    life = listening(Bounds(records=600), queued_min_messages=1000)
    stay = (await life.stays())[0]
    released = 0

    def goes_on() -> bool:
        """All that has come is settled; then it goes on, sooner or later."""
        nonlocal released
        # One call of consume() may bring one batch more than the bound.
        assert life.handed() - released < 600 + 500
        life.source.release(stay, life.handed() - released, 0)
        released = life.handed()
        return not life.source.paused

    while released < 4000:
        await life.until(lambda: life.source.paused or life.handed() == 4000)
        await life.until(goes_on)
    assert pauses > 1
    assert life.offsets() == {stay: list(range(4000))}


async def test_what_is_held_is_not_fetched_until_it_is_let_go(listening: Any, produce: Any) -> None:
    life = listening()
    life.source.hold(held=True)
    await life.stays()
    await life.until(lambda: life.source.paused == 4)
    produce(10)
    await life.until(lambda: any(high == 10 for each in life.of(Watermarks) for _, high in each.low_high.values()))
    assert life.handed() == 0
    life.source.hold(held=False)
    await life.until(lambda: life.handed() == 10)


async def test_what_polling_and_committing_cost_the_thread_is_told_and_idling_is_not(
    listening: Any, produce: Any
) -> None:
    told: list[tuple[str, float, str]] = []
    life = listening()
    life.source._spent = lambda stage, seconds: told.append((stage, seconds, threading.current_thread().name))
    stay = (await life.stays())[0]
    for part in range(3):
        produce(5)
        await life.until(lambda part=part: life.handed() == 5 * part + 5)
    assert await life.source.commit([Commit(stay, NextOffset(15), "")])
    await life.until(lambda: len(told) == 4)
    turn = life.source.ticked_at
    await life.until(lambda: life.source.ticked_at > turn + 0.1)  # some turns that bring nothing
    assert [stage for stage, *_ in told] == ["poll", "poll", "poll", "commit"]
    assert {thread for *_, thread in told} == {"kafka"}
    assert all(0 < seconds < 1 for _, seconds, _ in told)


# ---- on a consumer that only takes notes ----------------------------------------------------------------------------


class Answer:
    """What Kafka says of one partition's commit."""

    def __init__(self, asked: KafkaPartition, refusal: int | None) -> None:
        self.topic, self.partition = asked.topic, asked.partition
        self.error = None if refusal is None else KafkaError(refusal)


class Notes:
    """Stands where a Consumer would, and notes what is asked of it."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, list[int]]] = []
        self.refusal: KafkaError | None = None
        self.refusals: list[KafkaError] = []
        self.unacknowledged: list[int] = []  # partitions, once
        self.unacknowledged_for = KafkaError.NOT_COORDINATOR

    def _note(self, what: str, partitions: Sequence[KafkaPartition]) -> None:
        self.asked.append((what, [each.partition for each in partitions]))

    def pause(self, partitions: Sequence[KafkaPartition]) -> None:
        self._note("pause", partitions)

    def resume(self, partitions: Sequence[KafkaPartition]) -> None:
        self._note("resume", partitions)

    def incremental_assign(self, partitions: Sequence[KafkaPartition]) -> None:
        self._note("assign", partitions)

    def committed(self, partitions: Sequence[KafkaPartition], timeout: float) -> list[KafkaPartition]:
        assert timeout > 0
        return [KafkaPartition(each.topic, each.partition, 5) for each in partitions]

    def commit(self, *, offsets: Sequence[KafkaPartition], asynchronous: bool) -> list[Answer]:
        assert not asynchronous
        self._note("commit", offsets)
        if self.refusal is not None:
            raise KafkaException(self.refusal)
        if self.refusals:
            raise KafkaException(self.refusals.pop(0))
        missing, self.unacknowledged = self.unacknowledged, []
        return [Answer(each, self.unacknowledged_for if each.partition in missing else None) for each in offsets]


@pytest.fixture
def told() -> list[SourceEvent]:
    return []


@pytest.fixture
def still(told: list[SourceEvent]) -> KafkaSource:
    """A source whose thread does not run; its bounds are 100 records and 1000 bytes."""
    source = KafkaSource({"bootstrap.servers": "none", "group.id": "g"}, ["t"], Bounds(100, 1000), 1.0)
    source._call = lambda function, *arguments: function(*arguments)  # type: ignore[method-assign]
    source._listener = told.append
    return source


def own(source: KafkaSource, *partitions: int) -> list[Assignment]:
    stays = [Assignment("t", partition, 1) for partition in partitions]
    source._flows = {stay.name: Flow(stay, 0) for stay in stays}
    return stays


def hand(source: KafkaSource, stay: Assignment, records: int, size_bytes: int = 0) -> None:
    flow = source._flows[stay.name]
    flow.handed += records
    flow.handed_bytes += size_bytes


def regulated(source: KafkaSource) -> list[tuple[str, list[int]]]:
    notes = Notes()
    source._regulate(notes)
    return notes.asked


def test_a_partition_is_resumed_only_once_half_of_its_bound_is_free(still: KafkaSource) -> None:
    (stay,) = own(still, 0)
    hand(still, stay, 99)
    assert regulated(still) == []
    hand(still, stay, 1)
    assert regulated(still) == [("pause", [0])]
    assert regulated(still) == []
    still.release(stay, 49, 0)
    assert regulated(still) == []
    still.release(stay, 1, 0)
    assert regulated(still) == [("resume", [0])]
    assert still.paused == 0


def test_what_belongs_to_an_earlier_stay_frees_nothing(still: KafkaSource) -> None:
    (stay,) = own(still, 0)
    hand(still, stay, 100)
    still.release(stay._replace(epoch=7), 100, 0)
    still.release(Assignment("t", 9, 1), 100, 0)
    assert regulated(still) == [("pause", [0])]


def test_a_partition_that_comes_back_is_not_left_paused(still: KafkaSource, told: list[SourceEvent]) -> None:
    notes = Notes()
    still._on_assign(notes, [KafkaPartition("t", 0), KafkaPartition("t", 1)])
    assert notes.asked == [("commit", [0]), ("assign", [0, 1]), ("resume", [0, 1])]
    (assigned,) = told
    assert isinstance(assigned, Assigned)
    assert [(start.stay.epoch, start.offset) for start in assigned.stays] == [(1, 5), (2, 5)]


def test_a_partition_that_comes_while_all_is_held_is_paused_before_it_is_fetched(still: KafkaSource) -> None:
    notes = Notes()
    still.hold(held=True)
    still._on_assign(notes, [KafkaPartition("t", 0)])
    assert notes.asked == [("commit", [0]), ("assign", [0]), ("resume", [0]), ("pause", [0])]


@pytest.mark.parametrize(("refusal", "asked_at"), [(None, 7.0), (KafkaError(KafkaError.ILLEGAL_GENERATION), None)])
def test_an_assignment_renews_the_lease_where_the_group_takes_a_commit_of_it(
    still: KafkaSource, told: list[SourceEvent], refusal: KafkaError | None, asked_at: float | None
) -> None:
    still._boot = lambda: 7.0
    notes = Notes()
    notes.refusal = refusal
    still._on_assign(notes, [KafkaPartition("t", 0)])
    (assigned,) = told
    assert isinstance(assigned, Assigned)
    assert assigned.asked_at == asked_at
    assert [start.offset for start in assigned.stays] == [5]


def test_whoever_gets_partitions_asks_how_many_there_are(still: KafkaSource, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of those that are not known to be there this replica has no share of the quota."""
    asked: list[object] = []
    monkeypatch.setattr(still._errands, "_count", lambda consumer: asked.append(consumer) or True)
    notes: Any = Notes()
    still._errands.run(notes, ())
    still._errands.run(notes, ())
    assert len(asked) == 1
    still._on_assign(notes, [KafkaPartition("t", 0)])
    still._errands.run(notes, ())
    assert len(asked) == 2


def test_every_stay_has_an_epoch_of_its_own(still: KafkaSource, told: list[SourceEvent]) -> None:
    for _ in range(2):
        still._on_assign(Notes(), [KafkaPartition("t", 0)])
        still._on_lost(Notes(), [KafkaPartition("t", 0)])
    epochs = [start.stay.epoch for event in told if isinstance(event, Assigned) for start in event.stays]
    lost = [stay.epoch for event in told if isinstance(event, Lost) for stay in event.stays]
    assert epochs == lost == [1, 2]


def test_brokers_that_do_not_answer_are_told_of_once(still: KafkaSource, told: list[SourceEvent]) -> None:
    for _ in range(3):
        still._on_error(KafkaError(KafkaError._ALL_BROKERS_DOWN, "127.0.0.1:1/bootstrap: refused"))
    (trouble,) = told
    assert isinstance(trouble, Trouble)
    assert trouble.reason == "kafka"
    assert "check kafka.bootstrap.servers" in trouble.detail
    assert "127.0.0.1" not in trouble.detail


@pytest.mark.parametrize(
    ("code", "remedy"),
    [(KafkaError._AUTHENTICATION, "kafka.sasl.*"), (KafkaError._RESOLVE, "DNS"), (KafkaError._SSL, "kafka.ssl.*")],
)
def test_why_no_broker_is_reached_is_told_and_not_that_all_are_down(
    still: KafkaSource, told: list[SourceEvent], code: int, remedy: str
) -> None:
    still._on_error(KafkaError(code))
    still._on_error(KafkaError(KafkaError._ALL_BROKERS_DOWN, "1/1 brokers are down"))
    (trouble,) = told
    assert isinstance(trouble, Trouble)
    assert trouble.reason == "kafka"
    assert remedy in trouble.detail


def test_an_answer_that_cannot_be_taken_is_named_and_not_brokers_that_are_down(
    still: KafkaSource, told: list[SourceEvent]
) -> None:
    still._on_error(KafkaError(KafkaError._BAD_MSG, "127.0.0.1:1/1: Receive failed: Invalid response size"))
    still._on_error(KafkaError(KafkaError._ALL_BROKERS_DOWN, "1/1 brokers are down"))
    (trouble,) = told
    assert isinstance(trouble, Trouble)
    assert (trouble.reason, trouble.halts) == ("kafka", True)
    assert "raise that" in trouble.detail
    assert "kafka.receive.message.max.bytes" in trouble.detail


def test_a_commit_that_kafka_refuses_is_said_to_be_refused_and_can_be_made_again(still: KafkaSource) -> None:
    (stay,) = own(still, 0)
    notes = Notes()
    notes.refusal = KafkaError(KafkaError.ILLEGAL_GENERATION)
    commit = Commit(stay, NextOffset(5), "")
    refused = still._commit(notes, [commit])
    assert isinstance(refused, CommitRefused)
    assert "ILLEGAL_GENERATION" in str(refused)
    notes.refusal = None
    assert still._commit(notes, [commit]) == [commit]


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        (KafkaError.GROUP_AUTHORIZATION_FAILED, "allow this user to read the group"),
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, "allow this user to read the topics"),
        (KafkaError.OFFSET_METADATA_TOO_LARGE, "raise the brokers' offset.metadata.max.bytes to 4096 or more"),
        (KafkaError.REBALANCE_IN_PROGRESS, "which passes"),
        (KafkaError.COORDINATOR_NOT_AVAILABLE, "check the brokers"),
    ],
)
def test_a_refusal_says_kafka_s_word_and_what_to_do_whether_it_is_of_the_whole_or_of_each_partition(
    still: KafkaSource, told: list[SourceEvent], code: int, remedy: str
) -> None:
    commits = [Commit(stay, NextOffset(5), "") for stay in own(still, 0, 1)]
    whole, each = Notes(), Notes()
    whole.refusal = KafkaError(code)
    each.unacknowledged, each.unacknowledged_for = [0, 1], code
    for notes in (whole, each):
        refused = still._commit(notes, commits)
        assert isinstance(refused, CommitRefused)
        assert f"Kafka says {KafkaError(code).name()}: " in str(refused)
        assert remedy in str(refused)
    assert told == []


def test_a_partition_whose_commit_alone_is_refused_is_told_of_until_it_is_taken(
    still: KafkaSource, told: list[SourceEvent]
) -> None:
    commits = [Commit(stay, NextOffset(5), "") for stay in own(still, 0, 1)]
    notes = Notes()
    for _ in range(2):
        notes.unacknowledged, notes.unacknowledged_for = [1], KafkaError.OFFSET_METADATA_TOO_LARGE
        assert still._commit(notes, commits) == commits[:1]
    assert still._commit(notes, commits[:1]) == commits[:1]
    (trouble,) = told
    assert isinstance(trouble, Trouble)
    assert (trouble.reason, trouble.halts) == ("commit_refused:t[1]", False)
    assert "OFFSET_METADATA_TOO_LARGE: raise the brokers'" in trouble.detail
    assert still._commit(notes, commits) == commits
    assert told[1:] == [Cured("commit_refused:t[1]")]


def test_a_partition_that_leaves_takes_the_refusal_of_its_commit_with_it(
    still: KafkaSource, told: list[SourceEvent]
) -> None:
    commits = [Commit(stay, NextOffset(5), "") for stay in own(still, 0, 1)]
    notes = Notes()
    notes.unacknowledged = [1]
    assert still._commit(notes, commits) == commits[:1]
    still._on_lost(notes, [KafkaPartition("t", 1)])
    assert told[-1] == Cured("commit_refused:t[1]")


def test_a_leaving_partitions_commit_is_made_again_when_it_is_refused_between_two_generations(
    still: KafkaSource, told: list[SourceEvent]
) -> None:
    (stay,) = own(still, 0)
    notes = Notes()
    notes.refusals = [KafkaError(KafkaError.REBALANCE_IN_PROGRESS)] * 2

    word = still._last_commit(notes, [Commit(stay, NextOffset(5), "")])

    assert word == [Commit(stay, NextOffset(5), "")]
    assert notes.asked == [("commit", [0])] * 3
    assert told == []


def test_of_several_leaving_partitions_those_that_were_refused_are_committed_again(still: KafkaSource) -> None:
    first, second = own(still, 0, 1)
    notes = Notes()
    notes.unacknowledged = [1]
    commits = [Commit(stay, NextOffset(5), "") for stay in (first, second)]

    assert still._last_commit(notes, commits) == commits[1:]
    assert notes.asked == [("commit", [0, 1]), ("commit", [1])]


def test_a_last_commit_that_was_refused_is_told_until_kafka_takes_commits_again(
    still: KafkaSource, told: list[SourceEvent], monkeypatch: pytest.MonkeyPatch
) -> None:
    leaving, other = own(still, 0, 1)
    commit = Commit(leaving, NextOffset(5), "")

    def tell(event: SourceEvent) -> None:
        told.append(event)
        if isinstance(event, Revoked):
            event.done([commit])

    monkeypatch.setattr("connector.source._LAST_COMMIT_S", 0.0)
    still._listener = tell
    notes = Notes()
    notes.refusals = [KafkaError(KafkaError.REBALANCE_IN_PROGRESS)]
    still._on_revoke(notes, [KafkaPartition("t", 0)])
    _, trouble = told
    assert isinstance(trouble, Trouble)
    assert (trouble.reason, trouble.halts) == ("last_commit", False)
    assert "REBALANCE_IN_PROGRESS" in trouble.detail

    assert still._commit(notes, [Commit(other, NextOffset(1), "")])
    assert told[2:] == [Cured("last_commit")]


def test_nothing_older_is_written_over_the_last_commit_of_a_partition_while_another_one_s_is_made_again(
    still: KafkaSource,
) -> None:
    first, second, other = own(still, 0, 1, 2)
    notes = Notes()
    notes.unacknowledged = [1]
    closing = [Commit(stay, NextOffset(5), "closing") for stay in (first, second)]
    older = [Commit(stay, NextOffset(5), "older") for stay in (first, other)]
    answers: list[Sequence[Commit] | CommitRefused] = []
    still._mailbox.put(_CommitCommand(older, answers.append))

    still._last_commit(notes, closing)

    assert notes.asked == [("commit", [0, 1]), ("commit", [2]), ("commit", [1])]
    assert answers == [older[1:]]


def test_what_was_polled_for_a_partition_that_has_left_is_not_handed_over(
    still: KafkaSource, told: list[SourceEvent]
) -> None:
    class Polled:
        def topic(self) -> str:
            return "t"

        def partition(self) -> int:
            return 3

        def error(self) -> None:
            return None

    own(still, 0)
    still._hand_over([Polled()])
    assert told == []


@dataclass(frozen=True)
class Record:
    """One of topic t."""

    in_partition: int
    at: int

    def topic(self) -> str:
        return "t"

    def partition(self) -> int:
        return self.in_partition

    def offset(self) -> int:
        return self.at

    def error(self) -> None:
        return None

    def value(self) -> bytes:
        return b"v"


class Polled(Notes):
    """A consumer whose second call of a poll begins with a rebalance."""

    def __init__(self, answers: Sequence[Sequence[Record]], rebalance: Callable[[Consumer], None]) -> None:
        super().__init__()
        self._answers = list(answers)
        self._rebalance = rebalance

    def consume(self, records: int, within_s: float) -> list[Record]:
        assert within_s > 0
        if len(self._answers) == 1:
            self._rebalance(self)
        answer = list(self._answers.pop(0))
        assert len(answer) <= records
        return answer


@pytest.mark.parametrize("away", [0, 1])
def test_a_record_polled_before_a_rebalance_is_handed_over_unless_its_own_partition_was_away(
    still: KafkaSource, told: list[SourceEvent], away: int
) -> None:
    def rebalance(consumer: Any) -> None:
        still._on_lost(consumer, [KafkaPartition("t", away)])
        still._on_assign(consumer, [KafkaPartition("t", away)])  # from its committed offset, which is 5

    own(still, 0, 1)
    consumer = Polled([[Record(0, 7)], [Record(0, 5) if away == 0 else Record(0, 8), Record(1, 5)]], rebalance)
    still._hand_over(still._poll(consumer))

    handed = {
        event.stay.partition: [record.offset() for record in event.records]
        for event in told
        if isinstance(event, Chunk)
    }
    assert handed == ({0: [5], 1: [5]} if away == 0 else {0: [7, 8], 1: [5]})


class OutOfRange:
    """What is polled where the committed offset does not exist any more, or where Kafka has another word."""

    def __init__(self, code: int = KafkaError._AUTO_OFFSET_RESET, offset: int = 0) -> None:
        self._code = code
        self._offset = offset

    def topic(self) -> str:
        return "t"

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return self._offset

    def error(self) -> KafkaError:
        return KafkaError(self._code)


def revoke(source: KafkaSource) -> None:
    source._on_revoke(Notes(), [KafkaPartition("t", 0)])


@pytest.mark.parametrize(
    "leave",
    [
        revoke,
        lambda source: source._on_lost(Notes(), [KafkaPartition("t", 0)]),
        lambda source: source._on_lost(Notes(), []),  # all of them: the consumer is made anew
    ],
)
def test_an_offset_out_of_range_is_over_when_its_partition_leaves_and_said_anew_when_it_is_back(
    still: KafkaSource, told: list[SourceEvent], leave: Callable[[KafkaSource], None]
) -> None:
    def tell(event: SourceEvent) -> None:
        told.append(event)
        if isinstance(event, Revoked):
            event.done([])

    still._listener = tell
    for _ in range(2):
        own(still, 0)
        still._hand_over([OutOfRange(), OutOfRange()])
        leave(still)
        assert still._flows == {}

    said = [event.reason for event in told if isinstance(event, Trouble | Cured)]
    assert said == ["offset_out_of_range:t[0]"] * 4
    assert [type(event) for event in told] == [Trouble, type(told[1]), Cured] * 2


def test_of_a_partition_that_left_in_the_same_call_nothing_is_said_to_be_out_of_range(
    still: KafkaSource, told: list[SourceEvent]
) -> None:
    own(still, 1)
    still._hand_over([OutOfRange()])
    assert told == []


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        (KafkaError._BAD_MSG, "its leader"),
        (KafkaError._BAD_COMPRESSION, "its leader"),
        (KafkaError._NOT_IMPLEMENTED, "does not know"),
        (KafkaError.MSG_SIZE_TOO_LARGE, "kafka.receive.message.max.bytes"),
    ],
)
def test_what_cannot_be_read_is_not_passed_over(
    still: KafkaSource, told: list[SourceEvent], code: int, remedy: str
) -> None:
    """The client goes on with what comes behind it."""
    own(still, 0, 1)
    still._hand_over([Record(0, 5), Record(1, 5), OutOfRange(code, offset=6), Record(0, 9), Record(1, 6)])
    still._hand_over([Record(0, 10), OutOfRange(code, offset=11), Record(1, 7)])

    handed = [
        (event.stay.partition, [each.offset() for each in event.records]) for event in told if isinstance(event, Chunk)
    ]
    assert handed == [(0, [5]), (1, [5, 6]), (1, [7])]
    (trouble,) = [event for event in told if isinstance(event, Trouble)]
    assert (trouble.reason, trouble.halts) == ("unreadable:t[0]", True)
    assert "t[0]: at offset 6: Kafka says" in trouble.detail
    assert remedy in trouble.detail
    assert "--reset-offsets" in trouble.detail
    still._on_lost(Notes(), [])
    assert told[-1] == Cured("unreadable:t[0]")


def test_a_partition_that_is_not_read_for_another_reason_is_said_until_it_is_read(
    still: KafkaSource, told: list[SourceEvent]
) -> None:
    own(still, 0)
    for _ in range(2):
        still._hand_over([OutOfRange(KafkaError.UNKNOWN)])
    (trouble,) = told
    assert isinstance(trouble, Trouble)
    assert (trouble.reason, trouble.halts) == ("unreadable:t[0]", False)

    still._hand_over([Record(0, 5)])
    assert told[-1] == Cured("unreadable:t[0]")
    still._hand_over([OutOfRange(KafkaError.UNKNOWN), OutOfRange(KafkaError._BAD_MSG)])
    assert [(event.reason, event.halts) for event in told if isinstance(event, Trouble)][-1] == (
        "unreadable:t[0]",
        True,
    )


def test_what_the_client_says_of_a_partition_behind_a_damaged_batch_is_not_believed(
    still: KafkaSource, told: list[SourceEvent]
) -> None:
    """It takes the middle of the batch for the next one's beginning, and asks for an offset that there never was."""
    own(still, 0)
    still._hand_over([OutOfRange(KafkaError._BAD_MSG), OutOfRange(), OutOfRange(KafkaError.UNKNOWN)])
    assert [event.reason for event in told if isinstance(event, Trouble)] == ["unreadable:t[0]"]


def test_of_a_partition_that_left_in_the_same_call_nothing_is_said_to_be_unreadable(
    still: KafkaSource, told: list[SourceEvent]
) -> None:
    own(still, 1)
    still._hand_over([OutOfRange(KafkaError._BAD_MSG), OutOfRange(KafkaError.UNKNOWN)])
    assert told == []


def test_a_topic_that_may_not_be_read_is_said_until_something_of_it_is_read(
    still: KafkaSource, told: list[SourceEvent]
) -> None:
    """Kafka says so once a partition, and fetches nothing."""
    own(still, 0)
    for _ in range(2):
        still._hand_over([OutOfRange(KafkaError.TOPIC_AUTHORIZATION_FAILED)])

    (trouble,) = told
    assert isinstance(trouble, Trouble)
    assert (trouble.reason, trouble.halts) == ("topic_forbidden:t", False)
    assert "allow this user to read the topics" in trouble.detail
    still._hand_over([Record(0, 5)])
    assert Cured("topic_forbidden:t") in told


def test_a_topic_that_may_not_be_read_is_another_s_to_say_when_all_its_partitions_have_left(
    still: KafkaSource, told: list[SourceEvent]
) -> None:
    own(still, 0, 1)
    still._hand_over([OutOfRange(KafkaError.TOPIC_AUTHORIZATION_FAILED)])

    still._on_lost(Notes(), [KafkaPartition("t", 0)])
    assert Cured("topic_forbidden:t") not in told
    still._on_lost(Notes(), [KafkaPartition("t", 1)])
    assert Cured("topic_forbidden:t") in told


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        (KafkaError.GROUP_AUTHORIZATION_FAILED, "allow this user to read the group"),
        (KafkaError.INVALID_SESSION_TIMEOUT, "kafka.session.timeout.ms"),
        (KafkaError.INCONSISTENT_GROUP_PROTOCOL, "kafka.group.id"),
        (KafkaError.GROUP_MAX_SIZE_REACHED, "group.max.size"),
    ],
)
def test_a_group_that_does_not_take_us_is_said_until_there_is_an_assignment(
    still: KafkaSource, told: list[SourceEvent], code: int, remedy: str
) -> None:
    still._judge(KafkaError(code), None)

    (trouble,) = told
    assert isinstance(trouble, Trouble)
    assert (trouble.reason, trouble.halts) == ("kafka", True)
    assert remedy in trouble.detail
    still._on_assign(Notes(), [])
    assert Cured("kafka") in told


TAKEN = "Broker: The instance ID is still used by another member in the consumer group"


def test_a_fatal_error_ends_the_polling(still: KafkaSource) -> None:
    with pytest.raises(InstanceTaken):
        still._judge(KafkaError(KafkaError._FATAL, TAKEN), None)


@pytest.mark.parametrize(
    ("text", "waits"),
    [
        (TAKEN, [1.0] * 6),  # what is waited for is near: to ask ever more rarely would add to it
        ("Local: something else", [1.0, 2.0, 5.0, 10.0, 10.0, 10.0]),
    ],
)
def test_how_long_it_waits_before_it_makes_another_consumer(
    still: KafkaSource, monkeypatch: pytest.MonkeyPatch, text: str, waits: list[float]
) -> None:
    waited: list[float] = []

    def live() -> None:
        if len(waited) < len(waits):
            still._judge(KafkaError(KafkaError._FATAL, text), None)

    monkeypatch.setattr(still, "_consume_until_closing", live)
    monkeypatch.setattr(still._closing, "wait", waited.append)
    monkeypatch.setattr(still, "_call", lambda *_: None)
    still._live()

    assert waited == waits
