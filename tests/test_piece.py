"""One object of a request: what merges, what it says then, and what it costs."""

import orjson
import pytest

from connector.piece import Piece, UserLane, mergeable, merged
from connector.records import Outbound
from tests.sent_objects import attributes, event

LANE = UserLane("u")
GROUP = {"subscription_group_id": "g", "subscription_state": "subscribed"}
OTHER_GROUP = {"subscription_group_id": "h", "subscription_state": "unsubscribed"}


def by_express(offset: int, **values: object) -> Outbound:
    """An attributes object as the express lane makes it: bytes, and its data points."""
    made = attributes("u", offset, **values)
    made.encoded, made.points = orjson.dumps(made.object), len(values)
    return made


def test_the_newest_value_of_each_attribute_is_said() -> None:
    piece = Piece(LANE, "attributes", [attributes("u", 0, a=1, b=1), attributes("u", 1, b=2), attributes("u", 2, c=3)])

    assert orjson.loads(piece.encoded) == {"external_id": "u", "a": 1, "b": 2, "c": 3}
    assert piece.points == 3


def test_what_came_by_express_alone_is_taken_as_it_is() -> None:
    alone = by_express(0, a=1, b=2)

    piece = Piece(LANE, "attributes", [alone])

    assert piece.encoded is alone.encoded
    assert piece.points == 2


@pytest.mark.parametrize("second", [by_express(1, b=2), attributes("u", 1, b=2)])
def test_what_came_by_express_merges_like_everything_else(second: Outbound) -> None:
    assert merged([by_express(0, a=1, b=1), second]) == {"external_id": "u", "a": 1, "b": 2}


def test_an_event_costs_one_point_and_a_trigger_none() -> None:
    assert Piece(LANE, "events", [event("u", 0)]).points == 1
    assert Piece(LANE, "recipients", [event("u", 0)]).points == 0


@pytest.mark.parametrize(
    ("values", "count"),
    [
        ([{"a": 1}, {"a": 2}, {"b": {"deep": 1}}], 3),
        ([{"a": 1}, {"n": {"inc": 1}}, {"a": 2}], 1),  # on what is stored: must be applied where it stands
        ([{"n": {"inc": 1}}, {"n": {"inc": 1}}], 1),
        ([{"a": 1}, {"l": {"add": ["x"]}}], 1),
        ([{"_merge_objects": True, "a": {"b": 1}}, {"a": 1}], 1),
        ([{"subscription_groups": [GROUP]}, {"subscription_groups": [OTHER_GROUP]}], 1),  # both are meant
        ([{"a": 1}, {"push_tokens": [{"app_id": "a", "token": "t"}]}], 1),
        ([{"a": 1}], 1),
    ],
    ids=str,
)
def test_only_what_says_the_same_in_one_object_merges(values: list[dict[str, object]], count: int) -> None:
    assert mergeable([attributes("u", place, **each) for place, each in enumerate(values)]) == count


def test_halves_of_a_refused_object_do_not_merge_with_each_other() -> None:
    records = [attributes("u", place, a=place) for place in range(4)]
    records[2].group = records[3].group = 1

    assert mergeable(records) == 2
    assert mergeable(records[2:]) == 2
