"""What Kafka has handed over and nobody has looked at yet: a campaign never waits behind a backlog of audiences.

Pure. A topic holds one kind, so the order of a partition is the order of its queue. Chunks of a stay that may not begin
yet are set aside, and come back in front.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator, Mapping
from itertools import chain

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
        self._aside: dict[Assignment, list[Chunk]] = {}

    def __bool__(self) -> bool:
        """Whether there is a next one; what is set aside does not count."""
        return any(self._queues.values())

    def __iter__(self) -> Iterator[Chunk]:
        """All chunks, also those that are set aside."""
        yield from chain(*self._queues.values(), *self._aside.values())

    def add(self, chunk: Chunk) -> None:
        """Behind all of its kind."""
        self._queue_of(chunk).append(chunk)

    @property
    def aside(self) -> tuple[Assignment, ...]:
        """Stays of which something is set aside."""
        return tuple(self._aside)

    def set_aside(self, chunk: Chunk) -> None:
        """Its stay may not begin yet; behind those of it that wait already."""
        self._aside.setdefault(chunk.stay, []).append(chunk)

    def first_aside(self, stay: Assignment) -> Chunk:
        """The first that is set aside of a stay.

        Raises:
            KeyError: Nothing is.
        """
        return self._aside[stay][0]

    def bring_back(self, stay: Assignment) -> None:
        """The stay may begin: what was set aside of it stands in front of all of its kind, in its order."""
        for chunk in reversed(self._aside.pop(stay)):
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
        for stay in stays:
            self._aside.pop(stay, None)

    def endpoints(self) -> frozenset[Endpoint]:
        """Where something of this will go.

        What is set aside comes as soon as something else has left, and is worth a batch's waiting for it. Triggers do
        not wait for company that long.
        """
        found = {endpoint for endpoint, queue in self._queues.items() if queue}
        if any(self._endpoint_of(stay) is Endpoint.TRACK for stay in self._aside):
            found.add(Endpoint.TRACK)
        return frozenset(found)

    def _queue_of(self, chunk: Chunk) -> deque[Chunk]:
        return self._queues[self._endpoint_of(chunk.stay)]

    def _endpoint_of(self, stay: Assignment) -> Endpoint:
        return Endpoint.TRIGGER if self._kinds[stay.topic] is Kind.CAMPAIGN else Endpoint.TRACK
