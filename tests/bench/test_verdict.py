"""The judge of a benchmark: counts that are known beforehand."""

from __future__ import annotations

from itertools import pairwise

import pytest

from bench.verdict import Arrival, arrival, judge
from bench.workload import Workload

EVENTS = Workload("w", 300, kinds=("event",), users=10)
MIXED = Workload("w", 300, users=10)


def applied(workload: Workload) -> list[Arrival]:
    return [Arrival(float(number), workload.kind(number), number) for number in range(workload.records)]


def test_what_arrives_as_it_was_written_is_faultless() -> None:
    verdict = judge(MIXED, applied(MIXED))
    assert (verdict.backwards, verdict.lost, verdict.doubled, verdict.stale) == (0, 0, 0, 0)
    assert (verdict.first_at, verdict.last_at) == (0.0, 299.0)


def test_each_event_behind_a_later_one_of_its_user_counts_once() -> None:
    ranks = EVENTS.ranks()
    earlier, later = next(pair for pair in pairwise(range(300)) if ranks[pair[0]] == ranks[pair[1]])
    swapped = applied(EVENTS)
    swapped[earlier], swapped[later] = swapped[later], swapped[earlier]
    assert judge(EVENTS, swapped).backwards == 1


def test_events_of_different_users_have_no_order() -> None:
    ranks = EVENTS.ranks()
    earlier, later = next(pair for pair in pairwise(range(300)) if ranks[pair[0]] != ranks[pair[1]])
    swapped = applied(EVENTS)
    swapped[earlier], swapped[later] = swapped[later], swapped[earlier]
    assert judge(EVENTS, swapped).backwards == 0


def test_an_event_that_comes_again_is_doubled_and_not_backwards() -> None:
    verdict = judge(EVENTS, [*applied(EVENTS), Arrival(300.0, "event", 0)])
    assert (verdict.doubled, verdict.backwards) == (1, 0)


def test_an_event_that_never_comes_is_lost() -> None:
    assert judge(EVENTS, applied(EVENTS)[1:]).lost == 1


def test_an_attribute_may_be_coalesced_and_must_be_the_newest_at_the_end() -> None:
    newest = {MIXED.ranks()[number]: number for number in range(300) if MIXED.kind(number) == "audience"}
    kept = [each for each in applied(MIXED) if each.kind == "event" or each.number in newest.values()]
    assert judge(MIXED, kept).stale == 0
    gone = next(iter(newest.values()))
    assert judge(MIXED, [each for each in kept if each.number != gone]).stale == 1


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ({"array": "events", "arrived_at": 5.0, "object": {"properties": {"count": 7}}}, Arrival(5.0, "event", 7)),
        ({"array": "attributes", "arrived_at": 6.0, "object": {"score": 8}}, Arrival(6.0, "audience", 8)),
    ],
)
def test_a_line_of_the_journal_tells_the_record(line: dict[str, object], found: Arrival) -> None:
    assert arrival(line) == found
