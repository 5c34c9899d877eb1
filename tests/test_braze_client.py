import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp.abc import AbstractStreamWriter

from connector.braze import Endpoint
from connector.braze_client import USER_AGENT, ApiKey, BrazeClient, ClientPolicy, _FencedBody, _Unsent
from connector.double.server import DoubleServer, serve
from connector.double.settings import ALL_PERMISSIONS, DoubleSettings
from connector.outcomes import CALLED_OFF, NoReply, Reply
from tests.cycles import found_by_the_collector

KEY = "not-a-real-key"
BODY = b'{"events":[{"external_id":"u","name":"e","time":"2026-01-01T00:00:00Z"}]}'


@pytest.fixture
async def double() -> AsyncIterator[DoubleServer]:
    async with serve(DoubleSettings(api_keys={KEY: ALL_PERMISSIONS}, latency_s=0.001)) as server:
        yield server


async def attempt(url: str, body: bytes = BODY, *, may_send: bool = True, **policy: float | str) -> Reply | NoReply:
    client = BrazeClient(ClientPolicy(endpoint=url, **policy), ApiKey(KEY, None))  # type: ignore[arg-type]
    await client.open()
    try:
        return await client.attempt(Endpoint.TRACK, body, lambda: may_send)
    finally:
        await client.close()


class _Writer(AbstractStreamWriter):
    """Notes what it gets, and what `ask` says at that moment."""

    def __init__(self, ask: Callable[[], bool] = lambda: False) -> None:
        self._ask = ask
        self.written: list[object] = []
        self.told: list[bool] = []

    async def write(self, chunk: object) -> None:
        self.told.append(self._ask())
        self.written.append(chunk)

    async def write_eof(self, chunk: bytes = b"") -> None: ...

    async def drain(self) -> None: ...

    def enable_compression(self, *_args: object, **_more: object) -> None: ...

    def enable_chunking(self) -> None: ...

    async def write_headers(self, *_args: object) -> None: ...


async def test_an_answer_is_a_reply_with_lower_case_headers(double: DoubleServer) -> None:
    answer = await attempt(double.url)

    assert isinstance(answer, Reply)
    assert answer.status == 201
    assert "x-ratelimit-remaining" in answer.headers


async def test_a_body_over_one_mebibyte_is_sent_whole(double: DoubleServer) -> None:
    events = b",".join(
        b'{"external_id":"u","name":"e","time":"2026-01-01T00:00:00Z","properties":{"p":"' + b"x" * 250 + b'"}}'
        for _ in range(5000)
    )

    answer = await attempt(double.url, b'{"events":[' + events + b"]}")

    assert isinstance(answer, Reply)
    assert answer.status == 400  # too many objects: it was read


async def test_without_a_lease_nothing_arrives(double: DoubleServer) -> None:
    answer = await attempt(double.url, may_send=False)

    assert isinstance(answer, NoReply)
    assert not answer.sent
    assert answer.cause == CALLED_OFF
    assert double.double.state()["applied"].get("events", 0) == 0


async def test_a_refused_connection_was_surely_not_sent() -> None:
    async with serve(DoubleSettings()) as server:
        gone = server.url

    answer = await attempt(gone)

    assert isinstance(answer, NoReply)
    assert not answer.sent


@asynccontextmanager
async def listener(answer: bytes | None) -> AsyncIterator[str]:
    """Somebody who reads the first bytes, says `answer` and hangs up; None: he says nothing and stays."""
    left = asyncio.Event()

    async def serve_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        if answer is None:
            await left.wait()
        else:
            writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve_one, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        left.set()
        server.close()
        await server.wait_closed()


@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        (
            b"HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n",
            "the proxy in braze.proxy refused the tunnel with status 503",
        ),
        (
            b"HTTP/1.1 407 No\r\ncontent-length: 0\r\n\r\n",
            "the proxy in braze.proxy refused the tunnel with status 407",
        ),
        (b"", "connection broke"),
        (None, "time-out"),
    ],
)
async def test_where_a_proxy_makes_no_tunnel_nothing_was_sent(answer: bytes | None, cause: str) -> None:
    async with listener(answer) as proxy:
        got = await attempt("https://braze.invalid", proxy=f"http://{proxy}", timeout_s=0.2 if answer is None else 10.0)

    assert got == NoReply(sent=False, cause=cause, elapsed_s=got.elapsed_s)


async def test_a_proxy_that_is_not_there_is_named() -> None:
    async with listener(b"") as gone:
        pass

    got = await attempt("https://braze.invalid", proxy=f"http://{gone}")

    assert got == NoReply(
        sent=False, cause="no connection to the proxy in braze.proxy", elapsed_s=got.elapsed_s
    )  # fmt: skip


