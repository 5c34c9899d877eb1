"""The connector on Apache Kafka while everything is well, or is taken down in an orderly way."""

from __future__ import annotations

import pytest

from tests.real.children import until
from tests.real.stage import API_KEY, Stage

pytestmark = pytest.mark.kafka

# So little is taken in at once that most of a topic is still to be read when something happens.
SMALL_BUFFER = {"records": 600}


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_all_three_kinds_arrive_once_in_order_and_are_committed(stage: Stage, protocol: str) -> None:
    stage.make_topics()
    stage.produce(1500)
    replica = stage.replica(kafka={"group.protocol": protocol})
    replica.until_ready()
    stage.produce(1500)
    stage.until_all_committed()
    assert replica.total("in_flight") == 0
    assert replica.status()["imbalance"] == 0
    replica.leave()
    assert stage.faults() == {}
    # Nothing of a record's, nor the key, is in the log.
    assert API_KEY not in replica.child.output()
    assert "demo-user" not in replica.child.output()


def test_a_shutdown_drains_what_was_taken_in_and_a_new_process_goes_on_from_there(stage: Stage) -> None:
    stage.make_topics()
    stage.produce(3000)
    stage.braze.wall(after=5)
    replica = stage.replica(buffer=SMALL_BUFFER)
    until("Braze has an outage", lambda: stage.braze.requests(503) > 0)
    replica.child.signal(15)
    until("it is leaving", lambda: replica.events("shutdown_started"))
    stage.braze.open()
    assert replica.child.wait() == 0
    settled = len(stage.settled())
    assert 0 < settled < 3000
    stage.replica()
    stage.until_all_committed()
    assert stage.faults() == {}


def test_a_shutdown_in_an_outage_ends_at_its_deadline_and_doubles_nothing(stage: Stage) -> None:
    stage.make_topics()
    stage.produce(3000)
    stage.braze.wall(after=5)
    replica = stage.replica(buffer=SMALL_BUFFER, drain_deadline_s=0.5)
    until("Braze has an outage", lambda: stage.braze.requests(503) > 0)
    replica.leave()
    assert 0 < len(stage.settled()) < 3000
    stage.braze.open()
    stage.replica()
    stage.until_all_committed()
    assert stage.faults() == {}


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_replicas_come_and_go_in_mid_stream(stage: Stage, protocol: str) -> None:
    stage.make_topics()
    stage.produce(4000)
    kafka = {"group.protocol": protocol}
    stage.braze.wall(after=8)
    first = stage.replica(kafka=kafka, buffer=SMALL_BUFFER)
    until("Braze has an outage", lambda: stage.braze.requests(503) > 0)
    second = stage.replica(kafka=kafka, buffer=SMALL_BUFFER, drain_deadline_s=0.5)
    until("they share the six partitions", lambda: (first.assigned(), second.assigned()) == (3, 3))
    shares = [replica.status()["quota"]["/users/track"]["share"] for replica in (first, second)]
    assert sum(shares) == pytest.approx(1)
    second.leave()  # in the middle of an outage, with requests in hand
    until("the first has all partitions", lambda: first.assigned() == 6)
    stage.braze.open()
    stage.until_all_committed()
    assert first.status()["imbalance"] == 0
    first.leave()
    assert stage.faults() == {}


def test_what_a_transaction_aborted_is_never_delivered(stage: Stage) -> None:
    stage.make_topics()
    producer = stage.transactional_producer()
    aborted: set[int] = set()
    for is_committed in (True, False, True, False, False, True):
        records = list(stage.made(150))
        producer.begin_transaction()
        stage.write(records, producer=producer)
        if is_committed:
            producer.commit_transaction(30)
        else:
            producer.abort_transaction(30)
            aborted |= {made.number for made in records}
    stage.forget(aborted)
    replica = stage.replica()
    stage.until_all_committed()
    replica.leave()
    assert stage.faults() == {}
    assert len(stage.audit.made) == 450
    assert not aborted & stage.audit.arrivals.keys()
