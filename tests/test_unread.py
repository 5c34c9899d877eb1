"""Chunks that wait for a schema, with a registry that answers as a test wants it to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import Any

from connector.ports import Chunk, SchemaUnknown
from connector.records import Assignment
from connector.settings import PACKAGED_SCHEMAS
from connector.simulation.virtual_time import VirtualLoop, run_virtually
from connector.telemetry import Telemetry
from connector.troubles import Troubles
from connector.unread import Unread
from tests.sent_objects import AUDIENCES, EVENTS, Consumed

RETRY_S = 30.0
OTHER = Assignment("events", 1, 1)


class Registry:
    """Has no schema until `there_at` (seconds on the loop's clock)."""

    def __init__(self, there_at: float = 0.0) -> None:
        self._there_at = there_at
        self.asked: list[tuple[int, float]] = []

    async def fetch(self, schema_id: int) -> str:
        now = asyncio.get_running_loop().time()
        self.asked.append((schema_id, now))
        if now < self._there_at:
            raise SchemaUnknown("no schema of that id")
        return (PACKAGED_SCHEMAS / "ProfileEvent.avsc").read_text(encoding="utf-8")


class Room:
    """An `Unread` with what stands around it; `first` runs when the first chunk is resumed."""

    def __init__(self, registry: Registry | None, first: Callable[[Chunk], None] | None = None) -> None:
        self.telemetry = Telemetry(output=None)
        self.troubles = Troubles(self.telemetry, lambda: None)
        self.resumed: list[Chunk] = []
        self.learnt: list[int] = []
        self.tasks: list[asyncio.Task[None]] = []
        self._first = first
        translators: dict[str, Any] = {
            topic: SimpleNamespace(topic=topic, schemas=2, learn=lambda _, schema_id: self.learnt.append(schema_id))
            for topic in ("audiences", "events")
        }
        self.unread = Unread(registry, translators, RETRY_S, self._resume, self._spawn, self.telemetry, self.troubles)

    def _resume(self, chunk: Chunk) -> None:
        self.resumed.append(chunk)
        if self._first is not None:
            first, self._first = self._first, None
            first(chunk)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self.tasks.append(asyncio.get_running_loop().create_task(work))

    async def settled(self) -> None:
        while any(not task.done() for task in self.tasks):
            await asyncio.gather(*self.tasks)


def chunk(stay: Assignment, offset: int) -> Chunk:
    return Chunk(stay, [Consumed(stay, offset)])


def test_a_topic_s_chunks_are_resumed_in_their_order_when_the_schema_is_there() -> None:
    room, chunks = Room(Registry()), [chunk(EVENTS, 1), chunk(OTHER, 1), chunk(EVENTS, 2)]

    async def play() -> None:
        room.unread.learn(chunks[0], 7)
        for each in chunks[1:]:
            room.unread.add(each)
        assert "events" in room.unread
        assert "audiences" not in room.unread
        await room.settled()

    run_virtually(VirtualLoop(), play())

    assert room.learnt == [7]
    assert room.resumed == chunks
    assert "events" not in room.unread
    assert room.telemetry.value("schema_cache_entries") == 4


def test_a_schema_that_is_not_there_is_asked_for_again_and_said_meanwhile() -> None:
    registry = Registry(there_at=70.0)
    room = Room(registry)

    async def play() -> None:
        room.unread.learn(chunk(EVENTS, 1), 7)
        await asyncio.sleep(1)
        assert room.troubles.present["schema:events"].detail == "topic events, schema id 7: no schema of that id"
        await room.settled()

    run_virtually(VirtualLoop(), play())

    assert registry.asked == [(7, 0.0), (7, RETRY_S), (7, 2 * RETRY_S), (7, 3 * RETRY_S)]
    assert "schema:events" not in room.troubles
    assert len(room.resumed) == 1


def test_what_comes_after_a_chunk_that_lacks_another_schema_waits_behind_it() -> None:
    registry = Registry()
    room = Room(registry, first=lambda each: room.unread.learn(each, 8))
    chunks = [chunk(EVENTS, 1), chunk(EVENTS, 2)]

    async def play() -> None:
        room.unread.learn(chunks[0], 7)
        room.unread.add(chunks[1])
        await room.settled()

    run_virtually(VirtualLoop(), play())

    assert [schema_id for schema_id, _ in registry.asked] == [7, 8]
    assert room.resumed == [chunks[0], *chunks]


def test_what_has_left_is_not_resumed() -> None:
    room = Room(Registry())

    async def play() -> None:
        room.unread.learn(chunk(EVENTS, 1), 7)
        room.unread.add(chunk(OTHER, 1))
        room.unread.drop({EVENTS, AUDIENCES})
        await room.settled()

    run_virtually(VirtualLoop(), play())

    assert [each.stay for each in room.resumed] == [OTHER]


def test_without_a_registry_nobody_is_asked() -> None:
    room = Room(None)

    async def play() -> None:
        room.unread.learn(chunk(EVENTS, 1), 7)

    run_virtually(VirtualLoop(), play())

    assert room.tasks == []
    assert "events" in room.unread
