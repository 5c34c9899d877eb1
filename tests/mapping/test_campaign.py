"""Triggered campaigns: one recipient each, never one whose time is over."""

from __future__ import annotations

import pytest

from connector.records import Kind
from tests.mapping_samples import AT, INSTANT, ISO, THEN, bag, bag_refusal, campaign, identity, refused, skipped

CAMPAIGN = Kind.CAMPAIGN


def test_a_trigger() -> None:
    trigger = campaign({"expires_at": AT + 1, "trigger_properties": {"code": "X", "at": INSTANT}})

    assert trigger.object == {"external_user_id": "u1", "trigger_properties": {"code": "X", "at": ISO}}
    assert (trigger.user, trigger.campaign_id, trigger.event_id) == ("u1", "c1", "e1")
    assert (trigger.requested_at_ms, trigger.expires_at_ms) == (THEN, AT + 1)


def test_without_expiry_properties_or_event_id() -> None:
    trigger = campaign({"event_id": " ", "campaign_id": " c1 "})

    assert trigger.object == {"external_user_id": "u1"}
    assert (trigger.campaign_id, trigger.event_id, trigger.expires_at_ms) == ("c1", None, None)


def test_words_that_the_document_leaves_out() -> None:
    trigger = campaign({"expires_at": 1, "requested_at": 1}, {"event_id": None, "time": None, "expires_at": None})

    assert (trigger.event_id, trigger.requested_at_ms, trigger.expires_at_ms) == (None, None, None)


@pytest.mark.parametrize("expires_at", [AT, AT - 1, 0, -1])
def test_at_its_expiry_it_is_too_late(expires_at: int) -> None:
    assert skipped(CAMPAIGN, {"expires_at": expires_at}) == "expired"
    assert skipped(CAMPAIGN, {"expires_at": expires_at, **identity(None)}) == "expired"


@pytest.mark.parametrize("expires_at", [AT + 1, 4_102_444_800_000, 2**60])
def test_an_expiry_may_be_as_far_as_it_likes(expires_at: int) -> None:
    assert campaign({"expires_at": expires_at}).expires_at_ms == expires_at


def test_what_is_refused() -> None:
    assert refused(CAMPAIGN, {"campaign_id": " "}).args == ("missing_field", "campaign_id: empty")
    assert refused(CAMPAIGN, {"requested_at": 0}).reason == "absurd_time"


def test_the_names_of_properties_are_the_copys() -> None:
    names = {"time": 1, "$x": 2, " y ": 3, "event_name": 4}

    assert bag(CAMPAIGN, names) == names
    assert bag_refusal(CAMPAIGN, {"": 1}).reason == "bad_name"


def test_strings_and_arrays_are_as_long_as_they_like() -> None:
    long = {"text": "x" * 10_000, "list": [1] * 1000}

    assert bag(CAMPAIGN, long) == long


def test_but_not_all_together() -> None:
    # {"text":"..."} is 11 bytes more than the string.
    assert len(bag(CAMPAIGN, {"text": "x" * (51_200 - 11)})["text"]) == 51_189
    assert bag_refusal(CAMPAIGN, {"text": "x" * (51_200 - 10)}).reason == "object_too_large"


def test_control_characters_count_as_what_they_become() -> None:
    assert bag_refusal(CAMPAIGN, {"text": "\x01" * 9000}).reason == "object_too_large"
