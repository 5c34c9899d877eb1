"""Judges a play by the promises, from what was written, applied, set aside and committed; never by our own counters.

Pure. Every verdict starts with the promise that it breaks.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from itertools import pairwise
from typing import Any

from connector.double.application import Applied
from connector.offset_map import OffsetMap, Range, decode
from connector.records import Kind, TopicPartition
from connector.simulation.scenario import Scenario
from connector.simulation.world import EPOCH, History, Written

Ranges = tuple[Range, ...]

_ARRAYS = {"attributes": 0, "events": 1, "recipients": 2}


def judge(history: History) -> list[str]:
    """Every broken promise, one sentence each; empty when all hold."""
    scenario = history.scenario
    found = list(dict.fromkeys(history.violations))
    if not history.is_settled:
        found.append("P1: not everything was settled although everything was cured")
    arrivals = _arrivals(history)
    dead = _dead(history)
    excused = _excused(history, arrivals)
    found += _lost(history, arrivals, dead, excused)
    found += _early_commits(history, arrivals, dead, excused)
    found += _messaged_twice(history, arrivals)
    found += _repeated_what_was_told(history, arrivals)
    found += _sent_too_late(history, arrivals)
    found += _sent_under_a_seal(history, arrivals)
    found += _misordered(history, arrivals)
    found += _misjudged(history, arrivals, dead)
    if not scenario.may_double:
        twice = [number for number, places in arrivals.items() if len(places) > 1]
        if twice:
            found.append(f"P4: {len(twice)} records reached Braze twice although nothing was ambiguous")
    # A share that moves in the middle of a window may cost the one request that its last owner had just sent.
    moves = (
        sum(1 for _, what in scenario.happenings if what not in {"cut", "mend"})
        + scenario.replicas
        - 1
        + history.restarts
    )
    if history.rate_refusals > 2 * moves:
        found.append(f"P5: {history.rate_refusals} requests were refused for their rate")
    bound = max(scenario.buffer, 0) + 50 * scenario.partitions * 3
    if history.outstanding_max > bound:
        found.append(f"P7: {history.outstanding_max} records were taken and not settled, {bound} allowed")
    return found


Place = tuple[int, int, int]


def _numbers(applied: Applied) -> list[int]:
    sent: dict[str, Any] = applied.object
    if applied.array == "attributes":
        return [int(key[1:]) for key in sent if key[0] == "n" and key[1:].isdigit()]
    properties = sent["properties"] if applied.array == "events" else sent["trigger_properties"]
    return [properties["n"]]


def _arrivals(history: History) -> dict[int, list[tuple[Place, float]]]:
    """Where and when each record reached Braze, by its number, in order of arrival."""
    found: dict[int, list[tuple[Place, float]]] = defaultdict(list)
    for applied in history.applied:
        place = (applied.request, _ARRAYS[applied.array], applied.index)
        for number in _numbers(applied):
            found[number].append((place, applied.arrived_at))
    for places in found.values():
        places.sort()
    return found


def _dead(history: History) -> dict[int, tuple[float, str]]:
    """When each record's first dead letter was written and the last one's reason, by the record's number."""
    letters: dict[tuple[TopicPartition, int], list[tuple[float, str]]] = defaultdict(list)
    for where, offset, reason, at in history.letters:
        letters[where, offset].append((at, reason))
    found: dict[int, tuple[float, str]] = {}
    for written in history.written:
        own = [letter for letter in letters[written.where, written.offset] if _lay_there(written, letter[0])]
        if own:
            found[written.number] = (own[0][0], own[-1][1])
    return found


def _lay_there(written: Written, at: float) -> bool:
    """Whether the record was in its partition then: after a truncation another one has its offset."""
    return written.written_at <= at and (written.truncated_at is None or at <= written.truncated_at)


def _tells_of(commit: tuple[float, int, str], written: Written, ranges: Callable[[OffsetMap], Ranges]) -> bool:
    """Whether a commit says that the record needs no more work.

    A map that was written under an earlier leader than the record speaks of another record, and its reader knows.
    """
    at, next_offset, text = commit
    if not _lay_there(written, at):
        return False
    said = decode(text, next_offset) if text else OffsetMap()
    is_of_its_time = said.leader_epoch is None or said.leader_epoch >= written.epoch
    in_map = is_of_its_time and any(start <= written.offset < end for start, end in ranges(said))
    return written.offset < next_offset or in_map


