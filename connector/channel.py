"""One endpoint's stream of requests: its quota, what is in hand, and whether Braze refuses us there.

Pure; `now` is monotonic seconds. `delivery` has two, and decides; a channel only keeps.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass

from connector.braze import Endpoint
from connector.limits import Pool
from connector.outcomes import Misconfigured
from connector.request import Request


@dataclass(slots=True)
class Halt:
    """An endpoint that refuses us: nothing leaves but one probe at a time.

    Attributes:
        why: Braze's refusal in our words, with the remedy.
        since: Monotonic seconds.
        probe_at: When it is asked again, unless something of it is on the wire: that is an answer to come.
    """

    why: Misconfigured
    since: float
    probe_at: float


class Channel:
    """One endpoint's stream of requests: its quota, what waits to be tried again, and whether it is halted."""

    def __init__(self, endpoint: Endpoint, pool: Pool, requests_max: int) -> None:
        self.endpoint = endpoint
        self.pool = pool
        self.requests_max = requests_max
        self.halt: Halt | None = None
        self.on_wire: set[Request] = set()
        self._again: list[tuple[float, int, Request]] = []
        self._number = 0
        self._paced = 0  # of these, looking for a culprit, and put off to a later minute
        self._waits_from = self._waits_until = float("-inf")  # for the quota, and for nothing else
        self._waited_s = 0.0

    @property
    def in_hand(self) -> int:
        """Requests on the wire or waiting to be tried again."""
        return len(self.on_wire) + len(self._again)

    @property
    def has_slot(self) -> bool:
        """Whether a new batch may be taken. Halves that wait for their minute keep nobody else waiting."""
        return self.in_hand - self._paced < self.requests_max

    def awaits_quota(self, due: float, allowed: float, now: float) -> None:
        """As seen now, something is ready from `due` on, and the quota keeps it until `allowed`."""
        self._count_wait(now)
        self._waits_from, self._waits_until = max(due, now), allowed

    def quota_wait_s(self, now: float) -> float:
        """Seconds for which something was ready and only the quota kept it, since this was last asked."""
        self._count_wait(now)
        waited, self._waited_s = self._waited_s, 0.0
        return waited

    def _count_wait(self, now: float) -> None:
        passed = min(now, self._waits_until) - self._waits_from
        if passed > 0:
            self._waited_s += passed
            self._waits_from = now

    def again(self, request: Request, due: float, *, is_paced: bool = False) -> None:
        """Send it (again) at `due`."""
        request.due = due
        request.is_paced = is_paced
        self._paced += is_paced
        self._number += 1
        heapq.heappush(self._again, (due, self._number, request))

    def again_due(self) -> float | None:
        """When the next request is to be tried again."""
        return self._again[0][0] if self._again else None

    def pop_again(self) -> Request:
        """The request that is due first."""
        request = heapq.heappop(self._again)[2]
        self._paced -= request.is_paced
        return request

    def waiting_again(self) -> list[Request]:
        """All that wait to be tried again, emptied: the caller puts back what stays."""
        waiting = [request for _, _, request in sorted(self._again, key=lambda entry: entry[:2])]
        self._again.clear()
        self._paced = 0
        return waiting
