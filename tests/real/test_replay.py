"""Dead letters put back on Apache Kafka: once, never over a newer value, with their history, whatever is killed."""

from __future__ import annotations

import io
import json
import signal
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import NewTopic
from fastavro import parse_schema, schemaless_writer

from connector.app import translators
from connector.demo.workload import Made
from connector.records import Kind
from connector.replay.command import WaitingClock
from connector.replay.kafka import PartitionReader, TransactionalWriter
from connector.replay.selection import Selection
from connector.replay.session import Replay, ReplayOptions
from connector.replay.verdicts import Verdict
from connector.settings import PACKAGED_SCHEMAS, SCHEMA_FILES, load
from tests.real.children import until
from tests.real.stage import API_KEY, Replica, Stage

pytestmark = pytest.mark.kafka

SCHEMAS = {
    kind: parse_schema(json.loads((PACKAGED_SCHEMAS / file).read_text(encoding="utf-8")))
    for kind, file in SCHEMA_FILES.items()
}
REFUSED = {"do": "refuse_object", "times": None}
ALL_EVENTS = {**REFUSED, "where": {"array": "events"}}
ALL_ATTRIBUTES = {**REFUSED, "where": {"array": "attributes"}}


def encoded(kind: Kind, record: dict[str, Any]) -> bytes:
    out = io.BytesIO()
    schemaless_writer(out, SCHEMAS[kind], record)
    return out.getvalue()


def event(number: int, user: str = "user-1") -> Made:
    record = {
        "event_id": f"e-{number}",
        "identity": {"external_id": user, "braze_id": None},
        "event_name": "bought",
        "occurred_at": int(time.time() * 1000),
        "properties": {"number": number},
    }
    return Made(number, Kind.EVENT, user, encoded(Kind.EVENT, record), "delivered")


def audience(user: str, audience_id: str, change: str, **attributes: Any) -> bytes:
    record = {
        "event_id": "a",
        "identity": {"external_id": user, "braze_id": None},
        "audience_id": audience_id,
        "split_id": "s",
        "change": change,
        "qualified_at": int(time.time() * 1000),
        "attributes": attributes,
    }
    return encoded(Kind.AUDIENCE, record)


def until_letters(stage: Stage, count: int) -> list[Any]:
    return until(f"there are {count} letters", lambda: (found := stage.letters()) and len(found) >= count and found)


def leave_when_committed(stage: Stage, replica: Replica) -> None:
    stage.until_all_committed()
    replica.leave()


def arrivals(stage: Stage) -> Counter[int]:
    return Counter({number: len(places) for number, places in stage.read_both_ends().arrivals.items() if places})


def until_arrived(stage: Stage, numbers: set[int]) -> Counter[int]:
    until("all of them have arrived", lambda: arrivals(stage).keys() >= numbers)
    return arrivals(stage)


def profile(stage: Stage, user: str) -> dict[str, Any]:
    """What Braze knows of the user."""
    values: dict[str, Any] = {}
    for line in stage.braze.applied():
        if line["array"] == "attributes" and line["object"].get("external_id") == user:
            values.update(line["object"])
    values.pop("external_id", None)
    return values


