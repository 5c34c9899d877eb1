from __future__ import annotations

import asyncio
import contextlib
import io
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
import uvloop

from connector.double.application import Applied
from connector.double.server import DoubleServer, run_server, serve
from connector.double.settings import ALL_PERMISSIONS, DoubleSettings

ATTRIBUTES = {"attributes": [{"external_id": "u1", "plan": "gold"}]}


@pytest.fixture
def plain(key: str) -> DoubleSettings:
    return DoubleSettings(api_keys={key: ALL_PERMISSIONS}, latency_s=0.0, apply_delay_s=(0.0, 0.0), apply_tail_chance=0)


@contextlib.asynccontextmanager
async def _asking(server: DoubleServer, key: str) -> AsyncIterator[aiohttp.ClientSession]:
    headers = {"Authorization": f"Bearer {key}"}
    async with aiohttp.ClientSession(server.url, headers=headers) as session:
        yield session


async def _state(session: aiohttp.ClientSession) -> Any:
    async with session.get("/_double/state") as reply:
        return await reply.json()


async def _fault(session: aiohttp.ClientSession, plan: Any) -> None:
    async with session.post("/_double/faults", json=plan) as reply:
        assert reply.status == 200


async def test_a_request_over_a_socket_is_answered_and_applied(plain: DoubleSettings, key: str) -> None:
    async with serve(plain) as server, _asking(server, key) as session:
        async with session.post("/users/track", json=ATTRIBUTES) as reply:
            assert reply.status == 201
            assert await reply.json() == {"message": "success", "attributes_processed": 1}
            assert reply.headers["X-RateLimit-Limit"] == "3000"
            assert b"x-ratelimit-limit" in dict(reply.raw_headers)
        state = await _state(session)
    assert state["profiles"]["external_id:u1"]["custom_attributes"] == {"plan": "gold"}


async def test_the_double_listens_on_the_loopback_interface_only(plain: DoubleSettings) -> None:
    async with serve(plain) as server:
        assert server.url.startswith("http://127.0.0.1:")


async def test_the_address_is_known_only_while_it_listens(plain: DoubleSettings) -> None:
    with pytest.raises(RuntimeError, match="not started"):
        _ = DoubleServer(plain).url


async def test_a_port_that_is_taken_is_refused(plain: DoubleSettings) -> None:
    async with serve(plain) as server:
        with pytest.raises(OSError, match="in use"):
            async with serve(plain, port=int(server.url.rpartition(":")[2])):
                pass


async def test_queries_reach_the_double(plain: DoubleSettings, key: str) -> None:
    settings = DoubleSettings(api_keys=plain.api_keys, latency_s=0.0, campaigns={"x": "archived"})
    async with serve(settings) as server, _asking(server, key) as session:
        reply = await session.get("/campaigns/list", params={"include_archived": "true"})
        assert [one["id"] for one in (await reply.json())["campaigns"]] == ["x"]


async def test_a_dropped_connection_is_reset(plain: DoubleSettings, key: str) -> None:
    async with serve(plain) as server, _asking(server, key) as session:
        await _fault(session, [{"do": "drop"}, {"do": "drop", "apply": True}])
        for _ in range(2):
            with pytest.raises(aiohttp.ClientConnectionError):
                await session.post("/users/track", json=ATTRIBUTES)
        state = await _state(session)
    assert state["requests"]["/users/track"] == {"dropped": 2}
    assert state["applied"]["attributes"] == 1


async def test_a_reply_may_come_after_the_clients_patience_and_holds_up_no_stop(
    plain: DoubleSettings, key: str
) -> None:
    async with serve(plain) as server, _asking(server, key) as session:
        await _fault(session, [{"do": "delay", "delay_s": 3600}])
        with pytest.raises(TimeoutError):
            await session.post("/users/track", json=ATTRIBUTES, timeout=aiohttp.ClientTimeout(total=0.02))
        assert (await _state(session))["applied"]["attributes"] == 1


async def test_a_body_that_is_too_large_is_a_413(plain: DoubleSettings, key: str) -> None:
    async with serve(plain) as server, _asking(server, key) as session:
        body = io.BytesIO(orjson.dumps(ATTRIBUTES).ljust(4_000_001))
        async with session.post("/users/track", data=body, headers={"Content-Type": "application/json"}) as reply:
            assert reply.status == 413


