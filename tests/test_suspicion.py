import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.suspicion import Suspicions, shape_of
from tests.sent_objects import attributes, event


def test_events_look_alike_by_name_and_attributes_by_what_they_set() -> None:
    assert shape_of(event("u", 0)) == shape_of(event("v", 1))
    member = {"AIQ_1_a": True, "plan": "pro"}
    assert shape_of(attributes("u", 0, **member)) == shape_of(attributes("v", 1, AIQ_2_b=False, plan="free"))
    assert shape_of(attributes("u", 0, **member)) != shape_of(attributes("u", 0, **member, spend=1))
    named = attributes("u", 0, name="Ann")  # an attribute that happens to be called so
    assert shape_of(named) == ("audiences", frozenset({"external_id", "name"}))


def test_a_shape_is_trusted_again_after_a_full_batch() -> None:
    suspicions = Suspicions()
    shape = shape_of(event("u", 0))
    suspicions.refused(shape)
    assert suspicions.find([attributes("u", 1), event("v", 2)]) == shape

    batches = 0
    while suspicions:
        assert suspicions.objects(shape) <= 75
        suspicions.accepted(shape, 75)
        batches += 1

    assert 5 <= batches <= 15
    assert suspicions.find([event("v", 2)]) is None
    suspicions.accepted(shape, 75)  # an answer that comes late is no news


def test_where_everything_is_bad_each_costs_one_request() -> None:
    suspicions = Suspicions()
    shape = shape_of(event("u", 0))
    for _ in range(5):
        suspicions.refused(shape)

    assert suspicions.objects(shape) == 1


@given(st.lists(st.text(min_size=1, max_size=3), max_size=300))
def test_it_is_bounded(names: list[str]) -> None:
    suspicions = Suspicions()
    for name in names:
        suspicions.refused(("events", name))

    assert len(suspicions) <= 64
    assert repr(suspicions).startswith(f"shapes={len(suspicions)} ")


@pytest.mark.parametrize("limit", [1, 2, 8, 75])
def test_no_limit_keeps_a_shape_under_suspicion_for_ever(limit: int) -> None:
    suspicions = Suspicions()
    suspicions.refused(("events", "e"))

    for _ in range(20):
        suspicions.accepted(("events", "e"), limit)

    assert not suspicions
