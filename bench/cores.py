"""Who runs on which core: a contestant alone on the last one, all the rest on the others.

A process inherits the cores of the thread that starts it, so it is bound before its first instruction.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

ALL = sorted(os.sched_getaffinity(0))
CONTESTANT = set(ALL[-1:])
REST = set(ALL[:-1]) or CONTESTANT


@contextmanager
def on(cores: set[int]) -> Iterator[None]:
    """What is started in here runs on these cores only."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
