"""So many records a second: when the next ones may leave.

Pure; `now` is monotonic seconds. Time that passed unused is not made up for: a scan of ten minutes is not followed by
ten minutes' worth at once.
"""

from __future__ import annotations

from typing import Final

CHUNK_MAX: Final = 100
"""Records of one transaction: enough to be quick, few enough to hold readers of the partition up for milliseconds."""


class Pace:
    """A rate.

    Args:
        per_s: Records a second, more than 0; None: as fast as Kafka takes them.
    """

    def __init__(self, per_s: float | None) -> None:
        self._per_s = per_s
        self._free_at = float("-inf")

    @property
    def chunk(self) -> int:
        """How many may leave together: at most a second's worth, at least one."""
        return CHUNK_MAX if self._per_s is None else max(1, min(CHUNK_MAX, int(self._per_s)))

    def wait_s(self, now: float) -> float:
        """Seconds until the next may leave; 0: now."""
        return max(0.0, self._free_at - now)

    def took(self, count: int, now: float) -> None:
        """So many have left."""
        if self._per_s is not None:
            self._free_at = max(self._free_at, now) + count / self._per_s
