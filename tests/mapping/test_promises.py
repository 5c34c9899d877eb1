"""What holds for every record: it can be encoded, it has one identifier, no null inside, and details keep quiet."""

from __future__ import annotations

import re
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connector.decode import WriterSchema, compile_decoder
from connector.mapping import MappingInvalid, MappingRules, compile_mapping, default_document, override
from connector.mapping.names import Names, attribute_name, property_name
from connector.records import CampaignSend, Kind, Outbound, Rejected, Skipped
from tests.avro_bytes import encoded, schemas_with_values, values
from tests.mapping_samples import AT, SCHEMAS, THEN

IDENTIFIERS = {"external_id", "external_user_id", "braze_id"}
MARK = "§§"
NAMES = ["a", "time", "$x", "email", " b ", "AIQ_12_3", "event_name", "current_location", "inc", "\0", ""]
DECODERS = {kind: compile_decoder(schema, schema) for kind, schema in SCHEMAS.items()}
MAPPERS = {
    (kind, rules): compile_mapping(default_document(kind), SCHEMAS[kind], rules)
    for kind in Kind
    for rules in (MappingRules(), MappingRules(prefer="braze_id", unknown_users="ignore", write_control_splits=True))
}


@st.composite
def likely(draw: st.DrawFn, kind: Kind, text: st.SearchStrategy[str]) -> dict[str, Any]:
    """A record whose time, user and change are mostly fine, so that its values are looked at."""
    value: dict[str, Any] = draw(values(SCHEMAS[kind].root, text))
    usual = {
        "identity": {"external_id": (1, MARK + "u1"), "braze_id": (0, None)},
        "qualified_at": THEN,
        "occurred_at": THEN,
        "requested_at": THEN,
        "expires_at": (1, AT + 1),
        "change": "ENTERED",
        "split_role": "TEST",
    }
    for name in sorted(usual.keys() & value.keys()):
        if draw(st.integers(0, 9)):
            value[name] = usual[name]
    return value


@st.composite
def records(draw: st.DrawFn, kind: Kind) -> dict[str, Any]:
    """One with names that matter."""
    marked = st.text(max_size=8).map(lambda text: MARK + text)
    value = draw(likely(kind, marked))
    bag = next(name for name in ("attributes", "properties", "trigger_properties") if name in value)
    renamed = {draw(st.sampled_from(NAMES)): item for item in value[bag].values()}
    value[bag] = {**value[bag], **renamed} if draw(st.booleans()) else renamed
    return value


def mapped(kind: Kind, rules: MappingRules, value: Any) -> Outbound | Rejected | Skipped:
    data = encoded(SCHEMAS[kind].root, value)
    try:
        return MAPPERS[kind, rules](DECODERS[kind](data, 0), len(data), AT)
    except (Rejected, Skipped) as fate:
        return fate


@settings(max_examples=250, deadline=None)
@given(st.data(), st.sampled_from(list(MAPPERS)))
def test_every_record(data: st.DataObject, which: tuple[Kind, MappingRules]) -> None:
    kind, rules = which
    value = data.draw(records(kind))

    fate = mapped(kind, rules, value)

    if isinstance(fate, Rejected):
        # Names of attributes may be told: strings that stand for values and ids may not.
        names = {name for name in value if name} | set(NAMES)
        assert MARK not in re.sub(r"'[^']*'", "", fate.detail), (fate.detail, names)
        assert fate.detail.isprintable()
    elif isinstance(fate, Outbound):
        assert orjson.loads(orjson.dumps(fate.object)) == fate.object
        (identifier,) = IDENTIFIERS & fate.object.keys()
        assert fate.user == ("\0" if identifier == "braze_id" else "") + fate.object[identifier]
        assert fate.object[identifier].strip() == fate.object[identifier]
        assert isinstance(fate, CampaignSend) == (kind is Kind.CAMPAIGN)
        assert no_null_inside(fate.object, kind)


def no_null_inside(value: Any, kind: Kind, depth: int = 0) -> bool:
    if isinstance(value, dict):
        return all(no_null_inside(inner, kind, depth + 1) for inner in value.values())
    if isinstance(value, list):
        return all(no_null_inside(inner, kind, depth + 1) for inner in value)
    return value is not None or (kind is Kind.AUDIENCE and depth == 1)


