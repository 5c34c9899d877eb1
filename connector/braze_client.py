"""Exactly one HTTP attempt at Braze: no retry, no policy, no reading of what came back.

An edge. What an attempt means is decided in `outcomes`; here it is only settled whether the body may have left. The API
key is read anew whenever its file changes, so that a rotated key needs no restart.
"""

from __future__ import annotations

import asyncio
import platform
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from aiohttp.payload import BytesPayload, Payload

from connector import __version__
from connector.braze import Endpoint, api_key_in
from connector.outcomes import CALLED_OFF, Attempt, NoReply, Reply
from connector.secret import Secret

USER_AGENT: Final = f"partner-ActionIQ-BrazeConnector/{__version__}"
"""Braze asks partners for `partner-Organization-Product/Version` (page "API partner guidelines")."""

NO_KEY: Final = "holds no API key: write it alone, in one line of plain ASCII"
"""Of a file, whether at start or later."""

_REPLY_BYTES_MAX: Final = 1_000_000
"""No answer of Braze's is longer; what is in front of it must not fill our memory."""


@dataclass(frozen=True, slots=True)
class ClientPolicy:
    """How Braze is reached.

    Attributes:
        endpoint: `https://rest.<cluster>`, without a path.
        timeout_s: From the first byte to the last; connecting has a bound of its own.
        connect_timeout_s: For the connection and TLS.
        connections_max: Open at once.
        proxy: URL of an HTTP proxy, or None.
        ca_file: Additional certificate authorities, or None.
    """

    endpoint: str
    timeout_s: float = 30.0
    connect_timeout_s: float = 5.0
    connections_max: int = 128
    proxy: str | None = None
    ca_file: Path | None = None


class ApiKey(Secret):
    """The key, from the configuration or from a file.

    Args:
        literal: The key itself, or None.
        file: Where it stands, or None.
        warn: As for every secret.
    """

    def __init__(
        self, literal: str | None, file: Path | None, warn: Callable[[str], None] = lambda _words: None
    ) -> None:
        super().__init__("braze.api_key_file", (literal or "").strip(), file, warn, api_key_in, NO_KEY)


class _Unsent(Exception):
    """The step that writes found that it must not."""


class _FencedBody(BytesPayload):
    """A body that asks for permission in the step that writes it."""

    def __init__(self, body: bytes, may_send: Callable[[], bool]) -> None:
        # Not BytesPayload's own constructor, which warns of bodies over 1 MiB: Braze takes 4.
        Payload.__init__(self, body, content_type="application/json")
        self._size = len(body)
        self._may_send = may_send
        self._has_begun = False

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        """Write, if it is still allowed. Braze has seen headers at most if not: a request without its body."""
        self._begin()
        await super().write_with_length(writer, content_length)

    async def write(self, writer: AbstractStreamWriter) -> None:
        """As `write_with_length`."""
        self._begin()
        await super().write(writer)

    def call_off(self) -> bool:
        """Nothing is written any more; returns whether anything was.

        Without its body a request is none, whatever broke (a name, a tunnel, TLS): Braze cannot have acted on it.
        """
        self._may_send = _never
        return self._has_begun

    def _begin(self) -> None:
        """Permission, and the mark that it was used; no await lies between the two and the first byte."""
        if not self._may_send():
            raise _Unsent
        self._has_begun = True


def _never() -> bool:
    return False


class BrazeClient:
    """The one HTTP session to Braze.

    Args:
        policy: How Braze is reached.
        key: The API key.
    """

    def __init__(self, policy: ClientPolicy, key: ApiKey) -> None:
        self._policy = policy
        self._key = key
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        """Make the session; call on the loop that will use it."""
        context: ssl.SSLContext | bool = True
        if self._policy.ca_file is not None:
            context = ssl.create_default_context()
            context.load_verify_locations(self._policy.ca_file)
        timeout = aiohttp.ClientTimeout(
            total=self._policy.timeout_s, sock_connect=self._policy.connect_timeout_s, connect=self._policy.timeout_s
        )  # fmt: skip
        self._session = aiohttp.ClientSession(
            base_url=self._policy.endpoint,
            connector=aiohttp.TCPConnector(limit=self._policy.connections_max, ssl=context, keepalive_timeout=60),
            timeout=timeout,
            headers={"User-Agent": f"{USER_AGENT} Python/{platform.python_version()}", "Accept": "application/json"},
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
        )

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()

    async def attempt(self, endpoint: Endpoint, body: bytes, may_send: Callable[[], bool]) -> Attempt:
        """Send once; whatever happens becomes an `Attempt`."""
        if self._session is None:
            raise RuntimeError("the client was not opened")
        started = time.monotonic()
        fenced = _FencedBody(body, may_send)
        try:
            async with self._session.post(
                str(endpoint),
                data=fenced,
                headers={"Authorization": f"Bearer {self._key.current()}"},
                proxy=self._policy.proxy,
                allow_redirects=False,
            ) as response:
                answer = await response.content.read(_REPLY_BYTES_MAX)
                while not response.content.at_eof() and len(answer) < _REPLY_BYTES_MAX:
                    answer += await response.content.read(_REPLY_BYTES_MAX - len(answer))
                headers = {name.lower(): value for name, value in response.headers.items()}
                return Reply(response.status, headers, answer, time.monotonic() - started)
        except (aiohttp.ClientError, TimeoutError, OSError, _Unsent, asyncio.IncompleteReadError) as error:
            attempt = NoReply(fenced.call_off(), _cause(error), time.monotonic() - started)
            _let_go(error)
            return attempt


def _let_go(error: BaseException | None) -> None:
    """Take from an error the frames that it came through.

    Some of them hold it in turn, and the body with it, and the collector that would find that out looks very rarely.
    """
    while error is not None:
        error.__traceback__ = None
        error = error.__cause__ or error.__context__


def _cause(error: BaseException) -> str:
    """A class of failure; never the library's text, which may hold addresses."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, _Unsent):
            return CALLED_OFF
        cause = cause.__cause__
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return f"the proxy in braze.proxy refused the tunnel with status {error.status}"
    if isinstance(error, aiohttp.ClientProxyConnectionError):
        return "no connection to the proxy in braze.proxy"
    if isinstance(error, TimeoutError):
        return "time-out"
    if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientSSLError):
        return "TLS"
    if isinstance(error, aiohttp.ClientConnectorError):
        return "no connection"
    return "connection broke"
