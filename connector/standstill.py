"""A Kafka thread that stands although Kafka answers: its client has forgotten a call, and only a new process helps.

An edge. Once in some hundred freezes of a broker librdkafka (2.16.0) never answers the commit that was on its way:
a synchronous call then has no end, and the binding lets no other call on that consumer in, not even its closing. While
the coordinator is away the same call stands as it should, so it is asked by a client of our own whether it is.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from confluent_kafka import Consumer, KafkaException, TopicPartition

from connector.kafka_log import unheard
from connector.kafka_properties import reading_properties

STANDS_S: Final = 30.0
"""No call that comes to an end takes so long where the coordinator answers."""

_AGAIN_S: Final = 15.0
"""A coordinator that has come back may be known to a new client before the old one asks again (up to ten seconds)."""

_LOOK_S: Final = 5.0
_CALL_S: Final = 5.0


async def until_it_stands(kafka: Mapping[str, Any], topic: str, ticked_at: Callable[[], float]) -> None:
    """Return when the thread has stood for long, and the group's coordinator answers others, and goes on to.

    Args:
        kafka: The operator's librdkafka properties.
        topic: One that is read.
        ticked_at: When the thread had its last turn, monotonic seconds; 0.0 before its first.
    """
    answers_since: float | None = None
    while True:
        await asyncio.sleep(_LOOK_S)
        ticked = ticked_at()
        if not ticked or time.monotonic() - ticked < STANDS_S or not await asyncio.to_thread(_answers, kafka, topic):
            answers_since = None
        elif answers_since is None:
            answers_since = time.monotonic()
        elif time.monotonic() - answers_since > _AGAIN_S:
            return


def _answers(kafka: Mapping[str, Any], topic: str) -> bool:
    """Whether the coordinator tells what the group has committed; asked by a client that joins nothing."""
    try:
        asking = Consumer({**reading_properties(kafka), **unheard()})
    except KafkaException:  # no file handle or thread left, say: then this process knows nothing of the coordinator
        return False
    try:
        asking.committed([TopicPartition(topic, 0)], timeout=_CALL_S)
    except KafkaException:
        return False
    else:
        return True
    finally:
        asking.close()
