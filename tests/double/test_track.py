from __future__ import annotations

from typing import Any

import pytest

NOTHING_VALID = "Valid data must be provided in the 'attributes', 'events', or 'purchases' fields."
EVENT = {"external_id": "u1", "name": "bought", "time": "2026-03-26T18:12:00Z"}
PURCHASE = {"external_id": "u1", "product_id": "p", "currency": "EUR", "price": 1.5, "time": "2026-03-26T18:12:00Z"}


def _users(count: int) -> list[dict[str, Any]]:
    return [{"external_id": f"u{n}", "plan": "gold"} for n in range(count)]


def test_all_accepted_is_a_201_that_counts_only_the_arrays_that_were_sent(asked: Any, body: Any) -> None:
    reply = asked().track(attributes=_users(2), events=[EVENT])
    assert reply.status == 201
    assert body(reply) == {"message": "success", "attributes_processed": 2, "events_processed": 1}


def test_some_refused_are_named_by_array_and_index_and_not_counted(asked: Any, body: Any) -> None:
    double = asked()
    reply = double.track(
        attributes=[{"external_id": "u1", "plan": "gold"}, {"plan": "gold"}, {"external_id": "x" * 988}],
        events=[EVENT | {"properties": {"time": 1}}, EVENT],
        purchases=[PURCHASE, PURCHASE | {"quantity": "3"}],
    )
    assert reply.status == 201
    assert body(reply) == {
        "message": "success",
        "attributes_processed": 1,
        "events_processed": 1,
        "purchases_processed": 1,
        "errors": [
            {
                "type": "'external_id', 'braze_id', 'user_alias', 'email' or 'phone' is required",
                "input_array": "attributes",
                "index": 1,
            },
            {"type": "'external_id' must be fewer than 988 bytes", "input_array": "attributes", "index": 2},
            {"type": "Invalid 'properties' field", "input_array": "events", "index": 0},
            {"type": "'quantity' is not valid", "input_array": "purchases", "index": 1},
        ],
    }
    double.state()
    assert [(one.array, one.index) for one in double.applied] == [("attributes", 0), ("events", 1), ("purchases", 0)]


def test_all_refused_is_a_400_with_indexes(asked: Any, body: Any) -> None:
    double = asked()
    reply = double.track(attributes=[{"plan": "gold"}], events=[EVENT | {"time": "soon"}])
    assert reply.status == 400
    assert body(reply)["message"] == NOTHING_VALID
    assert [(one["input_array"], one["index"]) for one in body(reply)["errors"]] == [("attributes", 0), ("events", 0)]
    assert double.state()["profiles"] == {}


@pytest.mark.parametrize(
    "arrays", [{}, {"attributes": []}, {"attributes": [], "events": [], "purchases": []}, {"attributes": {}}]
)
def test_nothing_to_do_is_a_400(asked: Any, body: Any, arrays: dict[str, Any]) -> None:
    reply = asked().track(**arrays)
    assert (reply.status, body(reply)) == (400, {"message": NOTHING_VALID})


def test_a_body_that_is_not_there_is_a_400_too(asked: Any, body: Any) -> None:
    assert body(asked().post("/users/track", b"")) == {"message": NOTHING_VALID}


@pytest.mark.parametrize(
    ("limit", "arrays", "status"),
    [
        ({"combined": 75}, {"attributes": 75}, 201),
        ({"combined": 75}, {"attributes": 40, "events": 36}, 400),
        ({"combined": 50}, {"attributes": 51}, 400),
        ({"combined": 5}, {"attributes": 5}, 201),
        ({"combined": None, "per_array": 75}, {"attributes": 75, "events": 75}, 201),
        ({"combined": None, "per_array": 75}, {"attributes": 76}, 400),
    ],
)
def test_too_many_objects_are_refused_whole(
    asked: Any, body: Any, limit: dict[str, Any], arrays: dict[str, int], status: int
) -> None:
    settings = asked().double.settings
    double = asked(objects_max=type(settings.objects_max)(**limit))
    things = {"attributes": _users(100), "events": [EVENT] * 100}
    reply = double.track(**{name: things[name][:count] for name, count in arrays.items()})
    assert reply.status == status
    assert ("Max Input Length Exceeded" in body(reply)["message"]) == (status == 400)
    assert bool(double.state()["profiles"]) == (status == 201)


def test_partner_and_group_id_are_accepted_and_ignored(asked: Any) -> None:
    assert asked().track(attributes=_users(1), partner="someone", group_id="g").status == 201


def test_one_request_is_applied_attributes_before_events_before_purchases(asked: Any) -> None:
    double = asked()
    double.track(purchases=[PURCHASE], events=[EVENT, EVENT], attributes=_users(2))
    double.state()
    assert [(one.array, one.index) for one in double.applied] == [
        ("attributes", 0),
        ("attributes", 1),
        ("events", 0),
        ("events", 1),
        ("purchases", 0),
    ]


def test_a_null_inside_one_nested_attribute_drops_the_nested_ones_of_the_whole_request(asked: Any) -> None:
    double = asked()
    double.track(
        attributes=[
            {"external_id": "u1", "plan": "gold", "address": {"city": "Ulm"}},
            {"external_id": "u2", "plan": "gold", "address": {"city": None}},
        ]
    )
    double.track(attributes=[{"external_id": "u3", "address": {"city": "Ulm"}}])
    profiles = double.state()["profiles"]
    assert profiles["external_id:u1"]["custom_attributes"] == {"plan": "gold"}
    assert profiles["external_id:u2"]["custom_attributes"] == {"plan": "gold"}
    assert profiles["external_id:u3"]["custom_attributes"] == {"address": {"city": "Ulm"}}


def test_a_nested_attribute_that_cannot_be_stored_is_dropped_alone(asked: Any) -> None:
    double = asked()
    double.track(attributes=[{"external_id": "u1", "plan": "gold", "good": {"a": 1}, "bad": {"a b": 1}}])
    state = double.state()
    assert state["profiles"]["external_id:u1"]["custom_attributes"] == {"plan": "gold", "good": {"a": 1}}
    assert state["silent_drops"] == {"attribute": 1}


def test_properties_are_measured_only_where_they_could_be_too_large(asked: Any, body: Any) -> None:
    reply = asked().track(events=[EVENT, EVENT | {"properties": {"list": ["x" * 255] * 400}}])
    assert [one["index"] for one in body(reply)["errors"]] == [1]
