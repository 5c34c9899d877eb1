"""A whole replay on librdkafka's in-process broker, as the command runs it; no connector, no JVM."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import yaml
from confluent_kafka import Consumer, KafkaError, Producer
from confluent_kafka import TopicPartition as KafkaPartition
from fastavro import parse_schema, schemaless_writer
from typer.testing import CliRunner

from connector.app import translators
from connector.cli import app
from connector.ports import SchemaUnknown
from connector.records import Kind
from connector.replay.dead_letter import REPLAY_PREFIX
from connector.replay.kafka import PartitionReader, TransactionalWriter
from connector.replay.selection import Selection
from connector.replay.session import Replay, ReplayOptions
from connector.settings import PACKAGED_SCHEMAS, SCHEMA_FILES, load
from tests.real.brokers import InProcessBroker
from tests.replay.letters_made import context

NUMBERS = count()
USER = "planted-user-3c1d"
VALUE_AT = 1_790_000_000_000


@pytest.fixture(scope="module")
def broker() -> InProcessBroker:
    return InProcessBroker()


def encoded(kind: Kind, **fields: Any) -> bytes:
    record = {
        Kind.AUDIENCE: {"audience_id": "1", "split_id": "s", "change": "ENTERED", "qualified_at": VALUE_AT},
        Kind.EVENT: {"event_name": "bought", "occurred_at": VALUE_AT, "properties": {}},
        Kind.CAMPAIGN: {"campaign_id": "c", "requested_at": VALUE_AT},
    }[kind]
    whole = {"event_id": "e", "identity": {"external_id": USER, "braze_id": None}, **record, **fields}
    out = io.BytesIO()
    schema = parse_schema(json.loads((PACKAGED_SCHEMAS / SCHEMA_FILES[kind]).read_text(encoding="utf-8")))
    schemaless_writer(out, schema, whole)
    return out.getvalue()


@dataclass
class Desk:
    """One test's topics, its letters, and the command."""

    broker: InProcessBroker
    folder: Path
    name: str

    def __post_init__(self) -> None:
        self.dead_letters = f"{self.name}.dead"
        self.topics = {kind: f"{self.name}.{kind}" for kind in Kind}
        for topic in (self.dead_letters, *self.topics.values()):
            self.broker.create_topic(topic)
        self._producer = Producer({"bootstrap.servers": self.broker.address, "log_level": 0})
        self.config = self.folder / "config.yaml"
        self.configure()

    @property
    def kafka(self) -> dict[str, Any]:
        """Without a look at checksums: this broker writes none into the ends of transactions."""
        return {"bootstrap.servers": self.broker.address, "group.id": self.name, "check.crcs": False}

    def configure(self, **sections: Any) -> None:
        document = {
            "kafka": self.kafka,
            "topics": {topic: {"kind": kind.value} for kind, topic in self.topics.items()},
            "dead_letter_topic": self.dead_letters,
            "braze": {"endpoint": "http://127.0.0.1:1", "api_key": "not-a-real-key"},
        } | sections
        self.config.write_text(yaml.safe_dump(document), encoding="utf-8")

    def write(
        self,
        topic: str,
        value: bytes | None,
        headers: Any = None,
        timestamp_ms: int = VALUE_AT,
        key: bytes | None = b"planted-key",
    ) -> int:
        """To partition 0; returns the offset."""
        offsets: list[int] = []
        self._producer.produce(
            topic, value, key, partition=0, headers=headers, timestamp=timestamp_ms,
            on_delivery=lambda _, message: offsets.append(message.offset()),
        )  # fmt: skip
        assert self._producer.flush(30) == 0
        return offsets[0]

    def fail(self, kind: Kind, value: bytes, own: Any = (), **changes: Any) -> int:
        """A record, and its dead letter; returns the record's offset."""
        offset = self.write(self.topics[kind], value, list(own))
        self.letter(kind, value, offset, own, **changes)
        return offset

    def letter(self, kind: Kind, value: bytes, offset: int, own: Any = (), **changes: Any) -> None:
        fields = {"topic": self.topics[kind], "kind": kind.value, "timestamp": str(VALUE_AT), **changes}
        self.write(self.dead_letters, value, [*own, *context(offset, **fields)])

    def replay(self, *words: str, code: int = 0) -> dict[str, int]:
        """The verdicts, of those letters that got one."""
        result = CliRunner().invoke(app, ["replay", "--config", str(self.config), "--json", *words])
        assert result.exit_code == code, result.output
        assert USER not in result.output
        assert "planted-key" not in result.output
        self.account = json.loads(result.stdout.splitlines()[-1])
        self.said = result.stderr
        verdicts = {name: found for name, found in self.account["verdicts"].items() if found}
        others = sum(self.account[name] for name in ("foreign", "not_selected", "left"))
        assert self.account["read"] == sum(verdicts.values()) + others
        return verdicts

    def read(self, topic: str) -> list[Any]:
        """All records of partition 0."""
        consumer = Consumer(
            {"bootstrap.servers": self.broker.address, "group.id": "read", "enable.partition.eof": True}
        )
        consumer.assign([KafkaPartition(topic, 0, 0)])
        found = []
        while True:
            message = consumer.poll(30)
            assert message is not None
            if message.error() is not None:
                assert message.error().code() == KafkaError._PARTITION_EOF
                consumer.close()
                return found
            found.append(message)

    def put_back(self, kind: Kind) -> list[Any]:
        """Records that replay wrote."""
        return [each for each in self.read(self.topics[kind]) if f"{REPLAY_PREFIX}of" in dict(each.headers() or ())]


