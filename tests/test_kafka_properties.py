"""What librdkafka is told by whom: nothing of a group's where replay reads, one writer a topic where it writes."""

from __future__ import annotations

from typing import Any

import pytest

from connector.kafka_properties import consumer_properties, reading_properties, replaying_properties

OPERATORS = {
    "bootstrap.servers": "broker:9092",
    "group.id": "g",
    "group.instance.id": "pod-1",
    "group.protocol": "consumer",
    "session.timeout.ms": 6000,
    "auto.offset.reset": "latest",
    "isolation.level": "read_uncommitted",
    "sasl.username": "u",
    "acks": 1,
    "message.timeout.ms": 900_000,
}


def test_replay_reads_outside_of_the_group_and_what_is_committed_only() -> None:
    reading = reading_properties(OPERATORS)
    assert (reading["group.id"], reading["sasl.username"]) == ("g", "u")
    assert not {"group.instance.id", "group.protocol", "session.timeout.ms"} & reading.keys()
    assert (reading["enable.auto.commit"], reading["auto.offset.reset"]) == (False, "error")
    assert reading["isolation.level"] == "read_committed"


def test_replay_writes_in_transactions_whatever_the_operator_chose_for_others() -> None:
    writing = replaying_properties(OPERATORS, "aiq.dead-letters")
    assert writing["transactional.id"] == "aiq.dead-letters.replay"
    assert (writing["acks"], writing["enable.idempotence"], writing["sasl.username"]) == ("all", True, "u")
    assert writing["message.timeout.ms"] < writing["transaction.timeout.ms"]
    assert not {"group.id", "isolation.level", "auto.offset.reset"} & writing.keys()


@pytest.mark.parametrize(
    ("chosen", "milliseconds"),
    [
        ({}, 60_000),
        ({"group.protocol": "consumer"}, 60_000),
        ({"session.timeout.ms": 90_000}, 90_000),  # librdkafka refuses a shorter one
        ({"session.timeout.ms": "90000", "max.poll.interval.ms": 120_000}, 120_000),
    ],
)
def test_a_member_whose_answer_is_lost_asks_again_soon(chosen: dict[str, Any], milliseconds: int) -> None:
    assert consumer_properties({**chosen})["max.poll.interval.ms"] == milliseconds


@pytest.mark.parametrize("protocol", ["consumer", "Consumer", "CONSUMER"])
def test_the_consumer_protocol_is_known_in_any_case_as_librdkafka_knows_it(protocol: str) -> None:
    assert "session.timeout.ms" not in consumer_properties({"group.protocol": protocol})
    assert "session.timeout.ms" in consumer_properties({"group.protocol": "Classic"})


def test_beside_triggers_smaller_portions_are_fetched_unless_the_operator_says_otherwise() -> None:
    alone = consumer_properties({})
    beside = consumer_properties({"queued.min.messages": 7}, beside_triggers=True)

    assert beside["max.partition.fetch.bytes"] < alone["max.partition.fetch.bytes"]
    assert beside["queued.min.messages"] == 7
