"""Where the partitions of an assignment begin: at what the group has committed, or where the operator has it begin.

An edge, on the Kafka thread. The group has an offset for each partition before a record of it is read: else whoever
takes over from one that has committed nothing yet would choose anew, and with `latest` skip what had come meanwhile.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from confluent_kafka import Consumer, KafkaException, TopicPartition

from connector.kafka_errors import Rebuild, Refused, said
from connector.offset_map import FIRST_METADATA

_CALL_S: Final = 10.0

_NO_TEXT: Final = "\ufffd"
"""Of another client's making, as is whatever else is not ours."""


class FirstPosition(NamedTuple):
    """Where a partition begins.

    Attributes:
        topic: Its topic.
        partition: Its number.
        offset: Of the record that is read first.
        metadata: What was committed beside the offset; empty where nothing was.
        is_new: The group has never committed one.
    """

    topic: str
    partition: int
    offset: int
    metadata: str
    is_new: bool


def first_positions(
    consumer: Consumer, partitions: Sequence[TopicPartition], choice: str, counts: Mapping[str, int]
) -> list[FirstPosition]:
    """Where each begins.

    Args:
        consumer: Whose partitions they are.
        partitions: Those that it was given.
        choice: Where to begin without an offset: `earliest`, `latest` or `error`.
        counts: How many partitions each topic has.

    Raises:
        KafkaException: Kafka does not answer.
        Rebuild: It answers, but not what has to be known.
        Refused: There is no offset, and the operator chose `error`.
    """
    if not partitions:
        return []
    known = consumer.committed(list(partitions), timeout=_CALL_S)
    starts: list[FirstPosition] = []
    for partition in known:
        if partition.error is not None:
            raise Rebuild(said(partition.error))
        if partition.offset >= 0:
            metadata = _metadata(partition)
            starts.append(FirstPosition(partition.topic, partition.partition, partition.offset, metadata, is_new=False))
            continue
        low, high = consumer.get_watermark_offsets(partition, timeout=_CALL_S)
        highest = max(each.partition for each in known if each.topic == partition.topic)
        offset = high if _starts_latest(consumer, partition.topic, highest, choice, counts) else low
        starts.append(FirstPosition(partition.topic, partition.partition, offset, "", is_new=True))
    return starts


def are_taken(consumer: Consumer, starts: Sequence[FirstPosition]) -> bool:
    """Commit what is new, or else one more time what is known of one: Kafka takes that from members of the group only.

    To be told of an assignment proves nothing: whoever was frozen when it came hears of it when others have it.

    Returns:
        Whether they are surely ours. There may be another rebalance already, which passes.

    Raises:
        KafkaException: It is not taken, and the group has none yet of one of them.
        Rebuild: Likewise.
    """
    if not starts:
        return False
    new = [TopicPartition(each.topic, each.partition, each.offset, FIRST_METADATA) for each in starts if each.is_new]
    least = min(starts, key=lambda each: len(each.metadata))  # whether we are a member is not a partition's to say
    known = TopicPartition(least.topic, least.partition, least.offset, least.metadata)
    try:
        answers = consumer.commit(offsets=new or [known], asynchronous=False)
    except KafkaException:
        if new:
            raise
        return False
    errors = [answer.error for answer in answers if answer.error is not None]
    if errors and new:
        raise Rebuild(said(errors[0]))
    return not errors


def _metadata(committed: TopicPartition) -> str:
    """What stands beside an offset. Some brokers keep bytes that are no text, which none of ours are: then a mark."""
    try:
        return committed.metadata or ""
    except UnicodeDecodeError:
        return _NO_TEXT


def _starts_latest(consumer: Consumer, topic: str, highest: int, choice: str, counts: Mapping[str, int]) -> bool:
    """Only by the operator's choice, and only where the topic is wholly new to the group."""
    if choice == "earliest":
        return False
    if choice == "error":
        raise Refused(
            f"the group has no offset for {topic} and kafka.auto.offset.reset is error: commit one with"
            " kafka-consumer-groups --reset-offsets, or choose earliest or latest"
        )
    # As many as there were a while ago: those that came since say nothing about whether the topic is new to us.
    # list_topics() in here would let the library abort the process at the next callback of the same poll.
    if topic not in counts:
        raise Rebuild(f"how many partitions {topic} has is not known yet")
    everything = [TopicPartition(topic, index) for index in range(max(counts[topic], highest + 1))]
    return all(other.offset < 0 for other in consumer.committed(everything, timeout=_CALL_S))
