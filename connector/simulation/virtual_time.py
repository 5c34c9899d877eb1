"""An event loop whose clock jumps to the next timer instead of waiting for it.

A loop in which nothing is scheduled and nothing is ready would wait for ever: that is reported as a fault, so a
forgotten future is found by the test that forgets it.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any


class NothingLeftToHappen(RuntimeError):
    """Every task waits for something that nobody will bring."""


class _JumpingSelector(selectors.DefaultSelector):
    """Never waits: tells how long it would have."""

    skipped_s = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        """Ready files (the loop's own wake-up only); otherwise jump over the time-out."""
        ready: list[Any] = super().select(0)
        if ready:
            return ready
        if timeout is None:
            raise NothingLeftToHappen
        self.skipped_s += max(timeout, 0.0)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """`time()` starts at 0 and moves by jumps only."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        """Virtual seconds."""
        # The loop runs what is due within its clock's resolution; a jump must land on the timer, not before it.
        return self._jumping.skipped_s


class VirtualClock:
    """The simulation's `ports.Clock`: all times are the loop's, and work takes none: a play is the same everywhere.

    Args:
        loop: Whose time it is.
        epoch: Wall clock at virtual time 0.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, epoch: float) -> None:
        self._loop = loop
        self._epoch = epoch

    def now(self) -> float:
        """Virtual seconds."""
        return self._loop.time()

    def at(self) -> float:
        """Virtual wall clock."""
        return self._epoch + self._loop.time()

    def boot(self) -> float:
        """Virtual seconds."""
        return self._loop.time()

    def cpu(self) -> float:
        """Always 0: what a machine takes for the work belongs to no play."""
        return 0.0


def run_virtually(loop: VirtualLoop, work: Coroutine[Any, Any, Any]) -> Any:
    """Run to the end and close the loop."""
    try:
        return loop.run_until_complete(work)
    finally:
        loop.close()