async def test_accepted_objects_are_applied_without_being_asked_for(key: str, tmp_path: Path) -> None:
    settings = DoubleSettings(
        api_keys={key: ALL_PERMISSIONS}, latency_s=0.0, apply_delay_s=(0.001, 0.002), apply_tail_chance=0
    )
    done, seen = asyncio.Event(), list[Applied]()

    def on_applied(applied: Applied) -> None:
        seen.append(applied)
        if len(seen) == 20:
            done.set()

    path = tmp_path / "journal"
    async with serve(settings, journal_path=path, on_applied=on_applied) as server, _asking(server, key) as session:
        for _ in range(20):
            await (await session.post("/users/track", json=ATTRIBUTES)).read()
        await done.wait()
    lines = [orjson.loads(line) for line in path.read_bytes().splitlines()]
    assert [line["sequence"] for line in lines] == list(range(1, 21))


async def test_what_was_accepted_is_applied_before_the_end(key: str, tmp_path: Path) -> None:
    settings = DoubleSettings(api_keys={key: ALL_PERMISSIONS}, latency_s=0.0, apply_delay_s=(3600, 3600))
    path = tmp_path / "journal"
    async with serve(settings, journal_path=path) as server, _asking(server, key) as session:
        await (await session.post("/users/track", json=ATTRIBUTES)).read()
        assert (await _state(session))["pending_requests"] == 1
    assert len(path.read_bytes().splitlines()) == 1


async def test_faults_are_set_refused_and_cleared(plain: DoubleSettings, key: str) -> None:
    async with serve(plain) as server, _asking(server, key) as session:
        await _fault(session, {"seed": 7, "steps": [{"do": "status", "status": 503, "times": None}]})
        for plan in (b"{", b'[{"do": "explode"}]'):
            async with session.post("/_double/faults", data=plan) as reply:
                assert reply.status == 400
        async with session.post("/users/track", json=ATTRIBUTES) as reply:
            assert reply.status == 503
        async with session.delete("/_double/faults") as reply:
            assert reply.status == 200
        async with session.post("/users/track", json=ATTRIBUTES) as reply:
            assert reply.status == 201


async def test_settings_are_changed_while_running(plain: DoubleSettings, key: str) -> None:
    async with serve(plain) as server, _asking(server, key) as session:
        async with session.post("/_double/settings", json={"header_style": "mau"}) as reply:
            assert reply.status == 200
        async with session.post("/_double/settings", json={"speed": 1}) as reply:
            assert (reply.status, await reply.json()) == (400, {"message": "speed: no such setting"})
        async with session.post("/users/track", json=ATTRIBUTES) as reply:
            assert int(reply.headers["X-RateLimit-Reset"]) < 60
        assert server.double.settings.header_style == "mau"


async def test_other_paths_of_the_double_are_a_404(plain: DoubleSettings, key: str) -> None:
    async with serve(plain) as server, _asking(server, key) as session, session.get("/_double/secrets") as reply:
        assert reply.status == 404


def test_it_serves_on_uvloop_too(plain: DoubleSettings, key: str, tmp_path: Path) -> None:
    async def main() -> Any:
        async with serve(plain, journal_path=tmp_path / "j") as server, _asking(server, key) as session:
            await _fault(session, [{"do": "drop"}])
            with pytest.raises(aiohttp.ClientConnectionError):
                await session.post("/users/track", json=ATTRIBUTES)
            await (await session.post("/users/track", json=ATTRIBUTES)).read()
            return await _state(session)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(main())["requests"]["/users/track"] == {"201": 1, "dropped": 1}


async def test_running_announces_the_address_and_ends_when_cancelled(key: str) -> None:
    announced: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(run_server(0, ["run-key"], None, None, announced.set_result))
    async with aiohttp.ClientSession(await announced, headers={"Authorization": "Bearer run-key"}) as session:
        async with session.post("/users/track", json=ATTRIBUTES) as reply:
            assert reply.status == 201
        async with session.post("/users/track", json=ATTRIBUTES, headers={"Authorization": f"Bearer {key}"}) as reply:
            assert reply.status == 401
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_running_ends_well_on_sigterm() -> None:
    program = (
        "import asyncio; from connector.double.server import run_server;"
        "asyncio.run(run_server(0, ['k'], None, None, lambda url: print(url, flush=True)))"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith(b"http://127.0.0.1:")
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait() == 0
