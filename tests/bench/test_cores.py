"""A contestant's core is its own for as long as it is started, and the starter's cores come back."""

from __future__ import annotations

import os

from bench import cores


def test_cores_come_back() -> None:
    before = os.sched_getaffinity(0)
    with cores.on(cores.CONTESTANT):
        assert os.sched_getaffinity(0) == cores.CONTESTANT
    assert os.sched_getaffinity(0) == before


def test_a_contestant_shares_its_core_with_nobody_where_there_are_two() -> None:
    assert len(cores.CONTESTANT) == 1
    assert cores.CONTESTANT.isdisjoint(cores.REST) or len(cores.ALL) == 1
