"""A lane gives what the ordinary way gives, or nothing: on plain records, odd ones, damaged ones, and any schema's."""

from __future__ import annotations

import math
import tracemalloc
from random import Random
from typing import Any

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from connector.decode import SchemaUnmappable
from connector.express.plan import compile_lane
from connector.mapping import MappingInvalid, MappingRules, default_document, override
from connector.mapping.times import iso_of_millis
from connector.records import Kind, Rejected
from connector.schema import WriterSchema
from connector.simulation.kafka import SimulatedRecord
from connector.translation import Translator
from tests.avro_bytes import encoded, schemas_with_values, varint, written
from tests.express.both_ways import STAY, Ways
from tests.fuzz import damaged
from tests.mapping.test_promises import records
from tests.mapping_samples import AT, BAGS, INSTANT, SAMPLES, SCHEMAS, THEN, identity

KINDS = (Kind.AUDIENCE, Kind.EVENT)
RULES = (
    MappingRules(),
    MappingRules(prefer="braze_id", unknown_users="ignore", write_control_splits=True, placeholder_ids=frozenset()),
)


def ways(kind: Kind, rules: MappingRules = RULES[0], **mapping: Any) -> Ways:
    schema = SCHEMAS[kind]
    both = Ways(kind, override(default_document(kind), mapping), rules, {schema.name: schema})
    both.learn(schema)
    return both


WAYS = {(kind, rules): ways(kind, rules) for kind in KINDS for rules in RULES}


def goes_express(kind: Kind, both: Ways | None = None, **changes: Any) -> bool:
    """Whether the sample with these changes goes by the lane; that it comes to the same is seen to."""
    sample = {**SAMPLES[kind], **changes}
    return (both or WAYS[kind, RULES[0]]).compare([written(SCHEMAS[kind], sample)]) == 1


# ---- what goes by the lane -----------------------------------------------------------------------------------------

PLAIN: dict[str, Any] = {
    "text": 'quotes " and \\ and \n and \x01 and \x7f',
    "beyond ASCII": "Zürich, 東京, 🎈",
    "whole": -(2**63),
    "part": 12.25,
    "yes": True,
    "when": INSTANT,
    "many": ["a", 1, 2.5, None, False],
    "none of it": [],
}


@pytest.mark.parametrize("kind", KINDS)
def test_plain_records_go_by_the_lane(kind: Kind) -> None:
    assert goes_express(kind)
    assert goes_express(kind, **{BAGS[kind]: PLAIN})
    assert goes_express(kind, **{BAGS[kind]: {"gone": None, "kept": 1}})
    assert goes_express(kind, **{BAGS[kind]: {"gone": None}})
    assert goes_express(kind, **identity(None, "b1"))
    assert goes_express(kind, **identity("", "b1"))
    assert goes_express(kind, WAYS[kind, RULES[1]], **identity("u1", "b1"))
    assert goes_express(kind, WAYS[kind, RULES[1]], **identity("u1"))
    assert goes_express(kind, **identity("12"))


def test_names_of_its_own_go_by_the_lane() -> None:
    assert goes_express(Kind.EVENT, event_name="bought a thing")
    assert goes_express(Kind.AUDIENCE, audience_id="ä", split_id="b") is False  # beyond ASCII there are more blanks
    assert goes_express(Kind.AUDIENCE, audience_id="x ä x", change="EXITED")
    assert goes_express(Kind.AUDIENCE, ways(Kind.AUDIENCE, attributes=None))
    assert goes_express(Kind.AUDIENCE, ways(Kind.AUDIENCE, attributes={"nulls": "omit"}), attributes={"gone": None})
    assert goes_express(Kind.AUDIENCE, ways(Kind.AUDIENCE, time=None), qualified_at=0)
    assert goes_express(Kind.AUDIENCE, ways(Kind.AUDIENCE, skip=None), split_role="CONTROL")
    assert goes_express(Kind.AUDIENCE, WAYS[Kind.AUDIENCE, RULES[1]], split_role="CONTROL")


def test_fields_on_the_way_that_nobody_asks_for_are_still_looked_at() -> None:
    assert goes_express(Kind.EVENT, exported_at=THEN, trigger_id="t")
    both = WAYS[Kind.EVENT, RULES[0]]
    sound = written(SCHEMAS[Kind.EVENT], SAMPLES[Kind.EVENT])
    assert both.compare([sound, b"\x02\xff" + sound[3:]]) == 1  # event_id: text that is no UTF-8


FAR = ("aiq.export.v1.Instant", {"epoch_millis": 32_535_216_000_000})
"""The year 3001: inside an object of an attribute it would spoil the request."""


