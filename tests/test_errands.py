"""What the Kafka thread asks beside polling, of a consumer that says what it is told to."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka import TopicPartition as KafkaPartition

from connector.backpressure import Flow
from connector.errands import Errands
from connector.ports import Cured, PartitionCounts, Trouble, Watermarks
from connector.records import Assignment


class Described:
    """Kafka as it describes itself: ten partitions a topic, those that are `out` an error; watermarks 3 and 9."""

    def __init__(self) -> None:
        self.out: dict[str, int] = {}
        self.is_away = False
        self.silent: set[int] = set()
        self.asked: list[tuple[str, bool]] = []

    def list_topics(self, topic: str, timeout: float) -> Any:
        assert timeout > 0
        if self.is_away:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
        error = KafkaError(self.out[topic]) if topic in self.out else None
        partitions = {} if error else dict.fromkeys(range(10))
        return SimpleNamespace(topics={topic: SimpleNamespace(error=error, partitions=partitions)})

    def get_watermark_offsets(self, where: KafkaPartition, *, timeout: float, cached: bool) -> tuple[int, int]:
        assert timeout > 0
        self.asked.append((f"{where.topic}[{where.partition}]", cached))
        if self.is_away or (where.partition in self.silent and not cached):
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
        return (-1001, -1001) if where.partition == 1 else (3, 9)


class Told(list[Any]):
    def of(self, kind: type) -> list[Any]:
        return [event for event in self if isinstance(event, kind)]


class Time:
    def __init__(self) -> None:
        self.now = 1000.0


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    one = Time()
    monkeypatch.setattr("connector.errands.time.monotonic", lambda: one.now)
    return one


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def kafka() -> Any:
    return Described()


@pytest.fixture
def errands(told: Told) -> Errands:
    return Errands(["t", "u"], told.append)


@pytest.mark.parametrize("code", [KafkaError.LEADER_NOT_AVAILABLE, KafkaError.UNKNOWN_TOPIC_OR_PART])
def test_a_topic_that_cannot_be_described_for_once_keeps_its_count(
    errands: Errands, told: Told, kafka: Any, code: int
) -> None:
    errands.run(kafka, ())
    kafka.out = {"u": code}
    errands.count_soon()
    errands.run(kafka, ())
    assert [event.counts for event in told.of(PartitionCounts)] == [{"t": 10, "u": 10}]
    assert [event.reason for event in told.of(Trouble)] == ["topic_missing:u"]
    assert errands.counts == {"t": 10, "u": 10}


def test_a_topic_that_was_never_described_has_no_count_and_does_not_stop_the_process(
    errands: Errands, told: Told, kafka: Any
) -> None:
    kafka.out = {"u": KafkaError.UNKNOWN_TOPIC_OR_PART}
    errands.run(kafka, ())
    assert errands.counts == {"t": 10}
    (trouble,) = told.of(Trouble)
    assert not trouble.halts
    kafka.out = {}
    errands.count_soon()
    errands.run(kafka, ())
    assert [event.counts for event in told.of(PartitionCounts)] == [{"t": 10}, {"t": 10, "u": 10}]
    assert told.of(Cured)[-1] == Cured("topic_missing:u")


def test_counts_are_asked_for_every_half_minute_and_told_when_they_change(
    errands: Errands, told: Told, kafka: Any, time: Time
) -> None:
    for time.now in (1000.0, 1029.0, 1030.0):
        errands.run(kafka, ())
    assert len(told.of(Cured)) == 4
    assert len(told.of(PartitionCounts)) == 1


def test_counts_that_did_not_come_are_asked_for_again_soon(
    errands: Errands, told: Told, kafka: Any, time: Time
) -> None:
    """Without them this replica sends nothing."""
    kafka.is_away = True
    errands.run(kafka, ())
    kafka.is_away = False
    for time.now, known in ((1004.0, {}), (1005.0, {"t": 10, "u": 10})):
        errands.run(kafka, ())
        assert errands.counts == known
    assert told.of(Trouble) == []  # brokers that are away are told of by whoever hears it first


def flow(partition: int, *, paused: bool = False) -> Flow:
    one = Flow(Assignment("t", partition, 1), 0)
    one.paused = paused
    return one


def test_where_partitions_end_is_told_every_five_seconds_of_those_that_know(
    errands: Errands, told: Told, kafka: Any, time: Time
) -> None:
    flows = [flow(0), flow(1), flow(2, paused=True)]
    for time.now in (1000.0, 1004.0, 1005.0):
        errands.run(kafka, flows)
    first, _second = told.of(Watermarks)
    assert first.low_high == {flows[0].stay: (3, 9), flows[2].stay: (3, 9)}
    # What is paused is not fetched, and what is known of it grows old.
    assert kafka.asked == [("t[0]", True), ("t[1]", True), ("t[2]", False)] * 2


def test_brokers_that_do_not_answer_are_waited_for_once(errands: Errands, told: Told, kafka: Any) -> None:
    kafka.is_away = True
    errands.run(kafka, [flow(0), flow(1)])
    assert kafka.asked == [("t[0]", True)]
    assert told == []


def test_partitions_whose_broker_is_away_keep_nobody_else_s_ends_from_being_told(
    errands: Errands, told: Told, kafka: Any, time: Time
) -> None:
    """A time-out is two seconds in which nothing is polled: one an errand is enough, and the others are told of."""
    kafka.silent = {0, 2}
    flows = [flow(0, paused=True), flow(2, paused=True), flow(3, paused=True), flow(4)]
    for time.now in (1000.0, 1005.0, 1010.0):
        kafka.asked.clear()
        errands.run(kafka, flows)
        assert len([where for where, cached in kafka.asked if where in {"t[0]", "t[2]"}]) == 1
    assert told.of(Watermarks)[-1].low_high == {flows[2].stay: (3, 9), flows[3].stay: (3, 9)}

    kafka.silent.clear()
    time.now = 1015.0
    errands.run(kafka, flows)
    assert told.of(Watermarks)[-1].low_high.keys() == {each.stay for each in flows}
