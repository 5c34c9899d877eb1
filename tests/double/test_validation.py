from __future__ import annotations

from typing import Any

import pytest

from connector.double.settings import DoubleSettings
from connector.double.validation import (
    BLACKLISTED,
    EMAIL_INVALID,
    EXTERNAL_ID_TOO_LARGE,
    IDENTIFIER_REQUIRED,
    PROPERTIES_INVALID,
    instant,
    object_fault,
)

EVENT = {"external_id": "u1", "name": "bought", "time": "2026-03-26T18:12:00Z"}
PURCHASE = {"external_id": "u1", "product_id": "p", "currency": "EUR", "price": 1.5, "time": "2026-03-26T18:12:00Z"}


def _fault(array: str, thing: Any, **settings: Any) -> str | None:
    return object_fault(array, thing, DoubleSettings(**settings), may_be_large=True)


@pytest.mark.parametrize(
    ("identifiers", "fault"),
    [
        ({}, IDENTIFIER_REQUIRED),
        ({"external_id": ""}, IDENTIFIER_REQUIRED),
        ({"external_id": None}, IDENTIFIER_REQUIRED),
        ({"external_id": "u1"}, None),
        ({"external_id": 17}, None),
        ({"external_id": ["u1"]}, "'external_id' must be a string"),
        ({"external_id": "x" * 987}, None),
        ({"external_id": "x" * 988}, EXTERNAL_ID_TOO_LARGE),
        ({"external_id": "é" * 493}, None),  # 986 bytes
        ({"external_id": "é" * 494}, EXTERNAL_ID_TOO_LARGE),  # 988 bytes in 494 characters
        ({"external_id": "blocked"}, BLACKLISTED),
        ({"braze_id": "b1"}, None),
        ({"braze_id": 7}, "'braze_id' must be a string"),
        ({"external_id": "u1", "braze_id": "b1"}, "only one of 'external_id', 'braze_id' or 'user_alias' may be given"),
        ({"user_alias": {"alias_name": "a", "alias_label": "l"}}, None),
        ({"user_alias": {"alias_name": "a"}}, "'user_alias' must have an 'alias_name' and an 'alias_label'"),
        ({"user_alias": "a"}, "'user_alias' must have an 'alias_name' and an 'alias_label'"),
        ({"email": "someone@example.com"}, None),
        ({"email": "someone"}, EMAIL_INVALID),
        ({"phone": "+4915112345678"}, None),
        ({"phone": "call me"}, "'phone' is not valid"),
        ({"external_id": "u1", "email": "someone@example.com"}, None),
    ],
)
@pytest.mark.parametrize(("array", "rest"), [("attributes", {}), ("events", {"name": "n", "time": "2026-01-01"})])
def test_one_primary_identifier_or_else_an_address(
    array: str, rest: dict[str, Any], identifiers: dict[str, Any], fault: str | None
) -> None:
    assert _fault(array, identifiers | rest, blacklisted_external_ids=frozenset({"blocked"})) == fault


