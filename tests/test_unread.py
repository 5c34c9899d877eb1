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
THIRD = Assignment("events", 2, 1)


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

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.append(task)
        return task

    @property
    def asking(self) -> int:
        return sum(1 for task in self.tasks if not task.done())

    async def settled(self) -> None:
        while self.asking:
            await asyncio.gather(*self.tasks, return_exceptions=True)


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
    room = Room(Registry(there_at=1.0))

    async def play() -> None:
        room.unread.learn(chunk(EVENTS, 1), 7)
        room.unread.add(chunk(OTHER, 1))
        room.unread.drop({OTHER, AUDIENCES})
        await room.settled()

    run_virtually(VirtualLoop(), play())

    assert [each.stay for each in room.resumed] == [EVENTS]


def test_a_schema_that_only_what_has_left_needs_is_not_waited_for_any_more() -> None:
    registry = Registry(there_at=1e9)
    room = Room(registry)

    async def play() -> None:
        room.unread.learn(chunk(EVENTS, 1), 7)
        await asyncio.sleep(1)
        assert room.troubles.is_halted
        room.unread.drop({EVENTS})
        assert "events" not in room.unread
        assert not room.troubles.present
        await asyncio.sleep(0)
        assert room.asking == 0
        await asyncio.sleep(10 * RETRY_S)

    run_virtually(VirtualLoop(), play())

    assert registry.asked == [(7, 0.0)]
    assert room.resumed == []
    assert not room.troubles.present


def test_what_leaves_before_its_schema_was_asked_for_is_not_asked_for() -> None:
    registry = Registry(there_at=1e9)
    room = Room(registry)

    async def play() -> None:
        room.unread.learn(chunk(EVENTS, 1), 7)
        room.unread.drop({EVENTS})
        await room.settled()

    run_virtually(VirtualLoop(), play())

    assert registry.asked == []


def test_what_waited_only_behind_a_partition_that_has_left_goes_on_in_its_order() -> None:
    room = Room(Registry(there_at=1e9))
    behind = [chunk(OTHER, 1), chunk(THIRD, 1), chunk(OTHER, 2)]

    async def play() -> None:
        room.unread.learn(chunk(EVENTS, 1), 7)
        for each in [behind[0], chunk(EVENTS, 2), *behind[1:]]:
            room.unread.add(each)
        room.unread.drop({EVENTS})
        assert "events" not in room.unread
        await room.settled()

    run_virtually(VirtualLoop(), play())

    assert room.resumed == behind


def test_what_goes_on_and_lacks_the_schema_itself_asks_for_it_and_stays_in_front() -> None:
    registry = Registry(there_at=50.0)
    room = Room(registry, first=lambda each: room.unread.learn(each, 7))
    behind = [chunk(OTHER, 1), chunk(THIRD, 1)]

    async def play() -> None:
        room.unread.learn(chunk(EVENTS, 1), 7)
        for each in behind:
            room.unread.add(each)
        await asyncio.sleep(10)
        room.unread.drop({EVENTS})
        assert room.resumed == behind[:1]
        assert "events" in room.unread
        late = chunk(OTHER, 2)
        behind.append(late)
        room.unread.add(late)
        await asyncio.sleep(1)
        assert room.asking == 1
        assert room.troubles.is_halted
        await room.settled()

    run_virtually(VirtualLoop(), play())

    assert registry.asked == [(7, 0.0), (7, 10.0), (7, 40.0), (7, 70.0)]
    assert room.resumed == [behind[0], *behind]
    assert not room.troubles.present


def test_a_partition_that_comes_and_goes_leaves_nobody_behind_who_asks() -> None:
    room = Room(Registry(there_at=1e9))

    async def play() -> None:
        for epoch in range(50):
            stay = EVENTS._replace(epoch=epoch)
            room.unread.learn(chunk(stay, 1), 7)
            await asyncio.sleep(2 * RETRY_S)
            assert room.asking == 1
            room.unread.drop({stay})
        await room.settled()

    run_virtually(VirtualLoop(), play())

    assert not room.troubles.present


def test_while_a_topic_is_asked_for_one_schema_nobody_asks_for_another() -> None:
    registry = Registry(there_at=50.0)
    room = Room(registry)
    chunks = [chunk(EVENTS, 1), chunk(OTHER, 1)]

    async def play() -> None:
        room.unread.learn(chunks[0], 7)
        room.unread.learn(chunks[1], 8)
        await room.settled()

    run_virtually(VirtualLoop(), play())

    assert {schema_id for schema_id, _ in registry.asked} == {7}
    assert room.resumed == chunks
    assert not room.troubles.present


def test_without_a_registry_what_waits_behind_a_partition_that_has_left_goes_on_too() -> None:
    room = Room(None)

    async def play() -> None:
        room.unread.learn(chunk(EVENTS, 1), 7)
        room.unread.add(chunk(OTHER, 1))
        room.unread.drop({EVENTS})

    run_virtually(VirtualLoop(), play())

    assert [each.stay for each in room.resumed] == [OTHER]


def test_without_a_registry_nobody_is_asked() -> None:
    room = Room(None)

    async def play() -> None:
        room.unread.learn(chunk(EVENTS, 1), 7)

    run_virtually(VirtualLoop(), play())

    assert room.tasks == []
    assert "events" in room.unread
