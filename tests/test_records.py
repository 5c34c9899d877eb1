from __future__ import annotations

from confluent_kafka import Consumer, Message, Producer, TopicPartition

from connector.records import headers_of
from tests.hostile_headers import write_with_header
from tests.real.brokers import InProcessBroker

ORDINARY = 100
"""The interpreter calls what it has called often by a shorter way, which does not look whether there was an error."""


def test_headers_that_cannot_be_read_are_none_however_often_others_were() -> None:
    broker = InProcessBroker()
    broker.create_topic("t")
    producer = Producer({"bootstrap.servers": broker.address})
    for _ in range(ORDINARY):
        producer.produce("t", b"x", partition=0, headers=[("name", b"v")])
    producer.flush(10)
    write_with_header(broker.address, "t", b"\xff")
    consumer = Consumer({"bootstrap.servers": broker.address, "group.id": "g"})
    consumer.assign([TopicPartition("t", 0, 0)])
    messages: list[Message] = []
    while len(messages) <= ORDINARY:
        messages += consumer.consume(ORDINARY + 1 - len(messages), 10)
    consumer.close()

    found = [headers_of(message) for message in messages]  # type: ignore[arg-type]  # the library types it loosely

    assert found == [[("name", b"v")]] * ORDINARY + [()]