def _excused(history: History, arrivals: dict[int, Any]) -> set[int]:
    """Numbers of records that need not arrive: skipped by a rule, repeats, and triggers whose claim outlived a process.

    That a repeat was skipped proves nothing by itself: what it repeats must be known, too. A claim must have been told.
    """
    scenario = history.scenario
    excused = {written.number for written in history.written if written.expected_skip}
    excused |= {written.number for written in history.written if written.repeats is not None}
    if scenario.campaigns == "at_most_once" and scenario.may_double:
        excused |= {
            written.number
            for written in history.written
            if written.number not in arrivals
            and any(_tells_of(commit, written, _claimed) for commit in history.commits[written.where])
        }
    return excused


def _claimed(said: OffsetMap) -> Ranges:
    return said.claimed


def _settled(said: OffsetMap) -> Ranges:
    return said.settled


def _messaged_twice(history: History, arrivals: dict[int, list[tuple[Place, float]]]) -> list[str]:
    """Triggers that were sent twice although the operator or the `event_id` forbids it."""
    scenario = history.scenario
    found = []
    if scenario.campaigns == "at_most_once":
        numbers = [written.number for written in history.written if written.kind is Kind.CAMPAIGN]
        twice = [number for number in numbers if len(arrivals.get(number, ())) > 1]
        if twice:
            found.append(f"P4: {len(twice)} triggers were sent twice although once at most was asked for")
    if scenario.replicas == 1 and not scenario.may_double:  # a rebalance forgets the window
        again = [each for each in history.written if each.repeats in arrivals and each.number in arrivals]
        if again:
            found.append(f"P4: {len(again)} triggers were sent although their event_id had been")
    return found


def _sent_too_late(history: History, arrivals: dict[int, list[tuple[Place, float]]]) -> list[str]:
    """Triggers that left at or after the instant at which they expire."""
    late = sum(
        at > written.expires_at
        for written in history.written
        if written.expires_at is not None
        for _, at in arrivals.get(written.number, ())
    )
    return [f"P4: {late} triggers were sent after they had expired"] if late else []


def _repeated_what_was_told(history: History, arrivals: dict[int, list[tuple[Place, float]]]) -> list[str]:
    """Records that arrived again after a commit had told that they were settled: no crash excuses that."""
    found = 0
    for written in history.written:
        times = sorted(at for _, at in arrivals.get(written.number, ()))
        if len(times) > 1:
            found += any(
                commit[0] < times[-1] and _tells_of(commit, written, _settled)
                for commit in history.commits[written.where]
            )
    return [f"P4: {found} records reached Braze again after a commit had told of their end"] if found else []


def _lost(
    history: History, arrivals: dict[int, Any], dead: dict[int, tuple[float, str]], excused: set[int]
) -> list[str]:
    lost = [
        written
        for written in history.written
        if written.number not in excused
        and written.truncated_at is None
        and written.number not in arrivals
        and written.number not in dead
    ]
    return [f"P1: {len(lost)} records are neither applied nor dead letters"] if lost else []


def _early_commits(
    history: History,
    arrivals: dict[int, list[tuple[Place, float]]],
    dead: dict[int, tuple[float, str]],
    excused: set[int],
) -> list[str]:
    """A commit (or its map) that tells of a record which had not reached its end by then."""
    early = 0
    for written in history.written:
        if written.number in excused:
            continue
        times = [at for _, at in arrivals.get(written.number, ())]
        if written.number in dead:
            times.append(dead[written.number][0])
        done = min(times, default=float("inf"))
        early += sum(
            done > commit[0] and _tells_of(commit, written, _settled) for commit in history.commits[written.where]
        )
    backwards = sum(
        after < before for commits in history.commits.values() for (_, before, _), (_, after, _) in pairwise(commits)
    )
    found = []
    if early:
        found.append(f"P1: {early} times a commit told of a record that had not reached its end")
    if backwards:
        found.append(f"P1: {backwards} commits went backwards")
    return found


