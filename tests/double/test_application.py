from __future__ import annotations

import math
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from connector.double.application import ApplyQueue
from connector.double.settings import DoubleSettings

calm = settings(deadline=None, derandomize=True)


def _queue(seed: int = 0, *, reorder: bool = True, tail_chance: float = 0.0) -> ApplyQueue:
    workspace = DoubleSettings(
        apply_delay_s=(1.0, 2.0), apply_tail_s=9.0, apply_tail_chance=tail_chance, reorder=reorder
    )
    return ApplyQueue(workspace, Random(seed))


def _order(queue: ApplyQueue, requests: int) -> list[int]:
    order: list[int] = []
    for number in range(requests):
        queue.schedule(number * 0.1, 0.0, lambda _at, number=number: order.append(number))
    queue.advance(math.inf)
    return order


def test_nothing_is_applied_before_it_is_due() -> None:
    queue, applied = _queue(), list[float]()
    queue.schedule(10.0, 1000.0, applied.append)
    due = queue.next_due()
    assert due is not None
    assert 11.0 <= due <= 12.0
    queue.advance(due - 0.001)
    assert (applied, len(queue)) == ([], 1)
    queue.advance(due)
    assert applied == [1000.0 + due - 10.0]
    assert queue.next_due() is None


def test_requests_overtake_each_other() -> None:
    assert _order(_queue(), 50) != list(range(50))


@calm
@given(st.integers(0, 2**32))
def test_without_reordering_they_do_not(seed: int) -> None:
    assert _order(_queue(seed, reorder=False, tail_chance=0.3), 30) == list(range(30))


@calm
@given(st.integers(0, 2**32), st.floats(0, 1))
def test_delays_stay_within_their_ranges(seed: int, tail_chance: float) -> None:
    queue = _queue(seed, tail_chance=tail_chance)
    for _ in range(20):
        queue.schedule(0.0, 0.0, lambda _at: None)
        due = queue.next_due()
        assert due is not None
        assert 1.0 <= due <= 9.0


def test_the_tail_lies_beyond_the_usual_range() -> None:
    queue = _queue(tail_chance=1.0)
    for _ in range(20):
        queue.schedule(0.0, 0.0, lambda _at: None)
    due = queue.next_due()
    assert due is not None
    assert due >= 2.0


def test_the_same_seed_gives_the_same_order() -> None:
    assert _order(_queue(7), 30) == _order(_queue(7), 30)
