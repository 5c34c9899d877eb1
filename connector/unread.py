"""Records whose writer schema is not known yet: their topic waits for the registry, and only their topic.

Asynchronous, without I/O of its own. A schema that cannot be had, or cannot become ours, is nobody's fault but the
registry's or the configuration's: it is said, and asked for again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Coroutine, Mapping
from typing import Any

from connector.mapping import MappingInvalid
from connector.ports import Chunk, SchemaLookup, SchemaUnknown, Trouble
from connector.records import Assignment
from connector.schema import SchemaInvalid, SchemaUnmappable, WriterSchema
from connector.telemetry import Telemetry
from connector.translation import Translator
from connector.troubles import Troubles


class Unread:
    """Chunks by topic, in order.

    Args:
        schemas: The registry; None: every topic's schema is known from the start.
        translators: One a topic.
        retry_s: How often a schema is asked for again.
        resume: Called with each chunk when the schema is there that its first record needs.
        spawn: Starts a task that the pipeline looks after.
        telemetry: Metrics and log.
        troubles: Told while a topic waits for somebody to mend something.
    """

    def __init__(
        self,
        schemas: SchemaLookup | None,
        translators: Mapping[str, Translator],
        retry_s: float,
        resume: Callable[[Chunk], None],
        spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
        telemetry: Telemetry,
        troubles: Troubles,
    ) -> None:
        self._schemas = schemas
        self._translators = translators
        self._retry_s = retry_s
        self._resume = resume
        self._spawn = spawn
        self._telemetry = telemetry
        self._troubles = troubles
        self._chunks: dict[str, deque[Chunk]] = {}  # none of them empty
        self._askers: dict[str, asyncio.Task[None]] = {}

    def __contains__(self, topic: str) -> bool:
        """Whether records of the topic wait: whatever comes after them must wait, too."""
        return topic in self._chunks

    def add(self, chunk: Chunk) -> None:
        """Behind those of its topic that wait."""
        self._chunks.setdefault(chunk.stay.topic, deque()).append(chunk)

    def learn(self, chunk: Chunk, schema_id: int) -> None:
        """Its first record needs this schema: get it, and resume the topic with the chunk.

        Where the topic is being asked for already, what the chunk needs is looked at when its turn comes.
        """
        self.add(chunk)
        topic = chunk.stay.topic
        if self._schemas is not None and topic not in self._askers:
            self._askers[topic] = self._spawn(self._learn(self._schemas, self._translators[topic], schema_id))

    def drop(self, stays: Collection[Assignment]) -> None:
        """Forget what is of these stays; what waited only behind that goes on."""
        for topic, waiting in list(self._chunks.items()):
            self._chunks[topic] = deque(chunk for chunk in waiting if chunk.stay not in stays)
            if waiting[0].stay in stays:  # it is for the first one's sake that the topic waits
                if topic in self._askers:
                    self._askers[topic].cancel()
                self._go_on(topic)

    async def _learn(self, schemas: SchemaLookup, translator: Translator, schema_id: int) -> None:
        topic = translator.topic
        while True:
            try:
                text = await schemas.fetch(schema_id)
                translator.learn(WriterSchema(text), schema_id)
                break
            except (SchemaUnknown, SchemaInvalid, SchemaUnmappable, MappingInvalid) as error:
                self._troubles.begin(Trouble(_reason(topic), f"topic {topic}, schema id {schema_id}: {error}"))
                await asyncio.sleep(self._retry_s)
        self._telemetry.gauge("schema_cache_entries", sum(each.schemas for each in self._translators.values()))
        self._go_on(topic)

    def _go_on(self, topic: str) -> None:
        """Nothing is asked for any more: resume what waits, up to the first that is missing another schema."""
        self._askers.pop(topic, None)
        self._troubles.end(_reason(topic))
        for chunk in self._chunks.pop(topic, ()):
            if topic in self:
                self.add(chunk)
            else:
                self._resume(chunk)


def _reason(topic: str) -> str:
    return f"schema:{topic}"
