"""A topic whose schema is not ours: other names, other types, no logical types, the same rules."""

from __future__ import annotations

from typing import Any

import pytest

from connector.decode import WriterSchema, compile_decoder
from connector.mapping import MappingRules, compile_mapping, default_document, override
from connector.records import CampaignSend, Kind, Rejected, Skipped
from connector.schema import AvroType
from tests.avro_bytes import encoded, varint
from tests.mapping_samples import AT, ISO, THEN, through


def flat(*fields: tuple[str, Any]) -> WriterSchema:
    return WriterSchema({"type": "record", "name": "Row", "fields": [{"name": n, "type": t} for n, t in fields]})


MICROS = {"type": "long", "logicalType": "timestamp-micros"}

SEGMENTS = flat(
    ("customer_no", "long"),
    ("segment", "string"),
    ("cell", ["null", "string"]),
    ("state", "string"),
    ("since", MICROS),
    ("city", ["null", "string"]),
    ("spend", {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}),
    ("born", ["null", {"type": "int", "logicalType": "date"}]),
    ("raw", "bytes"),
)
SEGMENT_MAPPING: dict[str, Any] = {
    "user": {"external_id": "customer_no", "braze_id": None},
    "time": "since",
    "skip": [{"field": "cell", "in": ["holdout"], "reason": "control_split"}],
    "attribute": {
        "name": {"template": "AIQ_{segment}_{cell}"},
        "value": {"field": "state", "map": {"in": True, "out": False}},
    },
    "attributes": {"from": None, "rest": True, "omit": ["raw"], "fields": {"dob": "born"}},
}
ROW = {
    "customer_no": 4711,
    "segment": "vip",
    "cell": "a",
    "state": "in",
    "since": THEN * 1000 + 7,
    "city": "Köln",
    "spend": b"\x04\xd2",
    "born": 0,
    "raw": b"\xff",
}


def segment(changes: dict[str, Any], mapping: dict[str, Any] | None = None, **rules: Any) -> dict[str, Any]:
    return through(Kind.AUDIENCE, SEGMENTS, {**ROW, **changes}, {**SEGMENT_MAPPING, **(mapping or {})}, **rules).object


def test_a_flat_row_becomes_an_attributes_object() -> None:
    assert segment({}) == {
        "external_id": "4711",
        "AIQ_vip_a": True,
        "city": "Köln",
        "spend": 12.34,
        "dob": "1970-01-01",
    }
    assert segment({"state": "out"})["AIQ_vip_a"] is False


def test_decimals_as_text() -> None:
    assert segment({}, decimal_as="string")["spend"] == "12.34"


