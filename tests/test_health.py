"""The truth table of the probes: what a restart or a roll-out could mend, and nothing else."""

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
            "topics": {"<b>events</b>": {"kind": "event"}},
            "braze": {"endpoint": "http://127.0.0.1:1", "api_key": "not-a-real-key"},
        }
    )
    built = Connector(settings, Telemetry(output=None))
    built.source.has_joined = True
    built.source.ticked_at = time.time()
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
    connector.source.ticked_at = time.time() - 61

    status, text = await answers(connector, "/livez")

    assert status == 503
    assert "Kafka thread has not turned" in text


async def test_a_long_legal_stall_is_alive(connector: Connector) -> None:
    connector.source.ticked_at = time.time() - 40

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


async def test_the_page_shows_the_state_and_escapes_what_the_operator_named(connector: Connector) -> None:
    connector.pipeline.troubles.take(Trouble("kafka", "<script>alert(1)</script>"))

    status, text = await answers(connector, "/")

    assert status == 200
    assert "&lt;b&gt;events&lt;/b&gt;" in text
    assert "<script>" not in text


async def test_metrics_are_prometheus_s(connector: Connector) -> None:
    status, text = await answers(connector, "/metrics")

    assert status == 200
    assert "# TYPE aiq_braze_records_consumed_total counter" in text
