from __future__ import annotations

from typing import Any

import pytest

from connector.double.settings import ForcedType
from connector.double.values import DROPPED, coerced, is_nested, is_storable, spoils_nested, updated


@pytest.mark.parametrize(
    ("stored", "value", "expected"),
    [
        (None, "x", ("x", 1)),
        ("x", "x", ("x", 1)),  # unchanged, and billed all the same
        (None, "x" * 256, (DROPPED, 0)),
        (None, ["a", "b", "a"], (["b", "a"], 1)),
        (["z"], [1, True, 1.0], ([1, True, 1.0], 1)),
        (None, {"inc": 3}, (3, 1)),
        (5, {"inc": -7}, (-2, 1)),
        ("text", {"inc": 1}, (DROPPED, 0)),
        (5, {"inc": "1"}, (DROPPED, 0)),
        (None, {"add": ["a"]}, (["a"], 1)),
        (["a", "b"], {"add": ["a", "c"]}, (["b", "a", "c"], 2)),
        (["a", "b"], {"remove": ["a"], "add": ["c"]}, (["b", "c"], 2)),
        ("text", {"add": ["a"]}, (DROPPED, 0)),
        (["a"], {"add": "b"}, (DROPPED, 0)),
        ({"a": 1}, {"b": 2}, ({"b": 2}, 1)),
        (None, {"a": 1, "b": {"c": 2}}, ({"a": 1, "b": {"c": 2}}, 2)),
        ([{"id": 1}], {"$add": [{"id": 2, "n": 3}]}, ([{"id": 1}, {"id": 2, "n": 3}], 2)),
        (
            [{"id": 1, "n": 1}, {"id": 2}],
            {"$update": [{"$identifier_key": "id", "$identifier_value": 1, "$new_object": {"id": 1, "m": 2}}]},
            ([{"id": 1, "m": 2}, {"id": 2}], 2),
        ),
        (
            [{"id": 1}, {"id": 2}, {"id": 1, "n": 1}],
            {"$remove": [{"$identifier_key": "id", "$identifier_value": 1}]},
            ([{"id": 2}], 2),
        ),
        ([{"id": 1}], {"$add": {"id": 2}}, (DROPPED, 0)),
        ("text", {"$add": [{"id": 2}]}, (DROPPED, 0)),
        ([{"id": 1}], {"$update": [{"$identifier_key": "id", "$new_object": 3}]}, (DROPPED, 0)),
    ],
)
def test_an_update_gives_the_new_value_and_its_cost(stored: Any, value: Any, expected: tuple[Any, int]) -> None:
    assert updated(stored, value, is_merge=False) == expected


def test_merging_reaches_into_depth_and_only_when_asked() -> None:
    stored, value = {"a": {"x": 1, "y": 2}, "b": 1}, {"a": {"y": 3}, "c": 4}
    assert updated(stored, value, is_merge=True) == ({"a": {"x": 1, "y": 3}, "b": 1, "c": 4}, 2)
    assert updated(stored, value, is_merge=False) == (value, 2)
    assert stored == {"a": {"x": 1, "y": 2}, "b": 1}  # a stored value is shared with the request that set it


def test_merging_updates_within_an_array_of_objects() -> None:
    change = {"$update": [{"$identifier_key": "id", "$identifier_value": 1, "$new_object": {"m": 2}}]}
    assert updated([{"id": 1, "n": 1}], change, is_merge=True) == ([{"id": 1, "n": 1, "m": 2}], 1)


def test_an_array_keeps_the_newest_five_hundred() -> None:
    value, _ = updated([str(n) for n in range(500)], {"add": ["new"]}, is_merge=False)
    assert (len(value), value[0], value[-1]) == (500, "1", "new")


@pytest.mark.parametrize("value", [{"a": "x" * 103_000}, [{"a": "x" * 103_000}], {"$add": [{"a": "x" * 103_000}]}])
def test_what_is_over_the_size_limit_leaves_the_value_as_it_was(value: Any) -> None:
    assert updated(None, value, is_merge=False) == (DROPPED, 0)


@pytest.mark.parametrize(
    ("forced", "value", "expected"),
    [
        ("boolean", True, True),
        ("boolean", "TRUE", True),
        ("boolean", "t", True),
        ("boolean", 1, True),
        ("boolean", "f", False),
        ("boolean", 0, False),
        ("boolean", "yes", DROPPED),
        ("boolean", "", DROPPED),
        ("boolean", [], DROPPED),
        ("number", 1.5, 1.5),
        ("number", True, DROPPED),
        ("number", "1", DROPPED),
        ("number", {"inc": 1}, {"inc": 1}),
        ("string", "x", "x"),
        ("string", 1, DROPPED),
        ("time", "2026-01-01", "2026-01-01"),
        ("time", "soon", DROPPED),
        ("time", "3000-12-31", "3000-12-31"),
        ("time", "3001-01-01", DROPPED),
        ("array", ["a"], ["a"]),
        ("array", {"add": ["a"]}, {"add": ["a"]}),
        ("array", {"a": 1}, DROPPED),
        ("object", {"a": 1}, {"a": 1}),
        ("object", "a", DROPPED),
    ],
)
def test_a_forced_type_ignores_what_does_not_fit(forced: ForcedType, value: Any, expected: Any) -> None:
    assert coerced(forced, value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"a": 1}, True),
        ({"$add": []}, True),
        ([{"a": 1}], True),
        (["a"], False),
        ({"inc": 1}, False),
        ({"add": ["a"], "remove": ["b"]}, False),
        ("a", False),
    ],
)
def test_nested_is_what_holds_objects(value: Any, expected: bool) -> None:
    assert is_nested(value) is expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"a": {"b": None}}, True),
        ([{"a": None}], True),
        ({"a": {"$time": "soon"}}, True),
        ({"a": {"$time": "2026-01-01"}}, False),
        ({"a": {"$time": "3000-12-31T23:59:59.999Z"}}, False),
        ({"a": {"$time": "3001-01-01T00:00:00.000Z"}}, True),
        ({"a": {"$time": {"$time": "2026-01-01"}}}, True),
        ({"a": 1}, False),
        (None, False),  # deletes the attribute, and is not inside one
        ([None], False),
    ],
)
def test_a_null_or_a_bad_time_inside_a_nested_attribute_spoils_the_nested_ones(value: Any, expected: bool) -> None:
    assert spoils_nested({"external_id": "u1", "attribute": value}) is expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"city": {"name": "Ulm"}}, True),
        ({"city name": "Ulm"}, False),
        ([{"city": {"full name": "Ulm"}}], False),
        ({"city": "x" * 255}, True),
        ({"city": ["x" * 256]}, False),
        ({"x" * 256: 1}, False),
    ],
)
def test_keys_inside_hold_no_space_and_nothing_is_over_long(value: Any, expected: bool) -> None:
    assert is_storable(value) is expected