async def test_a_name_that_is_not_resolved_in_time_was_surely_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(*_args: object, **_more: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", never)

    got = await attempt("https://braze.invalid", timeout_s=0.1)

    assert got == NoReply(sent=False, cause="time-out", elapsed_s=got.elapsed_s)


@pytest.mark.parametrize("answer", [b"", b"no TLS", None])
async def test_without_tls_nothing_was_sent(answer: bytes | None) -> None:
    async with listener(answer) as somebody:
        got = await attempt(f"https://{somebody}", connect_timeout_s=0.2 if answer is None else 5.0)

    assert isinstance(got, NoReply)
    assert not got.sent


async def test_a_body_that_was_begun_may_have_been_processed() -> None:
    async with listener(b"") as somebody:
        got = await attempt(f"http://{somebody}", b"x" * 3_000_000)

    assert isinstance(got, NoReply)
    assert got.sent


async def test_a_body_that_is_called_off_is_not_written_afterwards() -> None:
    body = _FencedBody(BODY, lambda: True)
    writer = _Writer()

    assert not body.call_off()
    with pytest.raises(_Unsent):
        await body.write_with_length(writer, len(BODY))

    assert writer.written == []


async def test_a_body_is_begun_before_its_first_byte() -> None:
    body = _FencedBody(BODY, lambda: True)
    writer = _Writer(body.call_off)

    await body.write_with_length(writer, len(BODY))

    assert (writer.written, writer.told) == ([BODY], [True])


@pytest.mark.parametrize("apply", [True, False])
async def test_a_reset_connection_may_have_been_applied(double: DoubleServer, apply: bool) -> None:
    double.double.set_faults(asyncio.get_running_loop().time(), [{"do": "drop", "apply": apply}])

    answer = await attempt(double.url)

    assert isinstance(answer, NoReply)
    assert answer.sent


async def test_a_late_answer_is_a_time_out_that_may_have_been_applied(double: DoubleServer) -> None:
    double.double.set_faults(asyncio.get_running_loop().time(), [{"do": "delay", "delay_s": 5}])

    answer = await attempt(double.url, timeout_s=0.2)

    assert answer == NoReply(sent=True, cause="time-out", elapsed_s=answer.elapsed_s)


@pytest.mark.parametrize("fault", ["none", "503", "drop", "late", "no lease", "gone"])
async def test_no_attempt_leaves_its_body_for_the_collector(double: DoubleServer, fault: str) -> None:
    steps = {
        "503": {"do": "status", "status": 503, "times": None},
        "drop": {"do": "drop", "times": None},
        "late": {"do": "delay", "delay_s": 5, "times": None},
    }
    double.double.set_faults(asyncio.get_running_loop().time(), [steps[fault]] if fault in steps else [])
    url = "http://127.0.0.1:9" if fault == "gone" else double.url
    client = BrazeClient(ClientPolicy(endpoint=url, timeout_s=0.1 if fault == "late" else 30.0), ApiKey(KEY, None))
    await client.open()

    with found_by_the_collector() as found:
        for _ in range(3):
            await client.attempt(Endpoint.TRACK, BODY, lambda: fault != "no lease")
    await client.close()

    assert not {"_FencedBody", "ClientRequest", "ClientResponse", "NoReply", "Reply"} & found.keys(), found


async def test_a_replaced_key_file_is_read_again(tmp_path: Path, double: DoubleServer) -> None:
    file = tmp_path / "key"
    file.write_text("revoked\n", encoding="utf-8")
    client = BrazeClient(ClientPolicy(endpoint=double.url), ApiKey(None, file))
    await client.open()

    first = await client.attempt(Endpoint.TRACK, BODY, lambda: True)
    fresh = tmp_path / "fresh"
    fresh.write_text(f"{KEY}\n", encoding="utf-8")
    fresh.replace(file)
    second = await client.attempt(Endpoint.TRACK, BODY, lambda: True)
    await client.close()

    assert isinstance(first, Reply)
    assert isinstance(second, Reply)
    assert (first.status, second.status) == (401, 201)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b"one-key\nanother\n",
        b"a b",
        b"key\x00",
        "key".encode("utf-16"),
        "k\u00e9y".encode("latin-1"),
        b"\xef\xbb\xbfkey",
    ],
)
async def test_a_key_file_that_holds_no_key_leaves_the_last_one_in_force_and_is_told_once(
    tmp_path: Path, double: DoubleServer, content: bytes
) -> None:
    file = tmp_path / "key"
    file.write_text(KEY, encoding="utf-8")
    told: list[str] = []
    client = BrazeClient(ClientPolicy(endpoint=double.url), ApiKey(None, file, told.append))
    await client.open()

    answers = [await client.attempt(Endpoint.TRACK, BODY, lambda: True)]
    file.write_bytes(content)
    answers += [await client.attempt(Endpoint.TRACK, BODY, lambda: True) for _ in range(2)]
    await client.close()

    assert [answer.status for answer in answers if isinstance(answer, Reply)] == [201, 201, 201]
    assert len(told) == 1
    assert told[0].startswith("braze.api_key_file: holds no API key: write it alone, in one line of plain ASCII")


def test_the_user_agent_is_a_partner_s() -> None:
    assert USER_AGENT.startswith("partner-ActionIQ-BrazeConnector/")
