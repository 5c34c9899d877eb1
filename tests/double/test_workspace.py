from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

EVENT = {"external_id": "u1", "name": "bought", "time": "2020-03-26T18:12:00Z"}


def _custom(double: Any) -> Any:
    return double.profile()["custom_attributes"]


def test_the_last_write_wins_attribute_by_attribute(asked: Any) -> None:
    double = asked(reorder=False)
    double.track(attributes=[{"external_id": "u1", "plan": "gold", "seats": 3}])
    double.track(attributes=[{"external_id": "u1", "plan": "free"}, {"external_id": "u1", "plan": "trial"}])
    assert _custom(double) == {"plan": "trial", "seats": 3}


def test_null_deletes_and_an_empty_string_does_not(asked: Any) -> None:
    double = asked(reorder=False)
    double.track(attributes=[{"external_id": "u1", "plan": "gold", "note": "x", "first_name": "Ann", "email": "a@b.c"}])
    double.track(attributes=[{"external_id": "u1", "plan": None, "note": "", "first_name": None, "email": None}])
    profile = double.profile()
    assert (profile["custom_attributes"], profile["attributes"]) == ({"note": ""}, {})


def test_names_are_trimmed_and_keep_their_casing(asked: Any) -> None:
    double = asked()
    double.track(attributes=[{"external_id": "u1", " Plan ": "gold", "plan": "free", " first_name": "Ann"}])
    profile = double.profile()
    assert profile["custom_attributes"] == {"Plan": "gold", "plan": "free"}
    assert profile["attributes"] == {"first_name": "Ann"}


def test_standard_attributes_are_kept_apart_and_addresses_lowercased(asked: Any) -> None:
    double = asked()
    double.track(
        attributes=[
            {
                "external_id": "u1",
                "email": "Someone@Example.com",
                "country": "DE",
                "email_subscribe": "opted_in",
                "subscription_groups": [{"subscription_group_id": "g", "subscription_state": "subscribed"}],
                "First_Name": "custom, for names are case-sensitive",
            }
        ]
    )
    profile = double.profile()
    assert profile["attributes"] == {"email": "someone@example.com", "country": "DE", "email_subscribe": "opted_in"}
    assert profile["subscription_groups"] == {"g": "subscribed"}
    assert list(profile["custom_attributes"]) == ["First_Name"]


def test_arrays_counters_and_nested_objects_change_what_is_stored(asked: Any) -> None:
    double = asked(reorder=False)
    double.track(attributes=[{"external_id": "u1", "tags": ["a"], "visits": 1, "address": {"city": "Ulm", "zip": "1"}}])
    double.track(
        attributes=[
            {
                "external_id": "u1",
                "_merge_objects": True,
                "tags": {"add": ["b"]},
                "visits": {"inc": 2},
                "address": {"zip": "2"},
            }
        ]
    )
    assert _custom(double) == {"tags": ["a", "b"], "visits": 3, "address": {"city": "Ulm", "zip": "2"}}


def test_silent_drops_leave_the_rest_of_the_object_alone(asked: Any) -> None:
    double = asked(forced_types={"vip": "boolean"}, blocked_attributes=frozenset({"secret"}))
    double.track(
        attributes=[
            {
                "external_id": "u1",
                "vip": "maybe",
                "secret": 1,
                "long": "x" * 256,
                "n" * 256: 1,
                "c": {"inc": "x"},
                "p": 1,
            }
        ]
    )
    assert _custom(double) == {"p": 1}
    assert double.state()["silent_drops"] == {"attribute": 5}
    assert double.state()["data_points"] == 1


def test_a_forced_boolean_is_coerced(asked: Any) -> None:
    double = asked(forced_types={"vip": "boolean"})
    double.track(attributes=[{"external_id": "u1", "vip": "T"}])
    assert _custom(double) == {"vip": True}


def test_an_object_of_which_nothing_took_effect_is_not_journaled(asked: Any) -> None:
    double = asked(blocked_attributes=frozenset({"secret"}), blocked_events=frozenset({"noise"}))
    double.track(attributes=[{"external_id": "u1", "secret": 1}], events=[EVENT | {"name": "noise"}])
    double.track(attributes=[{"external_id": "u2", "secret": 1, "_update_existing_only": True}])
    state = double.state()
    assert double.applied == []
    assert state["silent_drops"] == {"attribute": 1, "blocked event": 1, "update only, unknown user": 1}


