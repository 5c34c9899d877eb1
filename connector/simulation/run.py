"""Plays one seed and judges it."""

from __future__ import annotations

from connector.simulation.checker import judge
from connector.simulation.scenario import Scenario, draw
from connector.simulation.virtual_time import VirtualLoop, run_virtually
from connector.simulation.world import History, World


def play(scenario: Scenario, *, cured: bool = True) -> History:
    """One scenario from beginning to end, in virtual time; unless it is `cured`, Braze's faults outlast it."""
    loop = VirtualLoop()

    async def whole() -> History:
        return await World(scenario, loop).play(cured=cured)

    history: History = run_virtually(loop, whole())
    return history


def play_and_judge(seed: int) -> list[str]:
    """The broken promises of a seed."""
    return judge(play(draw(seed)))
