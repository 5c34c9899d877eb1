"""The arithmetic that spares measuring: its inequality holds for every value of every schema."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connector.decode import WriterSchema, compile_decoder
from connector.mapping import MappingRules, compile_mapping, default_document, override
from connector.mapping.document import MappingInvalid
from connector.mapping.places import ATTRIBUTES, PROPERTIES, TRIGGER_PROPERTIES
from connector.mapping.sizes import avro_bytes_safe, json_bound, refuse_larger
from connector.mapping.values import Values
from connector.records import Kind, Rejected
from tests.avro_bytes import doubling, encoded, our_schema, schemas_with_values, values

ATTRIBUTE_MAP = our_schema("ProfileEvent").root.fields["properties"].type


@settings(max_examples=200, deadline=None)
@given(schemas_with_values(), st.sampled_from([ATTRIBUTES, PROPERTIES, TRIGGER_PROPERTIES]))
def test_the_bound_holds_for_any_schema(drawn: tuple[str, Any], place: Any) -> None:
    holds(WriterSchema(drawn[0]), encoded(WriterSchema(drawn[0]).root, drawn[1]), place)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_the_bound_holds_for_our_maps(data: st.DataObject) -> None:
    source = {"type": "record", "name": "R", "fields": [{"name": "m", "type": "long"}]}
    schema = WriterSchema(source)
    schema.root.fields["m"].type = ATTRIBUTE_MAP
    nasty = st.text(st.sampled_from('\x01\x1f"\\é😀a'), max_size=6)
    value = data.draw(values(ATTRIBUTE_MAP, nasty))

    holds(schema, encoded(schema.root, {"m": value}), ATTRIBUTES)


def holds(schema: WriterSchema, data: bytes, place: Any) -> None:
    decoded = compile_decoder(schema, None)(data, 0)
    try:
        # Bytes have no JSON; of the rest, decimals apart, everything is tried.
        converted = Values(place, "number").table(schema.root, "r")[dict](decoded)
    except (Rejected, MappingInvalid):
        return
    fixed, rate = json_bound(schema.root)

    assert len(orjson.dumps(converted)) <= fixed + rate * len(data)


def test_the_documented_rate_of_our_maps() -> None:
    assert json_bound(ATTRIBUTE_MAP) == (2, 69)
    assert avro_bytes_safe(ATTRIBUTE_MAP, 102_400) == 1484


def test_what_is_nested_in_itself_is_always_measured() -> None:
    nested = {"type": "record", "name": "N", "fields": [{"name": "n", "type": ["null", "N"]}]}

    assert avro_bytes_safe(WriterSchema(nested).root, 10**9) == 0


JSON_VALUE = {
    "type": "record",
    "name": "JsonValue",
    "fields": [
        {
            "name": "value",
            "type": [
                "null",
                "string",
                "double",
                {"type": "array", "items": "JsonValue"},
                {"type": "map", "values": "JsonValue"},
            ],
        }
    ],
}
CATEGORY = {
    "type": "record",
    "name": "Category",
    "fields": [
        {"name": "name", "type": "string"},
        {"name": "parent", "type": ["null", "Category"]},
        {"name": "replaced_by", "type": ["null", "Category"]},
    ],
}


@pytest.mark.parametrize("source", [JSON_VALUE, CATEGORY], ids=["json", "category"])
def test_what_is_nested_in_itself_twice_is_looked_into_once(source: Any) -> None:
    time = {"type": "long", "logicalType": "timestamp-millis"}
    fields = {"user": "string", "name": "string", "at": time, "properties": {"type": "map", "values": source}}
    schema = WriterSchema(
        {"type": "record", "name": "E", "fields": [{"name": name, "type": kind} for name, kind in fields.items()]}
    )
    words = {"user": {"external_id": "user", "braze_id": None}, "name": "name", "time": "at"}

    compile_mapping(override(default_document(Kind.EVENT), words), schema, MappingRules())
    assert avro_bytes_safe(schema.root.fields["properties"].type, 10**9) == 0


def test_shared_types_are_looked_into_once() -> None:
    # Names and brackets alone are more than any limit, yet no level takes longer than the one before.
    fixed, rate = json_bound(WriterSchema(doubling(60)).root)

    assert 2**60 < fixed < 2**68
    assert rate == 6


def test_too_deep_is_too_deep_by_whatever_way() -> None:
    """The second way to a type that is known by then may be the longer one."""
    fields: list[Any] = [{"name": "f0", "type": {"type": "record", "name": "L0", "fields": []}}]
    for level in range(1, 150):
        inner = [{"name": "x", "type": f"L{level - 1}"}]
        fields.append({"name": f"f{level}", "type": {"type": "record", "name": f"L{level}", "fields": inner}})
    root = WriterSchema({"type": "record", "name": "R", "fields": fields}).root

    assert avro_bytes_safe(root.fields["f100"].type, 10**9) > 0
    assert avro_bytes_safe(root.fields["f101"].type, 10**9) == 0
    assert avro_bytes_safe(root, 10**9) == 0


def test_a_record_whose_names_alone_are_too_long_is_always_measured() -> None:
    wide = {
        "type": "record",
        "name": "W",
        "fields": [{"name": f"{'x' * 200}{n}", "type": "boolean"} for n in range(300)],
    }

    assert avro_bytes_safe(WriterSchema(wide).root, 51_200) == 0


def test_measuring() -> None:
    refuse_larger("properties", {"a": "x" * 92}, 100)
    with pytest.raises(Rejected, match=r"object_too_large.*properties: 101 bytes as JSON, 100 are allowed"):
        refuse_larger("properties", {"a": "x" * 93}, 100)


def test_what_json_cannot_hold() -> None:
    deep: Any = 1
    for _ in range(300):
        deep = [deep]

    with pytest.raises(Rejected, match="bad_value"):
        refuse_larger("properties", deep, 10**9)
    assert json.dumps(deep)
