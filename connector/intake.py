"""What Kafka has handed over and nobody has looked at yet: a campaign never waits behind a backlog of audiences.

Pure. A topic holds one kind, so the order of a partition is the order of its queue.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping

from connector.braze import Endpoint
from connector.ports import Chunk
from connector.records import Assignment, Kind


class Intake:
    """Chunks in the order in which they are to be translated.

    Args:
        kinds: What each topic holds.
    """

    def __init__(self, kinds: Mapping[str, Kind]) -> None:
        self._kinds = kinds
        self._queues: dict[Endpoint, deque[Chunk]] = {Endpoint.TRIGGER: deque(), Endpoint.TRACK: deque()}

    def __bool__(self) -> bool:
        return any(self._queues.values())

    def __iter__(self) -> Iterator[Chunk]:
        for queue in self._queues.values():
            yield from queue

    def add(self, chunk: Chunk) -> None:
        """Behind all of its kind."""
        self._queue_of(chunk).append(chunk)

    def put_back(self, chunks: Iterable[Chunk]) -> None:
        """In front of all of their kind, in their order. They are of one stay."""
        for chunk in reversed(list(chunks)):
            self._queue_of(chunk).appendleft(chunk)

    def pop(self) -> Chunk:
        """The next one.

        Raises:
            IndexError: There is none.
        """
        trigger, track = self._queues.values()
        return trigger.popleft() if trigger else track.popleft()

    def drop(self, stays: Collection[Assignment]) -> None:
        """Forget what is of these stays."""
        for endpoint, queue in self._queues.items():
            self._queues[endpoint] = deque(chunk for chunk in queue if chunk.stay not in stays)

    def endpoints(self) -> frozenset[Endpoint]:
        """Where something of this will go."""
        return frozenset(endpoint for endpoint, queue in self._queues.items() if queue)

    def _queue_of(self, chunk: Chunk) -> deque[Chunk]:
        kind = self._kinds[chunk.stay.topic]
        return self._queues[Endpoint.TRIGGER if kind is Kind.CAMPAIGN else Endpoint.TRACK]
