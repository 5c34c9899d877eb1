"""Kafka as the simulation needs it: logs, one consumer group, commits with metadata, a dead-letter topic.

Every member sees the protocol of `ports.Source`. Rebalances are cooperative: a partition reaches its new owner only
after its old one has handed over, was found dead, or let the deadline pass. Offsets have holes, as transactions leave.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random

from connector.offset_map import FIRST_METADATA
from connector.ports import (
    Assigned,
    Chunk,
    Clock,
    Commit,
    CommitRefused,
    Lost,
    PartitionCounts,
    Revoked,
    SourceEnded,
    SourceEvent,
    StayStart,
)
from connector.records import Assignment, KafkaRecord, TopicPartition

_POLL_S = 0.01
_POLL_RECORDS = 50


class SimulatedRecord:
    """One record in a log."""

    __slots__ = ("_epoch", "_key", "_offset", "_timestamp_ms", "_value", "_where")

    def __init__(  # what a record is
        self, where: TopicPartition, offset: int, key: bytes, value: bytes | None, timestamp_ms: int, epoch: int = 0
    ) -> None:
        self._where = where
        self._offset = offset
        self._key = key
        self._value = value
        self._timestamp_ms = timestamp_ms
        self._epoch = epoch

    def topic(self) -> str:
        """Its topic."""
        return self._where.topic

    def partition(self) -> int:
        """Its partition."""
        return self._where.partition

    def offset(self) -> int:
        """Its offset."""
        return self._offset

    def key(self) -> bytes:
        """Its key."""
        return self._key

    def value(self) -> bytes | None:
        """Its value."""
        return self._value

    def headers(self) -> list[tuple[str, bytes | None]] | None:
        """None."""
        return None

    def timestamp(self) -> tuple[int, int]:
        """When it was written."""
        return 1, self._timestamp_ms

    def leader_epoch(self) -> int:
        """Under which leader it was written."""
        return self._epoch


@dataclass(slots=True)
class Log:
    """One partition.

    Attributes:
        records: By ascending offset, with holes.
        end: One past the last offset.
        epoch: How many leaders there were before this one.
        committed: What the group committed, and the text beside it; None: never.
        history: Every acknowledged commit with its time, for the checker.
    """

    records: list[SimulatedRecord] = field(default_factory=list)
    end: int = 0
    epoch: int = 0
    committed: tuple[int, str] | None = None
    history: list[tuple[float, int, str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class GroupFaults:
    """How unreliable the coordinator is.

    Attributes:
        commit_delay_s: Least and greatest time to an answer.
        commit_refusal: Probability of a refusal.
        last_commit_refusal: The same of the commit that a leaving partition's owner makes.
        session_timeout_s: When a dead member is noticed.
        revoke_deadline_s: What a member is given to drain.
    """

    commit_delay_s: tuple[float, float] = (0.001, 0.02)
    commit_refusal: float = 0.0
    last_commit_refusal: float = 0.0
    session_timeout_s: float = 10.0
    revoke_deadline_s: float = 5.0


class SimulatedSource:
    """One member of the group, as its pipeline sees it."""

    def __init__(self, group: Group, name: str, bound: int) -> None:
        self._group = group
        self.name = name
        self._bound = bound
        self._listener: Callable[[SourceEvent], None] | None = None
        self._held = False
        self._held_back: frozenset[Assignment] = frozenset()
        self._alive = True
        self._pump: asyncio.Task[None] | None = None
        self._news = asyncio.Event()
        self._positions: dict[TopicPartition, int] = {}
        self.stays: dict[TopicPartition, Assignment] = {}
        self.outstanding: dict[Assignment, int] = {}
        self.outstanding_max = 0

    # ---- ports.Source ----

    def start(self, listener: Callable[[SourceEvent], None]) -> None:
        """Join the group."""
        self._listener = listener
        self._pump = asyncio.get_running_loop().create_task(self._consume())
        self.tell(PartitionCounts(self._group.counts()))
        self._group.join(self)

    async def commit(self, commits: Sequence[Commit]) -> Sequence[Commit]:
        """Commit what is still this member's."""
        return await self._group.commit(self, commits)

    def release(self, stay: Assignment, records: int, size_bytes: int) -> None:  # noqa: ARG002  # the port's signature
        """Room for as much again."""
        if stay in self.outstanding:
            self.outstanding[stay] -= records
            self.wake()

    def hold(self, *, held: bool) -> None:
        """Stop or go on fetching."""
        self._held = held
        self.wake()

    def hold_back(self, stays: frozenset[Assignment]) -> None:
        """Fetch nothing more of these, until they are named no more."""
        if stays != self._held_back:
            self._held_back = stays
            self.wake()

    async def close(self) -> None:
        """Leave the group."""
        await self._group.leave(self)
        self.die()
        self.tell_even_dead(SourceEnded(0, ""))

    # ---- the group's side ----

    @property
    def is_alive(self) -> bool:
        """Whether the process exists."""
        return self._alive

    def die(self) -> None:
        """The process is gone: nothing is told, fetched or committed any more."""
        self._alive = False
        if self._pump is not None:
            self._pump.cancel()

    def tell(self, event: SourceEvent) -> None:
        """Post one event, as the thread does."""
        if self._alive:
            self.tell_even_dead(event)

    def tell_even_dead(self, event: SourceEvent) -> None:
        """The last event of a member that has left."""
        if self._listener is not None:
            asyncio.get_running_loop().call_soon(self._listener, event)

    def assign(self, starts: Sequence[StayStart]) -> None:
        """Partitions have come."""
        for start in starts:
            self.stays[start.stay.name] = start.stay
            self._positions[start.stay.name] = start.offset
            self.outstanding[start.stay] = 0
        self.tell(Assigned(starts, self._group.boot()))
        self.wake()

    def stop_fetching(self, names: Sequence[TopicPartition]) -> None:
        """Partitions are leaving: nothing more of them is handed out."""
        for name in names:
            self._positions.pop(name, None)

    def unassign(self, names: Sequence[TopicPartition]) -> list[Assignment]:
        """Partitions are gone."""
        gone = [self.stays.pop(name) for name in names if name in self.stays]
        for stay in gone:
            self._positions.pop(stay.name, None)
            self.outstanding.pop(stay)
        self.wake()  # there is room for others now
        return gone

    async def _consume(self) -> None:
        """Poll every hundredth of a second; what would find nothing, or may take nothing, is not played out."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        while True:
            self._news.clear()
            if not self._poll():
                await self._news.wait()
            ticks = (loop.time() - began) // _POLL_S + 1
            await asyncio.sleep(began + ticks * _POLL_S - loop.time())

    def _poll(self) -> bool:
        """Hand out what there is; says whether there may be more at once."""
        used = sum(self.outstanding.values())
        self.outstanding_max = max(self.outstanding_max, used)
        if self._held or used >= self._bound:
            return False
        found = False
        for name, position in list(self._positions.items()):
            stay = self.stays[name]
            if stay in self._held_back:
                continue
            records = self._group.logs[name].records
            start = bisect_left(records, position, key=SimulatedRecord.offset)
            batch: list[KafkaRecord] = list(records[start : start + _POLL_RECORDS])
            if batch:
                found = True
                self._positions[name] = batch[-1].offset() + 1
                self.outstanding[stay] += len(batch)
                self.tell(Chunk(stay, batch))
        return found

    def wake(self) -> None:
        """Something may be there to be handed out."""
        self._news.set()


class Group:
    """The consumer group and its partitions.

    Args:
        partitions: Names of all of them.
        clock: Time.
        faults: How unreliable the coordinator is.
        rng: Chance.
    """

    def __init__(self, partitions: Sequence[TopicPartition], clock: Clock, faults: GroupFaults, rng: Random) -> None:
        self.logs: dict[TopicPartition, Log] = {name: Log() for name in partitions}
        self._clock = clock
        self._faults = faults
        self._rng = rng
        self._members: list[SimulatedSource] = []
        self._owners: dict[TopicPartition, SimulatedSource] = {}
        self._epochs = 0
        self._changing = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self.revokes_unfinished = 0

    def counts(self) -> dict[str, int]:
        """Partitions of each topic."""
        counts: dict[str, int] = {}
        for name in self.logs:
            counts[name.topic] = counts.get(name.topic, 0) + 1
        return counts

    def append(self, where: TopicPartition, key: bytes, value: bytes | None, hole: int) -> SimulatedRecord:
        """Write a record, after a hole of so many offsets."""
        log = self.logs[where]
        record = SimulatedRecord(where, log.end + hole, key, value, int(self._clock.at() * 1000), log.epoch)
        log.records.append(record)
        log.end = record.offset() + 1
        if where in self._owners:
            self._owners[where].wake()
        return record

    def boot(self) -> float:
        """Seconds since the machine was started."""
        return self._clock.boot()

    def owner(self, where: TopicPartition) -> SimulatedSource | None:
        """Who lives and has it."""
        owner = self._owners.get(where)
        return owner if owner is not None and owner.is_alive else None

    def truncate(self, where: TopicPartition) -> int:
        """A follower that had not got everything becomes the leader; returns the first offset that is lost.

        What is committed is not: then the offset is out of range, and the source halts. Nor anything under the eyes of
        an owner: a consumer is told of that, and halts, too.
        """
        log = self.logs[where]
        floor = log.committed[0] if log.committed is not None else 0
        least = min(floor, log.end)
        if self.owner(where) is not None:
            first = log.end
        else:
            first = least if self._rng.random() < 0.5 else self._rng.randint(least, log.end)
        log.records = [record for record in log.records if record.offset() < first]
        log.end = first
        log.epoch += 1
        return first

    async def close(self) -> None:
        """End what is still going on."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def join(self, member: SimulatedSource) -> None:
        """A process has started."""
        self._members.append(member)
        self._spawn_rebalance()

    async def leave(self, member: SimulatedSource) -> None:
        """A process leaves in good order."""
        if member in self._members:
            self._members.remove(member)
            await self.rebalance()

    def kill(self, member: SimulatedSource) -> None:
        """A process is gone without a word; the coordinator notices after the session time-out."""
        member.die()

        async def notice() -> None:
            await asyncio.sleep(self._faults.session_timeout_s)
            if member in self._members:
                self._members.remove(member)
            await self.rebalance()

        self._spawn(notice())

    def _spawn_rebalance(self) -> None:
        self._spawn(self.rebalance())

    def _spawn(self, work: object) -> None:
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work)  # type: ignore[arg-type]
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def rebalance(self) -> None:
        """Spread the partitions over the living, moving as chance has it."""
        async with self._changing:
            members = [member for member in self._members if member.is_alive]
            if not members:
                self._owners.clear()
                return
            wanted: dict[TopicPartition, SimulatedSource] = {}
            start = self._rng.randrange(len(members))
            for index, name in enumerate(self.logs):
                wanted[name] = members[(start + index) % len(members)]
            moving = [name for name, owner in self._owners.items() if wanted.get(name) is not owner]
            await asyncio.gather(
                *(
                    self._revoke(owner, [name for name in moving if self._owners[name] is owner])
                    for owner in {id(self._owners[name]): self._owners[name] for name in moving}.values()
                )
            )
            for name in moving:
                self._owners.pop(name, None)  # unless its owner lost it meanwhile
            for member in members:
                fresh = [name for name, owner in wanted.items() if owner is member and name not in self._owners]
                if fresh and member.is_alive:
                    member.assign([self._start(name, member) for name in fresh])

    def _start(self, name: TopicPartition, member: SimulatedSource) -> StayStart:
        self._owners[name] = member
        self._epochs += 1
        log = self.logs[name]
        if log.committed is None:
            # The first position is resolved and committed before a record is handed out.
            log.committed = (0, FIRST_METADATA)
            return StayStart(Assignment(name.topic, name.partition, self._epochs), 0, "")
        offset, metadata = log.committed
        return StayStart(Assignment(name.topic, name.partition, self._epochs), offset, metadata)

    async def _revoke(self, owner: SimulatedSource, names: list[TopicPartition]) -> None:
        stays = [owner.stays[name] for name in names if name in owner.stays]
        if not stays or not owner.is_alive:
            owner.unassign(names)
            return
        owner.stop_fetching(names)  # the thread that would fetch is inside the callback now
        handed: asyncio.Future[Sequence[Commit]] = asyncio.get_running_loop().create_future()

        def done(commits: Sequence[Commit]) -> None:
            if not handed.done():
                handed.set_result(commits)

        owner.tell(Revoked(stays, self._faults.revoke_deadline_s, done))
        try:
            async with asyncio.timeout(self._faults.revoke_deadline_s + 2):
                for commit in await handed:
                    if self._takes_last_commit(owner):
                        self._write(commit)
        except TimeoutError:
            self.revokes_unfinished += 1
        owner.unassign(names)

    def _takes_last_commit(self, owner: SimulatedSource) -> bool:
        refusal = self._faults.last_commit_refusal
        return owner.is_alive and not (refusal and self._rng.random() < refusal)

    def lose(self, member: SimulatedSource) -> None:
        """The member was away too long: its partitions are taken without a word from it."""
        gone = member.unassign(list(member.stays))
        for stay in gone:
            self._owners.pop(stay.name, None)
        if gone:
            member.tell(Lost(gone))
        self._spawn_rebalance()

    async def commit(self, member: SimulatedSource, commits: Sequence[Commit]) -> Sequence[Commit]:
        """Answer a commit, after a while, for partitions that are still the member's."""
        await asyncio.sleep(self._rng.uniform(*self._faults.commit_delay_s))
        if self._rng.random() < self._faults.commit_refusal:
            raise CommitRefused("ILLEGAL_GENERATION")
        acknowledged = [commit for commit in commits if member.stays.get(commit.stay.name) == commit.stay]
        for commit in acknowledged:
            self._write(commit)
        return acknowledged

    def _write(self, commit: Commit) -> None:
        log = self.logs[commit.stay.name]
        log.committed = (commit.next_offset, commit.metadata)
        log.history.append((self._clock.at(), commit.next_offset, commit.metadata))


class SimulatedDeadLetters:
    """The dead-letter topic: acknowledges after a while, refuses now and then."""

    def __init__(self, rng: Random, clock: Clock, refusal: float) -> None:
        self._rng = rng
        self._clock = clock
        self._refusal = refusal
        self.letters: list[tuple[TopicPartition, int, str, float]] = []

    async def write(
        self, record: KafkaRecord, headers: Sequence[tuple[str, bytes]], is_ours: Callable[[], bool]
    ) -> bool:
        """Write one letter, however often it takes."""
        while is_ours():
            await asyncio.sleep(self._rng.uniform(0.001, 0.03))
            if self._rng.random() >= self._refusal:
                break
            await asyncio.sleep(0.5)
        else:
            return False
        reason = dict(headers)["aiq.dlq.reason"].decode()
        where = TopicPartition(record.topic(), record.partition())
        self.letters.append((where, record.offset(), reason, self._clock.at()))
        return True
