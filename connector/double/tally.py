"""What was asked of the double, in numbers.

Pure. Paths and statuses come from a closed set, so the counts cannot grow with what a client invents.
"""

from __future__ import annotations

from collections import Counter

from connector.double.exchange import DoubleReply, JsonObject


class Tally:
    """Requests by path and status, and how many objects each carried.

    Attributes:
        received: How many requests there were, on any path.
    """

    def __init__(self) -> None:
        self.received = 0
        self._statuses: dict[str, Counter[str]] = {}
        self._sizes: dict[str, Counter[int]] = {}

    def replied(self, path: str, reply: DoubleReply) -> None:
        """Counts one reply, or one reset connection (`dropped`)."""
        outcome = "dropped" if reply.connection == "drop" else str(reply.status)
        self._statuses.setdefault(path, Counter())[outcome] += 1

    def carried(self, path: str, objects: int) -> None:
        """Counts the objects of one request that was admitted and readable, whatever became of it."""
        self._sizes.setdefault(path, Counter())[objects] += 1

    def state(self) -> JsonObject:
        """The counts as JSON: `requests` by path and status, `objects_per_request` by path."""
        return {
            "requests": {path: dict(sorted(statuses.items())) for path, statuses in sorted(self._statuses.items())},
            "objects_per_request": {path: _spread(sizes) for path, sizes in sorted(self._sizes.items())},
        }


def _spread(sizes: Counter[int]) -> JsonObject:
    requests = sizes.total()
    objects = sum(size * count for size, count in sizes.items())
    return {
        "requests": requests,
        "objects": objects,
        "mean": objects / requests,
        "least": min(sizes),
        "greatest": max(sizes),
        "histogram": {str(size): count for size, count in sorted(sizes.items())},
    }
