from __future__ import annotations

from typing import Any

import pytest

from connector.double.profiles import Profile, Profiles, recipient_key
from connector.double.settings import DoubleSettings


def _profiles(**settings: Any) -> Profiles:
    return Profiles(DoubleSettings(**settings))


def _made(profiles: Profiles, **thing: Any) -> Profile:
    profile = profiles.of_object(thing)
    assert profile is not None
    return profile


ALIAS = {"alias_name": "a", "alias_label": "l"}


def test_an_unknown_external_id_makes_a_profile_and_a_known_one_finds_it() -> None:
    profiles = _profiles()
    assert _made(profiles, external_id="u1") is _made(profiles, external_id="u1")
    assert list(profiles.by_key) == ["external_id:u1"]


def test_a_profile_is_also_found_by_the_braze_id_it_was_given() -> None:
    profiles = _profiles()
    profile = _made(profiles, external_id="u1")
    assert _made(profiles, braze_id=profile.braze_id) is profile


def test_braze_ids_are_the_same_in_every_run() -> None:
    assert _made(_profiles(), external_id="u1").braze_id == _made(_profiles(), external_id="u1").braze_id


def test_update_only_leaves_strangers_unmade_and_says_nothing() -> None:
    profiles = _profiles(known_users=frozenset({"external_id:u1"}))
    assert profiles.of_object({"external_id": "u2", "_update_existing_only": True}) is None
    assert profiles.of_object({"external_id": "u1", "_update_existing_only": True}) is not None
    assert profiles.drops == {"update only, unknown user": 1}


def test_an_alias_is_update_only_unless_told_otherwise() -> None:
    profiles = _profiles()
    assert profiles.of_object({"user_alias": ALIAS}) is None
    made = _made(profiles, user_alias=ALIAS, _update_existing_only=False)
    assert _made(profiles, user_alias=ALIAS) is made
    assert made.key == "user_alias:l:a"


def test_an_unknown_braze_id_is_dropped_without_a_word_or_makes_a_profile() -> None:
    dropping, creating = _profiles(), _profiles(unknown_braze_id="create")
    assert dropping.of_object({"braze_id": "b1"}) is None
    assert dropping.drops == {"unknown braze_id": 1}
    assert _made(creating, braze_id="b1").key == "braze_id:b1"
    assert _made(creating, braze_id="b1").braze_id == "b1"


def test_known_users_exist_from_the_start() -> None:
    profiles = _profiles(known_users=frozenset({"external_id:u1", "braze_id:b1"}))
    assert _made(profiles, braze_id="b1").key == "braze_id:b1"
    profiles.reconfigure(DoubleSettings(known_users=frozenset({"external_id:u1", "external_id:u2"})))
    assert list(profiles.by_key) == ["braze_id:b1", "external_id:u1", "external_id:u2"]


@pytest.mark.parametrize("kind", ["email", "phone"])
def test_an_address_alone_makes_a_profile_and_finds_it_in_any_casing(kind: str) -> None:
    profiles = _profiles()
    made = _made(profiles, **{kind: "Someone@Example.com"})
    assert _made(profiles, **{kind: "someone@example.com"}) is made
    assert profiles.of_object({kind: "other@example.com", "_update_existing_only": True}) is None
    assert profiles.existing({kind: "SOMEONE@example.com"}) == [made]


def test_an_external_id_beside_a_known_email_makes_a_second_profile() -> None:
    profiles = _profiles()
    assert _made(profiles, email="someone@example.com") is not _made(
        profiles, external_id="u1", email="someone@example.com"
    )


def test_an_address_means_the_identified_profile_then_the_most_recently_updated() -> None:
    profiles = _profiles()
    _made(profiles, email="someone@example.com")
    first, second = _made(profiles, external_id="u1"), _made(profiles, external_id="u2")
    for profile in (first, second):
        profiles.set_address(profile, "email", "someone@example.com")
    assert _made(profiles, email="someone@example.com") is second
    _made(profiles, external_id="u1")
    assert _made(profiles, email="someone@example.com") is first
    assert len(profiles.existing({"email": "someone@example.com"})) == 3


def test_an_address_that_changed_is_no_longer_found() -> None:
    profiles = _profiles()
    profile = _made(profiles, external_id="u1")
    profiles.set_address(profile, "email", "old@example.com")
    profiles.set_address(profile, "email", "new@example.com")
    assert profiles.existing({"email": "old@example.com"}) == []
    profiles.set_address(profile, "email", None)
    assert profiles.existing({"email": "new@example.com"}) == []
    assert "email" not in profile.attributes


def test_a_profile_with_too_many_distinct_names_takes_nothing_more() -> None:
    profiles = _profiles(event_names_max=2)
    profile = _made(profiles, external_id="u1")
    profile.events = {"a": 1, "b": 1}
    assert profiles.of_object({"external_id": "u1"}) is profile
    profile.events["c"] = 1
    assert profiles.of_object({"external_id": "u1"}) is None
    assert profiles.drops == {"blocked profile": 1}


@pytest.mark.parametrize(
    ("recipient", "key"),
    [
        ({"external_user_id": "u1"}, "external_id:u1"),
        ({"braze_id": "b1"}, "braze_id:b1"),
        ({"user_alias": ALIAS}, "user_alias:l:a"),
        ({"email": "Someone@Example.com"}, "email:someone@example.com"),
    ],
)
def test_a_recipient_is_known_by_what_addresses_it(recipient: dict[str, Any], key: str) -> None:
    assert recipient_key(recipient) == key
