"""What became of the records, by the double's journal: which came behind a later one, which never, which twice."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from bench.workload import Workload


class Arrival(NamedTuple):
    """One object that Braze applied."""

    at: float
    kind: str
    number: int


@dataclass(frozen=True)
class Verdict:
    """Counts over everybody's objects.

    Attributes:
        backwards: Objects that were applied behind a later one of the same user and kind; repeats do not count.
        lost: Events that were written and never arrived; dead letters are the contestant's to take off.
        doubled: Events that arrived again.
        stale: Users whose attributes that were applied last are not the newest.
        first_at: When the first object arrived, wall clock.
        last_at: When the last one did.
    """

    backwards: int
    lost: int
    doubled: int
    stale: int
    first_at: float
    last_at: float


def arrival(line: dict[str, Any]) -> Arrival:
    """One line of the journal."""
    thing = line["object"]
    if line["array"] == "events":
        return Arrival(line["arrived_at"], "event", thing["properties"]["count"])
    return Arrival(line["arrived_at"], "audience", thing["score"])


def judge(workload: Workload, arrivals: Iterable[Arrival]) -> Verdict:
    """Compare what was applied, in that order, with what was written."""
    ranks = workload.ranks()
    first_at, last_at = math.inf, 0.0
    latest: dict[tuple[str, int], int] = {}
    last: dict[int, int] = {}
    seen: set[int] = set()
    backwards = doubled = 0
    for each in arrivals:
        first_at, last_at = min(first_at, each.at), max(last_at, each.at)
        rank = ranks[each.number]
        who = (each.kind, rank)
        if each.kind == "audience":
            last[rank] = each.number
        elif each.number in seen:
            doubled += 1
            continue
        if each.number < latest.get(who, -1):
            backwards += each.number not in seen
        else:
            latest[who] = each.number
        seen.add(each.number)
    newest = {rank: number for number, rank in enumerate(ranks) if workload.kind(number) == "audience"}
    events = sum(workload.kind(number) == "event" for number in range(workload.records))
    return Verdict(
        backwards,
        events - sum(workload.kind(number) == "event" for number in seen),
        doubled,
        sum(last.get(rank) != number for rank, number in newest.items()),
        first_at,
        last_at,
    )