@settings(max_examples=150, deadline=None)
@given(st.data(), st.sampled_from(list(Kind)))
def test_no_value_is_ever_told(data: st.DataObject, kind: Kind) -> None:
    marked = st.text(max_size=300).map(lambda text: MARK + text)
    value = data.draw(likely(kind, marked))
    for bag in ("attributes", "properties", "trigger_properties"):
        if bag in value:
            inner = data.draw(st.lists(values(SCHEMAS[kind].root.fields[bag].type.items[0], marked), max_size=4))
            value[bag] = {data.draw(st.sampled_from(NAMES)): without_marked_keys(item) for item in inner}

    fate = mapped(kind, MappingRules(), value)

    assert MARK not in str(fate) or isinstance(fate, Outbound)


def without_marked_keys(value: Any) -> Any:
    if isinstance(value, dict) and "epoch_millis" not in value:
        return {NAMES[place % len(NAMES)]: item for place, item in enumerate(value.values())}
    return (value[0], without_marked_keys(value[1])) if isinstance(value, tuple) else value


@settings(max_examples=250, deadline=None)
@given(schemas_with_values(), st.sampled_from([Kind.AUDIENCE, Kind.EVENT]))
def test_every_record_of_any_schema(drawn: tuple[str, Any], kind: Kind) -> None:
    time = {"type": "long", "logicalType": "timestamp-millis"}
    fields = [
        {"name": "id", "type": "string"},
        {"name": "at", "type": time},
        {"name": "b", "type": orjson.loads(drawn[0])},
    ]
    schema = WriterSchema({"type": "record", "name": "Row", "fields": fields})
    bag = {"from": "b", "rest": True, "fields": {"again": "b"}}
    words: dict[str, Any] = {"user": {"external_id": "id", "braze_id": None}, "time": "at"}
    if kind is Kind.AUDIENCE:
        words |= {
            "skip": None,
            "attribute": {"name": {"constant": "flag"}, "value": {"constant": True}},
            "attributes": bag,
        }
    else:
        words |= {"name": {"constant": "seen"}, "properties": bag}
    data = encoded(schema.root, {"id": "u1", "at": THEN, "b": drawn[1]})
    try:
        mapper = compile_mapping(override(default_document(kind), words), schema, MappingRules())
    except MappingInvalid:
        return

    try:
        outbound = mapper(compile_decoder(schema, None)(data, 0), len(data), AT)
    except Rejected:
        return
    assert orjson.loads(orjson.dumps(outbound.object)) == outbound.object


@given(st.text(max_size=300))
def test_a_settled_name_stays_settled(name: str) -> None:
    for rule in (attribute_name, property_name):
        try:
            sent = rule(name)
        except Rejected:
            continue
        assert rule(sent) == sent
        assert 0 < len(sent) <= 255
        assert not sent.startswith("$")


def test_remembered_names_are_bounded() -> None:
    names = Names(property_name)
    for place in range(50_000):
        assert names.settled(f"n{place}") == f"n{place}"

    assert len(names.plain) <= 10_000


@pytest.mark.parametrize("name", ["x" * 1000, "a\nb" * 100, "\u202e" * 500])
def test_a_name_in_a_detail_is_short_and_harmless(name: str) -> None:
    with pytest.raises(Rejected) as rejected:
        Names(property_name).refitted({"\0" + name: 1})

    assert len(rejected.value.detail) < 512
    assert rejected.value.detail.isprintable()


def test_one_record_leaves_nothing_behind_for_the_next() -> None:
    kind = Kind.AUDIENCE
    value = {
        "event_id": "e",
        "identity": {"external_id": (1, "u"), "braze_id": (0, None)},
        "audience_id": "12",
        "split_id": "3",
        "split_role": "TEST",
        "change": "ENTERED",
        "qualified_at": THEN,
        "exported_at": (0, None),
        "sync_id": (0, None),
        "audience_name": (0, None),
        "attributes": {"a": (4, "x")},
    }
    data = encoded(SCHEMAS[kind].root, value)
    mapper, decode = MAPPERS[kind, MappingRules()], DECODERS[kind]

    first = mapper(decode(data, 0), len(data), AT)
    first.object["a"] = "changed"

    assert mapper(decode(data, 0), len(data), AT).object == {"external_id": "u", "AIQ_12_3": True, "a": "x"}
