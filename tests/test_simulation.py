"""The connector in virtual time under faults. A seed that once broke a promise stays here by its number."""

from collections.abc import Callable
from typing import Any

import pytest

from connector import delivery, outcomes
from connector.batching import Batcher, Lane, Piece
from connector.books import Account, Books
from connector.ledger import Ledger
from connector.limits import Pool
from connector.ports import Commit
from connector.records import NextOffset
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


# ---- the checker can fail -------------------------------------------------------------------------------------------


def _commit_one_too_far(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Books.commit_of

    def commit_of(self: Books, account: Account, at_ms: int, *, closed: bool) -> Commit:
        commit = honest(self, account, at_ms, closed=closed)
        if not account.ledger.open_count:
            return commit
        return commit._replace(next_offset=NextOffset(commit.next_offset + 1), metadata="")

    monkeypatch.setattr(Books, "commit_of", commit_of)


def _forget_who_is_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Batcher.take

    def take(self: Batcher, now: float, *, headroom: float, draining: bool = False) -> Any:
        taken = honest(self, now, headroom=headroom, draining=draining)
        for piece in taken[0] if taken else ():
            self.release([piece.lane], now)
        return taken

    monkeypatch.setattr(Batcher, "take", take)


def _swap_a_user_s_events(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Batcher._give

    def give(self: Batcher, lane: Lane, attributes_room: int, events_room: int) -> list[Piece]:
        return honest(self, lane, attributes_room, events_room)[::-1]

    monkeypatch.setattr(Batcher, "_give", give)


def _ignore_input_array(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = outcomes._places

    def places(errors: list[Any], sizes: Any) -> Any:
        other = {"attributes": "events", "events": "attributes"}
        moved = [
            entry | {"input_array": other[entry["input_array"]], "index": 0}
            if isinstance(entry, dict) and sizes.get(other.get(entry.get("input_array", ""), ""), 0)
            else entry
            for entry in errors
        ]
        return honest(moved, sizes)

    monkeypatch.setattr(outcomes, "_places", places)


def _blame_an_outage_on_the_records(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = outcomes.classify

    def classify(endpoint: Any, sizes: Any, attempt: Any) -> Any:
        fate = honest(endpoint, sizes, attempt)
        return outcomes.Refused(frozenset(sizes)) if isinstance(fate, outcomes.Unreachable) else fate

    monkeypatch.setattr(delivery, "classify", classify)


def _spend_no_quota(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pool, "take", lambda *_: None)


def _do_not_settle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Batcher, "_hold", lambda *_: None)


def _drop_a_settlement(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Books.settle

    def settle(self: Books, records: Any, fate: Any) -> None:
        honest(self, list(records)[1:], fate)

    monkeypatch.setattr(Books, "settle", settle)


def _forget_what_was_settled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Ledger, "settle", lambda self, offset: self._open.discard(offset) or None)
    monkeypatch.setattr(Books, "imbalance", lambda _: 1)


MUTANTS = {
    "P1": (_commit_one_too_far, _drop_a_settlement),
    "P2": (_forget_who_is_busy, _swap_a_user_s_events, _do_not_settle),
    "P3": (_ignore_input_array,),
    "P5": (_spend_no_quota,),
    "P6": (_blame_an_outage_on_the_records,),
    "P8": (_forget_what_was_settled,),
}


@pytest.mark.parametrize(
    ("promise", "mutate"),
    [(promise, mutate) for promise, each in MUTANTS.items() for mutate in each],
    ids=lambda each: each if isinstance(each, str) else each.__name__.strip("_"),
)
def test_a_connector_that_breaks_a_promise_is_found_out(
    promise: str, mutate: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    mutate(monkeypatch)

    verdicts = (verdict for seed in range(200) for verdict in play_and_judge(seed))

    assert next(verdicts, None) is not None, f"no seed of 200 noticed that {promise} is broken"
