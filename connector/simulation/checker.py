"""Judges a play by the promises, from what was written, applied, set aside and committed; never by our own counters.

Pure. Every verdict starts with the promise that it breaks.
"""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise
from typing import Any

from connector.double.application import Applied
from connector.offset_map import Range, decode
from connector.records import Kind, TopicPartition
from connector.simulation.world import EPOCH, History, Written

_ARRAYS = {"attributes": 0, "events": 1, "recipients": 2}


def judge(history: History) -> list[str]:
    """Every broken promise, one sentence each; empty when all hold."""
    scenario = history.scenario
    found = list(dict.fromkeys(history.violations))
    if not history.is_settled:
        found.append("P1: not everything was settled although everything was cured")
    arrivals = _arrivals(history)
    dead = {(where, offset): at for where, offset, _, at in reversed(history.letters)}
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
    moves = sum(1 for _, what in scenario.happenings if what not in {"cut", "mend"}) + scenario.replicas - 1
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


def _excused(history: History, arrivals: dict[int, Any]) -> set[int]:
    """Numbers of records that need not arrive: skipped by a rule, repeats, and triggers whose claim outlived a process.

    That a repeat was skipped proves nothing by itself: what it repeats must be known, too. A claim must have been told.
    """
    scenario = history.scenario
    excused = {written.number for written in history.written if written.expected_skip}
    excused |= {written.number for written in history.written if written.repeats is not None}
    if scenario.campaigns == "at_most_once" and scenario.may_double:
        claimed: dict[TopicPartition, set[int]] = defaultdict(set)
        for where, commits in history.commits.items():
            for _, next_offset, metadata in commits:
                for start, end in decode(metadata, next_offset).claimed if metadata else ():
                    claimed[where].update(range(start, end))
        excused |= {
            written.number
            for written in history.written
            if written.number not in arrivals and written.offset in claimed[written.where]
        }
    return excused


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
    twice: dict[TopicPartition, list[tuple[int, float]]] = defaultdict(list)
    for written in history.written:
        times = sorted(at for _, at in arrivals.get(written.number, ()))
        if len(times) > 1:
            twice[written.where].append((written.offset, times[-1]))
    found = 0
    for where, repeated in twice.items():
        commits = [(at, next_offset, _settled(next_offset, text)) for at, next_offset, text in history.commits[where]]
        for offset, last_at in repeated:
            found += any(
                at < last_at and (offset < next_offset or any(start <= offset < end for start, end in settled))
                for at, next_offset, settled in commits
            )
    return [f"P4: {found} records reached Braze again after a commit had told of their end"] if found else []


def _settled(next_offset: int, metadata: str) -> tuple[Range, ...]:
    return decode(metadata, next_offset).settled if metadata else ()


def _lost(
    history: History, arrivals: dict[int, Any], dead: dict[tuple[TopicPartition, int], float], excused: set[int]
) -> list[str]:
    lost = [
        written
        for written in history.written
        if written.number not in excused
        and written.number not in arrivals
        and (written.where, written.offset) not in dead
    ]
    return [f"P1: {len(lost)} records are neither applied nor dead letters"] if lost else []


def _early_commits(
    history: History,
    arrivals: dict[int, list[tuple[Place, float]]],
    dead: dict[tuple[TopicPartition, int], float],
    excused: set[int],
) -> list[str]:
    """A commit (or its map) that tells of a record which had not reached its end by then."""
    done_at: dict[TopicPartition, list[tuple[int, float]]] = defaultdict(list)
    for written in history.written:
        if written.number in excused:
            continue
        times = [at for _, at in arrivals.get(written.number, ())]
        if (written.where, written.offset) in dead:
            times.append(dead[written.where, written.offset])
        done_at[written.where].append((written.offset, min(times, default=float("inf"))))
    early = backwards = 0
    for where, commits in history.commits.items():
        last = -1
        for at, next_offset, metadata in commits:
            backwards += next_offset < last
            last = max(last, next_offset)
            settled = _settled(next_offset, metadata)
            for offset, done in done_at[where]:
                told = offset < next_offset or any(start <= offset < end for start, end in settled)
                early += told and done > at
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
        lane.sort(key=lambda written: written.offset)
        # A parked campaign's triggers step aside, so that the user's other campaigns go on: order holds within each.
        if lane[0].kind is Kind.CAMPAIGN and any(fault["do"] == "campaign" for fault in scenario.braze_faults):
            continue
        # An event given up for its ambiguity, whose settlement a crash then lost, is sent again behind its followers.
        if lane[0].kind is Kind.EVENT and scenario.ambiguous_events == "dead_letter" and scenario.may_double:
            continue
        # Somebody repeats one event and is killed; the next owner, who had lost the partition before, knows that the
        # other was delivered and does not repeat it. Attributes are written again by whoever had lost them.
        recalls = lane[0].kind is not Kind.AUDIENCE and {"lose", "kill"} <= {what for _, what in scenario.happenings}
        for pick in (0, -1):
            for earlier, later in pairwise(lane):
                before, after = arrivals[earlier.number], arrivals[later.number]
                # A crash repeats a trigger, and what followed it has expired by its turn.
                is_excused = pick == -1 and len(before) > 1 and (later.expires_at is not None or recalls)
                found += after[pick][0] < before[pick][0] and not is_excused
    verdicts = [f"P2: {found} times a user's later record overtook an earlier one"] if found else []
    return verdicts + _wrong_end_states(history, arrivals)


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
    """Every membership must end as its newest delivered record says."""
    newest: dict[tuple[str, str], bool] = {}
    for written in sorted(history.written, key=lambda each: each.offset):
        if written.membership is not None and written.number in arrivals:
            newest[written.user, written.membership[0]] = written.membership[1]
    wrong = 0
    for (user, attribute), value in newest.items():
        profile = history.profiles.get(f"external_id:{user}", {})
        wrong += profile.get("custom_attributes", {}).get(attribute) is not value
    return [f"P2: {wrong} memberships ended wrong"] if wrong else []


def _misjudged(history: History, arrivals: dict[int, Any], dead: dict[tuple[TopicPartition, int], float]) -> list[str]:
    reasons = {(where, offset): reason for where, offset, reason, _ in history.letters}
    innocent = [
        written
        for written in history.written
        if written.good
        and (written.where, written.offset) in dead
        and reasons[written.where, written.offset] != "ambiguous"
    ]
    guilty = [written for written in history.written if not written.good and written.number in arrivals]
    found = []
    if innocent:
        found.append(f"P3: {len(innocent)} good records became dead letters")
    if guilty:
        found.append(f"P3: {len(guilty)} bad records were applied")
    if any(at < EPOCH for at in dead.values()):
        found.append("the simulation's clock ran backwards")
    return found
