"""The probes' truth table, with everything broken on purpose around a real process.

Liveness says that a restart would help, readiness that a roll-out should wait. An outage of Kafka's or Braze's must
never restart a pod, and one of Braze's must not freeze a roll-out either.

    broken                              /livez      /readyz
    nothing                             200         200
    idle: more processes than partitions 200        200
    Kafka never reached                 200         503 has not joined
    Kafka gone                          200         503
    Braze gone                          200         200, and says so
    Braze refuses the key               200         503, with the remedy
    draining                            200         503
    process frozen (loop blocked)       no answer   no answer
    Kafka thread blocked                503         (tests/test_health.py)
"""

from __future__ import annotations

import signal

import pytest

from connector.records import Kind
from tests.real.brokers import ApacheKafka
from tests.real.children import ask, free_port, until
from tests.real.stage import Replica, Stage

pytestmark = pytest.mark.kafka


def livez(replica: Replica) -> int:
    return ask(f"{replica.url}/livez")[0]


@pytest.fixture
def running(stage: Stage) -> Replica:
    stage.make_topics()
    replica = stage.replica()
    replica.until_ready()
    return replica


def test_nothing_is_broken(running: Replica) -> None:
    assert livez(running) == 200
    assert running.readiness() == (200, {"ready": True, "reasons": [], "waiting_for": []})


def test_idle_with_more_processes_than_partitions(stage: Stage) -> None:
    topic = stage.topics[Kind.EVENT]
    stage.broker.create_topic(topic, 1)
    stage.broker.create_topic(stage.dead_letters, 1)
    topics = {topic: {"kind": "event"}}
    replicas = [stage.replica(topics=topics) for _ in range(2)]

    for replica in replicas:
        replica.until_ready()

    until("the only partition has one owner", lambda: sorted(map(Replica.assigned, replicas)) == [0, 1])
    assert [livez(replica) for replica in replicas] == [200, 200]
    assert [replica.readiness()[0] for replica in replicas] == [200, 200]


def test_kafka_was_never_reached(stage: Stage) -> None:
    replica = stage.replica(kafka={"bootstrap.servers": f"127.0.0.1:{free_port()}"})

    assert "has not joined" in replica.until_unready("has not joined")
    assert "bootstrap.servers" in replica.until_unready("kafka")
    assert livez(replica) == 200


def test_kafka_is_gone_and_comes_back(running: Replica, apache_kafka: ApacheKafka) -> None:
    apache_kafka.stop()
    try:
        assert "bootstrap.servers" in running.until_unready("kafka: ")
        assert livez(running) == 200
    finally:
        apache_kafka.start()

    running.until_ready()


def test_braze_is_gone(running: Replica, stage: Stage) -> None:
    stage.braze.close()
    stage.produce(500)

    waits = until("it says what it waits for", lambda: running.readiness()[1]["waiting_for"])

    assert "Braze does not answer" in waits[0]
    assert running.readiness()[0] == 200
    assert livez(running) == 200


def test_braze_refuses_the_key_until_it_takes_it_again(running: Replica, stage: Stage) -> None:
    stage.braze.refuse({"do": "status", "status": 401, "body": {"message": "Invalid API key"}, "times": None})
    stage.produce(500)

    assert "api_key" in running.until_unready("braze:/users/track")
    assert livez(running) == 200

    stage.braze.open()
    running.until_ready()


def test_draining(running: Replica, stage: Stage) -> None:
    stage.braze.wall(after=0)
    stage.produce(500)
    until("Braze has an outage", lambda: stage.braze.requests(503) > 0)

    running.child.signal(signal.SIGTERM)

    running.until_unready("draining")
    assert livez(running) == 200
    stage.braze.open()
    assert running.child.wait() == 0


def test_a_frozen_process_does_not_answer_and_a_thawed_one_is_alive(running: Replica) -> None:
    running.child.signal(signal.SIGSTOP)
    try:
        with pytest.raises(TimeoutError):
            ask(f"{running.url}/livez", timeout_s=1)
    finally:
        running.child.signal(signal.SIGCONT)

    assert livez(running) == 200