def test_null_columns_delete_or_say_nothing() -> None:
    assert segment({"city": None, "born": None}) | {"spend": 0} == {
        "external_id": "4711",
        "AIQ_vip_a": True,
        "city": None,
        "dob": None,
        "spend": 0,
    }
    omitting = {"attributes": {**SEGMENT_MAPPING["attributes"], "nulls": "omit"}}
    assert segment({"city": None, "born": None}, omitting).keys() == {"external_id", "AIQ_vip_a", "spend"}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"state": "IN"}, "unknown_change"),
        ({"state": ""}, "unknown_change"),
        ({"cell": None}, "missing_field"),
        ({"since": THEN}, "absurd_time"),
        ({"customer_no": 0}, "placeholder_identity"),
        ({"city": "x" * 256}, "value_too_long"),
    ],
)
def test_what_is_refused(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(Rejected) as rejected:
        segment(changes)

    assert rejected.value.reason == reason


def test_a_holdout_cell_is_skipped() -> None:
    with pytest.raises(Skipped, match="control_split"):
        segment({"cell": "holdout"})
    assert segment({"cell": "holdout"}, write_control_splits=True)["AIQ_vip_holdout"] is True


def test_a_boolean_needs_no_map() -> None:
    schema = flat(("id", "string"), ("member", ["null", "boolean"]))
    mapping = {
        "user": {"external_id": "id", "braze_id": None},
        "time": None,
        "skip": None,
        "attribute": {"name": {"constant": "AIQ_x"}, "value": "member"},
        "attributes": None,
    }

    assert through(Kind.AUDIENCE, schema, {"id": "u", "member": False}, mapping).object == {
        "external_id": "u",
        "AIQ_x": False,
    }
    with pytest.raises(Rejected, match="unknown_change"):
        through(Kind.AUDIENCE, schema, {"id": "u", "member": None}, mapping)
    mapping["attribute"]["value"] = {"field": "member", "map": {True: True, False: None}}
    assert through(Kind.AUDIENCE, schema, {"id": "u", "member": False}, mapping).object["AIQ_x"] is None


NESTED = flat(
    ("user", ["null", {"type": "record", "name": "User", "fields": [{"name": "uid", "type": ["null", "string"]}]}]),
    ("what", {"type": "enum", "name": "What", "symbols": ["VIEW", "BUY"]}),
    ("when", "string"),
    ("tags", {"type": "map", "values": "string"}),
    (
        "basket",
        {
            "type": "record",
            "name": "Basket",
            "fields": [
                {"name": "time", "type": "string"},
                {"name": "total", "type": ["null", "double"]},
                {"name": "lines", "type": {"type": "array", "items": {"type": "map", "values": ["null", "long"]}}},
            ],
        },
    ),
)
NESTED_MAPPING: dict[str, Any] = {
    "user": {"external_id": "user.uid", "braze_id": "tags.braze"},
    "name": {"field": "what", "map": {"VIEW": "viewed", "BUY": "bought", "LATER": "x"}},
    "time": "when",
    "properties": {"from": "basket", "fields": {"source": "tags.source"}},
}
EVENT = {
    "user": {"uid": "u1"},
    "what": "BUY",
    "when": "2026-09-21T16:13:20.123+02:00",
    "tags": {"source": "web"},
    "basket": {"time": "x", "total": 9.5, "lines": [{"n": 1, "m": None}]},
}


def test_a_nested_record_becomes_an_event() -> None:
    assert through(Kind.EVENT, NESTED, EVENT, NESTED_MAPPING).object == {
        "external_id": "u1",
        "name": "bought",
        "time": ISO,
        "properties": {"aiq_time": "x", "total": 9.5, "lines": [{"n": 1}], "source": "web"},
    }


def test_what_is_not_there_is_left_out() -> None:
    poor = {**EVENT, "user": None, "tags": {"braze": " b1 "}, "basket": {"time": "x", "total": None, "lines": []}}

    outbound = through(Kind.EVENT, NESTED, poor, NESTED_MAPPING)

    assert outbound.user == "\0b1"
    assert outbound.object["properties"] == {"aiq_time": "x", "lines": []}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"user": None}, "no_identity"),
        ({"user": {"uid": None}}, "no_identity"),
        ({"when": "yesterday"}, "bad_value"),
        ({"when": "1999-01-01"}, "absurd_time"),
    ],
)
def test_what_is_refused_of_an_event(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(Rejected) as rejected:
        through(Kind.EVENT, NESTED, {**EVENT, **changes}, NESTED_MAPPING)

    assert rejected.value.reason == reason
    assert "yesterday" not in rejected.value.detail


@pytest.mark.parametrize(
    ("avro_type", "unit", "at"),
    [
        ("long", "s", THEN // 1000),
        ("int", "s", THEN // 1000),
        ("long", "ms", THEN),
        ("long", "us", THEN * 1000 + 999),
        ("long", "ns", THEN * 1_000_000),
        ({"type": "int", "logicalType": "date"}, None, THEN // 86_400_000),
        ({"type": "long", "logicalType": "timestamp-millis"}, "ms", THEN),
        ({"type": "record", "name": "At", "fields": [{"name": "x", "type": MICROS}]}, None, {"x": THEN * 1000}),
    ],
)
def test_times_of_any_unit(avro_type: Any, unit: str | None, at: Any) -> None:
    schema = flat(
        ("id", "string"),
        ("at", avro_type),
        ("until", ["null", avro_type if isinstance(avro_type, str) else "null"][:1]),
    )
    time = {"field": "at", **({"unit": unit} if unit else {})}
    mapping = {
        "user": {"external_id": "id", "braze_id": None},
        "campaign_id": {"constant": "c1"},
        "event_id": None,
        "time": time,
        "expires_at": None,
        "trigger_properties": None,
    }

    trigger = through(Kind.CAMPAIGN, schema, {"id": "u", "at": at, "until": None}, mapping, AT)

    assert isinstance(trigger, CampaignSend)
    assert trigger.requested_at_ms is not None
    assert abs(trigger.requested_at_ms - THEN) < 86_400_000


def test_a_value_map_of_numbers_does_not_take_booleans() -> None:
    schema = flat(("id", "string"), ("level", "int"), ("at", MICROS))
    mapping = {
        "user": {"external_id": "id", "braze_id": None},
        "name": {"constant": "seen"},
        "time": "at",
        "properties": {"from": None, "fields": {"tier": {"field": "level", "map": {1: "gold", 2: "silver"}}}},
    }

    record = {"id": "u", "level": 1, "at": THEN * 1000}
    assert through(Kind.EVENT, schema, record, mapping).object["properties"] == {"tier": "gold"}
    with pytest.raises(Rejected, match=r"level: a value that properties.fields.tier.map does not name"):
        through(Kind.EVENT, schema, {**record, "level": 3}, mapping)


@pytest.mark.parametrize(
    ("avro_type", "value", "value_map"),
    [("long", -7, {"-7": "gold", "8": "silver"}), ("boolean", True, {"true": "gold", "false": "silver"})],
)
def test_a_value_map_from_json_has_texts_for_keys(avro_type: str, value: Any, value_map: dict[str, str]) -> None:
    schema = flat(("id", "string"), ("at", MICROS), ("level", avro_type))
    mapping = {
        "user": {"external_id": "id", "braze_id": None},
        "name": {"constant": "x"},
        "time": "at",
        "properties": {"from": None, "fields": {"tier": {"field": "level", "map": value_map}}},
    }

    sent = through(Kind.EVENT, schema, {"id": "u", "at": THEN * 1000, "level": value}, mapping)

    assert sent.object["properties"] == {"tier": "gold"}


def test_a_map_of_one_type() -> None:
    schema = flat(("id", "string"), ("at", MICROS), ("flags", {"type": "map", "values": "boolean"}))
    mapping = {
        "user": {"external_id": "id", "braze_id": None},
        "name": {"constant": "e"},
        "time": "at",
        "properties": {"from": "flags"},
    }

    sent = through(Kind.EVENT, schema, {"id": "u", "at": THEN * 1000, "flags": {"a": True, "time": False}}, mapping)

    assert sent.object["properties"] == {"a": True, "aiq_time": False}


def test_a_nullable_map_and_no_rest() -> None:
    schema = flat(("id", "string"), ("at", MICROS), ("more", ["null", {"type": "map", "values": ["null", "string"]}]))
    mapping = {
        "user": {"external_id": "id", "braze_id": None},
        "name": {"constant": "e"},
        "time": "at",
        "properties": {"from": "more"},
    }
    record = {"id": "u", "at": THEN * 1000}

    assert "properties" not in through(Kind.EVENT, schema, {**record, "more": None}, mapping).object
    assert through(Kind.EVENT, schema, {**record, "more": {"a": "b", "c": None}}, mapping).object["properties"] == {
        "a": "b"
    }


def test_bytes_in_a_map_refuse_the_record_that_has_them() -> None:
    schema = flat(("id", "string"), ("at", MICROS), ("more", {"type": "map", "values": ["bytes", "string"]}))
    mapping = {
        "user": {"external_id": "id", "braze_id": None},
        "name": {"constant": "e"},
        "time": "at",
        "properties": {"from": "more"},
    }
    record = {"id": "u", "at": THEN * 1000}

    assert through(Kind.EVENT, schema, {**record, "more": {"a": "b"}}, mapping).object["properties"] == {"a": "b"}
    with pytest.raises(Rejected, match=r"bad_value.*property 'a': bytes"):
        through(Kind.EVENT, schema, {**record, "more": {"a": b"b"}}, mapping)


def test_values_nested_beyond_reason_refuse_the_record() -> None:
    node = {"type": "record", "name": "N", "fields": [{"name": "n", "type": ["null", "N"]}]}
    schema = flat(("id", "string"), ("at", MICROS), ("tree", node))
    for kind, word in ((Kind.EVENT, "properties"), (Kind.AUDIENCE, "attributes")):
        mapping: dict[str, Any] = {
            "user": {"external_id": "id", "braze_id": None},
            "time": "at",
            word: {"from": None, "rest": True},
        }
        if kind is Kind.AUDIENCE:
            mapping |= {"attribute": {"name": {"constant": "a"}, "value": {"constant": True}}, "skip": None}
        else:
            mapping["name"] = {"constant": "e"}
        mapper = compile_mapping(override(default_document(kind), mapping), schema, MappingRules())
        decode = compile_decoder(schema, None)
        for depth, is_fine in ((20, True), (240, True), (250, False), (450, False), (900, False), (100_000, False)):
            data = encoded(AvroType("string"), "u") + varint(THEN * 1000) + b"\2" * depth + b"\0"
            if is_fine:
                assert mapper(decode(data, 0), len(data), AT)
            else:
                with pytest.raises(Rejected, match=r"bad_value|undecodable"):
                    mapper(decode(data, 0), len(data), AT)
