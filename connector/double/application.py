"""What was accepted and is not applied yet: Braze answers first and writes later.

Pure. Every accepted request waits a random while; with reordering on, requests overtake each other. What one request
holds is applied in one go.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from connector.double.exchange import JsonObject
from connector.double.settings import DoubleSettings


@dataclass(slots=True)  # not frozen, which would double the cost of making one; nobody changes it
class Applied:
    """One object that took effect. `(request, array, index)` is its place among what was accepted.

    Attributes:
        sequence: From 1, without gaps, in the order of application.
        request: Number of the request that carried it.
        arrived_at: When that request arrived, wall clock.
        applied_at: When it took effect, wall clock.
        array: `attributes`, `events`, `purchases` or `recipients`.
        index: Its place in that array.
        user: Key of the profile it was applied to; for a recipient the key it was addressed by.
        object: As it was sent.
        campaign_id: For recipients, which campaign was sent.
        dispatch_id: For recipients, in which dispatch.
    """

    sequence: int
    request: int
    arrived_at: float
    applied_at: float
    array: str
    index: int
    user: str
    object: Any
    campaign_id: str | None = None
    dispatch_id: str | None = None

    def document(self) -> JsonObject:
        """As JSON: one line of the journal."""
        return {  # spelt out: twice as fast to make and to write as the dataclass itself
            "sequence": self.sequence,
            "request": self.request,
            "arrived_at": self.arrived_at,
            "applied_at": self.applied_at,
            "array": self.array,
            "index": self.index,
            "user": self.user,
            "object": self.object,
            "campaign_id": self.campaign_id,
            "dispatch_id": self.dispatch_id,
        }


class ApplyQueue:
    """Accepted requests in the order in which they will be applied."""

    def __init__(self, settings: DoubleSettings, rng: Random) -> None:
        self.settings = settings
        self._rng = rng
        self._heap: list[tuple[float, int, float, Callable[[float], None]]] = []
        self._scheduled = 0
        self._latest = 0.0

    def __len__(self) -> int:
        return len(self._heap)

    def schedule(self, now: float, at: float, apply: Callable[[float], None]) -> None:
        """Takes on a request's application.

        Args:
            now: Arrival, monotonic seconds.
            at: Arrival, wall clock.
            apply: Called once, with the wall clock's time of application.
        """
        due = now + self._delay_s()
        if not self.settings.reorder:
            due = max(due, self._latest)
        self._latest = due
        self._scheduled += 1
        heapq.heappush(self._heap, (due, self._scheduled, at + due - now, apply))

    def next_due(self) -> float | None:
        """When the next request is to be applied, monotonic seconds; None when nothing waits."""
        return self._heap[0][0] if self._heap else None

    def advance(self, now: float) -> None:
        """Applies all that is due."""
        while self._heap and self._heap[0][0] <= now:
            _, _, at, apply = heapq.heappop(self._heap)
            apply(at)

    def _delay_s(self) -> float:
        least, greatest = self.settings.apply_delay_s
        if self._rng.random() < self.settings.apply_tail_chance:
            return self._rng.uniform(greatest, max(greatest, self.settings.apply_tail_s))
        return self._rng.uniform(least, greatest)
