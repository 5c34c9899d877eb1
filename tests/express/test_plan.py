"""Which schemas and documents have a lane; whatever is out of the common has none, and works all the same."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from connector.express.plan import compile_lane
from connector.mapping import MappingRules, default_document, override
from connector.records import Kind
from connector.schema import WriterSchema
from tests.avro_bytes import doubling, schema_text
from tests.express.both_ways import Ways
from tests.mapping_samples import SCHEMAS
from tests.mapping_samples import THEN as NOW

OLDER_EVENT = orjson.loads(schema_text("ProfileEvent"))
OLDER_EVENT["fields"] = [
    field for field in OLDER_EVENT["fields"] if field["name"] not in {"trigger_id", "exported_at"}
] + [{"name": "extra", "type": ["null", {"type": "array", "items": "bytes"}]}, {"name": "also", "type": "string"}]


def has_lane(kind: Kind, writer: WriterSchema | None = None, reader: WriterSchema | None = None, **words: Any) -> bool:
    document = override(default_document(kind), words)
    return compile_lane(document, writer or SCHEMAS[kind], reader, MappingRules()) is not None


def test_our_own_schemas_have_one_but_for_campaigns() -> None:
    assert [has_lane(kind, None, SCHEMAS[kind]) for kind in Kind] == [True, True, False]


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (Kind.EVENT, {"properties": {"rest": True}}),
        (Kind.EVENT, {"properties": {"fields": {"a": "event_id"}}}),
        (Kind.EVENT, {"properties": {"omit": ["a"]}}),
        (Kind.EVENT, {"name": {"constant": "bought"}}),
        (Kind.EVENT, {"user": {"external_id": {"template": "x-{event_id}"}}}),
        (Kind.AUDIENCE, {"attribute": {"name": {"template": " {audience_id}"}}}),
        (Kind.AUDIENCE, {"attribute": {"value": {"constant": True}}}),
        (Kind.AUDIENCE, {"attribute": {"value": {"field": "audience_id", "map": {"1": True}}}}),
        (Kind.AUDIENCE, {"skip": [{"field": "audience_id", "in": ["1"]}]}),
    ],
)
def test_documents_without(kind: Kind, words: dict[str, Any]) -> None:
    assert not has_lane(kind, None, SCHEMAS[kind], **words)


def test_records_of_another_version_of_our_schema_are_read_as_ours() -> None:
    reader = SCHEMAS[Kind.EVENT]
    both = Ways(Kind.EVENT, default_document(Kind.EVENT), MappingRules(), {reader.name: reader})
    schema = WriterSchema(OLDER_EVENT)
    both.learn(schema)
    value = {
        "event_id": "e",
        "identity": {"external_id": "u1", "braze_id": None},
        "event_name": "n",
        "occurred_at": NOW,
        "properties": {"a": 1},
        "extra": [b"\xff"],
        "also": "x",
    }
    from tests.avro_bytes import written  # noqa: PLC0415

    sound = written(schema, value)
    assert both.compare([sound, sound[:-1] + b"\xff"]) == 2  # nobody reads the last field: it may hold any bytes


@pytest.mark.parametrize("reader", [None, SCHEMAS[Kind.EVENT]], ids=["read", "unread"])
def test_a_schema_that_doubles_with_each_level_has_none_and_takes_no_doubling_time(reader: WriterSchema | None) -> None:
    def writer(levels: int) -> WriterSchema:
        fields = [*OLDER_EVENT["fields"], {"name": "doubling", "type": doubling(levels)}]
        return WriterSchema({**OLDER_EVENT, "fields": fields})

    assert has_lane(Kind.EVENT, writer(5), reader)
    assert not has_lane(Kind.EVENT, writer(60), reader)


def promoted(field: str, written_as: Any) -> WriterSchema:
    source = orjson.loads(schema_text("ProfileEvent"))
    for each in source["fields"]:
        if each["name"] == field:
            each["type"] = written_as
    return WriterSchema(source)


def test_a_promoted_field_has_none() -> None:
    assert has_lane(Kind.EVENT, promoted("event_id", "string"), SCHEMAS[Kind.EVENT])
    assert not has_lane(Kind.EVENT, promoted("event_id", "bytes"), SCHEMAS[Kind.EVENT])
    assert not has_lane(Kind.EVENT, promoted("occurred_at", "int"), SCHEMAS[Kind.EVENT])


def row(*fields: dict[str, Any]) -> WriterSchema:
    return WriterSchema({"type": "record", "name": "Row", "fields": list(fields)})


USER = {"name": "id", "type": "string"}
TIME = {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}}
WORDS: dict[str, Any] = {
    "user": {"external_id": "id", "braze_id": None},
    "time": "at",
    "name": "id",
    "properties": None,
}


def test_foreign_schemas() -> None:
    assert has_lane(Kind.EVENT, row(USER, TIME), **WORDS)
    assert has_lane(
        Kind.EVENT, row(USER, {"name": "at", "type": "long"}), **WORDS | {"time": {"field": "at", "unit": "ms"}}
    )
    assert not has_lane(
        Kind.EVENT, row(USER, {"name": "at", "type": "long"}), **WORDS | {"time": {"field": "at", "unit": "s"}}
    )
    assert not has_lane(Kind.EVENT, row({"name": "id", "type": ["string", "long"]}, TIME), **WORDS)
    assert not has_lane(Kind.EVENT, row({"name": "id", "type": "long"}, TIME), **WORDS)
    itself = {"type": "record", "name": "Itself", "fields": [{"name": "next", "type": ["null", "Itself"]}]}
    assert not has_lane(Kind.EVENT, row(USER, TIME, {"name": "i", "type": itself}), **WORDS)


def test_a_fixed_larger_than_any_record_has_none() -> None:
    def padded(size: int) -> WriterSchema:
        return row(USER, TIME, {"name": "pad", "type": ["null", {"type": "fixed", "name": "Pad", "size": size}]})

    assert has_lane(Kind.EVENT, padded(2**31 - 1), **WORDS)
    assert not has_lane(Kind.EVENT, padded(2**31), **WORDS)


def test_a_field_whose_name_looks_like_a_path_is_not_what_the_path_leads_to() -> None:
    schema = row({"name": "a", "type": {"type": "map", "values": "string"}}, {"name": "a.b", "type": "string"}, TIME)
    words = WORDS | {"user": {"external_id": "a.b", "braze_id": None}, "name": "a.b"}

    assert not has_lane(Kind.EVENT, schema, **words)


@pytest.mark.parametrize("reader", [None, SCHEMAS[Kind.EVENT]], ids=["read", "unread"])
def test_what_takes_no_bytes_takes_no_step(reader: WriterSchema | None, monkeypatch: pytest.MonkeyPatch) -> None:
    programs: list[bytes] = []

    def kept(program: bytes, **_: Any) -> None:
        programs.append(program)

    monkeypatch.setattr("connector.express.plan.lane_type", lambda: kept)
    nothing = {"type": "record", "name": "Nothing", "fields": [{"name": "n", "type": "null"}]}
    empty = {"type": "fixed", "name": "Empty", "size": 0}
    for more in ([], [{"name": "n", "type": "null"}, {"name": "o", "type": nothing}, {"name": "p", "type": empty}]):
        item = {"type": "record", "name": "Item", "fields": [{"name": "is", "type": "boolean"}, *more]}
        fields = [*OLDER_EVENT["fields"], {"name": "items", "type": {"type": "array", "items": item}}]
        has_lane(Kind.EVENT, WriterSchema({**OLDER_EVENT, "fields": fields}), reader)

    assert len(programs) == 2
    assert programs[0] == programs[1]
