"""Audience memberships: a boolean under the audience's name, beside further attributes."""

from __future__ import annotations

from typing import Any

import pytest

from connector.records import Kind
from tests.mapping_samples import AT, THEN, bag, bag_refusal, identity, refused, sent, skipped

AUDIENCE = Kind.AUDIENCE


@pytest.mark.parametrize(("change", "flag"), [("ENTERED", True), ("CURRENT", True), ("EXITED", False)])
def test_membership_is_a_boolean(change: str, flag: bool) -> None:
    outbound = sent(AUDIENCE, {"change": change})

    assert outbound.object == {"external_id": "u1", "AIQ_12_3": flag}
    assert outbound.object["AIQ_12_3"] is flag
    assert outbound.user == "u1"


def test_an_unknown_change_is_never_an_exit() -> None:
    rejected = refused(AUDIENCE, {"change": "UNKNOWN"})

    assert rejected.args == ("unknown_change", "change: a value that attribute.value.map does not name")


def test_leaving_may_remove_the_attribute_instead() -> None:
    leaving = {"attribute": {"value": {"field": "change", "map": {"ENTERED": True, "CURRENT": True, "EXITED": None}}}}

    assert sent(AUDIENCE, {"change": "EXITED"}, leaving).object == {"external_id": "u1", "AIQ_12_3": None}
    assert refused(AUDIENCE, {"change": "UNKNOWN"}, leaving).reason == "unknown_change"


@pytest.mark.parametrize(
    ("audience_id", "split_id", "name"),
    [
        ("12", "3", "AIQ_12_3"),
        (" 12 ", "3\n", "AIQ_12_3"),
        ("a b", "ü", "AIQ_a b_ü"),
        ("x" * 248, "3", f"AIQ_{'x' * 248}_3"),
    ],
)
def test_the_attributes_name(audience_id: str, split_id: str, name: str) -> None:
    assert sent(AUDIENCE, {"audience_id": audience_id, "split_id": split_id}).object[name] is True


@pytest.mark.parametrize(
    ("audience_id", "split_id", "reason"),
    [
        ("", "3", "missing_field"),
        ("12", " ", "missing_field"),
        ("x" * 250, "3", "bad_name"),
        ("1\0", "3", "bad_name"),
    ],
)
def test_a_name_that_cannot_be(audience_id: str, split_id: str, reason: str) -> None:
    assert refused(AUDIENCE, {"audience_id": audience_id, "split_id": split_id}).reason == reason


def test_the_names_template_is_the_operators() -> None:
    mapping = {"attribute": {"name": {"template": "{{seg}} {audience_id}"}}}

    assert sent(AUDIENCE, {}, mapping).object == {"external_id": "u1", "{seg} 12": True}


def test_a_template_cannot_name_what_steers_braze() -> None:
    assert (
        refused(AUDIENCE, {"audience_id": "external_id"}, {"attribute": {"name": "audience_id"}}).reason
        == "reserved_attribute"
    )


def test_a_further_attribute_of_the_same_name_must_agree() -> None:
    agreeing = sent(AUDIENCE, {"attributes": {"AIQ_12_3": True, "a": 1}})

    assert agreeing.object == {"external_id": "u1", "AIQ_12_3": True, "a": 1}
    for other in (False, None, 1, "true", {"a": True}):
        assert refused(AUDIENCE, {"attributes": {" AIQ_12_3": other}}).reason == "reserved_attribute"


def test_a_control_split_is_skipped_unless_it_is_to_be_written() -> None:
    holdout = {"split_role": "CONTROL"}

    assert skipped(AUDIENCE, holdout) == "control_split"
    assert skipped(AUDIENCE, {**holdout, **identity(None), "change": "UNKNOWN"}) == "control_split"
    assert sent(AUDIENCE, holdout, write_control_splits=True).object["AIQ_12_3"] is True
    assert sent(AUDIENCE, {"split_role": "UNKNOWN"}).object["AIQ_12_3"] is True


def test_other_skip_rules_stay_when_control_splits_are_written() -> None:
    mapping = {"skip": [{"field": "audience_id", "in": ["12"]}]}

    assert skipped(AUDIENCE, {}, mapping, write_control_splits=True) == "skip_rule"
    assert sent(AUDIENCE, {"audience_id": "13"}, mapping).object["AIQ_13_3"] is True


@pytest.mark.parametrize("qualified_at", [1_262_304_000_000, THEN, AT + 86_400_000])
def test_times_within_reason(qualified_at: int) -> None:
    assert sent(AUDIENCE, {"qualified_at": qualified_at}).object["AIQ_12_3"] is True


