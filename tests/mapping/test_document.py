"""Documents: the defaults, how overrides are laid over them, and complaints that name the word and the path."""

from __future__ import annotations

from typing import Any

import pytest

from connector.decode import WriterSchema
from connector.mapping import MappingInvalid, MappingRules, compile_mapping, default_document, override
from connector.records import Kind
from tests.mapping_samples import SCHEMAS

AUDIENCE, EVENT, CAMPAIGN = Kind.AUDIENCE, Kind.EVENT, Kind.CAMPAIGN


@pytest.mark.parametrize("kind", list(Kind))
def test_each_default_fits_our_schema(kind: Kind) -> None:
    document = default_document(kind)

    assert document.kind is kind
    assert callable(compile_mapping(document, SCHEMAS[kind], MappingRules()))


def test_sections_are_merged_and_sources_replaced() -> None:
    document = override(
        default_document(AUDIENCE), {"user": {"external_id": "key"}, "attribute": {"value": {"field": "in"}}}
    )

    assert document.at("user") == {"external_id": "key", "braze_id": "identity.braze_id"}
    assert document.at("attribute.value") == {"field": "in"}
    assert document.at("attribute.name") == default_document(AUDIENCE).at("attribute.name")


def test_fields_of_a_bag_are_merged_by_name() -> None:
    first = override(default_document(EVENT), {"properties": {"fields": {"a": "x", "b": "y"}}})
    second = override(first, {"properties": {"fields": {"b": None, "c": {"constant": 1}}}})

    assert second.at("properties") == {"from": "properties", "fields": {"a": "x", "c": {"constant": 1}}}


def test_null_takes_a_word_away() -> None:
    assert override(default_document(CAMPAIGN), {"expires_at": None}).at("expires_at") is None


def test_nothing_given_is_changed() -> None:
    document = default_document(AUDIENCE)
    before = repr(document)

    override(document, {"user": {"external_id": None}, "attributes": {"fields": {"a": "b"}}})

    assert repr(document) == before