@pytest.fixture
def desk(broker: InProcessBroker, tmp_path: Path) -> Iterator[Desk]:
    return Desk(broker, tmp_path, f"desk-{next(NUMBERS)}")


EVENT, AUDIENCE, CAMPAIGN = Kind.EVENT, Kind.AUDIENCE, Kind.CAMPAIGN


def test_each_kind_goes_back_byte_for_byte_with_its_own_headers(desk: Desk) -> None:
    own = [("trace", b"\x00\xff"), ("null", None)]
    values = {kind: encoded(kind) for kind in Kind}
    before_ms = time.time() * 1000
    offsets = {kind: desk.fail(kind, value, own) for kind, value in values.items()}
    assert desk.replay() == {"replayed": 3}
    for kind, value in values.items():
        (back,) = desk.put_back(kind)
        assert (back.key(), back.value(), back.headers()[:2]) == (b"planted-key", value, own)
        assert dict(back.headers())["aiq.replay.of"] == f"{desk.topics[kind]}[0]:{offsets[kind]}".encode()
        assert not any(name.startswith("aiq.dlq.") for name, _ in back.headers())
        assert back.timestamp()[1] >= before_ms - 1, "it is new to the topic, whatever its age"
    assert desk.replay() == {"already_replayed": 3}


def test_a_dry_run_writes_nothing(desk: Desk) -> None:
    desk.fail(EVENT, encoded(EVENT))
    before = len(desk.read(desk.dead_letters))
    assert desk.replay("--dry-run") == {"replayed": 1}
    assert desk.account["dry_run"] is True
    assert desk.account["by_reason"] == {"refused": {"replayed": 1}}
    assert desk.put_back(EVENT) == []
    assert len(desk.read(desk.dead_letters)) == before


def test_two_letters_of_one_record_put_it_back_once(desk: Desk) -> None:
    value = encoded(CAMPAIGN)
    desk.letter(CAMPAIGN, value, desk.fail(CAMPAIGN, value))
    assert desk.replay() == {"replayed": 1, "repeated": 1}
    assert desk.replay() == {"already_replayed": 2}
    assert len(desk.put_back(CAMPAIGN)) == 1


def test_a_record_of_a_topic_made_anew_at_the_same_offset_is_another_record(desk: Desk) -> None:
    value = encoded(EVENT)
    offset = desk.fail(EVENT, value)
    assert desk.replay() == {"replayed": 1}
    desk.letter(EVENT, value, offset, timestamp=str(VALUE_AT + 1))
    assert desk.replay() == {"already_replayed": 1, "replayed": 1}


def test_the_options_choose(desk: Desk) -> None:
    for reason in ("refused", "refused", "bad_value"):
        desk.fail(EVENT, encoded(EVENT), reason=reason, written_at=str(int(time.time() * 1000) - 60_000))
    desk.fail(AUDIENCE, encoded(AUDIENCE), braze_status="")
    assert desk.replay("--since", "30s", "--dry-run") == {}
    assert desk.account["not_selected"] == 4
    assert desk.replay("--since", "2m", "--dry-run") == {"replayed": 3}
    assert desk.replay("--reason", "bad_value", "--reason", "refused", "--dry-run") == {"replayed": 4}
    assert desk.replay("--reason", "bad_value", "--topic", desk.topics[AUDIENCE], "--dry-run") == {}
    assert desk.replay("--where", "kind=event", "--where", "offset=1", "--dry-run") == {"replayed": 1}
    assert desk.replay("--where", "braze_status=") == {"replayed": 1}
    assert len(desk.put_back(AUDIENCE)) == 1
    assert desk.put_back(EVENT) == []


