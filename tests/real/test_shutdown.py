"""SIGTERM when it comes at the worst moment: under full load, with requests that nobody answers, and a second time."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.real.children import until
from tests.real.stage import Stage

pytestmark = pytest.mark.kafka

DRAIN_S = 3
REQUEST_S = 2
REVOKE_S = 2
GRACE_S = DRAIN_S + REQUEST_S + 10
"""As the chart reckons a pod's grace period: the drain, one request, and ten seconds for everything else."""

DEADLINES = {"drain_deadline_s": DRAIN_S, "revoke_deadline_s": REVOKE_S}


@contextmanager
def load(stage: Stage) -> Iterator[None]:
    """A producer that does not stop writing before the block ends: some thousand records a second.

    No poison: looking for a culprit takes a settle time a step, which is another test's subject.
    """
    enough = threading.Event()

    def write() -> None:
        while not enough.wait(0.02):
            stage.write(made for made in stage.made(100) if made.expected == "delivered")

    producer = threading.Thread(target=write)
    producer.start()
    try:
        yield
    finally:
        enough.set()
        producer.join()


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_under_full_load_it_leaves_within_the_grace_period_and_commits_all_that_is_settled(
    stage: Stage, protocol: str
) -> None:
    kafka = {"group.protocol": protocol}
    stage.make_topics()
    stage.braze.behave(latency_s=0.1)
    with load(stage):
        replica = stage.replica(kafka=kafka, buffer={"records": 1000}, **DEADLINES)
        until("its buffer is full", lambda: replica.status()["paused"] > 0)
        replica.child.signal(signal.SIGTERM)
        assert replica.child.wait(GRACE_S) == 0
    stage.braze.behave(latency_s=0.005)
    # What Braze has and what the dead letters hold is committed, to the last record.
    assert stage.ended() <= stage.settled()
    stage.replica(kafka=kafka)
    stage.until_all_committed()
    assert stage.faults() == {}


def test_requests_that_nobody_answers_do_not_hold_it_beyond_the_grace_period(stage: Stage) -> None:
    stage.make_topics()
    stage.produce(3000)
    stage.braze.wall(after=6, unanswered=3)
    replica = stage.replica(
        buffer={"records": 2000}, braze={"request_timeout_s": 3600}, drain_deadline_s=1, revoke_deadline_s=REVOKE_S
    )
    until("Braze has an outage", lambda: stage.braze.requests(503) > 0)
    replica.child.signal(signal.SIGTERM)
    assert replica.child.wait(GRACE_S) == 0
    unsettled = stage.ended() - stage.settled()
    assert unsettled  # three requests were applied and never answered: nobody can call them settled
    stage.braze.open()
    stage.replica()
    stage.until_all_committed()
    faults = stage.faults()
    assert faults.pop("duplicated").keys() == unsettled
    assert faults == {}


def test_a_second_signal_leaves_at_once_and_loses_nothing(stage: Stage) -> None:
    stage.make_topics()
    stage.produce(3000)
    stage.braze.wall(after=6)
    kafka = {"session.timeout.ms": 6000, "heartbeat.interval.ms": 1000}
    replica = stage.replica(kafka=kafka, buffer={"records": 2000}, drain_deadline_s=3600)
    until("Braze has an outage", lambda: stage.braze.requests(503) > 0)
    replica.child.signal(signal.SIGTERM)
    until("it is leaving", lambda: replica.events("shutdown_started"))
    # An hour is left, and Braze does not come back: only the second signal can end it.
    assert replica.readiness()[1]["reasons"]
    replica.child.signal(signal.SIGTERM)
    assert replica.child.wait(GRACE_S) == 1
    assert replica.events("shutdown_forced")
    assert not replica.events("connector_ended")
    unsettled = stage.ended() - stage.settled()
    stage.braze.open()
    stage.replica(kafka=kafka)
    stage.until_all_committed()
    faults = stage.faults()
    assert faults.pop("duplicated", {}).keys() <= unsettled
    assert faults == {}
