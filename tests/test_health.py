"""The truth table of the probes: what a restart or a roll-out could mend, and nothing else."""

import asyncio
import io
import json
import threading
import time

import aiohttp
import pytest

from connector.app import Connector
from connector.health import HealthServer
from connector.ports import Cured, Trouble
from connector.settings import Settings
from connector.telemetry import Telemetry


@pytest.fixture
async def connector() -> Connector:
    """A connector that is built and not started: its parts are set as each test wants them."""
    settings = Settings.model_validate(
        {
            "kafka": {"bootstrap.servers": "127.0.0.1:1", "group.id": "g"},
            "topics": {"events": {"kind": "event"}},
            "braze": {"endpoint": "http://127.0.0.1:1", "api_key": "not-a-real-key"},
        }
    )
    built = Connector(settings, Telemetry(output=None))
    built.source.has_joined = True
    built.source.ticked_at = time.monotonic()
    built.pipeline.troubles._ended = lambda: None  # nothing runs that could be woken
    return built


async def answers(connector: Connector, path: str) -> tuple[int, str]:
    server = HealthServer(connector.pipeline, connector.source, "127.0.0.1", 0)
    port = await server.open()
    try:
        async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}{path}") as answer:
            return answer.status, await answer.text()
    finally:
        await server.close()


async def test_all_is_well(connector: Connector) -> None:
    assert (await answers(connector, "/livez"))[0] == 200
    assert (await answers(connector, "/readyz"))[0] == 200


async def test_a_dead_kafka_thread_is_not_alive(connector: Connector) -> None:
    connector.source.ticked_at = time.monotonic() - 61

    status, text = await answers(connector, "/livez")

    assert status == 503
    assert "Kafka thread has not turned" in text


async def test_it_is_noticed_whatever_the_clock_on_the_wall_is_set_to(
    connector: Connector, monkeypatch: pytest.MonkeyPatch
) -> None:
    connector.source.ticked_at = time.monotonic() - 61
    hour_ago = time.time() - 3600
    monkeypatch.setattr("connector.health.time.time", lambda: hour_ago)
    assert (await answers(connector, "/livez"))[0] == 503