def test_cured_letters_are_delivered_once_however_often_replay_runs(stage: Stage) -> None:
    stage.make_topics()
    stage.produce(1500)
    replica = stage.replica()
    stage.until_all_committed()
    cured = [Kind.EVENT]
    letters = [dict(each.headers()) for each in stage.letters()]
    refused = {
        number
        for number, (where, offset) in stage.audit.positions.items()
        for each in letters
        if each["aiq.dlq.reason"] == b"refused"
        and stage.audit.made[number].kind in cured
        and (each["aiq.dlq.topic"].decode(), int(each["aiq.dlq.partition"]), int(each["aiq.dlq.offset"]))
        == (*where, offset)
    }
    assert refused
    before = arrivals(stage)
    originals = {each.value(): each for each in stage.read(stage.topics[Kind.EVENT])}
    stage.braze.cure()
    words = ["--reason", "refused", "--topic", stage.topics[Kind.EVENT]]

    assert stage.replay(*words, "--dry-run") == {"replayed": len(refused)}
    assert stage.replay(*words) == {"replayed": len(refused)}
    assert stage.replay(*words) == {"already_replayed": len(refused)}
    assert stage.replay(*words, "--dry-run") == {"already_replayed": len(refused)}

    after = until_arrived(stage, before.keys() | refused)
    replica.leave()
    assert after == before + Counter(refused)
    back = [each for each in stage.read(stage.topics[Kind.EVENT]) if each.headers()]
    assert len(back) == len(refused)
    for each in back:
        original = originals[each.value()]
        assert (each.key(), each.partition()) == (original.key(), original.partition())
        assert dict(each.headers())["aiq.replay.of"].decode().endswith(f"[{each.partition()}]:{original.offset()}")
        assert each.timestamp()[1] >= original.timestamp()[1]


def test_the_rest_of_the_letters_is_judged_without_a_fault(stage: Stage) -> None:
    stage.make_topics()
    stage.produce(1500)
    replica = stage.replica()
    leave_when_committed(stage, replica)
    letters = [dict(each.headers())["aiq.dlq.reason"] for each in stage.letters()]
    verdicts = stage.replay()
    assert sum(verdicts.values()) == len(letters)
    assert verdicts["still_unmappable"] == sum(each != b"refused" for each in letters)
    assert stage.replay().get("replayed", 0) == 0
    assert API_KEY not in replica.child.output()


def test_an_attribute_that_was_written_since_is_not_put_back(stage: Stage) -> None:
    stage.make_topics()
    topic = stage.topics[Kind.AUDIENCE]
    stage.braze.refuse(ALL_ATTRIBUTES)
    replica = stage.replica()
    for user in ("whole", "part", "clear", "twice"):
        stage.write_raw(topic, audience(user, "1", "ENTERED", city="old"), key=user.encode())
    stage.write_raw(topic, audience("twice", "1", "ENTERED", city="new"), key=b"twice")
    until_letters(stage, 5)
    stage.braze.cure()
    stage.write_raw(topic, audience("whole", "1", "EXITED", city="new"), key=b"whole")
    stage.write_raw(topic, audience("part", "2", "ENTERED", city="new"), key=b"part")
    stage.write_raw(topic, audience("clear", "2", "ENTERED", town="new"), key=b"clear")
    until("the newer ones are delivered", lambda: all(profile(stage, user) for user in ("whole", "part", "clear")))

    expected = {"replayed": 2, "superseded": 2, "partly_superseded": 1}
    assert stage.replay("--dry-run") == expected
    assert stage.replay() == expected
    assert stage.replay() == {"already_replayed": 2, "superseded": 2, "partly_superseded": 1}
    until("they are delivered", lambda: profile(stage, "twice") and "city" in profile(stage, "clear"))
    replica.leave()
    assert profile(stage, "whole") == {"AIQ_1_s": False, "city": "new"}
    assert profile(stage, "part") == {"AIQ_2_s": True, "city": "new"}
    assert profile(stage, "clear") == {"AIQ_1_s": True, "AIQ_2_s": True, "city": "old", "town": "new"}
    assert profile(stage, "twice") == {"AIQ_1_s": True, "city": "new"}


