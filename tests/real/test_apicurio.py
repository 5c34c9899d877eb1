"""Writer schemas from a real registry, with the records on librdkafka's in-process broker."""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastavro import parse_schema, schemaless_writer

from connector.demo.workload import Made
from connector.records import Kind
from connector.settings import PACKAGED_SCHEMAS, SCHEMA_FILES
from tests.real.apicurio import Apicurio
from tests.real.brokers import InProcessBroker
from tests.real.children import Children, until
from tests.real.maven import apicurio_jar
from tests.real.stage import Stage

pytestmark = pytest.mark.registry

NEVER_REGISTERED = 987_654


@pytest.fixture(scope="module")
def registry(children: Children, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Apicurio]:
    registry = Apicurio(children, apicurio_jar(), tmp_path_factory.mktemp("registry"))
    registry.start()
    yield registry
    registry.stop()


@pytest.fixture(scope="module")
def ids(registry: Apicurio) -> dict[Kind, int]:
    return {kind: registry.register(f"{kind}-value", our_schema(kind)) for kind in Kind}


@pytest.fixture
def stage(
    request: pytest.FixtureRequest,
    in_process_broker: InProcessBroker,
    children: Children,
    tmp_path: Path,
    ids: dict[Kind, int],
) -> Iterator[Stage]:
    """A stage around the in-process broker, whose values carry the registry's ids."""
    stage = Stage(
        in_process_broker,
        children,
        tmp_path,
        request.node.name.removeprefix("test_"),
        lambda kind, value: framed(ids[kind], value),
    )
    stage.make_topics()
    yield stage
    stage.close()


def our_schema(kind: Kind) -> Any:
    return json.loads((PACKAGED_SCHEMAS / SCHEMA_FILES[kind]).read_text(encoding="utf-8"))


def framed(schema_id: int, value: bytes) -> bytes:
    return b"\0" + struct.pack(">I", schema_id) + value


def event(number: int, schema: Any, **more: Any) -> Made:
    """An event of a workload's form, written with any schema that has our fields."""
    user = f"user-{number % 7}"
    record = {
        "event_id": f"e-{number}",
        "identity": {"external_id": user, "braze_id": None},
        "event_name": "bought",
        "occurred_at": 1_790_000_000_000,
        "properties": {"number": number},
        **more,
    }
    out = io.BytesIO()
    schemaless_writer(out, parse_schema(schema), record)
    return Made(number, Kind.EVENT, user, out.getvalue(), "delivered")


def write_framed(stage: Stage, schema_id: int, records: list[Made]) -> None:
    """With another schema id than the stage's own for their kind."""
    own, stage.framing = stage.framing, lambda _, value: framed(schema_id, value)
    stage.write(records)
    stage.framing = own


def test_all_three_kinds_are_read_by_the_schemas_that_their_ids_name(stage: Stage, registry: Apicurio) -> None:
    stage.produce(1000)
    replica = stage.replica(schema_registry={"url": registry.url})
    stage.until_all_committed()
    replica.leave()
    assert stage.faults() == {}
    by_id = {dict(letter.headers())["aiq.dlq.schema_id"] for letter in stage.letters()}
    assert b"" not in by_id  # every poisoned record had a header that named its schema


def test_a_field_added_in_mid_stream_changes_nothing_for_the_others(stage: Stage, registry: Apicurio) -> None:
    old, new = our_schema(Kind.EVENT), our_schema(Kind.EVENT)
    new["fields"].insert(2, {"name": "region", "type": ["null", "string"], "default": None})
    new_id = registry.register("event-value", new)
    replica = stage.replica(schema_registry={"url": registry.url})
    stage.write([event(number, old) for number in range(100)])
    write_framed(stage, new_id, [event(number, new, region="north") for number in range(100, 200)])
    stage.write([event(number, old) for number in range(200, 300)])
    stage.until_all_committed()
    replica.leave()
    assert stage.faults() == {}


def test_a_schema_that_refers_to_another_is_read(stage: Stage, registry: Apicurio) -> None:
    whole, referring = our_schema(Kind.EVENT), our_schema(Kind.EVENT)
    identity = next(field for field in referring["fields"] if field["name"] == "identity")
    registry.register("identity", identity["type"])
    identity["type"] = "aiq.export.v1.BrazeIdentity"
    reference = {"name": identity["type"], "subject": "identity", "version": 1}
    referring_id = registry.register("referring-value", referring, [reference])
    write_framed(stage, referring_id, [event(number, whole) for number in range(50)])
    replica = stage.replica(schema_registry={"url": registry.url})
    stage.until_all_committed()
    replica.leave()
    assert stage.faults() == {}


def test_a_registry_that_is_down_at_the_start_is_waited_for(stage: Stage, registry: Apicurio) -> None:
    stage.produce(300)
    registry.stop()
    try:
        replica = stage.replica(schema_registry={"url": registry.url})
        until(
            "it says what it waits for",
            lambda: any("schema_registry" in each for each in replica.readiness()[1]["waiting_for"]),
        )
        until("it has taken in what there is", lambda: replica.total("consumed") > 0)
        assert replica.total("in_flight") + replica.total("skipped") == replica.total("consumed")
        assert stage.letters() == []
    finally:
        registry.start()
    stage.until_all_committed()
    replica.until_ready()
    replica.leave()
    assert stage.faults() == {}


def test_an_unknown_schema_id_halts_its_topic_alone(stage: Stage, registry: Apicurio) -> None:
    write_framed(stage, NEVER_REGISTERED, [event(number, our_schema(Kind.EVENT)) for number in range(10_000, 10_020)])
    halted = set(stage.audit.made)
    stage.produce(300, [Kind.AUDIENCE, Kind.CAMPAIGN])
    replica = stage.replica(schema_registry={"url": registry.url})
    reason = replica.until_unready(f"schema:{stage.topics[Kind.EVENT]}")
    assert str(NEVER_REGISTERED) in reason
    until("the other topics go on", lambda: set(stage.audit.made) - halted <= stage.settled())
    assert not halted & stage.settled()
    assert not halted & stage.ended()
    replica.leave()
