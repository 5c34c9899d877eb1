"""A schema taken apart: what is refused, and what becomes of names, logical types and recursion."""

from __future__ import annotations

from typing import Any

import pytest

from connector.schema import SchemaInvalid, WriterSchema
from tests.avro_bytes import doubling, our_schema

LONG_AND_TIME = ["long", {"type": "long", "logicalType": "timestamp-millis"}]


def record(*fields: tuple[str, Any]) -> dict[str, Any]:
    return {"type": "record", "name": "R", "namespace": "n", "fields": [{"name": n, "type": t} for n, t in fields]}


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("{", "no JSON"),
        (b"\xff", "no JSON"),
        ('"foo"', "foo"),
        ("5", "no Avro schema"),
        ({}, "no Avro schema"),
        ({"type": "map"}, "no Avro schema"),
        (["null", "null"], "null twice"),
        (LONG_AND_TIME, "long twice"),
        (record(("a", "long"), ("a", "string")), "two fields a"),
        (record(("a", {"type": "enum", "name": "E", "symbols": ["X", "X"]})), "unique"),
        (record(("a", {"type": "enum", "name": "E", "symbols": []})), "no symbols"),
        ({"type": "fixed", "name": "F", "size": -1}, "fewer than no bytes"),
        (record(("a", ["null", {"type": "fixed", "name": "F", "size": -5}])), "fewer than no bytes"),
        (record(("a", [])), "without branches"),
        (record(("a", ["null", {"type": "array", "items": []}])), "without branches"),
        (record((7, "long")), "is no text"),  # type: ignore[arg-type]
        (record((None, "long")), "is no text"),  # type: ignore[arg-type]
        (record(("a", "R")), "holds itself"),
        (
            record(("a", ["null", {"type": "record", "name": "S", "fields": [{"name": "s", "type": "S"}]}])),
            "holds itself",
        ),
        ("[" * 5000 + "]" * 5000, "no JSON"),
    ],
)
def test_what_is_no_schema_is_refused(source: Any, words: str) -> None:
    with pytest.raises(SchemaInvalid, match=words):
        WriterSchema(source)


def test_a_schema_nested_beyond_reason_is_refused() -> None:
    deep: Any = "string"
    for _ in range(3000):
        deep = {"type": "array", "items": deep}

    with pytest.raises(SchemaInvalid, match="nested too deeply"):
        WriterSchema(deep)


def test_what_is_given_is_not_changed() -> None:
    source = record(("a", {"type": "enum", "name": "E", "symbols": ["X"]}), ("b", "E"))
    before = repr(source)

    WriterSchema(source)

    assert repr(source) == before


def test_text_bytes_and_loaded_json_are_the_same_schema() -> None:
    schemas = [WriterSchema(source) for source in ('"string"', b'{"type":"string"}', {"type": "string"})]

    assert {schema.root.kind for schema in schemas} == {"string"}


def test_names_are_full_names_and_references_meet() -> None:
    schema = our_schema("ProfileEvent")
    properties = schema.root.fields["properties"].type.items[0]

    assert schema.name == "aiq.export.v1.ProfileEvent"
    assert repr(schema) == "WriterSchema(aiq.export.v1.ProfileEvent)"
    instants = [properties.items[5], properties.items[6].items[0].items[5], properties.items[7].items[0].items[5]]
    assert {id(instant) for instant in instants} == {id(instants[0])}
    assert properties.is_tagged


def test_a_recursive_record_is_met_again() -> None:
    schema = WriterSchema(record(("value", "long"), ("next", ["null", "n.R"])))

    assert schema.root.fields["next"].type.items[1] is schema.root
    assert not schema.root.fields["next"].type.is_tagged


@pytest.mark.parametrize(
    ("source", "logical"),
    [
        ({"type": "long", "logicalType": "timestamp-millis"}, "timestamp-millis"),
        ({"type": "int", "logicalType": "date"}, "date"),
        ({"type": "long", "logicalType": "date"}, ""),
        ({"type": "string", "logicalType": "decimal"}, ""),
        ({"type": "long", "logicalType": "made-up"}, ""),
        ({"type": "long", "logicalType": "timestamp-millis", "scale": True}, "timestamp-millis"),
    ],
)
def test_a_logical_type_counts_only_where_it_means_something(source: Any, logical: str) -> None:
    assert WriterSchema(source).root.logical == logical


@pytest.mark.parametrize(
    ("scale", "logical"),
    [
        ({"scale": 2}, "decimal"),
        ({"scale": 0}, "decimal"),
        ({}, "decimal"),
        ({"scale": 10_000, "precision": 10_000}, "decimal"),
        ({"scale": 10_001, "precision": 10_001}, ""),
        ({"scale": 10**30, "precision": None}, ""),
        ({"scale": True}, ""),
        ({"scale": False}, ""),
        ({"scale": None}, ""),
        ({"scale": 0.0}, ""),
    ],
)
@pytest.mark.parametrize("kind", [{"type": "bytes"}, {"type": "fixed", "name": "F", "size": 5000}])
def test_a_decimal_of_no_scale_is_plain_bytes(kind: dict[str, Any], scale: dict[str, Any], logical: str) -> None:
    decimal = WriterSchema({**kind, "logicalType": "decimal", "precision": 9, **scale}).root

    assert decimal.logical == logical
    assert decimal.scale == (scale.get("scale", 0) if logical else 0)


@pytest.mark.parametrize("scale", [-1, "2", 1.5, 10])
def test_a_decimal_of_a_wrong_scale_is_no_schema(scale: Any) -> None:
    with pytest.raises(SchemaInvalid, match="scale must be"):
        WriterSchema({"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": scale})


@pytest.mark.parametrize(
    ("source", "fewest"),
    [
        ({"type": "null"}, 0),
        ({"type": "boolean"}, 1),
        ({"type": "double"}, 8),
        ({"type": "float"}, 4),
        (["null"], 1),
        ({"type": "array", "items": "null"}, 1),
        ({"type": "fixed", "name": "F", "size": 3}, 3),
        (record(), 0),
        (record(("a", "null"), ("b", "double"), ("c", "string")), 9),
    ],
)
def test_the_fewest_bytes_of_a_value(source: Any, fewest: int) -> None:
    assert WriterSchema(source).root.bytes_min == fewest


def test_doubling_records_take_no_doubling_time() -> None:
    assert WriterSchema(doubling(60)).root.bytes_min == 2**60