def _misordered(history: History, arrivals: dict[int, list[tuple[Place, float]]]) -> list[str]:
    """A user's records in one partition: first arrivals in order, last ones too, and the right end state."""
    lanes: dict[tuple[str, TopicPartition], list[Written]] = defaultdict(list)
    for written in history.written:
        if written.number in arrivals and written.repeats is None:  # a repeat that a crash made forget comes late
            lanes[written.user, written.where].append(written)
    scenario = history.scenario
    found = 0
    for lane in lanes.values():
        lane.sort(key=lambda written: written.number)
        # A parked campaign's triggers step aside, so that the user's other campaigns go on: order holds within each.
        if lane[0].kind is Kind.CAMPAIGN and any(fault["do"] == "campaign" for fault in scenario.braze_faults):
            continue
        # An event given up for its ambiguity, whose settlement a crash then lost, is sent again behind its followers.
        if lane[0].kind is Kind.EVENT and scenario.ambiguous_events == "dead_letter" and scenario.may_double:
            continue
        # Somebody repeats one event and is killed; the next owner, who had lost the partition before, knows that the
        # other was delivered and does not repeat it. Attributes are written again by whoever had lost them.
        recalls = lane[0].kind is not Kind.AUDIENCE and _loses_and_kills(scenario)
        for pick in (0, -1):
            for earlier, later in pairwise(lane):
                before, after = arrivals[earlier.number], arrivals[later.number]
                # Refused before its follower was taken, it may come back and be taken once the data is mended.
                was_refused = earlier.is_curable and history.mended_at is not None
                # A crash repeats a record, and what followed it has expired by its turn, or is no more in Kafka.
                cannot_follow = later.expires_at is not None or later.truncated_at is not None
                is_excused = pick == -1 and (len(before) > 1 or was_refused) and (cannot_follow or recalls)
                # Of attributes the last ones must be in order all the same.
                is_excused |= was_refused and (pick == 0 or earlier.kind is Kind.EVENT)
                found += after[pick][0] < before[pick][0] and not is_excused
    verdicts = [f"P2: {found} times a user's later record overtook an earlier one"] if found else []
    return verdicts + _wrong_end_states(history, arrivals)


def _loses_and_kills(scenario: Scenario) -> bool:
    happened = {what for _, what in scenario.happenings}
    return "lose" in happened and not happened.isdisjoint({"kill", "truncate"})


def _sent_under_a_seal(history: History, arrivals: dict[int, list[tuple[Place, float]]]) -> list[str]:
    """Attributes that left while Kafka said that nothing is on the wire: whoever came then would not have waited."""
    if not history.scenario.settle_s:
        return []
    found = 0
    for where, commits in history.commits.items():
        sealed = [
            (at, after)
            for (at, next_offset, text), (after, _, _) in pairwise([*commits, (float("inf"), 0, "")])
            if text and decode(text, next_offset).closed
        ]
        times = [
            at
            for written in history.written
            if written.where == where and written.kind is Kind.AUDIENCE
            for _, at in arrivals.get(written.number, ())
        ]
        found += sum(first < at < last for first, last in sealed for at in times)
    return (
        [f"P2: {found} attributes were sent while the last commit said that nothing was on the wire"] if found else []
    )


def _wrong_end_states(history: History, arrivals: dict[int, Any]) -> list[str]:
    """Every membership must end as its newest delivered record says.

    What was delivered and then lost by Kafka may stand or be undone by an earlier one's repetition.
    """
    newest: dict[tuple[str, str], Written] = {}
    for written in sorted(history.written, key=lambda each: each.number):
        if written.membership is not None and written.number in arrivals:
            newest[written.user, written.membership[0]] = written
    wrong = 0
    for (user, attribute), written in newest.items():
        if written.membership is None or written.truncated_at is not None:
            continue
        value = written.membership[1]
        profile = history.profiles.get(f"external_id:{user}", {})
        wrong += profile.get("custom_attributes", {}).get(attribute) is not value
    return [f"P2: {wrong} memberships ended wrong"] if wrong else []


def _misjudged(
    history: History, arrivals: dict[int, list[tuple[Place, float]]], dead: dict[int, tuple[float, str]]
) -> list[str]:
    mended_at = float("inf") if history.mended_at is None else history.mended_at
    innocent = [
        written
        for written in history.written
        if written.number in dead
        and (written.good or (written.is_curable and dead[written.number][0] > mended_at))
        and dead[written.number][1] != "ambiguous"
    ]
    guilty = [
        written
        for written in history.written
        if not written.good
        and any(not (written.is_curable and at >= mended_at) for _, at in arrivals.get(written.number, ()))
    ]
    found = []
    if innocent:
        found.append(f"P3: {len(innocent)} good records became dead letters")
    if guilty:
        found.append(f"P3: {len(guilty)} bad records were applied")
    if any(at < EPOCH for at, _ in dead.values()):
        found.append("the simulation's clock ran backwards")
    return found
