"""How fast one replica may ask Braze: the quota of a pool, cut to this replica's share of the partitions.

Pure: `now` is monotonic seconds, `at` wall-clock epoch seconds, both passed in. A `Pool` is a set of windows that share
one stream of requests (all of `/users/track`, or all triggers). Every request, first try or retry, takes one token from
every window of its pool.

Why shares: replicas own disjoint partitions, so share = own partitions / all partitions sums to one over the group
without any replica talking to another. What Braze reports (`X-RateLimit-Remaining`) is the truth for the whole
workspace and may only lower what we think is left.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from connector.concession import Concession

CLOCK_WINDOW_S_MIN: Final = 3_600.0
"""Windows this long or longer are aligned to the clock (page "Rate limits": hourly limits reset on the clock hour)."""

_BURST_SHARE: Final = 0.03
"""Of a sliding window's quota may leave in one burst; the pace is lowered by as much, so that burst + pace never pass
the limit in any window. 3 % is what the smoothness costs; more burst would cost more quota."""

_CLOCK_BURST_SHARE: Final = 0.10
"""Of a clock window's remaining quota may leave at once. The count bounds the window here, so burst costs nothing; it
only keeps one busy minute from spending the hour."""

_INHERITED_BURST_SHARE: Final = 0.0005
"""The same once a share has grown within the window: enough for a turn that comes late, two seconds of an hour."""

_LONGEST_WAIT_S: Final = 3_600.0
"""What a 429 may ask for: Braze has no longer window than the hour. It may be one that nobody configured here."""

_EPOCH_SMALLEST: Final = 1_000_000_000
"""A reset value above this is an epoch second, below it a delta: Braze documents both (pages disagree)."""


@dataclass(frozen=True, slots=True)
class Rate:
    """A limit of Braze's: so many requests in any (or any aligned) window of so many seconds."""

    requests: int
    per_s: float


@dataclass(frozen=True, slots=True)
class QuotaHeaders:
    """What a reply says of the quota; each None when absent or unreadable.

    Attributes:
        limit: Requests of the window that the headers describe.
        remaining: Requests left of it for the whole workspace (or company).
        reset_in_s: Seconds until it resets.
        retry_after_s: Seconds after which a 429 may be tried again.
    """

    limit: int | None = None
    remaining: int | None = None
    reset_in_s: float | None = None
    retry_after_s: float | None = None


def read_headers(headers: Mapping[str, str], at: float) -> QuotaHeaders:
    """Read Braze's rate headers; names are lower-case already (HTTP/2 sends them so)."""
    reset = _number(headers.get("x-ratelimit-reset"))
    if reset is not None and reset > _EPOCH_SMALLEST:
        reset = max(0.0, reset - at)
    retry = _number(headers.get("x-ratelimit-retry-after"))
    if retry is None:
        retry = _number(headers.get("retry-after"))  # never documented by Braze, honoured if a proxy adds it
    limit, remaining = _number(headers.get("x-ratelimit-limit")), _number(headers.get("x-ratelimit-remaining"))
    return QuotaHeaders(
        None if limit is None else int(limit),
        None if remaining is None else int(remaining),
        reset,
        retry,
    )