@pytest.mark.parametrize("chunk", [100, 2])
def test_a_limit_ends_it_and_the_next_run_goes_on(desk: Desk, monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setattr(
        "connector.replay.pace.CHUNK_MAX", chunk
    )  # of a limit that takes several chunks, no more either
    for _ in range(5):
        desk.fail(EVENT, encoded(EVENT))
    assert desk.replay("--limit", "3") == {"replayed": 3}
    assert (desk.account["limit_reached"], desk.account["left"]) == (True, 2)
    assert desk.replay("--limit", "3") == {"already_replayed": 3, "replayed": 2}
    assert desk.account["limit_reached"] is False
    assert len(desk.put_back(EVENT)) == 5


def test_what_is_no_letter_of_ours_is_left_alone(desk: Desk) -> None:
    desk.write(desk.dead_letters, b"somebody else's")
    desk.write(desk.dead_letters, encoded(EVENT), context(topic="damaged name"))
    desk.write(desk.dead_letters, None, [("aiq.replay.done", b"damaged")])
    assert desk.replay() == {}
    assert desk.account["foreign"] == 3


def test_a_letter_without_a_home_is_named(desk: Desk) -> None:
    value = encoded(EVENT)
    desk.letter(EVENT, value, 0, topic="never-configured")
    desk.letter(EVENT, value, 0, topic="never-made")
    desk.letter(EVENT, value, 0, partition="4")
    desk.configure(topics={desk.topics[EVENT]: {"kind": "event"}, "never-made": {"kind": "event"}})
    assert desk.replay() == {"not_configured": 1, "topic_gone": 1, "partition_gone": 1}


def test_only_what_maps_now_goes_back(desk: Desk) -> None:
    desk.fail(EVENT, b"\x07no record", reason="undecodable")
    desk.fail(EVENT, encoded(EVENT, event_name=""), reason="missing_field")
    desk.fail(CAMPAIGN, encoded(CAMPAIGN, expires_at=VALUE_AT), reason="campaign_unavailable")
    assert desk.replay() == {"still_unmappable": 2, "would_be_skipped": 1}
    topics = {
        desk.topics[EVENT]: {"kind": "event", "mapping": {"name": {"constant": "unnamed"}}},
        desk.topics[CAMPAIGN]: {"kind": "campaign"},
    }
    desk.configure(topics=topics)
    assert desk.replay() == {"still_unmappable": 1, "replayed": 1, "would_be_skipped": 1}


def test_what_braze_may_have_applied_goes_back_only_by_name(desk: Desk) -> None:
    desk.fail(EVENT, encoded(EVENT), reason="ambiguous")
    assert desk.replay() == {"may_be_applied": 1}
    assert desk.replay("--reason", "ambiguous") == {"replayed": 1}


def test_attributes_go_back_unless_they_were_written_since(desk: Desk) -> None:
    somebody = {"external_id": "somebody", "braze_id": None}
    desk.fail(AUDIENCE, encoded(AUDIENCE, attributes={"city": "old"}))
    desk.fail(AUDIENCE, encoded(AUDIENCE, identity=somebody, attributes={"city": "old"}))
    desk.write(desk.topics[AUDIENCE], b"\x07poison", key=b"another-key")
    desk.write(desk.topics[AUDIENCE], None)
    desk.write(desk.topics[AUDIENCE], encoded(AUDIENCE, audience_id="2", attributes={"city": "new"}))
    assert desk.replay() == {"partly_superseded": 1, "replayed": 1}
    desk.write(desk.topics[AUDIENCE], encoded(AUDIENCE, change="EXITED"))
    assert desk.replay() == {"superseded": 1, "already_replayed": 1}


def test_a_newer_write_that_cannot_be_mapped_keeps_back_the_letters_of_its_key(desk: Desk) -> None:
    desk.fail(AUDIENCE, encoded(AUDIENCE))
    desk.fail(AUDIENCE, encoded(AUDIENCE, change="EXITED", audience_id=""), reason="missing_field", braze_status="")
    desk.fail(AUDIENCE, encoded(AUDIENCE, audience_id="2"))
    assert desk.replay("--reason", "refused") == {"unknowable": 1, "replayed": 1}
    assert desk.replay() == {"unknowable": 1, "still_unmappable": 1, "already_replayed": 1}


def test_where_no_key_names_a_user_what_cannot_be_mapped_keeps_nothing_back(desk: Desk) -> None:
    value = encoded(AUDIENCE)
    offset = desk.write(desk.topics[AUDIENCE], value, key=None)
    headers = context(offset, topic=desk.topics[AUDIENCE], timestamp=str(VALUE_AT))
    desk.write(desk.dead_letters, value, headers, key=None)
    desk.write(desk.topics[AUDIENCE], b"\x07poison", key=None)
    assert desk.replay() == {"replayed": 1}


def test_letters_of_one_user_go_back_in_the_order_of_their_records(desk: Desk) -> None:
    names = [f"n{number}" for number in range(5)]
    values = [encoded(EVENT, event_name=name) for name in names]
    offsets = [desk.write(desk.topics[EVENT], value) for value in values]
    for index in (3, 0, 4, 1, 2):
        desk.letter(EVENT, values[index], offsets[index])
    assert desk.replay() == {"replayed": 5}
    assert [each.value() for each in desk.put_back(EVENT)] == values


def test_a_letter_beyond_the_end_of_its_partition_says_nothing_about_what_is_there(desk: Desk) -> None:
    desk.letter(AUDIENCE, encoded(AUDIENCE), 500)
    assert desk.replay() == {"unknowable": 1}


class Clock:
    """Stands still but for sleeping."""

    def __init__(self) -> None:
        self.slept_s: list[float] = []

    def now(self) -> float:
        return sum(self.slept_s)

    def at_ms(self) -> int:
        return VALUE_AT

    def sleep(self, seconds: float) -> None:
        self.slept_s.append(seconds)


class Watch:
    """Counts."""

    def __init__(self) -> None:
        self.works: list[list[int]] = []

    def begin(self, _what: str, total: int) -> None:
        self.works.append([total, 0])

    def advance(self, done: int) -> None:
        assert done >= 0
        self.works[-1][1] += done


def test_a_rate_is_kept_by_the_clock_and_progress_reaches_its_end(desk: Desk) -> None:
    for _ in range(25):
        desk.fail(EVENT, encoded(EVENT))
    settings = load(desk.config, {})
    clock, watch = Clock(), Watch()
    letters, originals = PartitionReader(settings.kafka), PartitionReader(settings.kafka)
    writer = TransactionalWriter(settings.kafka, desk.dead_letters)
    options = ReplayOptions(desk.dead_letters, Selection({}), per_s=10)
    replay = Replay(options, translators(settings), lambda _: "", letters, originals, writer, watch, clock)
    replay.run()
    for each in (writer, letters, originals):
        each.close()
    assert clock.slept_s == [pytest.approx(1.0)] * 2
    assert len(desk.put_back(EVENT)) == 25
    assert watch.works == [[25, 25], [25, 25]]


class Gapped(TransactionalWriter):
    """Says that somebody wrote between the records of a chunk."""

    chunks: list[int]

    def write(self, *parts: Any) -> list[int]:
        offsets = super().write(*parts)
        self.chunks.append(len(offsets))
        return [*offsets[:-1], offsets[-1] + (len(offsets) > 1)]


def test_a_chunk_that_does_not_lie_in_one_piece_is_taken_back_and_halved(desk: Desk) -> None:
    for number in range(4):
        desk.fail(AUDIENCE, encoded(AUDIENCE, audience_id=str(number)))
    settings = load(desk.config, {})
    letters, originals = PartitionReader(settings.kafka), PartitionReader(settings.kafka)
    writer = Gapped(settings.kafka, desk.dead_letters)
    writer.chunks = []
    options = ReplayOptions(desk.dead_letters, Selection({}))
    replay = Replay(options, translators(settings), lambda _: "", letters, originals, writer, Watch(), Clock())
    replay.run()
    for each in (writer, letters, originals):
        each.close()
    assert writer.chunks == [4, 2, 1, 1, 2, 1, 1]
    assert replay.account.as_json()["verdicts"]["replayed"] == 4


def test_a_small_window_changes_nothing_but_memory(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("connector.replay.session._WINDOW_LETTERS", 2)
    value = encoded(EVENT)
    offset = desk.fail(EVENT, value)
    for _ in range(4):
        desk.fail(EVENT, value)
    desk.letter(EVENT, value, offset)
    assert desk.replay() == {"replayed": 5, "repeated": 1}
    assert desk.replay() == {"already_replayed": 6}


def test_schemas_come_from_the_registry_and_what_cannot_be_read_might_be_newer(desk: Desk) -> None:
    def framed(schema_id: int, **fields: Any) -> bytes:
        return b"\0" + schema_id.to_bytes(4, "big") + encoded(AUDIENCE, **fields)

    def fetch(schema_id: int) -> str:
        asked.append(schema_id)
        if schema_id != 5:
            raise SchemaUnknown
        return (PACKAGED_SCHEMAS / SCHEMA_FILES[AUDIENCE]).read_text(encoding="utf-8")

    asked: list[int] = []
    desk.fail(AUDIENCE, framed(6))
    desk.fail(AUDIENCE, framed(5))
    desk.write(desk.topics[AUDIENCE], framed(6))
    desk.fail(AUDIENCE, framed(5, audience_id="2"))
    desk.configure(schema_registry={"url": "http://127.0.0.1:1"})
    settings = load(desk.config, {})
    letters, originals = PartitionReader(settings.kafka), PartitionReader(settings.kafka)
    options = ReplayOptions(desk.dead_letters, Selection({}), is_dry=True)
    replay = Replay(options, translators(settings), fetch, letters, originals, None, Watch(), Clock())
    replay.run()
    for each in (letters, originals):
        each.close()
    verdicts = replay.account.as_json()["verdicts"]
    assert {name: found for name, found in verdicts.items() if found} == {
        "still_unmappable": 1, "unknowable": 1, "replayed": 1,
    }  # fmt: skip
    assert sorted(asked) == [5, 6], "each is asked for once"


def test_a_registry_that_does_not_answer_is_said_with_exit_code_3(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("connector.replay.schemas._WAIT_S", 0.5)
    desk.fail(EVENT, b"\0\0\0\0\5" + encoded(EVENT))
    desk.configure(schema_registry={"url": "http://127.0.0.1:1"})
    assert desk.replay(code=3) == {}
    assert desk.account["left"] == 1
    assert "check schema_registry.url" in desk.said.splitlines()[-1]


# ---- what is refused ------------------------------------------------------------------------------------------------


def refused(desk: Desk, *words: str) -> tuple[int, list[str]]:
    result = CliRunner().invoke(app, ["replay", "--config", str(desk.config), *words])
    return result.exit_code, result.stderr.splitlines()


def test_wrong_options_are_one_line_a_fault_and_exit_code_2(desk: Desk) -> None:
    desk.configure(kafka={"bootstrap.servers": "127.0.0.1:1", "group.id": "g", "isolation.level": "read_uncommitted"})
    code, lines = refused(desk, "--reason", "refusd", "--since", "then", "--rate", "0")
    assert code == 2
    assert [line.split(":")[0] for line in lines] == [
        "kafka.isolation.level", "--rate", "--reason refusd", "--since then",
    ]  # fmt: skip


def test_a_dead_letter_topic_that_is_not_there_is_named_with_exit_code_3(desk: Desk) -> None:
    desk.configure(dead_letter_topic="never-made-either")
    code, lines = refused(desk)
    assert code == 3
    assert lines[-1] == "never-made-either: the dead-letter topic does not exist, or may not be described"


@pytest.mark.parametrize("words", [(), ("--dry-run",)])
def test_a_kafka_that_does_not_answer_is_said_with_exit_code_3(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    monkeypatch.setattr("connector.replay.kafka._CALL_S", 0.3)
    monkeypatch.setattr("connector.replay.kafka._SILENCE_S", 0.3)
    desk.configure(kafka={"bootstrap.servers": "127.0.0.1:1", "group.id": "g"})
    code, lines = refused(desk, *words)
    assert code == 3
    assert "check kafka.bootstrap.servers" in lines[-1]


def test_a_batch_that_cannot_be_read_is_said_with_where_it_lies(desk: Desk) -> None:
    desk.fail(EVENT, encoded(EVENT))
    assert desk.replay() == {"replayed": 1}

    desk.configure(kafka=desk.kafka | {"check.crcs": True})
    code, lines = refused(desk)
    assert code == 3
    assert lines[-1].startswith(f"{desk.dead_letters}[0]: Kafka says _BAD_MSG: the batch is damaged; make another")


def test_without_json_the_summary_is_text(desk: Desk) -> None:
    desk.fail(EVENT, encoded(EVENT))
    result = CliRunner().invoke(app, ["replay", "--config", str(desk.config)])
    assert result.exit_code == 0
    assert "1  replayed: back in its original partition" in result.stdout
    assert "putting dead letters back: 1 records" in result.stderr
