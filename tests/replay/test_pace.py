from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.replay.pace import CHUNK_MAX, Pace


def test_without_a_rate_nobody_waits() -> None:
    pace = Pace(None)
    pace.took(1000, 0.0)
    assert (pace.wait_s(0.0), pace.chunk) == (0.0, CHUNK_MAX)


@pytest.mark.parametrize(("rate", "chunk"), [(0.5, 1), (1, 1), (2.9, 2), (30, 30), (1e6, CHUNK_MAX)])
def test_a_chunk_is_at_most_a_second_s_worth(rate: float, chunk: int) -> None:
    assert Pace(rate).chunk == chunk


def test_unused_time_is_not_made_up_for() -> None:
    pace = Pace(10)
    pace.took(5, 0.0)
    pace.took(5, 1000.0)
    assert pace.wait_s(1000.0) == pytest.approx(0.5)


@given(st.floats(0.1, 1000), st.lists(st.tuples(st.integers(1, CHUNK_MAX), st.floats(0, 5)), min_size=1, max_size=50))
def test_over_any_stretch_the_rate_is_kept_to_a_chunk(rate: float, steps: list[tuple[int, float]]) -> None:
    pace, now, sent = Pace(rate), 0.0, 0
    for count, pause_s in steps:
        now += pace.wait_s(now) + pause_s
        assert sent <= now * rate + 1e-6
        pace.took(count, now)
        sent += count
