"""What `check` says of a registry; of Kafka and Braze the command's own tests tell."""

from __future__ import annotations

from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from connector.check import _registry
from connector.settings import Settings

REFERRING = {"schema": '{"type": "record", "name": "R", "fields": []}', "references": [{"subject": "a", "version": 1}]}


@pytest.mark.parametrize(
    ("answer", "verdict", "text"),
    [
        (None, "warning", "the registry has no such subject yet"),
        (
            {"schema": "x", "schemaType": "PROTOBUF"},
            "wrong",
            "its latest schema cannot be read: it is of type PROTOBUF",
        ),
        ({"schema": "x", "schemaType": "\x1b[2J"}, "wrong", "its latest schema cannot be read: it is of type ?[2J"),
        (REFERRING, "wrong", "its latest schema cannot be read: it refers to version 1 of subject a, which"),
    ],
)
async def test_a_schema_that_cannot_be_read_is_no_missing_subject(answer: Any, verdict: str, text: str) -> None:
    async def latest(_request: web.Request) -> web.Response:
        return web.Response(status=404) if answer is None else web.json_response(answer)

    application = web.Application()
    application.router.add_get("/subjects/events-value/versions/latest", latest)
    async with TestServer(application) as server:
        settings = Settings.model_validate(
            {
                "kafka": {"bootstrap.servers": "127.0.0.1:1", "group.id": "g"},
                "schema_registry": {"url": str(server.make_url("/"))},
                "topics": {"events": {"kind": "event"}},
                "braze": {"endpoint": "http://127.0.0.1:1", "api_key": "not-a-real-key"},
            }
        )
        (found,) = [finding async for finding in _registry(settings)]

    assert (found.verdict, found.subject) == (verdict, "events-value")
    assert found.text.startswith(text)
