"""What an error of Kafka's means, and what to do about it."""

from __future__ import annotations

import pytest
from confluent_kafka import KafkaError

from connector.kafka_errors import InstanceTaken, Rebuild, Refused, fatal, refusal, said

FENCED = "Broker: Static consumer fenced by other consumer with same group.instance.id"
TAKEN = "Broker: The instance ID is still used by another member in the consumer group"


@pytest.mark.parametrize(
    ("text", "kind", "words"),
    [
        (FENCED, Refused, "give each its own"),
        (TAKEN, InstanceTaken, "has not timed out"),
        ("Local: something else", Rebuild, "_FATAL"),
    ],
)
def test_a_fatal_error_makes_a_new_consumer_or_ends_the_process(text: str, kind: type[Exception], words: str) -> None:
    raised = fatal(KafkaError(KafkaError._FATAL, text))
    assert type(raised) is kind
    assert words in str(raised)


def test_of_an_error_its_name_is_told_and_not_its_text() -> None:
    assert said(KafkaError(KafkaError._TRANSPORT, "broker-1.example:9092 is away")) == "Kafka says _TRANSPORT"


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        (KafkaError.GROUP_AUTHORIZATION_FAILED, "read the group"),
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, "read the topics"),
        (KafkaError.OFFSET_METADATA_TOO_LARGE, "offset.metadata.max.bytes"),
        (KafkaError.REBALANCE_IN_PROGRESS, "which passes"),
        (KafkaError.NOT_COORDINATOR, "check the brokers"),
        (KafkaError._TRANSPORT, "kafka.bootstrap.servers, the network"),
        (KafkaError._ALL_BROKERS_DOWN, "kafka.bootstrap.servers, the network"),
        (KafkaError._AUTHENTICATION, "check kafka.sasl.*"),
        (KafkaError._RESOLVE, "DNS"),
        (KafkaError._SSL, "check kafka.ssl.*"),
    ],
)
def test_an_error_says_what_to_do(code: int, remedy: str) -> None:
    error = KafkaError(code)
    assert refusal(error).startswith(f"Kafka says {error.name()}: ")
    assert remedy in refusal(error)