@pytest.mark.parametrize(
    ("kind", "overrides", "words"),
    [
        (AUDIENCE, {"atribute": {}}, ["atribute", "did you mean attribute"]),
        (EVENT, {"attribute": {}}, ["attribute", "of kind event"]),
        (AUDIENCE, {"user": {"extrenal_id": "x"}}, ["user.extrenal_id", "external_id"]),
        (AUDIENCE, {"user": "x"}, ["user", "must be a mapping"]),
        (AUDIENCE, {"user": {"external_id": None, "braze_id": None}}, ["user", "needs external_id or braze_id"]),
        (AUDIENCE, {"user": None}, ["user", "missing"]),
        (AUDIENCE, {"user": {"prefer": "email"}}, ["user.prefer", "external_id or braze_id"]),
        (AUDIENCE, {"attribute": {"name": None}}, ["attribute.name", "missing"]),
        (EVENT, {"time": None}, ["time", "missing"]),
        (CAMPAIGN, {"campaign_id": None}, ["campaign_id", "missing"]),
        (AUDIENCE, {"attributes": {"nulls": "drop"}}, ["attributes.nulls", "delete or omit"]),
        (EVENT, {"properties": {"nulls": "omit"}}, ["properties.nulls"]),
        (EVENT, {"properties": {"rest": "yes"}}, ["properties.rest", "true or false"]),
        (EVENT, {"properties": {"omit": "a"}}, ["properties.omit", "list"]),
        (EVENT, {"properties": {"from": ["a"]}}, ["properties.from"]),
        (EVENT, {"properties": {"fields": {True: "a"}}}, ["properties", "True", "quote"]),
        (EVENT, {"properties": {"omit": [1]}}, ["properties", "1"]),
    ],
)
def test_documents_that_say_what_they_may_not(kind: Kind, overrides: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(MappingInvalid) as complaint:
        override(default_document(kind), overrides)

    assert [word for word in words if word not in str(complaint.value)] == []


@pytest.mark.parametrize("overrides", [[], "x", 5])
def test_overrides_are_a_mapping(overrides: Any) -> None:
    with pytest.raises(MappingInvalid, match="must be a mapping of words"):
        override(default_document(EVENT), overrides)


@pytest.mark.parametrize(
    ("kind", "overrides", "words"),
    [
        # paths
        (EVENT, {"name": "event_nam"}, ["name: path event_nam", "did you mean event_name or"]),
        (
            EVENT,
            {"user": {"external_id": "identity.externalid"}},
            ["user.external_id", "identity.externalid", "external_id"],
        ),
        (EVENT, {"name": "event_name.x"}, ["name", "event_name.x", "string"]),
        (EVENT, {"name": "properties.x.y"}, ["name", "properties.x.y"]),
        (EVENT, {"name": "zzz"}, ["name", "zzz", "occurred_at", "event_name"]),
        (EVENT, {"properties": {"from": "nowhere"}}, ["properties.from", "nowhere"]),
        (EVENT, {"properties": {"from": "event_id"}}, ["properties.from", "event_id is string", "map or a record"]),
        (EVENT, {"properties": {"fields": {"a": "nowhere"}}}, ["properties.fields.a", "nowhere"]),
        (
            AUDIENCE,
            {"attribute": {"name": {"template": "A_{audience}"}}},
            ["attribute.name.template", "audience", "audience_id"],
        ),
        (AUDIENCE, {"skip": [{"field": "role", "in": ["X"]}]}, ["skip.0.field", "role", "split_role"]),
        # sources
        (EVENT, {"name": 5}, ["name", "field's path"]),
        (EVENT, {"name": {}}, ["name", "exactly one"]),
        (EVENT, {"name": {"field": "a", "constant": 1}}, ["name", "exactly one"]),
        (EVENT, {"name": {"feild": "a"}}, ["name.feild", "did you mean field"]),
        (EVENT, {"name": {"constant": [1]}}, ["name.constant"]),
        (EVENT, {"name": {"constant": 2**64}}, ["name.constant", "JSON can hold"]),
        (EVENT, {"properties": {"fields": {"a": {"constant": float("inf")}}}}, ["a.constant", "JSON can hold"]),
        (EVENT, {"name": {"constant": "\ud83d"}}, ["name.constant", "JSON can hold"]),
        (EVENT, {"name": {"template": "\ud83d {event_name}"}}, ["name.template", "half a character"]),
        (EVENT, {"name": {"field": "event_name", "map": {"a": -(2**63) - 1}}}, ["name.map", "JSON can hold"]),
        (EVENT, {"name": {"field": "event_name", "map": {"a": float("nan")}}}, ["name.map", "JSON can hold"]),
        (EVENT, {"name": {"constant": "x", "map": {"x": 1}}}, ["name", "map and unit go with field only"]),
        (EVENT, {"name": {"field": ""}}, ["name.field"]),
        (EVENT, {"name": {"template": "a{"}}, ["name.template"]),
        (EVENT, {"name": {"template": "{event_name!r}"}}, ["name.template", "{path}"]),
        (EVENT, {"name": {"template": "{}"}}, ["name.template", "{path}"]),
        (EVENT, {"name": {"field": "event_name", "map": []}}, ["name.map"]),
        (EVENT, {"name": {"field": "event_name", "map": {"a": ["b"]}}}, ["name.map"]),
        (EVENT, {"time": {"field": "occurred_at", "unit": "h"}}, ["time.unit", "s, ms, us, ns"]),
        # types
        (EVENT, {"name": "occurred_at"}, ["name", "occurred_at", "timestamp-millis"]),
        (EVENT, {"name": "properties"}, ["name", "properties", "map"]),
        (EVENT, {"name": {"constant": 1.5}}, ["name", "double"]),
        (EVENT, {"user": {"external_id": "properties.score"}}, ["user.external_id", "properties.score", "boolean"]),
        (EVENT, {"time": "event_name.x"}, ["time", "event_name.x"]),
        (EVENT, {"time": "properties"}, ["time", "properties", "map"]),
        (EVENT, {"time": "properties.at"}, ["time", "properties.at", "not a time"]),
        (EVENT, {"time": {"field": "occurred_at", "unit": "s"}}, ["time.unit", "timestamp-millis"]),
        (EVENT, {"time": {"constant": 5}}, ["time", "must be a field"]),
        (AUDIENCE, {"attribute": {"value": "change"}}, ["attribute.value", "needs a map"]),
        (AUDIENCE, {"attribute": {"value": {"template": "{change}"}}}, ["attribute.value", "needs a map"]),
        (
            AUDIENCE,
            {"attribute": {"value": {"field": "change", "map": {"IN": True}}}},
            ["attribute.value.map", "ENTERED"],
        ),
        (
            AUDIENCE,
            {"attribute": {"value": {"field": "change", "map": {True: True}}}},
            ["attribute.value.map", "True", "YAML"],
        ),
        (
            AUDIENCE,
            {"attribute": {"value": {"field": "qualified_at", "map": {1: True}}}},
            ["attribute.value.map", "timestamp"],
        ),
        (
            AUDIENCE,
            {"attribute": {"value": {"field": "attributes", "map": {"a": True}}}},
            ["attribute.value.map", "map"],
        ),
        (AUDIENCE, {"skip": [{"field": "split_role", "in": ["CONTROLS"]}]}, ["skip.0.in", "CONTROL"]),
        (AUDIENCE, {"skip": [{"field": "split_role", "in": [1]}]}, ["skip.0.in", "1"]),
        (AUDIENCE, {"skip": {"field": "x"}}, ["skip", "list"]),
        (AUDIENCE, {"skip": ["x"]}, ["skip.0"]),
        (AUDIENCE, {"skip": [{"field": "split_role", "in": ["TEST"], "why": "x"}]}, ["skip.0.why"]),
        (
            AUDIENCE,
            {"skip": [{"field": "split_role", "in": ["TEST"], "reason": "x"}]},
            ["skip.0.reason", "control_split"],
        ),
        # names
        (
            AUDIENCE,
            {"attributes": {"fields": {"external_id": "event_id"}}},
            ["attributes.fields", "external_id", "steers"],
        ),
        (AUDIENCE, {"attributes": {"fields": {"x" * 256: "event_id"}}}, ["attributes.fields", "255"]),
        (EVENT, {"properties": {"fields": {" ": "event_id"}}}, ["properties.fields", "empty"]),
    ],
)
def test_documents_that_do_not_fit_the_schema(kind: Kind, overrides: dict[str, Any], words: list[str]) -> None:
    document = override(default_document(kind), overrides)

    with pytest.raises(MappingInvalid) as complaint:
        compile_mapping(document, SCHEMAS[kind], MappingRules())

    assert [word for word in words if word not in str(complaint.value)] == []


def test_an_integer_without_a_unit_is_asked_about() -> None:
    schema = WriterSchema(
        {"type": "record", "name": "R", "fields": [{"name": "id", "type": "string"}, {"name": "at", "type": "long"}]}
    )
    document = override(
        default_document(EVENT),
        {"user": {"external_id": "id", "braze_id": None}, "name": "id", "time": "at", "properties": None},
    )

    with pytest.raises(MappingInvalid, match=r"^time: .* what at counts; add unit"):
        compile_mapping(document, schema, MappingRules())


def test_bytes_among_the_rest_are_asked_about() -> None:
    fields = [
        ("id", "string"),
        ("at", {"type": "long", "logicalType": "timestamp-millis"}),
        ("blob", ["null", "bytes"]),
    ]
    schema = WriterSchema({"type": "record", "name": "R", "fields": [{"name": n, "type": t} for n, t in fields]})
    mapping = {
        "user": {"external_id": "id", "braze_id": None},
        "name": "id",
        "time": "at",
        "properties": {"from": None, "rest": True},
    }

    with pytest.raises(MappingInvalid, match=r"properties: blob is bytes.*properties\.omit"):
        compile_mapping(override(default_document(EVENT), mapping), schema, MappingRules())
    mapping["properties"] = {"from": None, "rest": True, "omit": ["blob"]}
    assert compile_mapping(override(default_document(EVENT), mapping), schema, MappingRules())


def test_two_columns_that_become_one_name() -> None:
    fields = [
        ("id", "string"),
        ("at", {"type": "long", "logicalType": "timestamp-millis"}),
        ("time", "long"),
        ("aiq_time", "long"),
    ]
    schema = WriterSchema({"type": "record", "name": "R", "fields": [{"name": n, "type": t} for n, t in fields]})
    mapping = {
        "user": {"external_id": "id", "braze_id": None},
        "name": "id",
        "time": "at",
        "properties": {"from": None, "rest": True},
    }

    with pytest.raises(MappingInvalid, match=r"properties\.rest: two fields become aiq_time"):
        compile_mapping(override(default_document(EVENT), mapping), schema, MappingRules())


def test_a_value_map_may_name_symbols_that_older_writers_do_not_know() -> None:
    mapping = {"attribute": {"value": {"field": "change", "map": {"ENTERED": True, "MOVED": True}}}}

    assert compile_mapping(override(default_document(AUDIENCE), mapping), SCHEMAS[AUDIENCE], MappingRules())


def test_the_outermost_type_is_a_record() -> None:
    with pytest.raises(MappingInvalid, match="outermost"):
        compile_mapping(default_document(EVENT), WriterSchema(["null", "string"]), MappingRules())


def test_a_schema_nested_beyond_reason() -> None:
    deep: Any = "long"
    for _ in range(900):
        deep = {"type": "array", "items": deep}
    fields = [("id", "string"), ("at", {"type": "long", "logicalType": "timestamp-millis"}), ("deep", deep)]
    schema = WriterSchema({"type": "record", "name": "R", "fields": [{"name": n, "type": t} for n, t in fields]})
    mapping = {
        "user": {"external_id": "id", "braze_id": None},
        "name": "id",
        "time": "at",
        "properties": {"from": None, "rest": True},
    }

    with pytest.raises(MappingInvalid, match="nested too deeply"):
        compile_mapping(override(default_document(EVENT), mapping), schema, MappingRules())
