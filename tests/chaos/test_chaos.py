"""Every scenario for a few rounds: what `make chaos` does at length."""

from __future__ import annotations

import random

import pytest

from tests.chaos.ordeal import Ordeal
from tests.chaos.scenarios import SCENARIOS, Scenario
from tests.real.stage import Stage

pytestmark = pytest.mark.kafka


@pytest.mark.parametrize(
    ("scenario", "protocol"),
    [
        pytest.param(scenario, protocol, id=f"{scenario.name}-{protocol}")
        for scenario in SCENARIOS
        for protocol in scenario.protocols_in_short
    ],
)
def test_promises_hold_through(stage: Stage, scenario: Scenario, protocol: str) -> None:
    ordeal = Ordeal(stage, protocol, random.Random(1), scenario.session_s(protocol))
    verdict = scenario.play(ordeal, scenario.short)
    assert verdict.broken == {}
