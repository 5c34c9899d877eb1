"""Replay's two hands at Kafka: one reads partitions from here to there, one writes in transactions.

An edge. Whatever Kafka refuses leaves here as `KafkaRefused`, in our words and with what to do, unless it is about one
record (`Untaken`) or about what is not there any more (`RetentionPassed`).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NoReturn, cast

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer
from confluent_kafka import TopicPartition as KafkaPartition

from connector.kafka_errors import refusal, said
from connector.kafka_properties import reading_properties, replaying_properties
from connector.records import Header, KafkaRecord, TopicPartition

_CALL_S: Final = 20.0
_SILENCE_S: Final = 30.0
"""A partition that gives nothing for so long, not even its end, is not going to."""

_POLL_S: Final = 0.05
_RECORDS: Final = 500

_OF_THE_RECORD: Final = {
    KafkaError.MSG_SIZE_TOO_LARGE,
    KafkaError.RECORD_LIST_TOO_LARGE,
    KafkaError.INVALID_RECORD,
    KafkaError.INVALID_TIMESTAMP,
}

_PASSED: Final = {KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE}  # noqa: SLF001  # the library's own spelling

_STUMBLED: Final = {
    KafkaError._PURGE_QUEUE,  # noqa: SLF001  # the library's own spelling
    KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER,
}
"""What librdkafka says of a transaction whose predecessor was refused for a record's sake (measured, 2.16): it
counts on from the refused batch. Aborting puts the count right, and the same transaction then goes through."""

_STUMBLES_MAX: Final = 2

_FENCED: Final = {
    KafkaError._FENCED,  # noqa: SLF001  # the library's own spelling
    KafkaError.PRODUCER_FENCED,
    KafkaError.INVALID_PRODUCER_EPOCH,
}


class KafkaRefused(Exception):
    """Kafka does not do what replay needs; says what, and what to do."""


class RetentionPassed(Exception):
    """What was to be read next is not there any more.

    Args:
        low: Offset at which the partition begins now.
    """

    def __init__(self, low: int) -> None:
        super().__init__(low)
        self.low = low


class Untaken(Exception):
    """Kafka takes the chunk not, because of what is in it: a record is too large, or breaks a rule of its topic."""


class PartitionReader:
    """Reads partitions, one at a time, outside of any group.

    Args:
        kafka: The operator's librdkafka properties.
    """

    def __init__(self, kafka: Mapping[str, Any]) -> None:
        try:
            self._consumer = Consumer({**reading_properties(kafka), "error_cb": lambda _error: None, "log_level": 0})
        except KafkaException as exception:
            _refuse("kafka", exception.args[0])

    def close(self) -> None:
        """Let go of the brokers."""
        self._consumer.close()

    def partitions(self) -> dict[str, int]:
        """How many partitions each topic has that may be described.

        Raises:
            KafkaRefused: No answer.
        """
        try:
            topics = self._consumer.list_topics(timeout=_CALL_S).topics
        except KafkaException as exception:
            _refuse("kafka", exception.args[0])
        return {name: len(topic.partitions) for name, topic in topics.items() if topic.error is None}

    def bounds(self, place: TopicPartition) -> tuple[int, int]:
        """(low, end): where the partition begins, and where what is committed ends.

        Raises:
            KafkaRefused: No answer.
        """
        try:
            found = self._consumer.get_watermark_offsets(KafkaPartition(*place), timeout=_CALL_S)
        except KafkaException as exception:
            _refuse(str(place), exception.args[0])
        if found is None:
            raise KafkaRefused(f"{place}: Kafka does not answer: check the brokers")
        return found

    def read(
        self, place: TopicPartition, start: int, end: int, within_s: float = float("inf")
    ) -> Iterator[list[KafkaRecord]]:
        """Records with start <= offset < end, in order; ends when the partition has nothing more below `end`.

        Args:
            place: The partition.
            start: The first offset that is wanted.
            end: One past the last one.
            within_s: Give up then: a transaction of somebody else's holds the end back.

        Raises:
            RetentionPassed: What comes next is not there any more.
            KafkaRefused: No answer, or no permission.
            TimeoutError: Given up.
        """
        if start >= end:
            return
        self._consumer.assign([KafkaPartition(place.topic, place.partition, start)])
        try:
            give_up_at = time.monotonic() + within_s
            heard_at = time.monotonic()
            reached = start
            while reached < end:
                messages = self._consumer.consume(_RECORDS, _POLL_S)
                records: list[KafkaRecord] = []
                for message in messages:
                    offset = message.offset()
                    error = message.error()
                    if error is not None and error.code() in _PASSED:
                        low, _ = self.bounds(place)
                        if low <= reached:
                            raise KafkaRefused(f"{place}: it has lost its tail while it was read: run this again")
                        raise RetentionPassed(low)
                    if error is not None:
                        reached = max(reached, _end_of(place, error, offset))
                    elif offset is not None:
                        reached = max(reached, offset + 1)
                        if offset < end:
                            records.append(cast("KafkaRecord", message))
                if records:
                    yield records
                now = time.monotonic()
                heard_at = now if messages else heard_at
                if reached < end and now > give_up_at:
                    raise TimeoutError
                if now - heard_at > _SILENCE_S:
                    raise KafkaRefused(f"{place}: nothing is heard of it for {_SILENCE_S:.0f} s: check the brokers")
        finally:
            self._consumer.unassign()


def _end_of(place: TopicPartition, event: KafkaError, offset: int | None) -> int:
    """The offset at which the partition ends at present, if the event is about that; what passes is waited for."""
    if event.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001
        return offset or 0
    if not event.retriable():
        _refuse(str(place), event)
    return 0


class TransactionalWriter:
    """Writes chunks, whole or not at all. The newest writer of a dead-letter topic is the only one.

    Args:
        kafka: The operator's librdkafka properties.
        dead_letter_topic: Whose letters are put back.
    """

    def __init__(self, kafka: Mapping[str, Any], dead_letter_topic: str) -> None:
        self._id = f"{dead_letter_topic}.replay"
        try:
            properties = replaying_properties(kafka, dead_letter_topic)
            self._producer = Producer({**properties, "error_cb": lambda _error: None, "log_level": 0})
            self._patiently(self._producer.init_transactions)
        except KafkaException as exception:
            self._refuse(exception.args[0])
        self._is_open = False
        self._stumbles = 0  # how often it may still stumble over its last refusal

    def close(self) -> None:
        """Take back what is not committed."""
        if self._is_open:
            try:
                self._producer.abort_transaction(_CALL_S)
            except KafkaException:
                self._producer.purge()  # Kafka takes it back by itself, after its time-out

    def write(
        self,
        place: TopicPartition,
        records: Sequence[tuple[KafkaRecord, Sequence[Header]]],
        marks: Sequence[tuple[TopicPartition, Sequence[Header]]],
    ) -> list[int]:
        """Begin a transaction and write; returns the records' offsets once Kafka has acknowledged all.

        Raises:
            Untaken: Because of what they are. Nothing is open any more.
            KafkaRefused: For any other reason.
        """
        while True:
            offsets, errors = self._attempt(place, records, marks)
            if not errors:
                return offsets
            cause = min(errors, key=_weight)
            if cause.code() in _OF_THE_RECORD:
                self.abort()
                self._stumbles = _STUMBLES_MAX
                raise Untaken
            if cause.code() in _STUMBLED:
                self.abort()  # which fails if there is more to it
                self._stumbles -= 1
                if self._stumbles >= 0:
                    continue
            self._refuse(cause, place)

    def _attempt(
        self,
        place: TopicPartition,
        records: Sequence[tuple[KafkaRecord, Sequence[Header]]],
        marks: Sequence[tuple[TopicPartition, Sequence[Header]]],
    ) -> tuple[list[int], list[KafkaError]]:
        """The records' offsets, or what was said against them."""
        offsets: list[int] = []
        errors: list[KafkaError] = []

        def delivered(error: KafkaError | None, message: Message) -> None:
            if error is not None:
                errors.append(error)
            else:
                offsets.append(message.offset() or 0)

        def marked(error: KafkaError | None, _message: Message) -> None:
            if error is not None:
                errors.append(error)

        producer = self._producer
        try:
            producer.begin_transaction()
            self._is_open = True
            for record, headers in records:
                producer.produce(
                    place.topic,
                    value=record.value(),
                    key=record.key(),
                    headers=list(headers),
                    partition=place.partition,
                    on_delivery=delivered,
                )
            for home, headers in marks:
                producer.produce(
                    home.topic, value=None, headers=list(headers), partition=home.partition, on_delivery=marked
                )
            if producer.flush(_CALL_S) and not errors:
                raise KafkaRefused(f"{place}: Kafka does not acknowledge within {_CALL_S:.0f} s: check the brokers")
        except (KafkaException, SystemError) as exception:
            errors.append(_error_of(exception))
        return offsets, errors

    def abort(self) -> None:
        """Nothing of the open transaction will ever have been.

        Raises:
            KafkaRefused: No answer; Kafka does it by itself after the transaction's time-out.
        """
        try:
            self._patiently(self._producer.abort_transaction)
        except KafkaException as exception:
            self._refuse(exception.args[0])
        self._is_open = False

    def commit(self) -> None:
        """All of the open transaction is there from now on.

        Raises:
            KafkaRefused: It is not, or that is not known. The next run knows by the marks.
        """
        try:
            self._patiently(self._producer.commit_transaction)
        except KafkaException as exception:
            self._refuse(exception.args[0])
        self._is_open = False

    def _patiently(self, call: Any) -> None:
        """A call that may be made again after a time-out: it goes on where it was."""
        give_up_at = time.monotonic() + _SILENCE_S
        while True:
            try:
                call(_CALL_S)
            except (KafkaException, SystemError) as exception:
                error = _error_of(exception)
                if not error.retriable() or time.monotonic() > give_up_at:
                    raise KafkaException(error) from None
            else:
                return

    def _refuse(self, error: KafkaError, place: TopicPartition | None = None) -> NoReturn:
        if error.code() in _FENCED:
            raise KafkaRefused(
                "another replay of this dead-letter topic has begun and goes on alone: run this again when it has ended"
            )
        if error.code() == KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED:
            raise KafkaRefused(f"kafka: allow this user to write with the transactional id {self._id}")
        _refuse("kafka" if place is None else str(place), error)


def _weight(error: KafkaError) -> int:
    """Of several errors the least is the cause, and the others are what came of it."""
    code = error.code()
    return 0 if code in _FENCED else 1 if code in _OF_THE_RECORD else 3 if code in _STUMBLED else 2


def _error_of(exception: BaseException) -> KafkaError:
    """Kafka's word.

    Where a fatal error meets delivery reports in one call, the client wraps its own exception in a `SystemError`
    (confluent-kafka 2.16).
    """
    if isinstance(exception, SystemError):
        if not isinstance(exception.__cause__, KafkaException):
            raise exception
        exception = exception.__cause__
    error: KafkaError = exception.args[0]
    return error


def _refuse(what: str, error: KafkaError) -> NoReturn:
    match error.code():
        case KafkaError.TOPIC_AUTHORIZATION_FAILED:
            why = f"{said(error)}: allow this user to read and write the topic, and to write the dead-letter topic"
        case KafkaError._INVALID_ARG:  # noqa: SLF001
            why = f"{said(error)}: a property of the section kafka is not understood"
        case _:
            why = refusal(error)
    raise KafkaRefused(f"{what}: {why}") from None
