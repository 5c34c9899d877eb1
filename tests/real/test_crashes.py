"""The connector on Apache Kafka when it, or Kafka, is taken down without being asked."""

from __future__ import annotations

import signal

import pytest

from connector.records import Kind
from tests.real.children import until
from tests.real.stage import Stage

pytestmark = pytest.mark.kafka

SMALL_BUFFER = {"records": 600}
QUICK_SESSION = {"session.timeout.ms": 6000, "heartbeat.interval.ms": 1000}


def test_a_killed_process_repeats_just_what_its_last_commit_does_not_call_settled(stage: Stage) -> None:
    stage.make_topics()
    stage.produce(3000)
    stage.braze.wall(after=6, unanswered=3)
    killed = stage.replica(kafka=QUICK_SESSION, buffer=SMALL_BUFFER)
    until("Braze has an outage", lambda: stage.braze.requests(503) > 0)
    until("something is committed", lambda: len(stage.settled()) > 0)
    killed.child.kill()

    ended = stage.ended()
    unsettled = ended - stage.settled()
    assert unsettled  # three requests were applied and never answered
    assert len(ended) < 3000

    stage.braze.open()
    stage.replica(kafka=QUICK_SESSION)
    stage.until_all_committed()
    faults = stage.faults()
    assert faults.pop("duplicated").keys() == unsettled
    assert faults == {}


def test_a_frozen_process_that_wakes_up_sends_nothing_for_partitions_that_have_moved(stage: Stage) -> None:
    stage.make_topics()
    # No poison: a dead letter may be on its way to Kafka when the process freezes, and is written when it wakes up.
    stage.write(made for made in stage.made(2000) if made.expected == "delivered")
    stage.braze.wall(after=5)
    frozen = stage.replica(kafka=QUICK_SESSION, buffer=SMALL_BUFFER)
    until("Braze has an outage", lambda: stage.braze.requests(503) > 0)
    until("it has been like that for a while", lambda: stage.braze.requests(503) > 30)
    until("what is settled is committed", lambda: stage.settled() >= stage.ended())
    frozen.child.signal(signal.SIGSTOP)  # as a machine that hangs
    stage.braze.open()
    heir = stage.replica(kafka=QUICK_SESSION)
    stage.until_all_committed()
    heir.leave()
    frozen.child.signal(signal.SIGCONT)
    until("it has its partitions again", lambda: frozen.metric("rebalances_total", event="assigned") > 1)
    stage.produce(200)
    stage.until_all_committed()
    assert frozen.status()["imbalance"] == 0
    frozen.leave()
    assert stage.faults() == {}


def test_a_restart_of_the_broker_is_survived_without_a_repeat(stage: Stage) -> None:
    """Also when it takes longer than the session: the partitions come back to the process that knows.

    Attributes alone may be written again, in order: somebody else might have written older ones meanwhile.
    """
    stage.make_topics()
    # No poison: a dead letter could not be settled while there is no broker.
    stage.write(made for made in stage.made(2000) if made.expected == "delivered")
    stage.braze.wall(after=5)
    replica = stage.replica(kafka=QUICK_SESSION, buffer=SMALL_BUFFER)
    until("Braze has an outage", lambda: stage.braze.requests(503) > 0)
    stage.broker.stop()
    try:
        stage.braze.open()  # what is taken in is delivered while no commit can be made
        until("everything taken in is settled", lambda: replica.total("in_flight") == 0)
        replica.until_unready("kafka_lease")  # most of the session is over, and starting a broker takes the rest
    finally:
        stage.broker.start()
    stage.produce(500)
    stage.until_all_committed()
    replica.until_ready()
    replica.leave()
    faults = stage.faults()
    repeated = {stage.audit.made[number].kind for number in faults.pop("duplicated", {})}
    assert repeated <= {Kind.AUDIENCE}
    assert faults == {}


def test_a_static_member_of_the_new_protocol_waits_for_its_killed_predecessor_to_time_out(stage: Stage) -> None:
    kafka = {"group.protocol": "consumer", "group.instance.id": "one"}
    stage.make_topics()
    killed = stage.replica(kafka=kafka)
    until("it has its partitions", lambda: killed.assigned() == 6)
    killed.child.kill()
    stage.produce(200)
    successor = stage.replica(kafka=kafka)
    assert "has not timed out yet" in successor.until_unready("kafka_client")
    stage.until_all_committed()
    successor.until_ready()
    successor.leave()
    assert stage.faults() == {}


def test_the_elder_of_two_processes_with_one_instance_id_leaves_with_code_3(stage: Stage) -> None:
    kafka = {"group.instance.id": "one"}
    stage.make_topics()
    elder = stage.replica(kafka=kafka)
    until("it has its partitions", lambda: elder.assigned() == 6)
    younger = stage.replica(kafka=kafka)
    assert elder.child.wait() == 3
    assert "group.instance.id" in elder.events("source_ended")[0]["detail"]
    stage.produce(200)
    stage.until_all_committed()
    younger.leave()
    assert stage.faults() == {}


def test_a_shutdown_while_the_broker_is_down_ends_and_what_was_not_committed_repeats(stage: Stage) -> None:
    stage.make_topics()
    stage.write(made for made in stage.made(1000) if made.expected == "delivered")
    stage.braze.wall(after=5)
    replica = stage.replica(kafka=QUICK_SESSION, buffer=SMALL_BUFFER, drain_deadline_s=1)
    until("Braze has an outage", lambda: stage.braze.requests(503) > 30)
    stage.broker.stop()
    try:
        stage.braze.open()
        until("everything taken in is settled", lambda: replica.total("in_flight") == 0)
        replica.until_unready("kafka")
        replica.leave()
    finally:
        stage.broker.start()
    unsettled = stage.ended() - stage.settled()
    assert unsettled
    stage.replica(kafka=QUICK_SESSION)
    stage.until_all_committed()
    faults = stage.faults()
    assert faults.pop("duplicated").keys() == unsettled
    assert faults == {}
