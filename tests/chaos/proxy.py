"""A wire on the loopback interface that can be cut: the way to Braze, or to Kafka, for one replica alone."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Coroutine
from typing import Any

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
_CHUNK_BYTES = 1 << 16


class Proxy:
    """Passes TCP on, until it is cut. It lives in a thread of its own.

    A cut is silence, as when packets are dropped: connections stand and nothing comes through, in neither direction,
    and new ones are made to nowhere. What was said into the silence is never delivered; mending resets all.

    Args:
        target: Port to pass on to.
        port: Where to listen; 0: anywhere.
    """

    def __init__(self, target: int, port: int = 0) -> None:
        self._target = target
        self._is_cut = False
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.tries = 0
        """Connections that were made, and requests that began on standing ones, since the wire was cut."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._thread.start()
        self._server: asyncio.Server = self._do(self._listen(port))
        self.port: int = self._server.sockets[0].getsockname()[1]

    def cut(self) -> None:
        """From now on nothing comes through."""

        async def cut() -> None:
            self._is_cut = True
            self.tries = 0

        self._do(cut())

    def mend(self) -> None:
        """Whoever connects from now on comes through."""

        async def mend() -> None:
            self._is_cut = False
            self._reset()

        self._do(mend())

    def close(self) -> None:
        """Stop listening, and break every connection."""

        async def close() -> None:
            self._server.close()
            self._reset()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

        self._do(close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    async def _listen(self, port: int) -> asyncio.Server:
        return await asyncio.start_server(self._accept, "127.0.0.1", port)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        if self._is_cut:
            self.tries += 1
            self._spawn(self._pump(reader, None))
            return
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            self._break(writer)
            return
        self._writers.add(far_writer)
        self._spawn(self._pump(reader, far_writer, is_asking=True))
        self._spawn(self._pump(far_reader, writer))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter | None, *, is_asking: bool = False
    ) -> None:
        """One direction. What arrives during a cut, be it the end of the connection, is swallowed."""
        is_whole = writer is not None
        while True:
            try:
                data = await reader.read(_CHUNK_BYTES)
            except OSError:
                data = b""
            if self._is_cut:
                is_whole = False
                self.tries += is_asking and bool(data)
            if is_whole and writer is not None:
                if not data:
                    self._writers.discard(writer)
                    writer.close()
                    return
                writer.write(data)
            if not data:
                return

    def _reset(self) -> None:
        for writer in list(self._writers):
            self._break(writer)

    def _break(self, writer: asyncio.StreamWriter) -> None:
        self._writers.discard(writer)
        connection = writer.get_extra_info("socket")
        if connection is not None and connection.fileno() >= 0:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        writer.transport.abort()
