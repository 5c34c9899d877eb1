"""What all tests share: how several test processes divide them."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest
from hypothesis import settings

pytest_plugins = ["tests.real.fixtures", "tests.tools.fixtures"]

# looptime asks for "the current loop" before every test, a plain one too, and on Python 3.11 asking makes one that
# nobody closes: a ResourceWarning in some later test. Once it was said that there is none, asking makes none.
asyncio.set_event_loop(None)

# The same examples every time: a test is green or red, not both. HYPOTHESIS_PROFILE=explore draws new ones.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.register_profile("explore", deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Tests of one real part stay on one worker, which starts it once; all others go wherever there is time.

    What the mark `xdist_group` is for; but xdist 3.8 writes the group into a field that pytest 9.2 no longer reads.
    """
    from xdist.scheduler import LoadScopeScheduling  # noqa: PLC0415  # without xdist nobody calls this

    class ByRealPart(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            if not nodeid.startswith(("tests/real/", "tests/chaos/")):
                return nodeid
            return "registry" if "apicurio" in nodeid else "kafka"

    return ByRealPart(config, log)
