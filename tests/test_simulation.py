"""The connector in virtual time under faults. A seed that once broke a promise stays here by its number."""

from dataclasses import replace

import pytest

from connector.simulation.checker import judge
from connector.simulation.run import play, play_and_judge
from connector.simulation.scenario import Scenario, draw
from tests.mutants import MUTANTS, Mutant, seeds_until_found

SLICES = 20
SEEDS_A_SLICE = 100

FOUND = {
    44: "an unexplained 429 on an hourly window froze triggers for an hour",
    52: "chunks handed out during a revoke were sent after it",
    87: "a killed process went on sending through its timer",
    173: "two replicas with 2.5 requests each sent six of five",
    175: "a hold that outlived its lane forgot the user's next lane",
    183: "an owner that sent nothing forgot the settle time that it had inherited",
    265: "an error entry in a trigger's answer made a dead letter of a delivered trigger",
    402: "a claim that no commit had told of was taken for one that was",
    111_315: "room that a leaving partition made went unnoticed",
    1_008_233: "a successor wrote before it had taken back the word that nothing was on the wire",
    1_098_759: "the checker took a repeat behind what its next owner knew to be delivered for a wrong order",
    34_102: "a user's newer attributes were known to be settled while a refused one waited for its letter",
    34_233: "the same where a process was killed in between",
    3_016_096: "what a truncation had belied was believed again when a lost partition came back",
    3_008_698: "the checker asked for a repetition of what Kafka had lost",
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


@pytest.mark.parametrize("seed", [seed for seed in FOUND if not (30_000 < seed < 40_000 or seed > 3_000_000)])
def test_nor_does_it_come_back_as_it_was_found(seed: int) -> None:
    assert judge(play(as_it_was(draw(seed)))) == []


def as_it_was(scenario: Scenario) -> Scenario:
    """Without truncations and breakers, which were not played when most of these were found."""
    happenings = [(when, what) for when, what in scenario.happenings if what != "truncate"]
    return replace(scenario, happenings=happenings, breaker_run=0)


# ---- the checker can fail -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: f"{mutant.promise}-{mutant.name}")
def test_a_connector_that_breaks_a_promise_is_found_out(mutant: Mutant, monkeypatch: pytest.MonkeyPatch) -> None:
    assert seeds_until_found(mutant, monkeypatch) is not None
