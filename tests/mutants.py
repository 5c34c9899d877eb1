"""Connectors that break a promise on purpose, and how many plays of the simulation it takes until each is found out.

`python -m tests.mutants` prints the table; `tests/test_simulation.py` holds that none survives 200 seeds.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest

from connector import books, delivery, outcomes
from connector.batching import Batcher, Lane
from connector.books import Account, Books
from connector.campaigns import CampaignBatcher
from connector.committer import Committer
from connector.delivery import Delivery
from connector.ledger import Ledger
from connector.limits import Pool
from connector.offset_map import OffsetMap
from connector.piece import Piece
from connector.ports import Commit
from connector.records import Assignment, CampaignSend, NextOffset, Outbound
from connector.repeats import Repeats
from connector.settlement import Settlement
from connector.simulation.run import play_and_judge

SEEDS = 300

Patch = pytest.MonkeyPatch


@dataclass(frozen=True, slots=True)
class Mutant:
    """A fault, and the promise that it breaks."""

    promise: str
    mutate: Callable[[Patch], None]

    @property
    def name(self) -> str:
        return self.mutate.__name__


def seeds_until_found(mutant: Mutant, patch: Patch) -> int | None:
    """How many seeds it takes; None: it survives."""
    mutant.mutate(patch)
    return next((seed + 1 for seed in range(SEEDS) if play_and_judge(seed)), None)


# ---- P1: nothing is lost, nothing is committed early -----------------------------------------------------------------


def commit_one_too_far(patch: Patch) -> None:
    honest = Books.commit_of

    def commit_of(self: Books, account: Account, at_ms: int, *, closed: bool) -> Commit:
        commit = honest(self, account, at_ms, closed=closed)
        if not account.ledger.open_count:
            return commit
        return commit._replace(next_offset=NextOffset(commit.next_offset + 1), metadata="")

    patch.setattr(Books, "commit_of", commit_of)


def drop_a_settlement(patch: Patch) -> None:
    honest = Books.settle

    def settle(self: Books, records: Any, fate: Any) -> Any:
        return honest(self, list(records)[1:], fate)

    patch.setattr(Books, "settle", settle)


def settle_a_dead_letter_before_the_broker_has_it(patch: Patch) -> None:
    honest = Settlement._write

    async def write(self: Settlement, stay: Any, record: Any, *rest: Any) -> None:
        self._settle_one(stay, record, books.Fate.DEAD_LETTERED)
        await honest(self, stay, record, *rest)

    patch.setattr(Settlement, "_write", write)


def map_an_open_offset_as_settled(patch: Patch) -> None:
    honest = Ledger.settled_above

    def settled_above(self: Ledger) -> Any:
        told = honest(self)
        if told and told[-1][1] < self.next_offset:
            told = (*told[:-1], (told[-1][0], told[-1][1] + 1))
        return told

    patch.setattr(Ledger, "settled_above", settled_above)


def forget_the_epoch(patch: Patch) -> None:
    """A partition that came back is taken for the stay that was over."""
    patch.setattr(Assignment, "__eq__", lambda one, other: one[:2] == other[:2])
    patch.setattr(Assignment, "__hash__", lambda one: hash(one[:2]))


def believe_a_map_after_a_truncation(patch: Patch) -> None:
    patch.setattr(Books, "_disown_what_was_rewritten", lambda *_: None)


# ---- P2: order -------------------------------------------------------------------------------------------------------


def forget_who_is_busy(patch: Patch) -> None:
    honest = Batcher.take

    def take(self: Batcher, now: float, *, headroom: float, draining: bool = False) -> Any:
        taken = honest(self, now, headroom=headroom, draining=draining)
        for piece in taken.pieces if taken else ():
            self.release([piece.lane], now)
        return taken

    patch.setattr(Batcher, "take", take)


def swap_a_user_s_events(patch: Patch) -> None:
    honest = Batcher._give

    def give(self: Batcher, lane: Lane, attributes_room: int, events_room: int) -> list[Piece]:
        return honest(self, lane, attributes_room, events_room)[::-1]

    patch.setattr(Batcher, "_give", give)


def do_not_settle(patch: Patch) -> None:
    patch.setattr(Batcher, "_hold", lambda *_: None)


def inherit_no_settle_time(patch: Patch) -> None:
    honest = Books.open

    def opened(self: Books, start: Any, now: float, at_ms: int) -> Account:
        account = honest(self, start, now, at_ms)
        account.hold_until = now
        return account

    patch.setattr(Books, "open", opened)


def send_under_a_seal(patch: Patch) -> None:
    """While the last commit still says that nothing is on the wire."""
    honest = Books.open

    def open_(self: Books, *arguments: Any) -> Account:
        account = honest(self, *arguments)
        account.is_sealed = False
        return account

    patch.setattr(Books, "open", open_)


# ---- P3: blame -------------------------------------------------------------------------------------------------------


def ignore_input_array(patch: Patch) -> None:
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

    patch.setattr(outcomes, "_places", places)


def bury_whoever_was_in_a_refused_request(patch: Patch) -> None:
    def halve(self: Delivery, request: Any, load: list[Piece], now: float, done: Any, *, lone: Any) -> None:
        for piece in load:
            self._bury(request, piece, lone, "", done)
        self._keep(request, [], now)

    patch.setattr(Delivery, "_halve", halve)


# ---- P4: duplicates --------------------------------------------------------------------------------------------------


def ignore_the_map_that_was_left(patch: Patch) -> None:
    honest = books.decode

    def decode(text: str, base: int) -> OffsetMap:
        return replace(honest(text, base), settled=())

    patch.setattr(books, "decode", decode)


def send_without_a_claim(patch: Patch) -> None:
    async def claim(self: Committer, records: Any) -> bool:  # noqa: ARG001
        return True

    patch.setattr(Committer, "claim", claim)


def send_what_an_earlier_life_had_claimed(patch: Patch) -> None:
    patch.setattr(Ledger, "inherits_claim", lambda *_: False)


def forget_which_triggers_were_sent(patch: Patch) -> None:
    def sift(self: Repeats, sends: list[CampaignSend]) -> Any:  # noqa: ARG001
        return sends, []

    patch.setattr(Repeats, "sift", sift)


def send_what_has_expired(patch: Patch) -> None:
    patch.setattr(CampaignBatcher, "stale", lambda *_: None)


# ---- P5: the quota ---------------------------------------------------------------------------------------------------


def spend_no_quota(patch: Patch) -> None:
    patch.setattr(Pool, "take", lambda *_: None)


def use_the_whole_quota_each(patch: Patch) -> None:
    honest = Pool.set_share

    def set_share(self: Pool, share: float, now: float, at: float) -> None:
        honest(self, 1.0 if share else 0.0, now, at)

    patch.setattr(Pool, "set_share", set_share)


# ---- P6: not the record's fault --------------------------------------------------------------------------------------


def blame_an_outage_on_the_records(patch: Patch) -> None:
    honest = outcomes.classify

    def classify(endpoint: Any, sizes: Any, attempt: Any) -> Any:
        fate = honest(endpoint, sizes, attempt)
        return outcomes.Refused() if isinstance(fate, outcomes.Unreachable) else fate

    patch.setattr(delivery, "classify", classify)


def take_a_429_for_an_acceptance(patch: Patch) -> None:
    honest = outcomes.classify

    def classify(endpoint: Any, sizes: Any, attempt: Any) -> Any:
        fate = honest(endpoint, sizes, attempt)
        return outcomes.Delivered() if isinstance(fate, outcomes.Throttled) else fate

    patch.setattr(delivery, "classify", classify)


def bury_a_campaign_that_is_paused(patch: Patch) -> None:
    def park(self: CampaignBatcher, campaign_id: str, sends: Any, until: float) -> None:  # noqa: ARG001
        self.overflow.extend(sends)

    patch.setattr(CampaignBatcher, "park", park)


# ---- P8: conservation ------------------------------------------------------------------------------------------------


def lose_count(patch: Patch) -> None:
    honest = Books.settle

    def settle(self: Books, records: list[Outbound], fate: Any) -> Any:
        for record in records[:1]:
            self.tallies[record.stay.topic].settled[fate] += 1
        return honest(self, records, fate)

    patch.setattr(Books, "settle", settle)


MUTANTS = [
    *(
        Mutant("P1", each)
        for each in (
            commit_one_too_far,
            drop_a_settlement,
            settle_a_dead_letter_before_the_broker_has_it,
            map_an_open_offset_as_settled,
            forget_the_epoch,
            believe_a_map_after_a_truncation,
        )
    ),
    *(
        Mutant("P2", each)
        for each in (forget_who_is_busy, swap_a_user_s_events, do_not_settle, inherit_no_settle_time, send_under_a_seal)
    ),
    *(Mutant("P3", each) for each in (ignore_input_array, bury_whoever_was_in_a_refused_request)),
    *(
        Mutant("P4", each)
        for each in (
            ignore_the_map_that_was_left,
            send_what_has_expired,
            send_without_a_claim,
            send_what_an_earlier_life_had_claimed,
            forget_which_triggers_were_sent,
        )
    ),
    *(Mutant("P5", each) for each in (spend_no_quota, use_the_whole_quota_each)),
    *(
        Mutant("P6", each)
        for each in (blame_an_outage_on_the_records, take_a_429_for_an_acceptance, bury_a_campaign_that_is_paused)
    ),
    Mutant("P8", lose_count),
]


def rows() -> Iterator[tuple[Mutant, int | None]]:
    for mutant in MUTANTS:
        with pytest.MonkeyPatch.context() as patch:
            yield mutant, seeds_until_found(mutant, patch)


def main() -> None:
    survivors = 0
    for mutant, seeds in rows():
        survivors += seeds is None
        print(f"{mutant.promise}  {mutant.name:50} {seeds or 'survives'}", flush=True)  # noqa: T201
    print(f"{len(MUTANTS)} mutants, {survivors} survive {SEEDS} seeds")  # noqa: T201
    sys.exit(1 if survivors else 0)


if __name__ == "__main__":
    main()