@pytest.mark.parametrize(
    ("attributes", "fault"),
    [
        ({"email": "no address"}, EMAIL_INVALID),
        ({"email": None}, None),
        ({"email_subscribe": "opted_in"}, None),
        ({"email_subscribe": "yes"}, "'email_subscribe' must be one of 'opted_in', 'subscribed' or 'unsubscribed'"),
        ({"push_subscribe": 1}, "'push_subscribe' must be one of 'opted_in', 'subscribed' or 'unsubscribed'"),
        ({"subscription_groups": {}}, "BAD_SUBSCRIPTION_GROUP_ARRAY"),
        ({"subscription_groups": ["g"]}, "BAD_SUBSCRIPTION_GROUP_HASH"),
        ({"subscription_groups": [{"subscription_state": "subscribed"}]}, "BAD_SUBSCRIPTION_GROUP_ID"),
        ({"subscription_groups": [{"subscription_group_id": "g"}]}, "BAD_SUBSCRIPTION_GROUP_STATE"),
        ({"subscription_groups": [{"subscription_group_id": "g", "subscription_state": "subscribed"}]}, None),
        ({"current_location": {"longitude": 1, "latitude": 2.5}}, None),
        ({"current_location": {"longitude": 1}}, "BAD_LOCATION_UPDATE"),
        ({"current_location": "here"}, "BAD_LOCATION_UPDATE"),
        ({"push_tokens": [{"app_id": "a", "token": "t"}]}, None),
        ({"push_tokens": ["t"]}, "BAD_PUSH_TOKEN_VALUE"),
        ({"push_tokens": [{"token": "t"}]}, "BAD_PUSH_TOKEN_APP_ID"),
        ({"push_tokens": [{"app_id": "a"}]}, "BAD_PUSH_TOKEN_STRING"),
        ({"push_tokens": [{"app_id": "a", "token": "t", "device_id": "short"}]}, "BAD_DEVICE_ID"),
        ({"push_token_import": True, "push_tokens": [{"app_id": "a", "token": "t"}]}, "BAD_PUSH_TOKEN_IMPORT"),
        ({"anything": "else"}, None),
        ({"note": "x" * 256}, None),  # dropped without a word, not refused
    ],
)
def test_standard_attributes_must_be_what_they_are(attributes: dict[str, Any], fault: str | None) -> None:
    assert _fault("attributes", {"external_id": "u1"} | attributes) == fault


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({}, None),
        ({"name": ""}, "'name' is not valid"),
        ({"name": None}, "'name' is not valid"),
        ({"name": "$opened"}, "'name' is not valid"),
        ({"name": "x" * 256}, "'name' is not valid"),
        ({"time": None}, "'time' is not valid"),
        ({"time": 1_790_000_000}, "'time' is not valid"),
        ({"time": "yesterday"}, "'time' is not valid"),
        ({"time": "2026-03-26T18:12:00:123Z"}, None),
        ({"time": "2026-03-26"}, None),
        ({"properties": None}, None),
        ({"properties": {}}, None),
        ({"properties": []}, None),
        ({"properties": "p"}, PROPERTIES_INVALID),
        ({"properties": {"time": 1}}, PROPERTIES_INVALID),
        ({"properties": {"event_name": "n"}}, PROPERTIES_INVALID),
        ({"properties": {"product_id": "fine here"}}, None),
        ({"properties": {"$price": 1}}, PROPERTIES_INVALID),
        ({"properties": {"": 1}}, PROPERTIES_INVALID),
        ({"properties": {"note": "x" * 256}}, None),
        ({"properties": {"list": ["x" * 255] * 396}}, None),
        ({"properties": {"list": ["x" * 255] * 400}}, "'properties' must be smaller than 100 KB"),
    ],
)
def test_events_need_a_name_a_time_and_plain_properties(changes: dict[str, Any], fault: str | None) -> None:
    assert _fault("events", EVENT | changes) == fault


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({}, None),
        ({"quantity": 3}, None),
        ({"quantity": "3"}, "'quantity' is not valid"),
        ({"currency": "euro"}, "'currency' is not valid"),
        ({"price": "1.5"}, "'price' is not valid"),
        ({"product_id": ""}, "'product_id' is not valid"),
        ({"time": "later"}, "'time' is not valid"),
        ({"properties": {"price": 1}}, PROPERTIES_INVALID),
        ({"properties": {"list": ["x" * 255] * 200}}, "'properties' must be smaller than 50 KB"),
    ],
)
def test_purchases_have_their_own_rules(changes: dict[str, Any], fault: str | None) -> None:
    assert _fault("purchases", PURCHASE | changes) == fault


@pytest.mark.parametrize("array", ["attributes", "events", "purchases"])
def test_what_is_no_object_is_refused(array: str) -> None:
    assert _fault(array, "u1") == "each element must be an object"


def test_over_long_strings_can_be_refused_instead_of_dropped() -> None:
    assert _fault("attributes", {"external_id": "u1", "note": "x" * 256}, over_long="refuse") == "'note' is too long"
    assert _fault("attributes", {"external_id": "x" * 300}, over_long="refuse") is None
    long = EVENT | {"properties": {"note": "x" * 256}}
    assert _fault("events", long, over_long="refuse") == PROPERTIES_INVALID


def test_a_time_without_an_offset_is_utc() -> None:
    naive, aware = instant("2026-03-26T18:12:00"), instant("2026-03-26T18:12:00+00:00")
    assert naive is not None
    assert naive == aware