def test_an_object_of_an_identifier_alone_makes_the_profile(asked: Any) -> None:
    double = asked()
    double.track(attributes=[{"external_id": "u1"}])
    assert double.profile()["custom_attributes"] == {}
    assert len(double.applied) == 1


def test_every_event_counts_also_the_same_one_again(asked: Any) -> None:
    double = asked(reorder=False)
    double.track(events=[EVENT, EVENT])
    double.track(events=[EVENT])
    state = double.state()
    assert [one["id"] for one in state["events"]] == [1, 2, 3]
    assert state["profiles"]["external_id:u1"]["custom_events"] == {"bought": 3}


def test_an_event_from_the_future_happens_now(asked: Any) -> None:
    double = asked()
    double.track(events=[EVENT | {"time": "2999-01-01T00:00:00Z"}, EVENT])
    future, past = (one["time"] for one in double.state()["events"])
    assert (future, past) == ("2026-09-21T14:15:00+00:00", EVENT["time"])


def test_over_long_properties_are_dropped_from_the_event(asked: Any) -> None:
    double = asked()
    double.track(events=[EVENT | {"properties": {"a": 1, "long": "x" * 256, "n" * 256: 1}}])
    assert double.state()["events"][0]["properties"] == {"a": 1}


def test_events_may_be_counted_only(asked: Any) -> None:
    double = asked(keep_events=False)
    double.track(events=[EVENT, EVENT])
    state = double.state()
    assert (state["events"], state["applied"]["events"]) == ([], 2)


def test_data_points_are_billed_also_when_nothing_changes(asked: Any) -> None:
    double = asked()
    for _ in range(2):
        double.track(
            attributes=[{"external_id": "u1", "a": 1, "b": None, "first_name": "x", "email_subscribe": "subscribed"}],
            events=[EVENT],
        )
    assert double.state()["data_points"] == 2 * (3 + 1)


@pytest.mark.parametrize(
    ("attribute", "points"),
    [([1, 2, 3], 1), ({"add": [1, 2]}, 2), ({"a": 1, "b": 2}, 2), ({"inc": 1}, 1), (None, 1), ("x", 1)],
)
def test_data_points_by_kind_of_value(asked: Any, attribute: Any, points: int) -> None:
    double = asked()
    double.track(attributes=[{"external_id": "u1", "value": attribute}])
    assert double.state()["data_points"] == points


def test_the_journal_tells_where_an_object_came_from_and_when(asked: Any) -> None:
    double = asked()
    double.track(attributes=[{"external_id": "u1", "plan": "gold"}])
    double.now += 100
    double.track(events=[EVENT])
    double.state()
    first, second = double.applied
    assert (first.sequence, first.request, first.array, first.index, first.user) == (
        1,
        1,
        "attributes",
        0,
        "external_id:u1",
    )
    assert first.object == {"external_id": "u1", "plan": "gold"}
    assert 0.01 <= first.applied_at - first.arrived_at <= 5.0
    assert second.arrived_at - first.arrived_at == 100
    assert list(first.document().values())[:2] == [1, 1]


writes = st.lists(
    st.tuples(st.sampled_from(["u1", "u2"]), st.sampled_from(["a", "b"]), st.none() | st.booleans()), max_size=40
)


@settings(deadline=None, derandomize=True)
@given(writes, st.integers(0, 2**32))
def test_the_state_is_what_the_last_applied_writes_say(asked: Any, writes: list[Any], seed: int) -> None:
    double = asked(seed)
    for user, name, value in writes:
        double.track(attributes=[{"external_id": user, name: value}])
    state, expected = double.state(), dict[str, dict[str, Any]]()
    for one in double.applied:
        profile = expected.setdefault(one.user, {})
        profile.update({name: value for name, value in one.object.items() if name != "external_id"})
    assert {key: one["custom_attributes"] for key, one in state["profiles"].items()} == {
        user: {name: value for name, value in profile.items() if value is not None}
        for user, profile in expected.items()
    }
    assert [one.sequence for one in double.applied] == list(range(1, len(writes) + 1))
    assert Counter(one.request for one in double.applied) == Counter(range(1, len(writes) + 1))
