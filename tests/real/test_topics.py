"""Topics that are not there, and the dead-letter topic, on Apache Kafka."""

from __future__ import annotations

import time

import pytest

from connector import __version__
from connector.records import Kind
from tests.real.children import until
from tests.real.stage import Stage

pytestmark = pytest.mark.kafka


def test_a_topic_that_is_absent_is_waited_for(stage: Stage) -> None:
    present = [Kind.EVENT, Kind.CAMPAIGN]
    for topic in (*(stage.topics[kind] for kind in present), stage.dead_letters):
        stage.broker.create_topic(topic)
    replica = stage.replica(kafka={"topic.metadata.refresh.interval.ms": 500})
    absent = stage.topics[Kind.AUDIENCE]
    waits = until("it says what it waits for", lambda: replica.readiness()[1]["waiting_for"])
    assert f"topic_missing:{absent}" in waits[0]
    replica.until_ready()
    stage.produce(200, present)
    until("the others are delivered", lambda: set(stage.audit.made) <= stage.settled())
    stage.broker.create_topic(absent)
    stage.produce(200)
    stage.until_all_committed()
    until("it waits for nothing", lambda: not replica.readiness()[1]["waiting_for"], within_s=90)
    replica.leave()
    assert stage.faults() == {}


def test_a_dead_letter_is_the_original_with_the_reason_in_its_headers(stage: Stage) -> None:
    stage.make_topics()
    topic = stage.topics[Kind.EVENT]
    own = [("trace", b"\x00\xff"), ("trace", b"twice"), ("empty", b""), ("null", None)]
    before_ms = time.time() * 1000
    offset = stage.write_raw(
        topic, b"\x07no record", key=b"\x00key", timestamp=1_700_000_000_123, headers=[*own, ("aiq.dlq.reason", b"old")]
    )
    replica = stage.replica()
    (letter,) = until("the letter is there", stage.letters)
    until("it is committed", lambda: stage.committed()[topic, 0][0] == offset + 1)
    assert (letter.key(), letter.value(), letter.timestamp()[1]) == (b"\x00key", b"\x07no record", 1_700_000_000_123)
    assert letter.headers()[:4] == own
    assert dict(letter.headers()[4:]) == {
        "aiq.dlq.reason": b"undecodable",
        "aiq.dlq.detail": dict(letter.headers())["aiq.dlq.detail"],
        "aiq.dlq.topic": topic.encode(),
        "aiq.dlq.partition": b"0",
        "aiq.dlq.offset": str(offset).encode(),
        "aiq.dlq.timestamp": b"1700000000123",
        "aiq.dlq.written_at": dict(letter.headers())["aiq.dlq.written_at"],
        "aiq.dlq.kind": b"event",
        "aiq.dlq.schema_id": b"",
        "aiq.dlq.braze_status": b"",
        "aiq.dlq.attempts": b"0",
        "aiq.dlq.version": __version__.encode(),
    }
    assert before_ms - 1 <= int(dict(letter.headers())["aiq.dlq.written_at"]) <= time.time() * 1000
    replica.leave()


def test_without_its_topic_a_dead_letter_waits_and_nothing_is_dropped(stage: Stage) -> None:
    for topic in stage.topics.values():
        stage.broker.create_topic(topic)
    stage.produce(1000)
    dead = {number for number, made in stage.audit.made.items() if made.expected == "dead_lettered"}
    assert dead
    replica = stage.replica()
    assert "make the dead-letter topic" in replica.until_unready("dead_letters")
    assert not dead & stage.settled()
    stage.broker.create_topic(stage.dead_letters)
    stage.until_all_committed()
    replica.until_ready()
    replica.leave()
    assert stage.faults() == {}
