"""What the pipeline needs of the world, as protocols: Kafka, schemas, Braze, the dead-letter topic, time.

Types only. The real ones are `source`, `registry`, `braze_client`, `dead_letters` and `app.SystemClock`; the simulation
brings others and runs the same pipeline on them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from connector.braze import Endpoint
from connector.outcomes import Attempt, Outcome
from connector.records import Assignment, KafkaRecord, NextOffset
from connector.request import Request


class Clock(Protocol):
    """Four times: one that only grows, one that people read, one that also counts a suspended machine, and work."""

    def now(self) -> float:
        """Monotonic seconds."""
        ...

    def at(self) -> float:
        """Wall clock, seconds since the epoch."""
        ...

    def boot(self) -> float:
        """Seconds since boot, time in suspension included: by it a lease is measured."""
        ...

    def cpu(self) -> float:
        """Processor seconds that the calling thread has used: what work costs, whoever else has the machine."""
        ...


class Commit(NamedTuple):
    """One partition's commit: the only thing that ever moves an offset."""

    stay: Assignment
    next_offset: NextOffset
    metadata: str


# ---- what the source tells ------------------------------------------------------------------------------------------


class StayStart(NamedTuple):
    """A partition has come to us.

    Attributes:
        stay: The new stay.
        offset: The committed offset from which records follow.
        metadata: The text beside that offset, empty if there is none.
    """

    stay: Assignment
    offset: int
    metadata: str


@dataclass(frozen=True, slots=True)
class Assigned:
    """Partitions have come.

    Attributes:
        stays: Which.
        asked_at: When the coordinator was asked what it has confirmed, seconds since boot: it renews the lease, and may
            be heard late. None: it has confirmed nothing.
    """

    stays: Sequence[StayStart]
    asked_at: float | None


@dataclass(frozen=True, slots=True)
class Chunk:
    """Records of one stay, in order, at least one."""

    stay: Assignment
    records: list[KafkaRecord]


@dataclass(frozen=True, slots=True)
class Revoked:
    """Partitions are leaving: drain them, at most for `deadline_s`, then call `done` with their last commits."""

    stays: Sequence[Assignment]
    deadline_s: float
    done: Callable[[Sequence[Commit]], None]


@dataclass(frozen=True, slots=True)
class Lost:
    """Partitions are gone already: somebody else may be writing for them."""

    stays: Sequence[Assignment]


@dataclass(frozen=True, slots=True)
class PartitionCounts:
    """How many partitions each subscribed topic has, over the whole group. The base of the quota share."""

    counts: dict[str, int]


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something outside is wrong and is being waited for. Told once a change, not once a try.

    Attributes:
        reason: Bounded word, a metric's label.
        detail: What is wrong and what to do about it.
        halts: Somebody has to mend something (readiness turns false). False: an outage, which ends by itself.
    """

    reason: str
    detail: str
    halts: bool = True


@dataclass(frozen=True, slots=True)
class Cured:
    """The trouble of that reason is over."""

    reason: str


@dataclass(frozen=True, slots=True)
class Watermarks:
    """Where the partitions of this process begin and end at the broker."""

    low_high: dict[Assignment, tuple[int, int]]


@dataclass(frozen=True, slots=True)
class SourceEnded:
    """The source's thread has ended; with an exit code if that was not asked for."""

    exit_code: int
    detail: str


SourceEvent = Assigned | Chunk | Revoked | Lost | PartitionCounts | Trouble | Cured | Watermarks | SourceEnded


class CommitRefused(Exception):
    """The coordinator did not acknowledge a commit. It is tried again after the next poll."""


class Source(Protocol):
    """The Kafka consumer, seen from the event loop. Every event arrives on the loop's thread, in order."""

    def start(self, listener: Callable[[SourceEvent], None]) -> None:
        """Begin; `listener` gets every event."""
        ...

    async def commit(self, commits: Sequence[Commit]) -> Sequence[Commit]:
        """Commit and wait for the coordinator's word; returns those that were acknowledged.

        Raises:
            CommitRefused: None was.
        """
        ...

    def release(self, stay: Assignment, records: int, size_bytes: int) -> None:
        """So much of what was handed out is settled: room for as much again."""
        ...

    def hold(self, *, held: bool) -> None:
        """Stop (or go on) fetching, for all partitions."""
        ...

    def hold_back(self, stays: frozenset[Assignment]) -> None:
        """These take nothing new until they are named no more: their topic has halted."""
        ...

    async def close(self) -> None:
        """Leave the group; partitions still owned are revoked first."""
        ...


class Transport(Protocol):
    """One HTTP attempt at Braze."""

    async def attempt(self, endpoint: Endpoint, body: bytes, may_send: Callable[[], bool]) -> Attempt:
        """Send once.

        Args:
            endpoint: Where.
            body: JSON.
            may_send: Asked in the step that writes, which may come long after the call; False: nothing is written, and
                the attempt counts as not sent.
        """
        ...


class Span(Protocol):
    """One attempt that is traced."""

    def end(self, attempt: Attempt, outcome: Outcome | None) -> None:
        """The answer, and what it means."""
        ...


class Spans(Protocol):
    """Traces of the requests to Braze."""

    def begin(self, request: Request) -> Span:
        """A request is about to be sent (again)."""
        ...


class DeadLetters(Protocol):
    """The dead-letter topic."""

    async def write(
        self, record: KafkaRecord, headers: Sequence[tuple[str, bytes]], is_ours: Callable[[], bool]
    ) -> bool:
        """Write the original with more headers; returns once the broker has acknowledged it, however long it takes.

        Args:
            record: The original.
            headers: What is added to its own.
            is_ours: Asked in each step that writes; False: its next owner decides, and what is returned is False.
        """
        ...


class SchemaUnknown(LookupError):
    """The registry answered that it has no schema of that id."""


class SchemaLookup(Protocol):
    """Writer schemas by id."""

    async def fetch(self, schema_id: int) -> str:
        """The schema's JSON. Waits through an outage.

        Raises:
            SchemaUnknown: The registry has none.
        """
        ...
