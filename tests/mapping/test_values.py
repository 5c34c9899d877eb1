"""Free values: what each becomes, and what is refused, in each of the three places."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

import pytest

from connector.decode import WriterSchema
from connector.mapping.document import MappingInvalid
from connector.mapping.places import ATTRIBUTES, PROPERTIES, TRIGGER_PROPERTIES, Place
from connector.mapping.values import Values
from connector.records import Kind, Rejected
from tests.mapping_samples import INSTANT, ISO, bag, bag_refusal

KINDS = pytest.mark.parametrize("kind", list(Kind))
BRAZE_LIMITS = pytest.mark.parametrize("kind", [Kind.AUDIENCE, Kind.EVENT])
TIME = {"$time": ISO}


@KINDS
@pytest.mark.parametrize("value", [True, False, 0, -(2**63), 2**63 - 1, 0.1, -1e308, "", "tür", "😀" * 255, []])
def test_what_json_has_goes_as_it_is(kind: Kind, value: Any) -> None:
    found = bag(kind, {"a": value})["a"]

    assert (found, type(found)) == (value, type(value))


@KINDS
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_no_number_that_is_none(kind: Kind, value: float) -> None:
    for nested in (value, [1.0, value], {"x": value}):
        rejected = bag_refusal(kind, {"score": nested})
        assert rejected.reason == "bad_value"
        assert "'score'" in rejected.detail


@KINDS
def test_no_string_with_a_nul(kind: Kind) -> None:
    for nested in ("a\0", ["a\0"], {"x": "\0"}):
        assert bag_refusal(kind, {"a": nested}).reason == "bad_value"


@BRAZE_LIMITS
def test_no_string_of_more_than_255_characters(kind: Kind) -> None:
    for nested in ("x" * 256, ["y", "x" * 256], {"x": "x" * 256}):
        rejected = bag_refusal(kind, {"fine": 1, "story": nested})
        assert rejected.reason == "value_too_long"
        assert "'story': a string of more than 255 characters" in rejected.detail


@KINDS
def test_an_instant_is_iso_text(kind: Kind) -> None:
    assert bag(kind, {"at": INSTANT, "all": [INSTANT]}) == {"at": ISO, "all": [ISO]}


@pytest.mark.parametrize(("kind", "inside"), [(Kind.AUDIENCE, TIME), (Kind.EVENT, ISO), (Kind.CAMPAIGN, ISO)])
def test_inside_an_attributes_object_a_time_says_so(kind: Kind, inside: Any) -> None:
    assert bag(kind, {"last": {"at": INSTANT}}) == {"last": {"at": inside}}


@KINDS
def test_a_time_that_no_calendar_has(kind: Kind) -> None:
    for millis in (2**62, -(2**62), 253_402_300_800_000, -62_135_596_800_001):
        instant = ("aiq.export.v1.Instant", {"epoch_millis": millis})
        for nested in (instant, [instant], {"x": instant}):
            assert bag_refusal(kind, {"at": nested}).reason == "bad_value"


END_OF_3000 = 32_535_215_999_999


def test_a_time_inside_an_attribute_ends_with_the_year_3000() -> None:
    last, beyond = (("aiq.export.v1.Instant", {"epoch_millis": END_OF_3000 + more}) for more in (0, 1))

    assert bag(Kind.AUDIENCE, {"m": {"at": last}}) == {"m": {"at": {"$time": "3000-12-31T23:59:59.999Z"}}}
    rejected = bag_refusal(Kind.AUDIENCE, {"fine": 1, "m": {"at": beyond}})
    assert (rejected.reason, rejected.detail) == (
        "bad_value",
        "attribute 'm': a nested time beyond the year 3000",
    )
    # Outside an object it is text to Braze, which spoils nothing.
    assert bag(Kind.AUDIENCE, {"at": beyond, "l": [beyond]})["at"] == "3001-01-01T00:00:00.000Z"
    assert bag(Kind.EVENT, {"m": {"at": beyond}}) == {"m": {"at": "3001-01-01T00:00:00.000Z"}}


@pytest.mark.parametrize(
    ("told", "sent"),
    [
        ("2026-09-21T14:13:20.123Z", ISO),
        (" 2026-09-21T16:13:20.123456+02:00 ", ISO),
        ("2026-09-21", "2026-09-21T00:00:00.000Z"),
        ("2026-W39-1", "2026-09-21T00:00:00.000Z"),
        ("3001-01-01T01:59+02:00", "3000-12-31T23:59:00.000Z"),
    ],
)
def test_a_time_that_the_producer_tells_goes_in_the_form_of_ours(told: str, sent: str) -> None:
    assert bag(Kind.AUDIENCE, {"m": {"$time": told}}) == {"m": {"$time": sent}}
    assert bag(Kind.AUDIENCE, {"m": {" $time ": told}}) == {"m": {"$time": sent}}


@pytest.mark.parametrize(
    "told",
    [
        "",
        "whenever",
        "0000-01-01",
        "9999-12-31",
        "3000-12-31T23:00-01:00",
        "0001-01-01T00:00+01:00",
        7,
        True,
        INSTANT,
    ],
)
def test_a_time_that_is_none_would_spoil_the_request(told: Any) -> None:
    rejected = bag_refusal(Kind.AUDIENCE, {"m": {"$time": told}})

    assert (rejected.reason, "'m'" in rejected.detail) == ("bad_value", True)


def test_elsewhere_a_key_of_that_name_means_nothing() -> None:
    assert bag(Kind.EVENT, {"m": {"$time": "whenever"}}) == {"m": {"aiq_time": "whenever"}}
    assert bag(Kind.CAMPAIGN, {"m": {"$time": "whenever"}}) == {"m": {"$time": "whenever"}}


@KINDS
def test_nulls_inside_are_left_out(kind: Kind) -> None:
    assert bag(kind, {"l": [None, 1, None], "m": {"a": None, "b": 1}, "e": [None]}) == {
        "l": [1],
        "m": {"b": 1},
        "e": [],
    }


def test_arrays_of_attributes_hold_500() -> None:
    assert bag(Kind.AUDIENCE, {"l": [None, *range(500)]}) == {"l": [*range(500)]}
    rejected = bag_refusal(Kind.AUDIENCE, {"l": [*range(501)]})
    assert (rejected.reason, "'l'" in rejected.detail) == ("value_too_long", True)
    assert len(bag(Kind.EVENT, {"l": [*range(501)]})["l"]) == 501


def test_keys_inside_attributes() -> None:
    assert bag(Kind.AUDIENCE, {"m": {" a ": 1, "$b": 2}}) == {"m": {"a": 1, "aiq_b": 2}}
    assert bag(Kind.AUDIENCE, {"m": {"inc": 2}, "n": {"$add": "x"}}) == {"m": {"inc": 2}, "n": {"$add": "x"}}
    for key in ("a b", "", "$", "x" * 256, "a\0"):
        assert bag_refusal(Kind.AUDIENCE, {"m": {key: 1}}).reason == "bad_name"
    assert bag_refusal(Kind.AUDIENCE, {"m": {"a": 1, " a": 2}}).reason == "bad_name"


def test_keys_inside_properties() -> None:
    assert bag(Kind.EVENT, {"m": {" a b ": 1, "$b": 2, "time": 3}}) == {"m": {"a b": 1, "aiq_b": 2, "time": 3}}
    assert bag(Kind.CAMPAIGN, {"m": {" a b ": 1, "$b": 2, "time": 3}}) == {"m": {" a b ": 1, "$b": 2, "time": 3}}


def test_a_nested_attribute_of_more_than_100_kilobytes() -> None:
    large = {f"key{place}": "x" * 250 for place in range(400)}

    rejected = bag_refusal(Kind.AUDIENCE, {"fine": 1, "large": large})
    assert (rejected.reason, "'large'" in rejected.detail) == ("object_too_large", True)
    assert bag(Kind.AUDIENCE, {"large": {key: large[key] for key in list(large)[:380]}})["large"]


def converted(
    source: Any, value: Any, place: Place = PROPERTIES, decimal_as: Any = "number", *, inside: bool = False
) -> Any:
    table = Values(place, decimal_as).table(WriterSchema(source).root, "a.b", inside=inside)
    return table[type(value)](value)


def logical(kind: str, logical_type: str, **more: Any) -> dict[str, Any]:
    return {"type": kind, "logicalType": logical_type, **more}


DECIMAL = logical("bytes", "decimal", precision=9, scale=2)
MILLIS = 1_790_000_000_123


@pytest.mark.parametrize(
    ("source", "value", "seen"),
    [
        (logical("long", "timestamp-millis"), MILLIS, ISO),
        (logical("long", "timestamp-micros"), MILLIS * 1000 + 999, ISO),
        (logical("long", "timestamp-nanos"), MILLIS * 1_000_000 + 999_999, ISO),
        (logical("long", "local-timestamp-millis"), MILLIS, ISO),
        (logical("long", "local-timestamp-micros"), MILLIS * 1000, ISO),
        (logical("long", "timestamp-nanos"), 2**63 - 1, "2262-04-11T23:47:16.854Z"),
        (logical("long", "timestamp-micros"), -1, "1969-12-31T23:59:59.999Z"),
        (logical("int", "date"), 20_717, "2026-09-21"),
        (logical("int", "date"), -1, "1969-12-31"),
        (logical("int", "time-millis"), 3_723_004, "01:02:03.004"),
        (logical("long", "time-micros"), 86_399_999_999, "23:59:59.999"),
        (logical("string", "uuid"), "0f8fad5b", "0f8fad5b"),
        (logical("fixed", "uuid", name="U", size=16), bytes(range(16)), "00010203-0405-0607-0809-0a0b0c0d0e0f"),
        (DECIMAL, b"\x04\xd2", 12.34),
        (DECIMAL, b"\xff", -0.01),
        (logical("fixed", "decimal", name="D", size=2, precision=4, scale=1), b"\x04\xd2", 123.4),
        (logical("bytes", "decimal", precision=9), b"\x04\xd2", 1234),
        (logical("bytes", "decimal", precision=9), b"", 0),
        ({"type": "enum", "name": "E", "symbols": ["A"]}, "A", "A"),
        (
            {"type": "record", "name": "T", "fields": [{"name": "x", "type": logical("long", "timestamp-micros")}]},
            {"x": 0},
            "1970-01-01T00:00:00.000Z",
        ),
        ({"type": "record", "name": "P", "fields": [{"name": "x", "type": "long"}]}, {"x": 1}, {"x": 1}),
        ({"type": "array", "items": {"type": "array", "items": logical("int", "date")}}, [[0]], [["1970-01-01"]]),
    ],
)
def test_values_of_other_schemas(source: Any, value: Any, seen: Any) -> None:
    found = converted(source, value)

    assert (found, type(found)) == (seen, type(seen))


@pytest.mark.parametrize(
    ("scale", "unscaled", "text"),
    [(2, 1234, "12.34"), (2, -1, "-0.01"), (0, 10**40, "1" + "0" * 40), (3, 5000, "5.000"), (30, 1, f"0.{'0' * 29}1")],
)
def test_a_decimal_as_text_keeps_every_digit(scale: int, unscaled: int, text: str) -> None:
    data = unscaled.to_bytes(20, "big", signed=True)
    source = logical("bytes", "decimal", precision=48, scale=scale)

    assert converted(source, data, decimal_as="string") == text
    assert Decimal(text) == Decimal(unscaled).scaleb(-scale)


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ({"type": "bytes"}, b"x"),
        ({"type": "fixed", "name": "F", "size": 2}, b"xx"),
        (logical("fixed", "duration", name="D", size=12), bytes(12)),
        (logical("int", "time-millis"), 86_400_000),
        (logical("int", "time-millis"), -1),
        (logical("int", "date"), 2**31 - 1),
        (logical("bytes", "decimal", precision=9, scale=True), b"\x04\xd2"),
        (DECIMAL, b"\x7f" * 500),
        (DECIMAL, b"\x7f" * 5000),
    ],
)
def test_values_without_json_are_refused(source: Any, value: Any) -> None:
    with pytest.raises(Rejected) as rejected:
        converted(source, value)

    assert rejected.value.reason == "bad_value"


def test_a_whole_decimal_beyond_64_bits_is_a_double() -> None:
    assert converted(logical("bytes", "decimal", precision=30), (10**25).to_bytes(12, "big")) == 1e25


def test_nested_times_of_other_schemas() -> None:
    source = {"type": "map", "values": ["null", logical("int", "date"), "string"]}

    assert converted(source, {"d": 0, "s": "x"}, ATTRIBUTES) == {"d": {"$time": "1970-01-01"}, "s": "x"}
    assert converted(source, {"d": 0, "s": "x"}, TRIGGER_PROPERTIES) == {"d": "1970-01-01", "s": "x"}


def test_nested_times_of_other_schemas_end_with_the_year_3000() -> None:
    day = {"type": "map", "values": logical("int", "date")}
    times = {"type": "array", "items": logical("long", "timestamp-millis")}
    fields = [{"name": "to", "type": logical("long", "timestamp-micros")}, {"name": "all", "type": times}]
    micros = {"type": "record", "name": "C", "fields": fields}
    last_day = (END_OF_3000 + 1) // 86_400_000 - 1

    assert converted(day, {"d": last_day}, ATTRIBUTES) == {"d": {"$time": "3000-12-31"}}
    assert converted(micros, {"to": END_OF_3000 * 1000, "all": [0]}, ATTRIBUTES)["to"]
    for source, value in (
        (day, {"d": last_day + 1}),
        (micros, {"to": (END_OF_3000 + 1) * 1000, "all": []}),
        (micros, {"to": 0, "all": [END_OF_3000 + 1]}),
    ):
        with pytest.raises(Rejected, match="beyond the year 3000"):
            converted(source, value, ATTRIBUTES)


def test_a_field_of_that_name_is_looked_at_like_a_key() -> None:
    schema = WriterSchema({"type": "record", "name": "R", "fields": [{"name": "t", "type": "string"}]}).root
    schema.fields = {"$time": schema.fields["t"]}
    write = Values(ATTRIBUTES, "number").table(schema, "a")[dict]

    assert write({"$time": "2026-09-21"}) == {"$time": "2026-09-21T00:00:00.000Z"}
    with pytest.raises(Rejected, match="bad_value"):
        write({"$time": "whenever"})


def test_an_array_of_objects_holds_objects() -> None:
    instant = {"type": "record", "name": "I", "fields": [{"name": "x", "type": logical("long", "timestamp-millis")}]}
    source = {"type": "array", "items": {"type": "map", "values": [instant, "long"]}}

    assert converted(source, [{"at": {"x": 0}, "n": 1}], ATTRIBUTES) == [
        {"at": {"$time": "1970-01-01T00:00:00.000Z"}, "n": 1}
    ]


@pytest.mark.parametrize(
    "branches",
    [
        [logical("int", "date"), logical("long", "timestamp-millis")],
        [logical("int", "date"), "long"],
        ["bytes", logical("fixed", "decimal", name="D", size=2, precision=4)],
        [DECIMAL, logical("fixed", "decimal", name="D", size=2, precision=4)],
    ],
)
def test_alternatives_that_look_alike_once_read_are_refused_with_their_schema(branches: list[Any]) -> None:
    with pytest.raises(MappingInvalid, match=r"^a\.b: .* look alike"):
        Values(PROPERTIES, "number").table(WriterSchema(branches).root, "a.b")


def test_alternatives_that_mean_the_same_are_one() -> None:
    symbols = {"type": "enum", "name": "E", "symbols": ["A"]}
    table = Values(PROPERTIES, "number").table(
        WriterSchema(["null", "int", "long", "float", "double", "string", symbols]).root, "a"
    )

    assert table.keys() == {type(None), int, float, str}


def test_a_type_nested_in_itself() -> None:
    source = {
        "type": "record",
        "name": "N",
        "fields": [{"name": "v", "type": "long"}, {"name": "next", "type": ["null", "N"]}],
    }

    assert converted(source, {"v": 1, "next": {"v": 2, "next": None}}) == {"v": 1, "next": {"v": 2}}
