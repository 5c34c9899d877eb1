"""Somebody else's client, written against the real Braze, talks to the double."""

from __future__ import annotations

import asyncio
import importlib
import types
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from connector.double.server import DoubleServer, serve
from connector.double.settings import ALL_PERMISSIONS, DoubleSettings, RatePool, RateWindow

EVENT = {"external_id": "u1", "name": "bought", "time": "2026-03-26T18:12:00Z"}


@pytest.fixture(scope="module")
def library() -> Iterator[types.ModuleType]:
    # It pins a tenacity of 2019, which names `asyncio.coroutine` while it is imported; Python 3.11 has it no more.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asyncio, "coroutine", types.coroutine, raising=False)
        yield importlib.import_module("braze.client")


@pytest.fixture
async def server(key: str) -> AsyncIterator[DoubleServer]:
    settings = DoubleSettings(
        api_keys={key: ALL_PERMISSIONS},
        latency_s=0.0,
        apply_delay_s=(0.0, 0.0),
        apply_tail_chance=0,
        track_rate=RatePool((RateWindow(3, 3600),)),
        headers_on_429=True,
    )
    async with serve(settings) as running:
        yield running


@pytest.fixture
async def client(library: types.ModuleType, server: DoubleServer, key: str) -> AsyncIterator[Any]:
    one = library.BrazeClient(api_key=key, api_url=server.url)
    yield one
    one.session.close()


async def _asked(call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """The client blocks, so it works in a thread while the double answers in this one."""
    return await asyncio.to_thread(call, *args, **kwargs)


async def test_it_tracks(client: Any, server: DoubleServer) -> None:
    reply = await _asked(client.user_track, attributes=[{"external_id": "u1", "plan": "gold"}], events=[EVENT, EVENT])
    assert reply["success"] is True
    assert reply["status_code"] == 201
    assert (reply["attributes_processed"], reply["events_processed"]) == (1, 2)
    server.double.advance(float("inf"))
    state = server.double.state()
    assert state["profiles"]["external_id:u1"]["custom_attributes"] == {"plan": "gold"}
    assert state["profiles"]["external_id:u1"]["custom_events"] == {"bought": 2}


async def test_it_sees_which_object_was_refused(client: Any) -> None:
    reply = await _asked(client.user_track, attributes=[{"external_id": "u1"}, {"plan": "gold"}])
    assert reply["success"] is False
    assert [(one["input_array"], one["index"]) for one in reply["errors"]] == [("attributes", 1)]


async def test_it_raises_when_every_object_was_refused(client: Any, library: types.ModuleType) -> None:
    with pytest.raises(library.BrazeClientError) as caught:
        await _asked(client.user_track, attributes=[{"plan": "gold"}])
    message, errors = caught.value.args
    assert message.startswith("Valid data must be provided")
    assert [one["index"] for one in errors] == [0]


async def test_it_raises_for_a_wrong_key(library: types.ModuleType, server: DoubleServer) -> None:
    stranger = library.BrazeClient(api_key="wrong", api_url=server.url)
    with pytest.raises(library.BrazeClientError, match="Invalid API key"):
        await _asked(stranger.user_track, attributes=[{"external_id": "u1"}])
    stranger.session.close()


async def test_it_reads_the_reset_of_a_429(client: Any, library: types.ModuleType, server: DoubleServer) -> None:
    for _ in range(3):
        await _asked(client.user_track, attributes=[{"external_id": "u1"}])
    with pytest.raises(library.BrazeRateLimitError) as caught:
        await _asked(client.user_track, attributes=[{"external_id": "u1"}])
    # The bucket of three is full again an hour after it was emptied; the client gives up rather than wait that long.
    assert caught.value.reset_epoch_s > 1_700_000_000
    assert server.double.state()["rate_refusals"]["track"] == 1


async def test_it_exports_what_it_tracked(client: Any) -> None:
    await _asked(client.user_track, attributes=[{"external_id": "u1", "plan": "gold"}])
    reply = await _asked(client.user_export, external_ids=["u1"], fields_to_export=["custom_attributes"])
    assert reply["users"] == [{"custom_attributes": {"plan": "gold"}}]


async def test_it_takes_queued_for_a_success_of_sorts(client: Any, library: types.ModuleType, server: Any) -> None:
    server.double.set_faults(0.0, [{"do": "queued"}])
    with pytest.raises(library.BrazeClientError, match="queued"):
        await _asked(client.user_track, attributes=[{"external_id": "u1"}])
