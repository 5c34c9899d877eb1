"""Events: name, time and properties."""

from __future__ import annotations

import pytest

from connector.records import Kind
from tests.mapping_samples import AT, INSTANT, ISO, bag, bag_refusal, refused, sent

EVENT = Kind.EVENT


def test_an_event() -> None:
    outbound = sent(EVENT, {"properties": {"price": 1.5, "at": INSTANT}})

    assert outbound.object == {
        "external_id": "u1",
        "name": "bought",
        "time": ISO,
        "properties": {"price": 1.5, "at": ISO},
    }
    assert outbound.user == "u1"


def test_no_properties_are_not_sent() -> None:
    assert sent(EVENT, {"properties": {"gone": None}}).object == {"external_id": "u1", "name": "bought", "time": ISO}


@pytest.mark.parametrize(
    ("name", "as_sent"), [(" bought ", "bought"), ("$bought", "aiq_bought"), ("x" * 255, "x" * 255)]
)
def test_the_name(name: str, as_sent: str) -> None:
    assert sent(EVENT, {"event_name": name}).object["name"] == as_sent


@pytest.mark.parametrize(
    ("name", "reason"),
    [("", "missing_field"), (" ", "missing_field"), ("x" * 256, "bad_name"), ("a\0", "bad_name"), ("$", "bad_name")],
)
def test_a_name_that_cannot_be(name: str, reason: str) -> None:
    assert refused(EVENT, {"event_name": name}).reason == reason


@pytest.mark.parametrize("occurred_at", [0, 1_790_000_000, AT + 86_400_001])
def test_a_time_out_of_all_reason(occurred_at: int) -> None:
    assert refused(EVENT, {"occurred_at": occurred_at}).reason == "absurd_time"


@pytest.mark.parametrize(
    ("name", "as_sent"),
    [
        ("time", "aiq_time"),
        ("event_name", "aiq_event_name"),
        ("$price", "aiq_price"),
        ("$$price", "aiq_price"),
        ("$time", "aiq_time"),
        (" price ", "price"),
        ("email", "email"),
        ("external_id", "external_id"),
        ("Time", "Time"),
        ("a.b c", "a.b c"),
    ],
)
def test_names_that_braze_refuses_are_changed(name: str, as_sent: str) -> None:
    for _ in range(2):
        assert bag(EVENT, {name: 1, "other": 2}) == {as_sent: 1, "other": 2}


@pytest.mark.parametrize("names", [("time", "aiq_time"), ("aiq_time", "time"), ("$a", "$$a"), ("a", " a")])
def test_two_names_that_become_one_refuse_the_record(names: tuple[str, str]) -> None:
    assert bag_refusal(EVENT, dict.fromkeys(names, 1)).reason == "bad_name"


@pytest.mark.parametrize("name", ["", "  ", "$", "x" * 256, "a\0b"])
def test_names_that_cannot_be(name: str) -> None:
    for kind in (EVENT, Kind.AUDIENCE):
        assert bag_refusal(kind, {name: 1}).reason == "bad_name"


def test_nulls_say_nothing() -> None:
    assert bag(EVENT, {"a": None, "b": 0, "c": False, "d": ""}) == {"b": 0, "c": False, "d": ""}


def test_too_large_together() -> None:
    fitting = {f"k{place}": "x" * 250 for place in range(380)}

    assert bag(EVENT, fitting) == fitting
    rejected = bag_refusal(EVENT, fitting | {f"l{place}": "x" * 250 for place in range(20)})
    assert rejected.reason == "object_too_large"
    assert rejected.detail.startswith("properties: ")
