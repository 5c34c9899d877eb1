"""The flow as a whole, in virtual time, where a test wants a situation exactly so; `test_simulation` draws others."""

from dataclasses import replace
from typing import Any

from connector.simulation.checker import judge
from connector.simulation.run import play
from connector.simulation.scenario import Scenario, draw
from connector.simulation.world import EPOCH, History

LEASE_S = 8.0


def calm(**changes: Any) -> Scenario:
    """One replica, nothing wrong, but for the changes."""
    quiet = replace(
        draw(0),
        records=120, users=10, span_s=20.0, replicas=1, partitions=2, settle_s=0.0, requests=3000, per_s=3.0,
        per_array=False, objects=75, configured_objects=75, poison=0.0, ambiguous_events="retry",
        commit_refusal=0.0, letter_refusal=0.0, buffer=1000, braze_faults=[], happenings=[],
    )  # fmt: skip
    return replace(quiet, **changes)


def arrivals(history: History) -> list[float]:
    return sorted(applied.arrived_at - EPOCH for applied in history.applied)


def test_a_calm_day_breaks_nothing() -> None:
    history = play(calm())

    assert judge(history) == []
    assert len(history.written) == 120


def test_without_the_coordinator_s_word_nothing_is_sent_any_more() -> None:
    history = play(calm(commit_refusal=1.0))

    times = arrivals(history)
    assert times, "the assignment itself was the coordinator's word"
    assert times[-1] <= LEASE_S + 0.1
    assert len(times) < 120


def test_at_low_load_a_record_leaves_at_once() -> None:
    history = play(calm(records=40, span_s=40.0))

    reached = arrivals(history)
    written = sorted(each.written_at - EPOCH for each in history.written)
    assert len(reached) == len(written)
    # Ten milliseconds of polling, and a turn; a user whose last request is still out waits a little more.
    delays = sorted(late - early for early, late in zip(written, reached, strict=True))
    assert delays[len(delays) // 2] < 0.015
    assert delays[-1] < 0.5


def test_an_outage_only_delays() -> None:
    outage = {"do": "status", "status": 503, "from_s": 1.0, "until_s": 15.0}

    history = play(calm(braze_faults=[outage]))

    assert judge(history) == []
    assert not [time for time in arrivals(history) if 1.0 <= time < 15.0]
    assert history.letters == []


def test_a_revoked_key_halts_without_blame_and_is_cured_by_itself() -> None:
    revoked = {"do": "status", "status": 401, "body": {"message": "Invalid API key: simulated-key"},
               "from_s": 1.0, "until_s": 60.0}  # fmt: skip

    history = play(calm(braze_faults=[revoked]))

    assert judge(history) == []
    assert history.letters == []


def test_a_full_buffer_bounds_what_is_taken() -> None:
    outage = {"do": "status", "status": 503, "until_s": 15.0}

    history = play(calm(records=1000, span_s=5.0, buffer=50, braze_faults=[outage]))

    assert judge(history) == []
    assert history.outstanding_max <= 50 + 6 * 50  # one poll a partition may already be on its way
