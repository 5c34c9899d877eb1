"""Topics that are not there, and the dead-letter topic, on Apache Kafka."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import yaml
from confluent_kafka.admin import NewTopic

from connector import __version__, check
from connector.records import Kind
from connector.settings import load
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


@pytest.mark.parametrize(
    ("config", "verdict", "words"),
    [
        ({}, "warning", "message.timestamp.type"),
        ({"message.timestamp.type": "LogAppendTime"}, "ok", "holds records"),
        ({"retention.ms": "-1"}, "ok", "holds records"),
        ({"max.message.bytes": "2000"}, "refused", "max.message.bytes"),
        ({"cleanup.policy": "compact"}, "refused", "cleanup.policy"),
    ],
    ids=["default", "log-append", "for-ever", "too-small", "compacted"],
)
def test_check_looks_whether_the_dead_letter_topic_keeps_letters(
    stage: Stage, tmp_path: Path, config: dict[str, str], verdict: str, words: str
) -> None:
    """A letter keeps its record's timestamp: by default an old one would be gone within minutes."""
    for topic in stage.topics.values():
        stage.broker.create_topic(topic)
    letters = NewTopic(stage.dead_letters, 1, 1, config={"max.message.bytes": "2000000", **config})
    stage.broker.admin.create_topics([letters])[stage.dead_letters].result(30)
    document = {
        "kafka": {"bootstrap.servers": stage.broker.address, "group.id": stage.group},
        "topics": {topic: {"kind": kind.value} for kind, topic in stage.topics.items()},
        "dead_letter_topic": stage.dead_letters,
        "braze": {"endpoint": "http://127.0.0.1:1", "api_key": "none"},
    }
    file = tmp_path / "connector.yaml"
    file.write_text(yaml.safe_dump(document), encoding="utf-8")

    (finding,) = [each for each in check._kafka(load(file)) if each.subject == stage.dead_letters]

    assert finding.verdict == verdict
    assert words in finding.text
