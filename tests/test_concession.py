"""What refusals teach: a little after one, much after another soon after, and back up where something is left."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.concession import Concession

LONG_AGO = float("-inf")


def test_nothing_is_left_to_others_until_there_was_a_refusal() -> None:
    assert Concession(3.0).part(1e6) == 1.0


def test_one_refusal_costs_little_and_another_soon_after_much() -> None:
    conceding = Concession(3.0)
    conceding.refused(100.0, LONG_AGO)
    assert conceding.part(100.0) == pytest.approx(0.96)
    conceding.refused(105.0, free_since=102.0)
    assert 0.70 < conceding.part(105.0) < 0.73
    conceding.refused(140.0, free_since=107.0)
    assert 0.70 < conceding.part(140.0) < 0.73  # it had grown by as much meanwhile


def test_it_grows_slowly_while_nobody_says_that_anything_is_left() -> None:
    conceding = Concession(3.0)
    conceding.refused(0.0, LONG_AGO)
    for now in range(1, 11):
        conceding.left(0.01, float(now))
    assert conceding.part(10.0) == pytest.approx(0.96 + 0.01)
    assert conceding.part(1000.0) == 1.0


def test_it_grows_quickly_where_much_is_left_all_the_window_long() -> None:
    used_up_at_its_end, never_used_up = Concession(3.0), Concession(3.0)
    for conceding in (used_up_at_its_end, never_used_up):
        for second in (0.0, 2.0, 4.0, 6.0):
            conceding.refused(second, free_since=second)
    for now in range(7, 37):
        used_up_at_its_end.left(0.01 if now % 3 == 2 else 0.9, float(now))
        never_used_up.left(0.5, float(now))
        for conceding in (used_up_at_its_end, never_used_up):
            conceding.part(float(now))
    assert used_up_at_its_end.part(36.0) < 0.5
    assert never_used_up.part(36.0) == 1.0


def test_the_window_in_which_a_freeze_ends_does_not_say_how_much_is_left() -> None:
    """We were not there for the most of it: what we did not use was not left by others."""
    conceding = Concession(3.0)
    conceding.refused(0.0, LONG_AGO)
    for moment in (2.0, 2.5):
        conceding.left(0.8, moment)
    for moment in (5.0, 6.0, 7.9):  # the next one is used to its end
        conceding.left(0.9 - 0.3 * (moment - 5.0), moment)
        conceding.part(moment)
    for moment in (8.0, 9.0, 10.9):
        conceding.left(0.9 - 0.3 * (moment - 8.0), moment)
        conceding.part(moment)
    assert conceding.part(11.0) == pytest.approx(0.96 + 0.011)


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 1), st.booleans())))
def test_something_is_always_ours_and_never_more_than_all(steps: list[tuple[float, float, bool]]) -> None:
    conceding, now = Concession(3.0), 0.0
    for passed, left, is_refused in steps:
        now += passed
        if is_refused:
            conceding.refused(now, now - passed)
        conceding.left(left, now)
        assert 0.05 <= conceding.part(now) <= 1.0