# ---- what is declined ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        (Kind.AUDIENCE, {"split_role": "CONTROL"}),
        (Kind.AUDIENCE, {"change": "UNKNOWN"}),
        (Kind.AUDIENCE, {"attributes": {"email": "a@b"}}),
        (Kind.AUDIENCE, {"attributes": {"push_token_import": True}}),
        (Kind.AUDIENCE, {"attributes": {"AIQ_12_3": True}}),
        (Kind.AUDIENCE, {"attributes": {"AIQ_12_3": 7}}),
        (Kind.AUDIENCE, {"attributes": {"many": ["x"] * 501}}),
        (Kind.AUDIENCE, {"attributes": {"many": ["x" * 255] * 300}}),
        (Kind.AUDIENCE, {"attributes": {"inner": {"a": 1}}}),
        (Kind.AUDIENCE, {"attributes": {"inner": {"at": FAR}}}),
        (Kind.AUDIENCE, {"attributes": {"inner": {"$time": "whenever"}}}),
        (Kind.AUDIENCE, {"attributes": {"inner": {"$time": "2026-09-21"}}}),
        (Kind.AUDIENCE, {"attributes": {"$time": "2026-09-21"}}),
        (Kind.AUDIENCE, {"audience_id": ""}),
        (Kind.AUDIENCE, {"audience_id": " 12"}),
        (Kind.AUDIENCE, {"split_id": "x" * 300}),
        (Kind.EVENT, {"event_name": ""}),
        (Kind.EVENT, {"event_name": " x "}),
        (Kind.EVENT, {"event_name": "$x"}),
        (Kind.EVENT, {"event_name": "x\0"}),
        (Kind.EVENT, {"properties": {"time": 1}}),
        (Kind.EVENT, {"properties": {"$x": 1, "aiq_x": 2}}),
        (Kind.EVENT, {"properties": {"x": "y" * 256}}),
        (Kind.EVENT, {"properties": {"x": "y\0"}}),
        (Kind.EVENT, {"properties": {"x": math.inf}}),
        (Kind.EVENT, {"properties": {"x": math.nan}}),
        (Kind.EVENT, {"properties": {"x": (INSTANT[0], {"epoch_millis": -1})}}),
        (Kind.EVENT, {"properties": {"x": (INSTANT[0], {"epoch_millis": 2**62})}}),
        (Kind.EVENT, {"properties": {"x": {"a": 1}}}),
        (Kind.EVENT, {"properties": {f"p{n}": "y" * 255 for n in range(500)}}),
        (Kind.EVENT, {"occurred_at": 0}),
        (Kind.EVENT, {"occurred_at": AT + 86_400_001}),
        (Kind.EVENT, identity(None)),
        (Kind.EVENT, identity("", "")),
        (Kind.EVENT, identity("Unknown")),
        (Kind.EVENT, identity(" u1")),
        (Kind.EVENT, identity("u1\u00a0")),
        (Kind.EVENT, identity("u\0")),
        (Kind.EVENT, identity("ü" * 450)),
        (Kind.EVENT, identity("u" * 988)),
    ],
)
def test_what_is_not_plain_is_declined(kind: Kind, changes: dict[str, Any]) -> None:
    assert not goes_express(kind, **changes)


def test_a_name_that_comes_twice_is_declined() -> None:
    both = WAYS[Kind.EVENT, RULES[0]]
    one = varint(1) + b"x" + varint(2) + varint(7)
    sound = written(SCHEMAS[Kind.EVENT], {**SAMPLES[Kind.EVENT], "properties": {}})
    assert sound.endswith(b"\0")
    maps = [(1, one), (2, one + one)]
    assert both.compare([sound[:-1] + varint(count) + entries + b"\0" for count, entries in maps]) == 1


@pytest.mark.parametrize("rest", [b"", b"\x80", b"\0", b"\xff" * 12, varint(2**40), varint(-3) + varint(2)])
def test_bytes_that_end_too_soon_or_too_late_are_declined(rest: bytes) -> None:
    sound = written(SCHEMAS[Kind.EVENT], SAMPLES[Kind.EVENT])
    WAYS[Kind.EVENT, RULES[0]].compare([sound + rest, sound[:-1] + rest, *(sound[:size] for size in range(len(sound)))])


def test_a_placeholder_that_grows_when_it_is_casefolded_is_known() -> None:
    both = ways(Kind.EVENT, MappingRules(placeholder_ids=frozenset({"Weiß"})))

    assert not goes_express(Kind.EVENT, both, **identity("WEISS"))
    assert goes_express(Kind.EVENT, both, **identity("WEISSE"))


# ---- both ways, by the hundred --------------------------------------------------------------------------------------