async def test_a_blocked_loop_does_not_answer_and_an_unblocked_one_is_alive(connector: Connector) -> None:
    """A kubelet counts no answer as a failure; that is how a blocked loop is found out."""
    blocked, unblock = threading.Event(), threading.Event()

    def block() -> None:
        blocked.set()
        unblock.wait()

    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    server = HealthServer(connector.pipeline, connector.source, "127.0.0.1", 0)
    port = asyncio.run_coroutine_threadsafe(server.open(), loop).result(10)
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
            loop.call_soon_threadsafe(block)
            await asyncio.to_thread(blocked.wait)
            with pytest.raises(TimeoutError):
                await session.get("/livez", timeout=aiohttp.ClientTimeout(total=0.3))
            unblock.set()
            async with session.get("/livez") as answer:
                assert answer.status == 200
    finally:
        unblock.set()
        asyncio.run_coroutine_threadsafe(server.close(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        await asyncio.to_thread(thread.join)
        loop.close()


async def test_a_kafka_thread_that_is_really_blocked_is_not_alive(
    connector: Connector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread itself, caught in an errand that does not return."""
    caught, release = threading.Event(), threading.Event()

    def catch(*_: object) -> None:
        caught.set()
        release.wait()

    connector.source.ticked_at = 0.0  # it has not come to its first turn
    monkeypatch.setattr("connector.health._STALL_S", 0.05)
    monkeypatch.setattr("connector.errands.Errands.run", catch)
    connector.source.start(lambda _event: None)
    try:
        await asyncio.to_thread(caught.wait)
        deadline = time.monotonic() + 10
        server = HealthServer(connector.pipeline, connector.source, "127.0.0.1", 0)
        while (reason := server.liveness()) is None:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)

        assert "Kafka thread has not turned" in reason
    finally:
        release.set()
        await connector.source.close()


async def test_a_long_legal_stall_is_alive(connector: Connector) -> None:
    connector.source.ticked_at = time.monotonic() - 40

    assert (await answers(connector, "/livez"))[0] == 200


async def test_before_it_has_joined_it_is_alive_and_not_ready(connector: Connector) -> None:
    connector.source.has_joined = False

    assert (await answers(connector, "/livez"))[0] == 200
    status, text = await answers(connector, "/readyz")
    assert status == 503
    assert "has not joined" in text


async def test_a_refusal_of_braze_s_makes_it_unready_with_the_remedy_until_it_is_cured(connector: Connector) -> None:
    connector.pipeline.troubles.take(Trouble("braze:/users/track", "key refused: check braze.api_key"))

    assert (await answers(connector, "/livez"))[0] == 200
    status, text = await answers(connector, "/readyz")
    assert status == 503
    assert "check braze.api_key" in text

    connector.pipeline.troubles.take(Cured("braze:/users/track"))
    assert (await answers(connector, "/readyz"))[0] == 200


async def test_an_outage_leaves_it_ready_and_is_told(connector: Connector) -> None:
    connector.pipeline.troubles.take(Trouble("braze_outage", "Braze does not answer", halts=False))

    status, text = await answers(connector, "/readyz")

    assert status == 200
    assert "Braze does not answer" in text


async def test_draining_is_unready_and_alive(connector: Connector) -> None:
    connector.pipeline._stopping = True

    assert (await answers(connector, "/livez"))[0] == 200
    status, text = await answers(connector, "/readyz")
    assert status == 503
    assert "draining" in text


async def test_the_page_shows_the_state_and_escapes_what_it_is_told(connector: Connector) -> None:
    connector.pipeline.troubles.take(Trouble("kafka", "<script>alert(1)</script>"))

    status, text = await answers(connector, "/")

    assert status == 200
    assert "<th scope=row>events</th>" in text
    assert "<script>" not in text


async def test_metrics_are_prometheus_s(connector: Connector) -> None:
    status, text = await answers(connector, "/metrics")

    assert status == 200
    assert "# TYPE aiq_braze_records_consumed_total counter" in text


@pytest.mark.parametrize(
    ("request_bytes", "level", "detail"),
    [
        (b"\x16\x03\x01planted\r\n\r\n", "debug", "BadHttpMethod"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX\0: planted\r\n\r\n", "debug", "BadHttpMessage"),
        (b"GET /status HTTP/1.1\r\nHost: a\r\n\r\n", "error", "ZeroDivisionError"),
    ],
)
async def test_what_goes_wrong_with_a_request_is_one_line_of_the_log_in_our_words(
    connector: Connector,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    request_bytes: bytes,
    level: str,
    detail: str,
) -> None:
    log = io.StringIO()
    connector.pipeline.telemetry = Telemetry(output=log, level="debug")
    monkeypatch.setattr(HealthServer, "status", lambda _self: {"planted": 1 / 0})
    server = HealthServer(connector.pipeline, connector.source, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection("127.0.0.1", await server.open())
    writer.write(request_bytes)
    answer = await reader.readline()
    writer.close()
    await server.close()

    assert answer.split()[1] in {b"400", b"500"}
    (line,) = log.getvalue().splitlines()
    told = json.loads(line)
    assert (told["event"], told["level"], told["detail"]) == ("http_request_failed", level, detail)
    assert capfd.readouterr() == ("", "")


async def test_whoever_asks_for_metrics_in_a_version_that_is_none_gets_them(connector: Connector) -> None:
    server = HealthServer(connector.pipeline, connector.source, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{await server.open()}/metrics"
    odd = {"Accept": "application/openmetrics-text; version=latest"}
    async with aiohttp.ClientSession() as session, session.get(url, headers=odd) as answer:
        assert (answer.status, answer.content_type) == (200, "text/plain")
    await server.close()
