"""A double in virtual time, and a short way to ask it something."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from random import Random
from typing import Any

import orjson
import pytest

from connector.double.application import Applied
from connector.double.braze_double import BrazeDouble
from connector.double.exchange import DoubleReply
from connector.double.settings import ALL_PERMISSIONS, DoubleSettings

# looptime asks for "the current loop" before every test, a plain one too, and on Python 3.11 asking makes one that
# nobody closes: a ResourceWarning in some later test. Once it was said that there is none, asking makes none.
asyncio.set_event_loop(None)

KEY = "not-a-real-key"
AT = 1_790_000_000.0  # 2026-09-21, on no round clock boundary


class Asked:
    """One double that is asked at a time of the test's choosing."""

    def __init__(self, seed: int = 0, **settings: Any) -> None:
        defaults = {"api_keys": {KEY: ALL_PERMISSIONS}, "latency_s": 0.0}
        self.now = 100.0
        self.applied: list[Applied] = []
        self.double = BrazeDouble(DoubleSettings(**defaults | settings), Random(seed), self.applied.append)

    @property
    def at(self) -> float:
        return AT + self.now

    def post(self, path: str, document: Any, **headers: str) -> DoubleReply:
        body = document if isinstance(document, bytes) else orjson.dumps(document)
        given = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
        given |= {name.replace("_", "-"): value for name, value in headers.items()}
        return self.double.request(self.now, self.at, "POST", path, given, body)

    def get(self, path: str) -> DoubleReply:
        return self.double.request(self.now, self.at, "GET", path, {"Authorization": f"Bearer {KEY}"}, b"")

    def track(self, **arrays: Any) -> DoubleReply:
        return self.post("/users/track", arrays)

    def trigger(self, *recipients: Any, **document: Any) -> DoubleReply:
        return self.post("/campaigns/trigger/send", {"campaign_id": "c-1", "recipients": list(recipients)} | document)

    def faults(self, *steps: Any) -> None:
        self.double.set_faults(self.now, list(steps))

    def state(self) -> dict[str, Any]:
        """The state once everything is applied."""
        self.double.advance(math.inf)
        return self.double.state()

    def profile(self, key: str = "external_id:u1") -> dict[str, Any]:
        return self.state()["profiles"][key]


@pytest.fixture(scope="session")  # a class, which keeps nothing from test to test
def asked() -> Callable[..., Asked]:
    return Asked


@pytest.fixture(scope="session")
def body() -> Callable[[DoubleReply], Any]:
    return lambda reply: orjson.loads(reply.body)


@pytest.fixture(scope="session")
def key() -> str:
    return KEY
