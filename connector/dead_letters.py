"""The dead-letter topic: the original, byte for byte, with headers that say why. Settled on the broker's word only.

An edge. Whatever keeps the broker from taking a letter (the topic is missing, too small for it, not ours to write) is
waited for, loudly: the record stays open, its partition's offset stays where it is, nothing is dropped.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, Producer

from connector.kafka_properties import producer_properties
from connector.ports import Cured, Trouble
from connector.records import KafkaRecord

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
    """

    def __init__(
        self,
        kafka: Mapping[str, Any],
        topic: str,
        tell: Callable[[Trouble | Cured], None],
        failed: Callable[[], None],
    ) -> None:
        self._properties = producer_properties(kafka)
        self._topic = topic
        self._tell = tell
        self._failed = failed
        self._producer: Producer | None = None
        self._waiting = 0
        self._serving: asyncio.Task[None] | None = None

    def close(self) -> None:
        """Let go of the brokers. What was not acknowledged is not settled, and is consumed again."""
        if self._serving is not None:
            self._serving.cancel()
        self._producer = None

    async def write(self, record: KafkaRecord, headers: Sequence[tuple[str, bytes]]) -> None:
        """Write one letter; returns when it is acknowledged."""
        attempts = 0
        while True:
            error = await self._produce(record, headers)
            if error is None:
                if attempts:
                    self._tell(Cured(REASON))
                return
            self._failed()
            self._tell(Trouble(REASON, f"{self._topic}: Kafka says {error.name()}: {_remedy(error)}"))
            await asyncio.sleep(_AGAIN_S[min(attempts, len(_AGAIN_S) - 1)])
            attempts += 1
            if self._producer is not None and error.fatal():
                self._producer = None  # an idempotent producer that lost its state is made anew

    async def _produce(self, record: KafkaRecord, headers: Sequence[tuple[str, bytes]]) -> KafkaError | None:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[KafkaError | None] = loop.create_future()

        def delivered(error: KafkaError | None, _message: object) -> None:
            if not answer.done():
                answer.set_result(error)

        if self._producer is None:
            self._producer = Producer({**self._properties, "error_cb": lambda _error: None})
        kind, timestamp = record.timestamp()
        try:
            self._producer.produce(
                self._topic,
                value=record.value(),
                key=record.key(),
                headers=[*_original(record), *headers],
                timestamp=timestamp if kind else 0,
                on_delivery=delivered,
            )
        except BufferError:
            return KafkaError(KafkaError._QUEUE_FULL)  # noqa: SLF001  # the library's own spelling
        except KafkaException as error:
            reason: KafkaError = error.args[0]
            return reason
        self._waiting += 1
        try:
            if self._serving is None or self._serving.done():
                self._serving = loop.create_task(self._serve())
            return await answer
        finally:
            self._waiting -= 1

    async def _serve(self) -> None:
        """Call the producer's callbacks on this loop while somebody waits for one."""
        while self._waiting and self._producer is not None:
            self._producer.poll(0)
            await asyncio.sleep(_SERVE_S)


def _original(record: KafkaRecord) -> list[tuple[str, bytes | None]]:
    """The record's own headers, without those of an earlier life as a dead letter."""
    return [header for header in record.headers() or () if not header[0].startswith("aiq.dlq.")]


def _remedy(error: KafkaError) -> str:
    match error.code():
        case KafkaError.MSG_SIZE_TOO_LARGE:
            return (
                "the record plus its headers is too large for the dead-letter topic: raise its max.message.bytes"
                " (the source topic's plus 8 KiB), or the brokers' message.max.bytes"
            )
        case KafkaError.UNKNOWN_TOPIC_OR_PART | KafkaError._UNKNOWN_TOPIC:  # noqa: SLF001
            return "make the dead-letter topic; nothing is dropped meanwhile"
        case KafkaError.TOPIC_AUTHORIZATION_FAILED:
            return "allow this user to write to the dead-letter topic"
        case _:
            return "it is tried again until it works; check the brokers"
