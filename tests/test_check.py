"""What `check` says of a registry and of Braze's answers; of Kafka the command's own tests tell."""

from __future__ import annotations

from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from confluent_kafka import KafkaError

from connector.braze import Endpoint
from connector.check import Finding, _braze_finding, _configuration, _no_answer, _registry, exit_code
from connector.outcomes import Reply
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


@pytest.mark.parametrize(
    ("status", "body", "verdict", "text"),
    [
        (400, b'{"message":"Valid data must be provided"}', "ok", "/users/track: the key is accepted"),
        (400, b"<html>", "refused", "/users/track answered with status 400 in a way that Braze does not document"),
        (413, b"", "warning", "/users/track answers 413: busy or down; the key is not judged"),
        (429, b"", "warning", "/users/track answers 429: busy or down; the key is not judged"),
        (502, b"<html>", "warning", "/users/track answers 502: busy or down; the key is not judged"),
        (200, b"<html>", "refused", "/users/track answers 200 to a request without objects, as Braze does not"),
        (204, b"", "refused", "/users/track answers 204 to a request without objects, as Braze does not"),
        (
            201,
            b'{"status":"ok"}',
            "warning",
            "/users/track answers 201 to a request without objects, as Braze does not",
        ),
        (302, b"", "refused", "/users/track answered with status 302 in a way that Braze does not document"),
    ],
)
def test_a_key_is_accepted_by_braze_alone(status: int, body: bytes, verdict: str, text: str) -> None:
    """Whoever answers anything with a 200 takes any key."""
    found = _braze_finding(Endpoint.TRACK, "users.track", Reply(status, {}, body))

    assert (found.verdict, found.subject) == (verdict, "braze")
    assert found.text.startswith(text)


@pytest.mark.parametrize(
    ("verdicts", "code"),
    [((), 0), (("ok", "warning"), 0), (("ok", "refused"), 3), (("refused", "wrong"), 2), (("wrong", "warning"), 2)],
)
def test_the_gravest_finding_decides_the_exit_code(verdicts: Any, code: int) -> None:
    assert exit_code([Finding(verdict, "x", "y") for verdict in verdicts]) == code


@pytest.mark.parametrize(
    ("endpoint", "is_known"),
    [
        ("https://rest.iad-01.braze.com", True),
        ("https://rest.fra-02.braze.eu", True),
        ("http://127.0.0.1:8080", True),
        ("https://braze.com.example.org", False),
        ("https://rest-braze.com", False),
    ],
)
def test_a_host_that_is_not_known_for_braze_s_is_a_warning(endpoint: str, is_known: bool) -> None:
    settings = Settings.model_validate(
        {
            "kafka": {"bootstrap.servers": "127.0.0.1:1", "group.id": "g"},
            "topics": {"events": {"kind": "event"}},
            "braze": {"endpoint": endpoint, "api_key": "not-a-real-key"},
        }
    )

    warnings = [found for found in _configuration(settings) if found.verdict == "warning"]

    assert [found.subject for found in warnings] == ([] if is_known else ["braze.endpoint"])


@pytest.mark.parametrize(
    ("heard", "said"),
    [
        ([], "_TRANSPORT: check kafka.bootstrap.servers, the network, and kafka.sasl.*"),
        (
            [KafkaError._ALL_BROKERS_DOWN],
            "_TRANSPORT: check kafka.bootstrap.servers, the network, and",
        ),
        (
            [KafkaError._AUTHENTICATION, KafkaError._ALL_BROKERS_DOWN],
            "_AUTHENTICATION: check kafka.sasl.*",
        ),
        (
            [KafkaError._TRANSPORT, KafkaError._RESOLVE],
            "_RESOLVE: no such name: check kafka.bootstrap",
        ),
        ([KafkaError._SSL], "_SSL: check kafka.ssl.*"),
    ],
)
def test_why_no_broker_answers_is_said_where_the_library_tells_it_aside(heard: list[int], said: str) -> None:
    found = _no_answer(KafkaError(KafkaError._TRANSPORT), [KafkaError(code) for code in heard])

    assert found.startswith(f"no answer: Kafka says {said}")
