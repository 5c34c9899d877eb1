"""The connector in virtual time under faults. A seed that once broke a promise stays here by its number."""

import pytest

from connector.simulation.run import play_and_judge

SLICES = 20
SEEDS_A_SLICE = 60

FOUND = {
    44: "an unexplained 429 on an hourly window froze triggers for an hour",
    52: "chunks handed out during a revoke were sent after it",
    87: "a killed process went on sending through its timer",
    173: "two replicas with 2.5 requests each sent six of five",
    175: "a hold that outlived its lane forgot the user's next lane",
    183: "an owner that sent nothing forgot the settle time that it had inherited",
    265: "an error entry in a trigger's answer made a dead letter of a delivered trigger",
    1254: "a process killed before its first commit left no word that something was on the wire",
}


@pytest.mark.parametrize("slice_", range(SLICES))
def test_every_promise_holds(slice_: int) -> None:
    first = 10_000 + slice_ * SEEDS_A_SLICE

    broken = {seed: verdicts for seed in range(first, first + SEEDS_A_SLICE) if (verdicts := play_and_judge(seed))}

    assert broken == {}


@pytest.mark.parametrize("seed", FOUND, ids=lambda seed: f"{seed}-{FOUND[seed].replace(' ', '-')}")
def test_what_was_found_once_stays_mended(seed: int) -> None:
    assert play_and_judge(seed) == []
