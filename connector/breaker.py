"""The dead-letter breaker: halts a topic of which too much is bad, instead of draining it into the dead letters.

Pure; `now` is monotonic seconds. One bad record is the record's fault; a thousand in a row are the mapping's, the
producer's or Braze's contract's, and somebody has to look. One breaker a topic. Once tripped it stays so for the life
of the process: what it holds back is not settled, and is consumed again by the next one.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """What the operator chose.

    Attributes:
        share: Bad records among all that came to an end, 0 to 1, from which on the topic halts. 1: never by share.
        records_min: Fewer ends than this within the window say nothing about a share.
        window_s: Over how long the share is taken.
        run: So many bad records with no good one in between halt the topic, too. 0: never by a run.
    """

    share: float = 0.5
    records_min: int = 1_000
    window_s: float = 60.0
    run: int = 1_000


_SLICES = 12
"""Slices of the window; the oldest leaves as a whole."""


class Breaker:
    """One topic's.

    Args:
        policy: When it trips.
    """

    def __init__(self, policy: BreakerPolicy) -> None:
        self._policy = policy
        self._slice_s = policy.window_s / _SLICES
        self._slices: deque[list[float]] = deque(maxlen=_SLICES)  # [number of the slice, good, bad]
        self._run = 0
        self.is_tripped = False

    def __repr__(self) -> str:
        """State as text: `run=3 good=10 bad=5`."""
        good, bad = self._totals()
        return f"run={self._run} good={good:.0f} bad={bad:.0f}{' tripped' if self.is_tripped else ''}"

    def good(self, records: int, now: float) -> None:
        """So many records were delivered."""
        self._run = 0
        self._slice(now)[1] += records

    def bad(self, now: float) -> bool:
        """One record is bad; whether it may go to the dead letters. False: the topic halts, and nothing more does."""
        if self.is_tripped:
            return False
        policy = self._policy
        self._run += 1
        self._slice(now)[2] += 1
        good, bad = self._totals()
        by_share = policy.share < 1 and good + bad >= policy.records_min and bad > policy.share * (good + bad)
        self.is_tripped = by_share or 0 < policy.run < self._run
        return not self.is_tripped

    def _slice(self, now: float) -> list[float]:
        number = now // self._slice_s
        while self._slices and self._slices[0][0] <= number - _SLICES:
            self._slices.popleft()
        if not self._slices or self._slices[-1][0] != number:
            self._slices.append([number, 0, 0])
        return self._slices[-1]

    def _totals(self) -> tuple[float, float]:
        return sum(each[1] for each in self._slices), sum(each[2] for each in self._slices)
