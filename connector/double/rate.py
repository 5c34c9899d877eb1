"""Braze's rate limits: continuous buckets and windows fixed to the clock, and the headers that tell of them.

Pure. A bucket admits at most `requests + requests / per_s * t` requests in any `t` seconds, a clock window at most
`requests` in each of its windows. A request that one window refuses takes nothing from the others.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple, Protocol

from connector.double.settings import HeaderStyle, RatePool, RateWindow

_NEARLY: Final = 1e-9
"""Tokens are sums of floats: a billionth short of one is one."""


class Admission(NamedTuple):
    """Whether a request is let in, and the rate headers of its reply."""

    is_admitted: bool
    headers: dict[str, str]


class _Window(Protocol):
    def advance(self, now: float, at: float) -> None: ...
    def take(self) -> None: ...
    def remaining(self) -> int: ...
    def wait_s(self) -> float: ...
    def reset_s(self) -> float: ...


class _Bucket:
    """Tokens that return continuously; another client drinks from the same bucket."""

    def __init__(self, window: RateWindow, others_per_s: float) -> None:
        self._size = float(window.requests)
        self._gain_per_s = window.requests / window.per_s - others_per_s
        self._per_s = window.per_s
        self._tokens = self._size
        self._now: float | None = None

    def advance(self, now: float, at: float) -> None:  # noqa: ARG002  # a bucket goes by the monotonic clock alone
        elapsed = 0.0 if self._now is None else max(0.0, now - self._now)
        self._now = now if self._now is None else max(now, self._now)
        self._tokens = min(self._size, max(0.0, self._tokens + elapsed * self._gain_per_s))

    def take(self) -> None:
        self._tokens = max(0.0, self._tokens - 1)

    def remaining(self) -> int:
        return int(self._tokens + _NEARLY)

    def wait_s(self) -> float:
        if self._tokens >= 1 - _NEARLY:
            return 0.0
        # While the others take all that returns, nobody can say when; Braze would name its window.
        return (1 - self._tokens) / self._gain_per_s if self._gain_per_s > 0 else self._per_s

    def reset_s(self) -> float:
        return (self._size - self._tokens) / self._gain_per_s if self._gain_per_s > 0 else self._per_s


class _ClockWindow:
    """A count that starts anew at every multiple of its length on the wall clock."""

    def __init__(self, window: RateWindow, others_per_s: float) -> None:
        self._requests = window.requests
        self._per_s = window.per_s
        self._others_per_s = others_per_s
        self._used = 0.0
        self._index = -1
        self._at = 0.0

    def advance(self, now: float, at: float) -> None:  # noqa: ARG002  # a clock window goes by the wall clock alone
        index = math.floor(at / self._per_s)
        if index > self._index:  # never back: a clock that is set back must not grant a window twice
            self._index, self._used, self._at = index, 0.0, index * self._per_s
        self._used = min(self._requests, self._used + max(0.0, at - self._at) * self._others_per_s)
        self._at = max(at, self._at)

    def take(self) -> None:
        self._used += 1

    def remaining(self) -> int:
        return max(0, int(self._requests - self._used + _NEARLY))

    def wait_s(self) -> float:
        return 0.0 if self.remaining() else self.reset_s()

    def reset_s(self) -> float:
        return (self._index + 1) * self._per_s - self._at


class RateMeter:
    """Admits requests to one pool of endpoints."""

    def __init__(self, pool: RatePool, style: HeaderStyle, *, headers_on_429: bool) -> None:
        self._windows: list[_Window] = [
            _ClockWindow(window, pool.others_per_s) if window.kind == "clock" else _Bucket(window, pool.others_per_s)
            for window in pool.windows
        ]
        # Where burst and hourly limits stand side by side Braze's headers describe the hourly one.
        longest = max(range(len(pool.windows)), key=lambda n: pool.windows[n].per_s, default=None)
        self._told = None if longest is None else (pool.windows[longest].requests, self._windows[longest])
        self._style: HeaderStyle = style
        self._headers_on_429 = headers_on_429
        self.refusals = 0

    def admit(self, now: float, at: float) -> Admission:
        """Counts one request, if there is room for it in every window.

        Args:
            now: Monotonic seconds.
            at: Wall clock, seconds since the epoch.
        """
        wait_s = 0.0
        for window in self._windows:
            window.advance(now, at)
            wait_s = max(wait_s, window.wait_s())
        if wait_s > 0:
            self.refusals += 1
            if self._style == "classic" and not self._headers_on_429:
                return Admission(is_admitted=False, headers={})
            headers = refusal_headers("mau", wait_s, at) if self._style == "mau" else self._headers(at)
            return Admission(is_admitted=False, headers=headers)
        for window in self._windows:
            window.take()
        return Admission(is_admitted=True, headers=self._headers(at))

    def _headers(self, at: float) -> dict[str, str]:
        if self._told is None:
            return {}
        requests, window = self._told
        reset_s = window.reset_s()
        return {
            "x-ratelimit-limit": str(requests),
            "x-ratelimit-remaining": str(window.remaining()),
            "x-ratelimit-reset": str(math.ceil(at + reset_s if self._style == "classic" else reset_s)),
        }


def refusal_headers(style: HeaderStyle, wait_s: float, at: float) -> dict[str, str]:
    """Headers of a 429 that names its wait: whole seconds (`mau`), or the instant of the reset (`classic`)."""
    if style == "mau":
        return {"x-ratelimit-retry-after": str(max(1, math.ceil(wait_s)))}
    return {"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(math.ceil(at + wait_s))}