@settings(max_examples=400, deadline=None)
@given(st.data(), st.sampled_from(list(WAYS)), st.integers(0, 2**32))
def test_any_record_comes_to_the_same_both_ways(
    data: st.DataObject, which: tuple[Kind, MappingRules], seed: int
) -> None:
    kind = which[0]
    sound = [encoded(SCHEMAS[kind].root, data.draw(records(kind))) for _ in range(data.draw(st.integers(1, 3)))]
    rng = Random(seed)

    WAYS[which].compare([*sound, None, b"", *(damaged(rng, each) for each in sound)])


@settings(max_examples=400, deadline=None)
@given(schemas_with_values(), st.sampled_from(KINDS), st.integers(0, 2**32))
def test_any_schema_comes_to_the_same_both_ways(drawn: tuple[str, Any], kind: Kind, seed: int) -> None:
    whole: dict[str, Any] = {
        "type": "record",
        "name": "Row",
        "fields": [
            {"name": "id", "type": "string"},
            {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
            {"name": "is", "type": {"type": "enum", "name": "Is", "symbols": ["IN", "OUT"]}},
            {"name": "other", "type": orjson.loads(drawn[0])},
            {"name": "bag", "type": {"type": "map", "values": orjson.loads(drawn[0])}},
        ],
    }
    words: dict[str, Any] = {"user": {"external_id": "id", "braze_id": None}, "time": "at"}
    if kind is Kind.EVENT:
        words |= {"name": "id", "properties": {"from": "bag"}}
    else:
        flag = {"field": "is", "map": {"IN": True, "OUT": False}}
        words |= {"attribute": {"name": "id", "value": flag}, "attributes": {"from": "bag"}, "skip": None}
    try:
        schema = WriterSchema(whole)
        both = Ways(kind, override(default_document(kind), words), MappingRules(), {})
        both.learn(schema)
    except (ValueError, SchemaUnmappable, MappingInvalid):
        return
    value = {"id": "user 7", "at": THEN, "is": "IN", "other": drawn[1], "bag": {"a": drawn[1], "b c": drawn[1]}}
    sound = encoded(schema.root, value)
    rng = Random(seed)

    both.compare([sound, *(damaged(rng, sound) for _ in range(4))])


# ---- numbers, times and text ----------------------------------------------------------------------------------------


def sent(value: Any) -> bytes:
    """One property's JSON by the lane."""
    chunk: list[Any] = [
        SimulatedRecord(
            STAY.name, 1, b"", written(SCHEMAS[Kind.EVENT], {**SAMPLES[Kind.EVENT], "properties": {"x": value}}), AT
        )
    ]
    (out,) = WAYS[Kind.EVENT, RULES[0]].express.translate(STAY, chunk, AT).outbound
    assert out.encoded is not None
    head, tail = b'"properties":{"x":', b"}}"
    return out.encoded[out.encoded.index(head) + len(head) : -len(tail)]


@settings(max_examples=500, deadline=None)
@given(
    st.floats(allow_nan=False, allow_infinity=False)
    | st.integers(-(10**9), 10**9).map(lambda cents: cents / 100)
    | st.decimals(-1e6, 1e6, places=4).map(float)
)
@example(0.0)
@example(-0.0)
@example(0.1 + 0.2)
@example(1e10)
@example(9_999_999_999.5)
@example(5e-324)
@example(1.7976931348623157e308)
def test_a_double_reads_as_itself_again_and_is_no_longer_than_it_must(value: float) -> None:
    text = sent(value)

    assert repr(orjson.loads(text)) == repr(value)
    assert len(text) <= len(repr(value))


@settings(max_examples=300, deadline=None)
@given(st.integers(-(2**63), 2**63 - 1))
def test_a_whole_number_is_itself(value: int) -> None:
    assert sent(value) == str(value).encode()


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 253_402_300_799_999))
@example(951_782_400_000)  # 2000-02-29
@example(4_107_542_399_999)  # 2100-02-28, no leap year
def test_a_time_is_spelled_as_everywhere(millis: int) -> None:
    assert sent((INSTANT[0], {"epoch_millis": millis})) == orjson.dumps(iso_of_millis(millis))


@settings(max_examples=300, deadline=None)
@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=255))
def test_text_is_escaped_as_everywhere(text: str) -> None:
    assert sent(text) == orjson.dumps(text)