def test_what_retention_has_taken_since_leaves_an_attribute_alone_and_not_an_event(stage: Stage) -> None:
    stage.make_topics()
    topic = stage.topics[Kind.AUDIENCE]
    stage.braze.refuse(ALL_ATTRIBUTES, ALL_EVENTS)
    replica = stage.replica()
    stage.write_raw(topic, audience("early", "1", "ENTERED"))
    stage.write_raw(topic, audience("late", "1", "ENTERED"))
    stage.write([event(number) for number in range(2)], partition=0)
    until_letters(stage, 4)
    stage.braze.cure()
    stage.broker.delete_records(topic, 0, below=2)  # of what came after `late` nothing is gone
    stage.broker.delete_records(stage.topics[Kind.EVENT], 0, below=2)
    assert stage.replay() == {"replayed": 3, "unknowable": 1}
    assert until_arrived(stage, {0, 1}) == Counter([0, 1])
    until("the other is delivered", lambda: profile(stage, "late"))
    replica.leave()
    assert profile(stage, "early") == {}


def test_a_record_that_fails_again_keeps_its_history(stage: Stage) -> None:
    stage.make_topics()
    topic = stage.topics[Kind.EVENT]
    own = [("trace", b"\x00\xff"), ("trace", b"twice"), ("null", None)]
    stage.braze.refuse(ALL_EVENTS)
    replica = stage.replica()
    made = event(0)
    stage.audit.made[0] = made
    first = stage.write_raw(topic, made.value or b"", key=b"user-1", headers=own)
    offsets = [first]
    for life in range(1, 4):
        letter = until_letters(stage, life)[-1]
        headers = dict(letter.headers())
        assert headers["aiq.dlq.offset"] == str(offsets[-1]).encode()
        assert letter.headers()[:3] == own
        if life > 1:
            assert headers["aiq.replay.count"] == str(life - 1).encode()
            assert headers["aiq.replay.reasons"] == b",".join([b"refused"] * (life - 1))
            assert headers["aiq.replay.first.offset"] == str(first).encode()
            assert headers["aiq.replay.of"] == f"{topic}[0]:{offsets[-2]}".encode()
        size = len(letter.headers())
        assert size == (15 if life == 1 else 31)
        if life == 3:
            stage.braze.cure()
        expected = {"replayed": 1, "already_replayed": life - 1}
        assert stage.replay() == {name: count for name, count in expected.items() if count}
        offsets.append(stage.read(topic)[-1].offset())
    assert until_arrived(stage, {0}) == Counter([0])
    replica.leave()


def refused_events(stage: Stage, count: int) -> set[int]:
    """Dead letters of events, and Braze cured."""
    stage.make_topics()
    stage.braze.refuse(ALL_EVENTS)
    replica = stage.replica()
    stage.write([event(number) for number in range(count)], partition=0)
    until_letters(stage, count)
    leave_when_committed(stage, replica)
    stage.braze.cure()
    return set(range(count))


def put_back(stage: Stage) -> int:
    return sum(bool(each.headers()) for each in stage.read(stage.topics[Kind.EVENT]))


def test_a_replay_that_is_killed_is_finished_by_the_next_and_nothing_comes_twice(stage: Stage) -> None:
    numbers = refused_events(stage, 30)
    killed = stage.start_replay("--rate", "5")
    until("some are back", lambda: put_back(stage))
    killed.signal(signal.SIGKILL)
    killed.wait()
    done = put_back(stage)
    assert 0 < done < 30
    verdicts = stage.replay()
    assert verdicts == {"already_replayed": done, "replayed": 30 - done}
    replica = stage.replica()
    assert until_arrived(stage, numbers) == Counter(numbers)
    replica.leave()


def test_of_two_replays_the_later_one_goes_on_alone(stage: Stage) -> None:
    numbers = refused_events(stage, 30)
    earlier = stage.start_replay("--rate", "3")
    until("some are back", lambda: put_back(stage))
    verdicts = stage.replay()
    assert earlier.wait() == 3, earlier.output()
    assert "another replay" in earlier.output()
    assert verdicts["replayed"] + verdicts["already_replayed"] == 30
    assert put_back(stage) == 30
    replica = stage.replica()
    assert until_arrived(stage, numbers) == Counter(numbers)
    replica.leave()