@pytest.mark.parametrize("qualified_at", [0, -1, THEN // 1000, THEN * 1000, 1_262_303_999_999, AT + 86_400_001])
def test_times_out_of_all_reason(qualified_at: int) -> None:
    rejected = refused(AUDIENCE, {"qualified_at": qualified_at})

    assert rejected.reason == "absurd_time"
    assert rejected.detail.startswith("qualified_at: ")


def test_the_time_may_be_left_unchecked() -> None:
    assert sent(AUDIENCE, {"qualified_at": 0}, {"time": None}).object["AIQ_12_3"] is True


def test_null_deletes_and_absence_leaves_alone() -> None:
    assert bag(AUDIENCE, {"a": None, "b": 1}) == {"a": None, "b": 1}
    assert bag(AUDIENCE, {"a": None, "b": 1}, mapping={"attributes": {"nulls": "omit"}}) == {"b": 1}


@pytest.mark.parametrize(
    "name", ["external_id", "braze_id", "user_alias", "_update_existing_only", "_merge_objects", "push_token_import"]
)
def test_an_attribute_cannot_steer_braze(name: str) -> None:
    for spelled in (name, f" {name} "):
        rejected = bag_refusal(AUDIENCE, {spelled: "x", "fine": 1})
        assert (rejected.reason, name in rejected.detail) == ("reserved_attribute", True)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("email", "a@b"),
        ("email", " a.b+c@d.example "),
        ("email", None),
        ("email_subscribe", "opted_in"),
        ("push_subscribe", "unsubscribed"),
        ("push_subscribe", None),
        ("current_location", {"longitude": -180.0, "latitude": 52.5}),
        ("gender", "anything"),
        ("phone", "call me"),
    ],
)
def test_standard_attributes_that_braze_takes(name: str, value: Any) -> None:
    assert bag(AUDIENCE, {name: value}) == {name: value}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("email", "nobody"),
        ("email", ""),
        ("email", "a@b@c"),
        ("email", "a b@c"),
        ("email", 5),
        (" email ", "nobody"),
        ("email_subscribe", "yes"),
        ("email_subscribe", True),
        ("push_subscribe", ""),
        ("push_subscribe", [1]),
        ("current_location", "Berlin"),
        ("current_location", {"longitude": 13.4}),
        ("current_location", {"longitude": 181.0, "latitude": 0.0}),
        ("current_location", {"longitude": True, "latitude": 0.0}),
        ("subscription_groups", ["g1"]),
        ("push_tokens", {"app_id": "a"}),
    ],
)
def test_standard_attributes_that_braze_is_known_to_refuse(name: str, value: Any) -> None:
    for _ in range(2):  # also once the names are known
        rejected = bag_refusal(AUDIENCE, {"fine": "x", name: value})
        assert (rejected.reason, name.strip() in rejected.detail) == ("bad_value", True)


def test_attributes_named_by_the_document() -> None:
    mapping = {
        "attributes": {
            "fields": {
                "run": "sync_id",
                "tier": "attributes.tier",
                "source": {"constant": "aiq"},
                "email": "attributes.mail",
                "qualified": "qualified_at",
                "label": {"template": "{audience_id}/{split_id}"},
                "member": {"field": "change", "map": {"ENTERED": "yes", "EXITED": "no"}},
            }
        }
    }
    found = bag(AUDIENCE, {"tier": "gold", "mail": "a@b"}, mapping=mapping)

    assert found == {
        "run": None,
        "tier": "gold",
        "mail": "a@b",
        "email": "a@b",
        "source": "aiq",
        "qualified": "2026-09-21T14:13:20.123Z",
        "label": "12/3",
        "member": "yes",
    }
    assert "tier" not in bag(AUDIENCE, {}, mapping={**mapping, "attributes": {**mapping["attributes"], "from": None}})
    assert bag_refusal(AUDIENCE, {"mail": "nobody"}, mapping=mapping).reason == "bad_value"
    rejected = refused(AUDIENCE, {"change": "CURRENT"}, mapping)
    assert (rejected.reason, rejected.detail.startswith("change: ")) == ("bad_value", True)


def test_the_documents_attribute_wins_over_the_records() -> None:
    mapping = {"attributes": {"fields": {"a": {"constant": "fixed"}}, "omit": ["b"]}}

    assert bag(AUDIENCE, {"a": "own", "b": 1, "c": 2}, mapping=mapping) == {"a": "fixed", "c": 2}
