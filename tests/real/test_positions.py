"""Where reading begins, on Apache Kafka: first starts, new partitions, and offsets that exist no more."""

from __future__ import annotations

import pytest
from confluent_kafka import TopicPartition as KafkaPartition

from connector.records import Kind
from tests.real.children import until
from tests.real.stage import Stage

pytestmark = pytest.mark.kafka

LATEST = {"auto.offset.reset": "latest", "topic.metadata.refresh.interval.ms": 500}


def test_a_first_start_at_the_latest_is_committed_before_anything_is_read(stage: Stage) -> None:
    stage.make_topics()
    stage.produce(200)
    ends = stage.ends()
    killed = stage.replica(kafka={**LATEST, "session.timeout.ms": 6000})
    until("it has its partitions", lambda: killed.assigned() == 6)
    killed.child.kill()
    assert {where: offset for where, (offset, _) in stage.committed().items() if offset} == ends
    before = set(stage.audit.made)
    stage.forget(before)
    stage.produce(200)  # while nobody reads: "latest" must not be decided anew
    stage.replica(kafka={**LATEST, "session.timeout.ms": 6000})
    stage.until_all_committed()
    assert stage.faults() == {}
    assert not before & stage.audit.arrivals.keys()


def test_a_partition_that_appears_later_is_read_from_its_beginning(stage: Stage) -> None:
    stage.make_topics()
    replica = stage.replica(kafka=LATEST)
    until("it has its partitions", lambda: replica.assigned() == 6)
    topic = stage.topics[Kind.EVENT]
    stage.broker.raise_partitions(topic, 3)
    stage.write(stage.made(100, [Kind.EVENT]), partition=2)  # before the group knows of it
    stage.produce(100)
    until("it has the new partition", lambda: replica.assigned() == 7)
    stage.until_all_committed()
    assert replica.status()["quota"]["/users/track"]["share"] == 1
    replica.leave()
    assert stage.faults() == {}


def test_an_offset_that_retention_passed_halts_its_partition_and_skips_nothing(stage: Stage) -> None:
    stage.make_topics()
    topic = stage.topics[Kind.EVENT]
    stage.write(stage.made(50, [Kind.EVENT]), partition=0)
    replica = stage.replica()
    stage.until_all_committed()
    replica.leave()
    stage.write(stage.made(50, [Kind.EVENT]), partition=0)
    stage.broker.delete_records(topic, 0, below=60)

    replica = stage.replica()
    reason = replica.until_unready("offset_out_of_range")
    assert f"{topic}[0]" in reason
    assert "--reset-offsets" in reason
    assert f"{topic}[0]" in replica.events("trouble_began")[0]["detail"]
    stage.produce(100, [Kind.AUDIENCE])
    audiences = {number for number, made in stage.audit.made.items() if made.kind is Kind.AUDIENCE}
    until("other topics go on", lambda: audiences <= stage.settled())
    assert stage.committed()[_first(stage)][0] == 50
    replica.leave()

    _give_up(stage, range(50, 60))


@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_a_batch_that_the_broker_s_disk_has_damaged_halts_its_partition_and_is_not_passed_over(
    stage: Stage, compression: str
) -> None:
    stage.make_topics()
    topic = stage.topics[Kind.EVENT]
    producer = stage.producer({"compression.type": compression, "linger.ms": 1000})  # a batch a write
    for _ in range(3):
        stage.write(stage.made(50, [Kind.EVENT]), partition=0, producer=producer)
    stage.broker.damage(topic, 0, 60)

    replica = stage.replica()
    reason = replica.until_unready("unreadable")
    assert f"{topic}[0]: at offset 50: " in reason
    assert "--reset-offsets" in reason
    until("what lies before it is delivered", lambda: stage.committed()[_first(stage)][0] == 50)
    stage.produce(100, [Kind.AUDIENCE])
    audiences = {number for number, made in stage.audit.made.items() if made.kind is Kind.AUDIENCE}
    until("other topics go on", lambda: audiences <= stage.settled())
    assert stage.committed()[_first(stage)][0] == 50
    replica.leave()

    _give_up(stage, range(50, 100))


def _first(stage: Stage) -> object:
    return next(where for where in stage.ends() if where == (stage.topics[Kind.EVENT], 0))


def _give_up(stage: Stage, offsets: range) -> None:
    """The operator says what is to be lost, and all else is delivered."""
    stage.reset_offset(KafkaPartition(stage.topics[Kind.EVENT], 0, offsets.stop))
    lost = {(_first(stage), offset) for offset in offsets}
    stage.forget([number for number, where in stage.audit.positions.items() if where in lost])
    replica = stage.replica()
    stage.until_all_committed()
    replica.until_ready()
    assert stage.faults() == {}
