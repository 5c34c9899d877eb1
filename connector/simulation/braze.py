"""The way to the Braze double in virtual time: latency, time-outs, dropped connections, a cut network.

It also watches what no counter of ours could tell: that no replica ever has two track requests of one user in flight.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import orjson

from connector.braze import Endpoint
from connector.double.braze_double import BrazeDouble
from connector.outcomes import CALLED_OFF, Attempt, NoReply, Reply
from connector.ports import Clock

TIMEOUT_S = 30.0
_HEADERS = {"content-type": "application/json"}


class SimulatedTransport:
    """One replica's connection to Braze.

    Args:
        double: The workspace, shared by all replicas.
        clock: Time.
        key: API key.
        violations: Gets a sentence whenever a promise is broken on the wire.
    """

    def __init__(self, double: BrazeDouble, clock: Clock, key: str, violations: list[str]) -> None:
        self._double = double
        self._clock = clock
        self._headers = {**_HEADERS, "authorization": f"Bearer {key}"}
        self._violations = violations
        self._users_in_flight: set[str] = set()
        self.is_cut = False
        self.is_dead = False
        self.bodies: dict[bytes, int] = {}

    async def attempt(self, endpoint: Endpoint, body: bytes, may_send: Callable[[], bool]) -> Attempt:
        """Send once."""
        started = self._clock.now()
        if self.is_dead:
            await asyncio.get_running_loop().create_future()  # its process was killed: nothing leaves any more
        if self.is_cut:
            await asyncio.sleep(0.01)
            return NoReply(sent=False, cause="no connection")
        if not may_send():
            return NoReply(sent=False, cause=CALLED_OFF)
        users = _users(body) if endpoint is Endpoint.TRACK else set()
        twice = users & self._users_in_flight
        if twice:
            self._violations.append(f"P2: {len(twice)} users had two track requests in flight")
        self._users_in_flight |= users
        try:
            reply = self._double.request(started, self._clock.at(), "POST", endpoint, self._headers, body)
            if reply.delay_s >= TIMEOUT_S:
                await asyncio.sleep(TIMEOUT_S)
                return NoReply(sent=True, cause="time-out", elapsed_s=TIMEOUT_S)
            await asyncio.sleep(reply.delay_s)
            if reply.connection == "drop":
                return NoReply(sent=True, cause="connection broke")
            return Reply(reply.status or 0, reply.headers, reply.body, self._clock.now() - started)
        finally:
            self._users_in_flight -= users


def _users(body: bytes) -> set[str]:
    document: dict[str, Any] = orjson.loads(body)
    objects = [*document.get("attributes", ()), *document.get("events", ())]
    return {each.get("external_id") or each.get("braze_id") for each in objects}
