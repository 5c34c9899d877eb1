"""The dead-letter topic: the original, byte for byte, with headers that say why. Settled on the broker's word only.

An edge. Whatever keeps the broker from taking a letter (the topic is missing, too small for it, not ours to write) is
waited for, loudly: the record stays open, its partition's offset stays where it is, nothing is dropped.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from itertools import chain, repeat
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, Producer

from connector.kafka_errors import said
from connector.kafka_properties import producer_properties
from connector.ports import Cured, Trouble
from connector.records import KafkaRecord, headers_of
from connector.sasl import PASSWORD, USER

REASON: Final = "dead_letters"

_SERVE_S: Final = 0.005
_AGAIN_S: Final = (0.5, 1.0, 2.0, 5.0, 10.0)


class DeadLetterTopic:
    """A producer that does not give up.

    Args:
        kafka: The operator's librdkafka properties.
        topic: Where letters go.
        tell: Gets troubles and their end.
        failed: Called at every letter that the broker did not take.
        logger: Gets librdkafka's own lines; None: they go to standard error.
    """

    def __init__(
        self,
        kafka: Mapping[str, Any],
        topic: str,
        tell: Callable[[Trouble | Cured], None],
        failed: Callable[[], None],
        logger: logging.Logger | None = None,
    ) -> None:
        self._properties = producer_properties(kafka) | ({} if logger is None else {"logger": logger})
        self._topic = topic
        self._tell = tell
        self._failed = failed
        self._producer: Producer | None = None
        self._waiting: dict[asyncio.Future[KafkaError | None], Producer] = {}
        self._failing = 0  # letters that were not taken at their last try
        self._serving: asyncio.Task[None] | None = None

    def close(self) -> None:
        """Let go of the brokers. What was not acknowledged is not settled, and is consumed again."""
        if self._serving is not None:
            self._serving.cancel()
        self._producer = None

    def log_in_as(self, user: str, password: str) -> None:
        """With the next login, of this producer and of those that are made after it."""
        self._properties |= {USER: user, PASSWORD: password}
        if self._producer is not None:
            self._producer.set_sasl_credentials(user, password)

    async def write(
        self, record: KafkaRecord, headers: Sequence[tuple[str, bytes]], is_ours: Callable[[], bool]
    ) -> bool:
        """Write one letter; returns when it is acknowledged, or False when its partition has left before it was."""
        if not is_ours():
            return False
        error = await self._produce(record, headers)
        if error is None:
            return True
        self._failing += 1
        try:
            for wait_s in chain(_AGAIN_S, repeat(_AGAIN_S[-1])):
                self._failed()
                self._tell(Trouble(REASON, f"{self._topic}: {said(error)}: {_remedy(error)}"))
                await asyncio.sleep(wait_s)
                if not is_ours():
                    break
                error = await self._produce(record, headers)
                if error is None:
                    break
        finally:
            self._failing -= 1
        if not self._failing:  # a letter that still waits has its say; where none does, the next one finds out
            self._tell(Cured(REASON))
        return error is None

    async def _produce(self, record: KafkaRecord, headers: Sequence[tuple[str, bytes]]) -> KafkaError | None:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[KafkaError | None] = loop.create_future()

        def delivered(error: KafkaError | None, _message: object) -> None:
            if not answer.done():
                answer.set_result(error)

        if self._producer is None:
            self._producer = Producer({**self._properties, "error_cb": lambda _error: None})
        producer = self._producer
        kind, timestamp = record.timestamp()
        try:
            producer.produce(
                self._topic,
                value=record.value(),
                key=record.key(),
                headers=[*_original(record), *headers],
                timestamp=timestamp if kind else 0,
                on_delivery=delivered,
            )
        except BufferError:
            return KafkaError(KafkaError._QUEUE_FULL)  # noqa: SLF001  # the library's own spelling
        except KafkaException as exception:
            error: KafkaError | None = exception.args[0]
        else:
            self._waiting[answer] = producer
            try:
                if self._serving is None or self._serving.done():
                    self._serving = loop.create_task(self._serve())
                error = await answer
            finally:
                del self._waiting[answer]
        if error is not None and _is_final(error):
            self._give_up(producer, error)
        return error

    def _give_up(self, producer: Producer, error: KafkaError) -> None:
        """An idempotent producer that lost its state is made anew; what it still holds is written by the next one."""
        if self._producer is producer:
            self._producer = None
        for answer, waited_for in self._waiting.items():
            if waited_for is producer and not answer.done():
                answer.set_result(error)

    async def _serve(self) -> None:
        """Call the producer's callbacks on this loop while somebody waits for one."""
        while self._waiting and self._producer is not None:
            self._producer.poll(0)
            await asyncio.sleep(_SERVE_S)


def _is_final(error: KafkaError) -> bool:
    """Whether the producer that said this takes nothing more."""
    return error.fatal() or error.code() == KafkaError._FATAL  # noqa: SLF001  # a later letter's way to say it


def _original(record: KafkaRecord) -> list[tuple[str, bytes | None]]:
    """The record's own headers, without those of an earlier life as a dead letter."""
    return [header for header in headers_of(record) if not header[0].startswith("aiq.dlq.")]


def _remedy(error: KafkaError) -> str:
    match error.code():
        case KafkaError.MSG_SIZE_TOO_LARGE:
            return (
                "the record plus its headers is too large for the dead-letter topic: raise its max.message.bytes"
                " (the source topic's plus 8 KiB), or the brokers' message.max.bytes"
            )
        case KafkaError.UNKNOWN_TOPIC_OR_PART | KafkaError._UNKNOWN_TOPIC:  # noqa: SLF001
            return "make the dead-letter topic; nothing is dropped meanwhile"
        case KafkaError.INVALID_TIMESTAMP:
            return (
                "a letter keeps its record's timestamp, and the dead-letter topic takes none so far from now: set its"
                " message.timestamp.type to LogAppendTime"
            )
        case KafkaError.INVALID_RECORD:
            return "the dead-letter topic is compacted and takes none without a key: set its cleanup.policy to delete"
        case KafkaError.TOPIC_AUTHORIZATION_FAILED:
            return "allow this user to write to the dead-letter topic"
        case _:
            return "it is tried again until it works; check the brokers"