def _number(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 <= value < float("inf") else None


class SlidingWindow:
    """GCRA: at most `rate.requests` x share requests in any interval of `rate.per_s` seconds.

    Spacing T and burst b satisfy b + per_s / T <= requests x share; one float of state, and an exact waiting time.
    """

    def __init__(self, rate: Rate) -> None:
        self.rate = rate
        self._share = 1.0
        self._due = float("-inf")  # GCRA's theoretical arrival time
        self._space(1.0)

    def _space(self, share: float) -> None:
        quota = self.rate.requests * share
        if quota >= 1:
            # Whole requests: shares of 2.5 would be three in some windows, for each of two replicas. Below one the
            # spacing exceeds the window, and a group of more replicas than requests may pass the limit now and then.
            quota = float(int(quota + 1e-6))
        # A burst of one (no request ahead of its time) needs no lowered pace.
        self._burst = float(int(quota * _BURST_SHARE)) if quota >= 2 else 0.0
        # Stretched beyond what adding floats could lose: a request early by a rounding error is one too many.
        self._spacing_s = self.rate.per_s / max(quota - self._burst, 1e-9) * (1 + 1e-9)

    def set_share(self, share: float, now: float, at: float) -> None:  # noqa: ARG002  # one signature for all windows
        """Use another share from now on, without a burst: whoever had it may just have used one."""
        if share == self._share:
            return
        owed = max(0.0, self._due - now) / self._spacing_s
        self._share = share
        self._space(share)
        self._due = now + max(owed, self._burst) * self._spacing_s

    def ready_at(self, now: float, at: float) -> float:  # noqa: ARG002  # one signature for all windows
        """Monotonic time from which one request may leave."""
        return max(now, self._due - self._burst * self._spacing_s)

    def take(self, now: float, at: float, slowness: float) -> None:  # noqa: ARG002
        """Spend one token; `slowness` >= 1 stretches the spacing (what is left to others)."""
        self._due = max(self._due, now) + self._spacing_s * slowness

    def headroom(self, now: float, at: float) -> float:  # noqa: ARG002
        """Share of the burst that is unspent, 0 to 1."""
        span = (self._burst + 1) * self._spacing_s
        return min(1.0, max(0.0, 1.0 - (self._due - now) / span))

    def observe(self, seen: QuotaHeaders, now: float, at: float) -> None:
        """A short window heals itself within its length; `Remaining` is used for clock windows only."""


class ClockWindow:
    """A window that starts on a multiple of its length: counted exactly, and paced so that it lasts to its end.

    Whoever keeps the pace has at any time at least as great a part of his quota left as of the window, but for the
    burst. So what a share that grows may still use is known without asking whose it was.
    """

    def __init__(self, rate: Rate) -> None:
        self.rate = rate
        self._share = 1.0
        self._window = -1
        self._taken = 0  # by us, in this window
        self._granted = 0.0  # to us, in this window
        self._reported: tuple[int, int] | None = None  # left for all, as Braze said when we had taken so many
        # The same of the window before, to which a clock may be set back.
        self._other: tuple[int, int, float, tuple[int, int] | None] = (-1, 0, 0.0, None)
        self._burst = _CLOCK_BURST_SHARE
        self._due = float("-inf")

    def set_share(self, share: float, now: float, at: float) -> None:
        """Use another share from now on: of what we have left, or that and what another must have left of his.

        Its last owner has used his part of the window, we do not know how much of it. Where Braze tells how much is
        left for all, that counts instead.
        """
        self._enter(at)
        left = max(0.0, self._granted - self._taken)
        if share > self._share:
            rest = self._ends_in(at) / self.rate.per_s
            left += (share - self._share) * self.rate.requests * rest * (1 - _CLOCK_BURST_SHARE)
            self._burst, self._due = _INHERITED_BURST_SHARE, now  # one burst is reckoned with, and somebody has had it
        elif share < self._share:
            left *= share / self._share
        self._granted = self._taken + left
        self._share = share

    def ready_at(self, now: float, at: float) -> float:
        """Monotonic time from which one request may leave."""
        left = self._left(at)
        if left < 1:
            return now + self._ends_in(at)
        spacing = self._ends_in(at) / left
        return max(now, self._due - left * self._burst * spacing)

    def take(self, now: float, at: float, slowness: float) -> None:
        """Spend one token."""
        self._due = max(self._due, now) + self._ends_in(at) / max(self._left(at), 1.0) * slowness
        self._taken += 1

    def headroom(self, now: float, at: float) -> float:
        """Share of the burst that is unspent, 0 to 1."""
        if self._left(at) < 1:
            return 0.0
        span = max(self._ends_in(at) * self._burst, 1e-9)
        return min(1.0, max(0.0, 1.0 - (self._due - now) / span))

    def observe(self, seen: QuotaHeaders, now: float, at: float) -> None:  # noqa: ARG002
        """Never think that more is left than our share of what Braze says is left for all."""
        self._enter(at)  # a new window forgets what was reported of the old one
        if seen.reset_in_s is not None and seen.reset_in_s < self._ends_in(at) - self.rate.per_s / 2:
            return  # it is over (nearly, by Braze's clock): an answer that crossed the hour speaks of the one before
        if seen.remaining is not None and (seen.limit is None or seen.limit >= self.rate.requests / 2):
            self._reported = (seen.remaining, self._taken)
            self._burst = _CLOCK_BURST_SHARE  # of what is left for sure

    def _enter(self, at: float) -> None:
        """Begin a new window, if it is time to."""
        window = int(at // self.rate.per_s)
        if window == self._window:
            return
        known, self._other = self._other, (self._window, self._taken, self._granted, self._reported)
        if known[0] == window:
            _, self._taken, self._granted, self._reported = known
            self._burst = _INHERITED_BURST_SHARE
        else:
            self._taken, self._granted, self._reported = 0, self.rate.requests * self._share, None
            self._burst = _CLOCK_BURST_SHARE
        self._window = window
        self._due = float("-inf")

    def _left(self, at: float) -> float:
        """Requests that we may still send in the present window."""
        self._enter(at)
        if self._reported is None:
            return self._granted - self._taken
        remaining, taken = self._reported
        return min(self.rate.requests * self._share - self._taken, remaining * self._share - (self._taken - taken))

    def _ends_in(self, at: float) -> float:
        return self.rate.per_s - at % self.rate.per_s


class Pace:
    """So many in any window, all at once if need be: what it puts off is told when it may be done.

    Args:
        most: How many.
        per_s: Length of the window in seconds.
    """

    def __init__(self, most: int, per_s: float) -> None:
        self._per_s = per_s
        self._last: deque[float] = deque(maxlen=most)

    def reserve(self, now: float) -> float:
        """Take one; returns the monotonic time from which it may be used."""
        is_spent = len(self._last) == self._last.maxlen
        due = max(now, self._last[0] + self._per_s) if is_spent else now
        self._last.append(due)
        return due


class Pool:
    """All windows that one stream of requests must satisfy, and what a 429 does to it.

    Args:
        rates: Braze's limits for the whole workspace (or company).
    """

    def __init__(self, rates: Sequence[Rate]) -> None:
        self._windows: list[SlidingWindow | ClockWindow] = [
            ClockWindow(rate) if rate.per_s >= CLOCK_WINDOW_S_MIN else SlidingWindow(rate) for rate in rates
        ]
        self._share = 1.0
        self._frozen_until = float("-inf")
        self._frozen_from = float("-inf")  # frozen time up to here was told by `frozen_s`
        self._concession = Concession(min(rate.per_s for rate in rates))
        self._refusals = 0  # 429s in a row; those that come together are one
        self.remaining: int | None = None
        self.limit: int | None = None

    @property
    def share(self) -> float:
        """Own partitions over all partitions that feed this pool."""
        return self._share

    def set_share(self, share: float, now: float, at: float) -> None:
        """Own `share` (0 to 1) of the quota from now on."""
        self._share = share
        for window in self._windows:
            window.set_share(share, now, at)

    def ready_at(self, now: float, at: float) -> float:
        """Monotonic time from which one request may leave; infinity while no partition is owned."""
        if self._share <= 0:
            return float("inf")
        return max(self._frozen_until, *(window.ready_at(now, at) for window in self._windows))

    def take(self, now: float, at: float) -> None:
        """Spend one request of every window. Call only when `ready_at` has passed."""
        slowness = 1.0 / self._concession.part(now)
        for window in self._windows:
            window.take(now, at, slowness)

    def headroom(self, now: float, at: float) -> float:
        """How far the quota is from binding: 1 idle, 0 spent. The smallest of the windows'."""
        if self._frozen_until > now or self._share <= 0:
            return 0.0
        return min(window.headroom(now, at) for window in self._windows)

    def throttled(self, seen: QuotaHeaders, jitter: float, now: float, at: float) -> float:
        """A 429: nothing leaves until Braze's time, then less than before. Returns the monotonic end of the freeze.

        Args:
            seen: The refusal's headers.
            jitter: 0 to 1; replicas that were refused together do not return together.
            now: Monotonic seconds.
            at: Epoch seconds.
        """
        is_first = self._frozen_until <= now  # what was on the wire with it is refused together with it
        self._refusals += is_first
        if seen.retry_after_s is not None:
            wait = min(seen.retry_after_s, _LONGEST_WAIT_S)
        elif seen.reset_in_s is not None:
            # A clock that is wrong by days must not stop us for days.
            wait = min(seen.reset_in_s, max(window.rate.per_s for window in self._windows))
        else:
            # No word from Braze. The shortest window is over by then, whatever its alignment; but an hour is too long
            # to wait on a guess, so ask again sooner, and ever later.
            wait = min(60.0, 2.0 ** min(self._refusals, 10), *(window.rate.per_s for window in self._windows))
        if is_first:
            self._frozen_from = now
            self._concession.refused(now, self._frozen_until)
        self._frozen_until = max(self._frozen_until, now + wait + jitter * max(0.25, min(2.0, wait / 4)))
        self._learn(seen, now, at)
        return self._frozen_until

    def frozen_left_s(self, now: float) -> float:
        """Seconds for which a 429 still keeps the pool frozen."""
        return max(0.0, self._frozen_until - now)

    def frozen_s(self, now: float) -> float:
        """Seconds for which a 429 has kept the pool frozen since this was last asked."""
        frozen = max(0.0, min(now, self._frozen_until) - self._frozen_from)
        self._frozen_from = max(self._frozen_from, now)
        return frozen

    def observe(self, seen: QuotaHeaders, now: float, at: float) -> None:
        """Learn from the headers of a reply that is no 429."""
        self._refusals = 0
        self._learn(seen, now, at)

    def _learn(self, seen: QuotaHeaders, now: float, at: float) -> None:
        if seen.remaining is not None:
            self.remaining = seen.remaining
        if seen.limit is not None:
            self.limit = seen.limit
        if seen.remaining is not None and seen.limit:
            self._concession.left(seen.remaining / seen.limit, now)
        for window in self._windows:
            window.observe(seen, now, at)
