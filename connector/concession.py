"""How much of our share we leave to others, as 429s teach: whoever else spends the quota does not tell us so.

Pure; `now` is monotonic seconds. A refusal makes us use a little less of what is ours, one soon after another much
less. From there we grow, a thousandth of the share a second, so that what another client leaves is found and a refusal
stays one in hundreds; the quicker the more Braze says is left of a window when it is at its fullest.
"""

from __future__ import annotations

from typing import Final

_AFTER_ONE: Final = 0.96
_AFTER_ANOTHER: Final = 0.75
_LEAST: Final = 0.05

_SOON_WINDOWS: Final = 1.5
"""A refusal so many windows after the last one: we are far above what is left, not just at its edge."""

_GROWS_PER_S: Final = 0.001

_FOLLOWS_PER_S: Final = 0.1
"""Of what is left. It is known a window or two late: more would overshoot."""

_KEPT: Final = 0.02
"""Of a window's requests left: too little to be worth a refusal."""


class Concession:
    """One pool's.

    Args:
        window_s: Length of its shortest window in seconds.
    """

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._part = 1.0
        self._grown_at = 0.0
        self._window_from = float("-inf")
        # Share of the quota left at the fullest: in this window so far, in the last one, in the one before.
        self._lowest = self._lowest_before = self._lowest_earlier = 0.0

    def __repr__(self) -> str:
        """State as text: `part=0.48`."""
        return f"part={self._part:.2f}"

    def part(self, now: float) -> float:
        """Of our share that we use, above 0 and at most 1."""
        if self._part < 1.0:
            # A window that has just begun tells nothing yet, and one in which a freeze has ended tells too much.
            left = min(self._lowest, self._lowest_before, self._lowest_earlier) - _KEPT
            rate = max(_GROWS_PER_S, _FOLLOWS_PER_S * left)
            self._part = min(1.0, self._part + rate * max(0.0, now - self._grown_at))
            self._grown_at = now
        return self._part

    def refused(self, now: float, free_since: float) -> None:
        """A 429, the first of those that come together; `free_since`: when the freeze of the last one ended."""
        soon = now - free_since < _SOON_WINDOWS * self._window_s
        self._part = max(_LEAST, self.part(now) * (_AFTER_ANOTHER if soon else _AFTER_ONE))
        self._grown_at = now
        self._lowest = self._lowest_before = self._lowest_earlier = 0.0

    def left(self, share: float, now: float) -> None:
        """What Braze says is left of the window for everybody, 0 to 1."""
        if now - self._window_from >= self._window_s:
            self._lowest_earlier = self._lowest_before
            self._lowest_before = self._lowest
            self._lowest = share
            self._window_from = now
        self._lowest = min(self._lowest, share)