def test_a_record_that_is_too_large_with_more_headers_is_left_alone_and_its_neighbours_are_not(stage: Stage) -> None:
    topic = stage.topics[Kind.EVENT]
    stage.make_topics()
    stage.broker.admin.delete_topics([topic])[topic].result(30)
    until("it is gone", lambda: topic not in stage.broker.admin.list_topics(timeout=10).topics)
    config = {"max.message.bytes": "2000"}
    stage.broker.admin.create_topics([NewTopic(topic, 2, 1, config=config)])[topic].result(30)
    stage.braze.refuse(ALL_EVENTS)
    replica = stage.replica()
    stage.write([event(number) for number in range(5)], partition=0)
    large = event(5)
    stage.audit.made[5] = large
    stage.write_raw(topic, large.value or b"", headers=[("filler", b"x" * 1600)])
    stage.write([event(number) for number in range(6, 9)], partition=0)
    until_letters(stage, 9)
    stage.braze.cure()
    assert stage.replay() == {"replayed": 8, "unwritable": 1}
    assert until_arrived(stage, set(range(9)) - {5}) == Counter(set(range(9)) - {5})
    replica.leave()


def test_what_an_aborted_transaction_wrote_supersedes_nothing_and_an_open_one_is_waited_for(stage: Stage) -> None:
    stage.make_topics()
    topic = stage.topics[Kind.AUDIENCE]
    stage.braze.refuse(ALL_ATTRIBUTES)
    replica = stage.replica()
    stage.write_raw(topic, audience("ann", "1", "ENTERED"))
    until_letters(stage, 1)
    stage.braze.cure()
    other: Producer = stage.transactional_producer()
    other.begin_transaction()
    other.produce(topic, audience("ann", "1", "EXITED"), partition=0)
    other.flush(30)
    assert stage.replay() == {"busy": 1}
    other.abort_transaction(30)
    assert stage.replay() == {"replayed": 1}
    until("it is delivered", lambda: profile(stage, "ann") == {"AIQ_1_s": True})
    replica.leave()


class Interrupted(TransactionalWriter):
    """Somebody writes to the partition just before a transaction does, after all was looked through."""

    before: Callable[[], object]

    def write(self, *parts: Any) -> list[int]:
        self.before()
        return super().write(*parts)


@pytest.mark.parametrize("letters", [1, 20])
def test_what_is_written_while_replay_writes_is_seen_before_it_counts(stage: Stage, letters: int) -> None:
    stage.make_topics()
    topic = stage.topics[Kind.AUDIENCE]
    stage.braze.refuse(ALL_ATTRIBUTES)
    replica = stage.replica()
    for number in range(letters):
        stage.write_raw(topic, audience(f"user-{number}", "1", "ENTERED"))
    until_letters(stage, letters)
    leave_when_committed(stage, replica)
    newer = iter([audience("user-0", "1", "EXITED")])
    kafka = {"bootstrap.servers": stage.broker.address, "group.id": stage.group}
    readers = PartitionReader(kafka), PartitionReader(kafka)
    writer = Interrupted(kafka, stage.dead_letters)
    writer.before = lambda: [stage.write_raw(topic, value) for value in newer]
    settings = load(stage.config, {"TEST_BRAZE_KEY": API_KEY})
    options = ReplayOptions(stage.dead_letters, Selection({}))
    replay = Replay(options, translators(settings), lambda _: "", *readers, writer, Silent(), WaitingClock())
    replay.run()
    for each in (writer, *readers):
        each.close()
    assert (replay.account.total(Verdict.REPLAYED), replay.account.total(Verdict.SUPERSEDED)) == (letters - 1, 1)
    assert sum(bool(each.headers()) for each in stage.read(topic)) == letters - 1
    assert stage.replay() == Counter(already_replayed=letters - 1, superseded=1) - Counter()


class Silent:
    def begin(self, what: str, total: int) -> None: ...

    def advance(self, count: int) -> None: ...
