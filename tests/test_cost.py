"""Data points by Braze's published rules; the double, which bills what it applies, is the other opinion."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from connector.cost import attribute_points
from connector.double.settings import DoubleSettings
from connector.double.workspace import Origin, Workspace
from connector.records import Kind
from tests.delivery_stage import ACCEPTED, Stage, named
from tests.sent_objects import attributes, event, trigger

OBJECTS: list[tuple[dict[str, Any], int]] = [
    ({"external_id": "u"}, 0),
    ({"braze_id": "b", "_update_existing_only": True, "_merge_objects": True}, 0),
    ({"external_id": "u", "AIQ_1_2": True}, 1),
    ({"external_id": "u", "AIQ_1_2": True, "tier": "gold", "visits": 7, "left": None}, 4),
    ({"external_id": "u", "first_name": "A", "email_subscribe": "opted_in", "push_subscribe": "subscribed"}, 1),
    ({"external_id": "u", "shops": ["a", "b", "c"]}, 1),
    ({"external_id": "u", "shops": {"add": ["a", "b"], "remove": ["c"]}}, 3),
    ({"external_id": "u", "visits": {"inc": 2}}, 1),
    ({"external_id": "u", "address": {"street": "s", "zip": "z", "place": {"x": 1}}}, 3),
    ({"external_id": "u", "pets": {"$add": [{"id": 1, "name": "n"}]}}, 2),
    (
        {
            "external_id": "u",
            "pets": {"$update": [{"$identifier_key": "id", "$identifier_value": 1, "$new_object": {"name": "m"}}]},
        },
        1,
    ),
]


@pytest.mark.parametrize(("thing", "points"), OBJECTS)
def test_what_an_object_costs(thing: dict[str, Any], points: int) -> None:
    assert attribute_points(thing) == points


@pytest.mark.parametrize("thing", [thing for thing, _ in OBJECTS])
def test_the_double_bills_the_same(thing: dict[str, Any]) -> None:
    workspace = Workspace(DoubleSettings(known_users=frozenset({"external_id:u"})), lambda _: None)

    workspace.apply(Origin(1, 0.0, 0.0, "attributes"), 0, thing, is_nested_dropped=False)

    assert workspace.data_points == attribute_points(thing)


def test_what_was_merged_is_billed_once_and_what_was_refused_is_not() -> None:
    stage = Stage()
    stage.delivery.batcher.add_attributes(
        [attributes("u", 0, a=1, b=1), attributes("u", 1, b=2, c=2), attributes("v", 2, a=1)], stage.now
    )
    stage.delivery.batcher.add_events([event("w", 3)], stage.now)

    done = stage.answer(stage.sent(), named(201, ("attributes", 1)))

    assert done.data_points == {Kind.AUDIENCE: 3, Kind.EVENT: 1}


def test_a_trigger_costs_none() -> None:
    stage = Stage()
    stage.delivery.campaigns.add([trigger("u", 0)], stage.now)

    assert stage.answer(stage.sent(), ACCEPTED).data_points == {}


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.sampled_from(["$add", "$update", "$new_object", "inc", "x"]), inner)
    ),
)


@example({"a": {"$add": "x"}})
@example({"a": {"$update": 5}})
@example({"a": {"$remove": None}})
@example({"a": {"$update": ["x"]}})
@given(st.dictionaries(st.sampled_from(["a", "external_id", "b"]), _JSON))
def test_whatever_a_producer_writes_has_a_price(attributes: dict[str, object]) -> None:
    assert attribute_points(attributes) >= 0