@settings(max_examples=500, deadline=None)
@given(st.binary(min_size=1, max_size=12) | st.text(max_size=6).map(lambda text: text.encode("utf-8", "surrogatepass")))
@example(b"\xed\xa0\x80")
@example(b"\xf4\x90\x80\x80")
@example(b"\xc0\x80")
@example(b"\xe0\x80\x80")
@example(b"\xf0\x80\x80\x80")
def test_text_that_is_no_text_is_refused_as_everywhere(data: bytes) -> None:
    sample = written(SCHEMAS[Kind.EVENT], {**SAMPLES[Kind.EVENT], "properties": {"x": "MARK"}})
    WAYS[Kind.EVENT, RULES[0]].compare([sample.replace(varint(4) + b"MARK", varint(len(data)) + data)])


# ---- names ----------------------------------------------------------------------------------------------------------


def test_more_names_than_are_remembered_lose_nothing() -> None:
    both = ways(Kind.EVENT)
    values = [
        written(SCHEMAS[Kind.EVENT], {**SAMPLES[Kind.EVENT], "properties": {f"n{7 * row + n}": n for n in range(7)}})
        for row in range(1_600)
    ]
    assert both.compare(values) > 1_590
    assert both.compare(values[:10]) == 10


@pytest.mark.parametrize("name", ["🎈" * 250, "\x01" * 1000], ids=["plain", "too long to be sent"])
def test_a_name_is_remembered_in_little_more_than_its_own_bytes(name: str) -> None:
    document, schema, names = default_document(Kind.EVENT), SCHEMAS[Kind.EVENT], 2_000
    lane = compile_lane(document, schema, schema, MappingRules())
    assert lane is not None
    chunk: list[Any] = [
        SimulatedRecord(
            STAY.name, 1, b"", written(schema, {**SAMPLES[Kind.EVENT], "properties": {f"{n}{name}": 1}}), AT
        )
        for n in range(names)
    ]
    tracemalloc.start()
    try:
        lane.run(chunk, 0, -1, AT, STAY)  # what it gave is gone again
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert kept / names < 3 * 1000  # the name, its JSON, and its place


def test_what_is_raised_on_the_way_comes_out() -> None:
    document, schema = default_document(Kind.EVENT), SCHEMAS[Kind.EVENT]
    lane = compile_lane(document, schema, schema, MappingRules())
    assert lane is not None

    class Failing:
        def value(self) -> bytes:
            raise Rejected("undecodable", "from the record itself")

    with pytest.raises(Rejected):
        lane.run([Failing()], 0, -1, AT, STAY)  # type: ignore[list-item]


# ---- frames ----------------------------------------------------------------------------------------------------------


def test_frames_of_another_schema_and_ids_in_headers_are_for_the_ordinary_way() -> None:
    schema = SCHEMAS[Kind.EVENT]
    framed = Translator(
        "topic", Kind.EVENT, default_document(Kind.EVENT), MappingRules(), {schema.name: schema}, framed=True
    )
    for schema_id in (7, 8):
        framed.learn(schema, schema_id)
    avro = written(schema, SAMPLES[Kind.EVENT])

    class Headed(SimulatedRecord):
        def headers(self) -> list[tuple[str, bytes | None]]:
            return (
                [("traceparent", b"x"), ("__value_schema_id", b"g")] if self.offset() == 3 else [("traceparent", b"")]
            )

    def translated(*ids: int) -> tuple[list[bool], list[str], int | None]:
        chunk: list[Any] = [
            Headed(STAY.name, index, b"", b"\0" + each.to_bytes(4, "big") + avro, AT) for index, each in enumerate(ids)
        ]
        done = framed.translate(STAY, chunk, AT)
        return [out.encoded is not None for out in done.outbound], [r.reason for _, r in done.rejected], done.missing

    assert translated(7, 7) == ([False, False], [], None)  # nothing is known of the next one's schema yet
    assert translated(7, 7, 8) == ([True, True, False], [], None)
    assert translated(8, 8, 8, 8, 8) == ([True] * 4, ["header_framing"], None)
    assert translated(8, 9, 8) == ([True], [], 9)


def test_what_is_given_behind_an_unknown_schema_is_not_counted_before_it_is_taken() -> None:
    schema = SCHEMAS[Kind.EVENT]
    framed = Translator(
        "topic", Kind.EVENT, default_document(Kind.EVENT), MappingRules(), {schema.name: schema}, framed=True
    )
    framed.learn(schema, 7)
    avro = written(schema, SAMPLES[Kind.EVENT])
    chunk: list[Any] = [
        SimulatedRecord(STAY.name, index, b"", b"\0" + schema_id.to_bytes(4, "big") + avro, AT)
        for index, schema_id in enumerate((7, 7, 9, 7, 7))
    ]
    assert framed.decode(STAY, chunk[:1], AT).by_express == 0  # nothing is known of the next one's schema yet

    decoded = framed.decode(STAY, chunk, AT)
    assert (decoded.by_express, len(decoded.rest)) == (2, 3)
