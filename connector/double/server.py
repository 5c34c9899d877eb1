"""The double behind a socket on the loopback interface, and the paths by which a test steers it.

Asynchronous. Hosts exactly one `BrazeDouble`: it passes the time in, waits out the delays that a reply asks for, resets
connections, and wakes the double when something is due. The paths under `/_double/` need no key:

- `GET /_double/state`: everything applied and counted;
- `POST /_double/faults`: what goes wrong from now on (`connector.double.faults`); `DELETE` clears it;
- `POST /_double/settings`: other settings (`read_settings`); what is not named keeps its value.
"""

from __future__ import annotations

import asyncio
import dataclasses
import math
import signal
import socket
import struct
import time
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Final

import orjson
from aiohttp import web

from connector.double.application import Applied
from connector.double.braze_double import BrazeDouble
from connector.double.exchange import DoubleReply, json_reply, message_reply
from connector.double.journal import JournalFile
from connector.double.settings import ALL_PERMISSIONS, DoubleSettings, read_settings

_HOST: Final = "127.0.0.1"
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)  # SO_LINGER on, zero seconds: closing sends RST instead of FIN


class DoubleServer:
    """Serves one double. Use `serve`, which starts and stops it.

    Args:
        settings: What the double is.
        seed: Of all its chance.
        port: 0 takes any free one.
        journal_path: File to append applied objects to; None keeps no file.
        on_applied: Called with every applied object, besides the file.
        wall_clock: Seconds since the epoch.

    Attributes:
        double: The double itself, for those in the same process.
    """

    def __init__(
        self,
        settings: DoubleSettings,
        *,
        seed: int | None = 0,
        port: int = 0,
        journal_path: Path | None = None,
        on_applied: Callable[[Applied], None] | None = None,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._journal = None if journal_path is None else JournalFile(journal_path)
        self._on_applied = on_applied
        self._wall_clock = wall_clock
        self.double = BrazeDouble(settings, Random(seed), self._applied)  # noqa: S311  # reproducible, no secret
        self._wanted_port = port
        self._port: int | None = None
        self._runner: web.ServerRunner | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due = math.inf

    @property
    def url(self) -> str:
        """Where it listens, without a trailing slash.

        Raises:
            RuntimeError: It is not started.
        """
        if self._port is None:
            raise RuntimeError("the double is not started")
        return f"http://{_HOST}:{self._port}"

    async def start(self) -> None:
        """Listens.

        Raises:
            OSError: The port is taken.
        """
        # A low-level server: no routing table, no middleware, one function.
        self._runner = web.ServerRunner(web.Server(self._handle, access_log=None), shutdown_timeout=0.1)
        await self._runner.setup()
        listening = socket.create_server((_HOST, self._wanted_port), backlog=512)
        listening.setblocking(False)
        self._port = listening.getsockname()[1]
        await web.SockSite(self._runner, listening).start()

    async def stop(self) -> None:
        """Stops listening, abandons delayed replies, applies all that was accepted, closes the journal."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.double.advance(math.inf)
        if self._journal is not None:
            self._journal.close()
            self._journal = None

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await self._body(request)
        now = asyncio.get_running_loop().time()
        if request.path.startswith("/_double/"):
            reply = self._steered(now, request.method, request.path, body)
        else:
            reply = self.double.request(
                now, self._wall_clock(), request.method, request.raw_path, request.headers, body
            )
        self._sleep_until_due()
        if reply.delay_s > 0:
            await asyncio.sleep(reply.delay_s)
        if reply.connection == "drop":
            _reset(request.transport)
        return web.Response(status=reply.status or 500, headers=reply.headers, body=reply.body)

    async def _body(self, request: web.BaseRequest) -> bytes:
        """The body, or of one that is too large so much that the double sees that it is."""
        chunks, size_bytes = [], 0
        async for chunk in request.content.iter_any():
            if size_bytes <= self.double.settings.body_bytes_max:
                chunks.append(chunk)
                size_bytes += len(chunk)
        return b"".join(chunks)

    def _steered(self, now: float, method: str, path: str, body: bytes) -> DoubleReply:
        try:
            match method, path:
                case "GET", "/_double/state":
                    self._advance()
                    return json_reply(200, self.double.state())
                case "POST", "/_double/faults":
                    self.double.set_faults(now, orjson.loads(body))
                case "DELETE", "/_double/faults":
                    self.double.set_faults(now, [])
                case "POST", "/_double/settings":
                    self.double.reconfigure(read_settings(orjson.loads(body), self.double.settings))
                case _:
                    return message_reply(404, "Not Found")
        except ValueError as error:  # JSON that is none, or a document that is not of the grammar
            return message_reply(400, str(error))
        return message_reply(200, "success")

    def _advance(self) -> None:
        self.double.advance(asyncio.get_running_loop().time())
        if self._journal is not None:
            self._journal.flush()

    def _sleep_until_due(self) -> None:
        due = self.double.next_due()
        if due is None or (self._timer is not None and self._timer_due <= due):
            return
        if self._timer is not None:
            self._timer.cancel()
        # Kept beside the handle: not every event loop's handle tells when it is due.
        self._timer_due = due
        self._timer = asyncio.get_running_loop().call_at(due, self._wake)

    def _wake(self) -> None:
        self._timer = None
        self._advance()
        self._sleep_until_due()

    def _applied(self, applied: Applied) -> None:
        if self._journal is not None:
            self._journal.append(applied)
        if self._on_applied is not None:
            self._on_applied(applied)


@asynccontextmanager
async def serve(
    settings: DoubleSettings,
    *,
    seed: int | None = 0,
    port: int = 0,
    journal_path: Path | None = None,
    on_applied: Callable[[Applied], None] | None = None,
) -> AsyncIterator[DoubleServer]:
    """A started server, stopped at the end of the block.

    Args:
        settings: What the double is.
        seed: Of all its chance; None is another one each time.
        port: 0 takes any free one.
        journal_path: File to append applied objects to.
        on_applied: Called with every applied object.
    """
    server = DoubleServer(settings, seed=seed, port=port, journal_path=journal_path, on_applied=on_applied)
    try:
        await server.start()
        yield server
    finally:
        await server.stop()


async def run_server(
    port: int,
    api_keys: Collection[str],
    journal_path: Path | None,
    settings: DoubleSettings | None,
    announce: Callable[[str], None],
) -> None:
    """Serves until SIGTERM, SIGINT or cancellation.

    Args:
        port: 0 takes any free one.
        api_keys: Keys that may do everything, besides those in the settings.
        journal_path: File to append applied objects to.
        settings: None is Braze as documented.
        announce: Called once with the address, as soon as it listens.

    Raises:
        OSError: The port is taken, or the journal cannot be written.
    """
    base = settings or DoubleSettings()
    keys = {**base.api_keys, **dict.fromkeys(api_keys, ALL_PERMISSIONS)}
    stopping, loop = asyncio.Event(), asyncio.get_running_loop()
    async with serve(
        dataclasses.replace(base, api_keys=keys), seed=None, port=port, journal_path=journal_path
    ) as server:
        for one in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(one, stopping.set)
        try:
            announce(server.url)
            await stopping.wait()
        finally:
            for one in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(one)


def _reset(transport: asyncio.Transport | None) -> None:
    """Closes a connection so that the client sees it reset."""
    if transport is None:
        return
    connection = transport.get_extra_info("socket")
    if connection is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    transport.abort()
