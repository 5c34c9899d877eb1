from __future__ import annotations

from typing import Any

import pytest

from connector.double.settings import (
    ALL_PERMISSIONS,
    DoubleSettings,
    ObjectsMax,
    RatePool,
    RateWindow,
    read_settings,
)


def test_settings_are_read_from_json() -> None:
    document = {
        "api_keys": {"a": ["users.track"]},
        "objects_max": {"per_array": 75},
        "track_rate": {"windows": [{"requests": 10, "per_s": 3}, {"requests": 99, "per_s": 3600, "kind": "clock"}]},
        "campaign_rate": {"others_per_s": 2.5},
        "header_style": "mau",
        "apply_delay_s": [0, 1],
        "forced_types": {"vip": "boolean"},
        "known_users": ["external_id:u1"],
        "campaigns": {"c": "paused"},
        "latency_s": 1,
        "keep_events": False,
    }
    assert read_settings(document) == DoubleSettings(
        api_keys={"a": frozenset({"users.track"})},
        objects_max=ObjectsMax(combined=None, per_array=75),
        track_rate=RatePool((RateWindow(10, 3), RateWindow(99, 3600, "clock"))),
        campaign_rate=RatePool((), 2.5),
        header_style="mau",
        apply_delay_s=(0.0, 1.0),
        forced_types={"vip": "boolean"},
        known_users=frozenset({"external_id:u1"}),
        campaigns={"c": "paused"},
        latency_s=1,
        keep_events=False,
    )


def test_what_is_not_named_is_as_it_was() -> None:
    base = DoubleSettings(api_keys={"a": frozenset()}, latency_s=0.5)
    assert read_settings({"campaigns": None, "over_long": "refuse"}, base) == DoubleSettings(
        api_keys={"a": frozenset()}, latency_s=0.5, over_long="refuse"
    )


def test_a_list_of_keys_may_do_everything() -> None:
    assert read_settings({"api_keys": ["a"]}).api_keys == {"a": ALL_PERMISSIONS}


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ([], "settings must be an object"),
        ({"speed": 1}, "speed: no such setting"),
        ({"latency_s": "fast"}, "latency_s: not a float"),
        ({"latency_s": [1]}, "latency_s: not a number"),
        ({"keep_events": 1}, "keep_events: not a bool"),
        ({"body_bytes_max": True}, "body_bytes_max: not a int"),
        ({"header_style": "modern"}, "header_style: not one of classic, mau"),
        ({"campaigns": {"c": "sleeping"}}, "campaigns: not one of"),
        ({"api_keys": "a"}, "api_keys: not an array of strings"),
        ({"known_users": [1]}, "known_users: not an array of strings"),
        ({"apply_delay_s": [1]}, "apply_delay_s: "),
        ({"objects_max": {"combined": 1, "per_array": 1}}, "objects_max: give either"),
        ({"track_rate": {"windows": [{"requests": 0, "per_s": 1}]}}, "track_rate: not a rate window"),
        ({"track_rate": {"windows": [{"requests": 1}]}}, "track_rate: "),
        ({"track_rate": [1]}, "track_rate: "),
        ({"track_rate": {"windows": [{"requests": 1.5, "per_s": 1}]}}, "track_rate: not a rate window"),
        ({"track_rate": {"others_per_s": -1}}, "track_rate: others_per_s: not 0 or more"),
        ({"track_rate": {"others_per_s": "x"}}, "track_rate: others_per_s: not 0 or more"),
        ({"objects_max": {"combined": "x"}}, "objects_max: not a whole number"),
        ({"objects_max": {"per_array": 0}}, "objects_max: not a whole number"),
        ({"api_keys": [""]}, "api_keys: an empty key"),
        ({"api_keys": {"a": ["users.trakc"]}}, "api_keys: no such permission as users.trakc"),
        ({"apply_delay_s": [2, 1]}, "apply_delay_s: not two numbers"),
        ({"apply_delay_s": [-2, -1]}, "apply_delay_s: not two numbers"),
        ({"latency_s": -1}, "latency_s: not 0 or more"),
        ({"body_bytes_max": -1}, "body_bytes_max: not 0 or more"),
        ({"apply_tail_chance": 7}, "apply_tail_chance: not from 0 to 1"),
    ],
)
def test_what_cannot_be_is_refused_by_key(document: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        read_settings(document)


def test_keys_are_not_shown() -> None:
    assert "secret" not in repr(DoubleSettings(api_keys={"secret": frozenset()}))
