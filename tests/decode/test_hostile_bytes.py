"""Hostile bytes: whatever a value claims, a decoder answers soon, in little memory, with a record or `Rejected`."""

from __future__ import annotations

import struct
import tracemalloc
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from connector.decode import Decoder, SchemaUnmappable, WriterSchema, compile_decoder
from connector.records import Rejected
from connector.schema import AvroType
from tests.avro_bytes import encoded, our_schema, schemas_with_values, values, varint

KINDS = ("AudienceMembership", "ProfileEvent", "CampaignTrigger")
SCHEMAS: dict[str, AvroType] = {kind: our_schema(kind).root for kind in KINDS}
DECODERS = {kind: compile_decoder(our_schema(kind), our_schema(kind)) for kind in KINDS}
VALUES = {kind: values(SCHEMAS[kind]) for kind in KINDS}


def record(*fields: tuple[str, Any], name: str = "R") -> dict[str, Any]:
    return {"type": "record", "name": name, "fields": [{"name": field, "type": t} for field, t in fields]}


def decoder(source: Any, reader: Any = None) -> Decoder:
    return compile_decoder(WriterSchema(source), None if reader is None else WriterSchema(reader))


def refusal(decode: Decoder, data: bytes, start: int = 0) -> Rejected:
    with pytest.raises(Rejected) as refused:
        decode(data, start)
    return refused.value


def decoded_or_refused(decode: Decoder, data: bytes) -> dict[str, Any] | Rejected:
    try:
        return decode(data, 0)
    except Rejected as refused:
        return refused


def survives(decode: Decoder, data: bytes) -> None:
    fate = decoded_or_refused(decode, data)

    assert isinstance(fate, dict) or fate.reason in {"undecodable", "trailing_bytes"}


@pytest.mark.parametrize(
    "items",
    ["null", record(name="Empty"), record(("n", "null"), name="Nulls"), {"type": "fixed", "name": "F", "size": 0}],
)
def test_items_that_take_no_bytes_are_refused_with_their_schema(items: Any) -> None:
    with pytest.raises(SchemaUnmappable, match=r"^a: items of type .* take no bytes"):
        decoder(record(("a", {"type": "array", "items": items})))


@pytest.mark.parametrize("count", [2**40, 2**62, -(2**62), -(2**63), 2**63 - 1])
@pytest.mark.parametrize(
    "items",
    ["boolean", "long", "double", "string", "bytes", ["null"], {"type": "fixed", "name": "F", "size": 1}],
    ids=str,
)
@pytest.mark.parametrize("kind", ["array", "map"])
def test_a_claimed_count_costs_nothing(count: int, items: Any, kind: str) -> None:
    decode = decoder(record(("c", {"type": kind, "items" if kind == "array" else "values": items})))
    data = varint(count) + b"\0" * 20

    tracemalloc.start()
    refused = refusal(decode, data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert refused.reason == "undecodable"
    assert peak < 100_000


@pytest.mark.parametrize("length", [-1, -(2**63), 6, 2**40, 2**62, 2**63 - 1])
@pytest.mark.parametrize("kind", ["string", "bytes"])
def test_a_claimed_length_costs_nothing(length: int, kind: str) -> None:
    for fields in ([("s", kind)], [("s", kind), ("next", "long")], [("s", kind), ("next", "double")]):
        assert refusal(decoder(record(*fields)), varint(length) + b"abcde").reason == "undecodable"


def test_endless_recursion_ends() -> None:
    decode = decoder(record(("next", ["null", "R"])))

    assert refusal(decode, b"\2" * 1_000_000 + b"\0").reason == "undecodable"


@pytest.mark.parametrize(
    ("source", "data"),
    [
        ("boolean", b"\2"),
        ("string", b"\2\xff"),
        ("string", b"\6\xed\xa0\x80"),  # a lone surrogate, encoded
        ("int", varint(2**31)),
        ("long", b"\xff" * 10),
        (["null", "long"], b"\4"),
        (["null", "long"], b"\1"),
        ({"type": "enum", "name": "E", "symbols": ["A"]}, b"\2"),
        ({"type": "enum", "name": "E", "symbols": ["A"]}, b"\1"),
        ({"type": "fixed", "name": "F", "size": 3}, b"ab"),
        ("double", struct.pack("<f", 0.5)),
        ("float", b""),
    ],
)
def test_what_is_no_value_of_the_type(source: Any, data: bytes) -> None:
    refused = refusal(decoder(record(("v", source))), data)

    assert refused.reason == "undecodable"
    assert refused.__context__ is None


def test_what_follows_a_record_is_told_apart_from_what_is_none() -> None:
    decode = decoder(record(("v", "string")))

    assert refusal(decode, b"\2abc").args == ("trailing_bytes", "2 bytes follow a whole record")
    assert refusal(decode, b"\x06ab").reason == "undecodable"
    assert refusal(decode, b"").reason == "undecodable"
    assert refusal(decode, b"\0\0\0\0\1", 5).detail == "no record of its schema: given up at byte 5 of 5"


@settings(max_examples=300, deadline=None)
@given(kind=st.sampled_from(KINDS), data=st.binary(max_size=200))
@example(kind="ProfileEvent", data=b"")
def test_any_bytes_are_a_record_or_rejected(kind: str, data: bytes) -> None:
    survives(DECODERS[kind], data)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_damage_leaves_a_record_or_rejected(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(KINDS))
    whole = encoded(SCHEMAS[kind], data.draw(VALUES[kind]))
    place = data.draw(st.integers(0, len(whole)))
    removed = data.draw(st.integers(0, 4))
    inserted = data.draw(st.binary(max_size=12) | st.integers(-(2**63), 2**63 - 1).map(varint))

    survives(DECODERS[kind], whole[:place] + inserted + whole[place + removed :])


@settings(max_examples=300, deadline=None)
@given(schemas_with_values(), st.data())
def test_any_schema_survives_damage(drawn: tuple[str, Any], data: st.DataObject) -> None:
    schema = WriterSchema(drawn[0])
    whole = encoded(schema.root, drawn[1])
    place = data.draw(st.integers(0, len(whole)))

    survives(compile_decoder(schema, None), whole[:place] + data.draw(st.binary(max_size=12)) + whole[place + 1 :])


@settings(deadline=None)
@given(kind=st.sampled_from(KINDS), data=st.data())
def test_a_cut_record_is_never_a_record(kind: str, data: st.DataObject) -> None:
    whole = encoded(SCHEMAS[kind], data.draw(VALUES[kind]))

    assert refusal(DECODERS[kind], whole[: data.draw(st.integers(0, len(whole) - 1))]).reason == "undecodable"


@settings(deadline=None)
@given(kind=st.sampled_from(KINDS), data=st.data())
def test_details_hold_nothing_of_the_record(kind: str, data: st.DataObject) -> None:
    marked = st.text(max_size=3).map(lambda text: f"§§{text}")
    whole = encoded(SCHEMAS[kind], data.draw(values(SCHEMAS[kind], marked)))
    broken = whole[: data.draw(st.integers(0, len(whole) - 1))] + data.draw(st.sampled_from([b"", b"\xff\xff", b"\1"]))

    fate = decoded_or_refused(DECODERS[kind], broken)

    if isinstance(fate, Rejected):
        assert "§§" not in str(fate)
        assert fate.__context__ is None
