"""As much of a Kafka broker as a login needs."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator, Callable
from typing import Any

WAIT_S = 60
_HANDSHAKE, _VERSIONS, _LOGIN = 17, 18, 36
_NOT_THIS_VERSION, _WRONG_PASSWORD = 35, 58


class Doorkeeper:
    """Takes SASL/PLAIN and no other request; whoever has logged in with the right password is shown the door, too."""

    def __init__(self, right: bytes) -> None:
        self.right = right
        self.seen: set[tuple[bytes, bytes, bytes]] = set()
        """Who has logged in: client id, user, password."""
        self.refused: set[bytes] = set()
        """Client ids that came with another password."""
        self.news = asyncio.Event()
        self.port = 0
        self.visits: set[asyncio.Task[Any]] = set()

    @property
    def kafka(self) -> dict[str, Any]:
        """The properties of a client that comes with a wrong password."""
        return {
            "bootstrap.servers": f"127.0.0.1:{self.port}",
            "group.id": "g",
            "security.protocol": "SASL_PLAINTEXT",
            "sasl.mechanism": "PLAIN",
            "sasl.username": "user",
            "sasl.password": "planted",
            "reconnect.backoff.max.ms": 100,
            "log_level": 0,
        }

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        visit = asyncio.current_task()
        assert visit is not None
        self.visits.add(visit)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            while True:
                request = await reader.readexactly(struct.unpack(">i", await reader.readexactly(4))[0])
                api, version, number, length = struct.unpack_from(">hhih", request)
                client, body = request[10 : 10 + length], request[10 + length :]
                answer = self._answer(api, version, client, body)
                writer.write(struct.pack(">ii", 4 + len(answer), number) + answer)
                await writer.drain()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        self.visits.discard(visit)

    def _answer(self, api: int, version: int, client: bytes, body: bytes) -> bytes:
        if api == _VERSIONS:
            spoken = [(_HANDSHAKE, 0, 1), (_VERSIONS, 0, 0), (_LOGIN, 0, 0)]
            return struct.pack(">hi", _NOT_THIS_VERSION if version else 0, len(spoken)) + b"".join(
                struct.pack(">hhh", *each) for each in spoken
            )
        if api == _HANDSHAKE:
            return struct.pack(">hih", 0, 1, 5) + b"PLAIN"
        if api != _LOGIN:
            raise ConnectionAbortedError
        _, user, password = body[4:].split(b"\0")
        self.news.set()
        if password != self.right:
            self.refused.add(client)
            return struct.pack(">hhi", _WRONG_PASSWORD, -1, 0)
        self.seen.add((client, user, password))
        return struct.pack(">hhi", 0, -1, 0)

    async def until(self, is_so: Callable[[], Any]) -> None:
        async with asyncio.timeout(WAIT_S):
            while not is_so():
                self.news.clear()
                await self.news.wait()


@contextlib.asynccontextmanager
async def at_the_door(right: bytes) -> AsyncIterator[Doorkeeper]:
    """A doorkeeper who takes this password."""
    doorkeeper = Doorkeeper(right)
    async with await asyncio.start_server(doorkeeper.serve, "127.0.0.1", 0) as server:
        doorkeeper.port = server.sockets[0].getsockname()[1]
        yield doorkeeper
    for visit in doorkeeper.visits:
        visit.cancel()
    await asyncio.gather(*doorkeeper.visits)
