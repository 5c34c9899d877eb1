from __future__ import annotations

import asyncio
import base64
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from connector.ports import Cured, SchemaUnknown, Trouble
from connector.registry import RegistryPolicy, SchemaRegistry
from connector.schema import WriterSchema
from connector.secret import Secret
from tests.avro_bytes import schema_text

SIMPLE = json.dumps({"type": "record", "name": "Simple", "fields": [{"name": "id", "type": "long"}]})

Answer = tuple[int, Any]


class Fake:
    """A registry that answers as it is told, path by path; the last answer of a path holds for good."""

    def __init__(self, port: int | None = None) -> None:
        self.answers: dict[str, list[Answer]] = {}
        self.redirections: dict[str, str] = {}
        self.asked: Counter[str] = Counter()
        self.authorizations: set[str | None] = set()
        self.server = TestServer(web.Application(), port=port)
        self.server.app.router.add_get("/{path:.*}", self._answer)

    def schema(self, path: str, schema: Any, **more: Any) -> None:
        self.answers[path] = [(200, {"schema": schema if isinstance(schema, str) else json.dumps(schema), **more})]

    async def _answer(self, request: web.Request) -> web.Response:
        path = request.raw_path
        self.asked[path] += 1
        self.authorizations.add(request.headers.get("Authorization"))
        if path in self.redirections:
            raise web.HTTPFound(self.redirections[path])
        answers = self.answers.get(path, [(404, {"error_code": 40403, "message": "Schema not found"})])
        status, body = answers.pop(0) if len(answers) > 1 else answers[0]
        return web.Response(status=status, text=body if isinstance(body, str) else json.dumps(body))


class Told:
    """What the registry's client has told, and counted."""

    def __init__(self) -> None:
        self.events: list[Trouble | Cured] = []
        self.statuses: Counter[str] = Counter()
        self.trouble = asyncio.Event()

    def tell(self, event: Trouble | Cured) -> None:
        self.events.append(event)
        if isinstance(event, Trouble):
            self.trouble.set()

    @property
    def troubles(self) -> list[Trouble]:
        return [event for event in self.events if isinstance(event, Trouble)]

    def count(self, status: str) -> None:
        self.statuses[status] += 1


@pytest.fixture
async def fake() -> AsyncIterator[Fake]:
    fake = Fake()
    await fake.server.start_server()
    yield fake
    await fake.server.close()


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
async def opened(fake: Fake, told: Told) -> AsyncIterator[Callable[..., Any]]:
    """Opens a client of the fake; all are closed in the end."""
    clients: list[SchemaRegistry] = []

    async def open_one(**policy: Any) -> SchemaRegistry:
        url = policy.pop("url", None) or str(fake.server.make_url("/"))
        client = SchemaRegistry(RegistryPolicy(url, **policy), told.tell, told.count, lambda: 0.0)
        await client.open()
        clients.append(client)
        return client

    yield open_one
    for client in clients:
        await client.close()


async def test_who_stops_waiting_takes_the_answer_from_nobody(fake: Fake, opened: Any) -> None:
    fake.schema("/schemas/ids/7", SIMPLE)
    registry = await opened()
    first, second = (asyncio.create_task(registry.fetch(7)) for _ in range(2))
    await asyncio.sleep(0)  # both have asked
    first.cancel()

    assert json.loads(await second) == json.loads(SIMPLE)
    assert first.cancelled()


async def test_credentials_follow_no_redirection(fake: Fake, told: Told, opened: Any) -> None:
    fake.schema("/schemas/ids/8", SIMPLE)
    fake.redirections["/schemas/ids/7"] = "/schemas/ids/8"
    registry = await opened(user="u", password=Secret("password", "planted", None, lambda _: None))
    asking, told_of = asyncio.create_task(registry.fetch(7)), asyncio.create_task(told.trouble.wait())
    await asyncio.wait({asking, told_of}, return_when=asyncio.FIRST_COMPLETED)
    for task in (asking, told_of):
        task.cancel()

    assert fake.asked["/schemas/ids/8"] == 0
    (trouble,) = told.troubles
    assert trouble.detail.startswith("the registry answers with status 302")
    assert trouble.halts


async def test_no_proxy_is_taken_from_the_environment(fake: Fake, opened: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    fake.schema("/schemas/ids/7", SIMPLE)

    assert await asyncio.wait_for((await opened()).fetch(7), 10)


async def test_a_schema_is_asked_for_once_by_however_many(fake: Fake, told: Told, opened: Any) -> None:
    fake.schema("/schemas/ids/7", SIMPLE)
    registry = await opened()
    assert set(await asyncio.gather(*(registry.fetch(7) for _ in range(5)))) == {
        json.dumps(json.loads(SIMPLE), separators=(",", ":"))
    }
    await registry.fetch(7)
    assert fake.asked == {"/schemas/ids/7": 1}
    assert told.statuses == {"2xx": 1}
    assert told.troubles == []


async def test_an_unknown_id_is_believed_for_a_while(fake: Fake, told: Told, opened: Any) -> None:
    registry = await opened(unknown_for_s=3600)
    for _ in range(3):
        with pytest.raises(SchemaUnknown, match="no schema of id 8"):
            await registry.fetch(8)
    assert fake.asked == {"/schemas/ids/8": 1}
    assert told.troubles == []  # the topic's trouble, not the registry's


async def test_an_unknown_id_is_asked_for_again_after_a_while(fake: Fake, opened: Any) -> None:
    registry = await opened(unknown_for_s=0)
    with pytest.raises(SchemaUnknown):
        await registry.fetch(8)
    fake.schema("/schemas/ids/8", SIMPLE)
    assert WriterSchema(await registry.fetch(8)).name == "Simple"


@pytest.mark.parametrize(
    ("answer", "words", "halts"),
    [
        ((401, {}), "refuses us (401): check its credentials", True),
        ((403, {}), "refuses us (403): check its credentials", True),
        ((302, ""), "answers with status 302", True),
        ((500, {}), "answers with status 500", False),
        ((503, "<html>down</html>"), "answers with status 503", False),
        ((429, {}), "answers with status 429", False),
        ((200, "<html>a proxy's page</html>"), "is no JSON: check the address", True),
        ((200, ["schema"]), "holds no schema: check the address", True),
        ((200, {"schema": 5}), "holds no Avro schema", True),
        ((200, {"schema": "{not json"}), "holds no Avro schema", True),
        ((200, {"schema": SIMPLE, "references": [{"name": "a.B"}]}), "holds no Avro schema", True),
    ],
)
async def test_an_answer_that_is_no_schema_is_waited_out(
    fake: Fake, told: Told, opened: Any, answer: Answer, words: str, halts: bool
) -> None:
    fake.answers["/schemas/ids/7"] = [answer, (200, {"schema": SIMPLE})]
    registry = await opened()
    assert WriterSchema(await registry.fetch(7)).name == "Simple"
    (trouble,) = told.troubles
    assert words in trouble.detail
    assert (trouble.reason, trouble.halts) == ("schema_registry", halts)
    assert told.events[-1] == Cured("schema_registry")


@pytest.mark.parametrize("is_compressed", [False, True])
async def test_an_answer_without_end_is_not_read_to_it(
    told: Told, opened: Any, monkeypatch: pytest.MonkeyPatch, is_compressed: bool
) -> None:
    monkeypatch.setattr("connector.registry._SCHEMA_BYTES_MAX", 50_000)
    written = 0
    answers: list[web.StreamResponse] = []

    async def go_on(request: web.Request) -> web.StreamResponse:
        nonlocal written
        if answers:
            return web.json_response({"schema": SIMPLE})
        answers.append(response := web.StreamResponse())
        if is_compressed:
            response.enable_compression(web.ContentCoding.gzip)
        await response.prepare(request)
        while True:  # until the other side has had enough of it
            await response.write(b" " * 1_000_000)
            written += 1_000_000

    endless = web.Application()
    endless.router.add_get("/schemas/ids/7", go_on)
    async with TestServer(endless) as server:
        registry = await opened(url=str(server.make_url("/")))
        assert WriterSchema(await registry.fetch(7)).name == "Simple"
    (trouble,) = told.troubles
    assert "the registry's answer is longer than any schema (50000 bytes): check the address" in trouble.detail
    assert trouble.halts
    assert written < 500_000_000


@pytest.mark.parametrize(("links", "size"), [(1_001, 0), (6, 1_500_000)])
async def test_what_a_schema_refers_to_is_bounded_too(
    fake: Fake, told: Told, opened: Any, links: int, size: int
) -> None:
    padding = {"doc": "x" * size}
    wide = [reference(f"R{number}") for number in range(links)]
    fake.answers["/schemas/ids/7"] = [
        (200, {"schema": json.dumps(record("Top")), "references": wide}),
        (200, {"schema": SIMPLE}),
    ]
    for each in wide:
        fake.schema(f"/subjects/{each['name']}/versions/1", record(each["name"]) | padding)
    registry = await opened()
    assert WriterSchema(await registry.fetch(7)).name == "Simple"
    (trouble,) = told.troubles
    assert "refers to more than any schema needs" in trouble.detail
    assert sum(fake.asked.values()) <= 1_002


async def test_a_registry_that_is_not_there_is_waited_for(fake: Fake, told: Told, opened: Any) -> None:
    url, port = str(fake.server.make_url("/")), fake.server.port
    await fake.server.close()
    registry = await opened(url=url)
    fetching = asyncio.ensure_future(registry.fetch(7))
    await told.trouble.wait()
    assert "does not answer" in told.troubles[0].detail
    assert not told.troubles[0].halts
    assert told.statuses["none"] >= 1
    revived = Fake(port)
    revived.schema("/schemas/ids/7", SIMPLE)
    await revived.server.start_server()
    assert WriterSchema(await fetching).name == "Simple"
    await revived.server.close()


async def test_an_answer_that_does_not_come_is_waited_for(told: Told, opened: Any) -> None:
    release = asyncio.Event()

    async def hang(_request: web.Request) -> web.Response:
        await release.wait()
        return web.json_response({"schema": SIMPLE})

    hanging = web.Application()
    hanging.router.add_get("/schemas/ids/7", hang)
    server = TestServer(hanging)
    await server.start_server()
    registry = await opened(url=str(server.make_url("/")), timeout_s=0.05)
    fetching = asyncio.ensure_future(registry.fetch(7))
    await told.trouble.wait()
    release.set()
    assert WriterSchema(await fetching).name == "Simple"
    await server.close()


async def test_closing_ends_whoever_waits(told: Told, fake: Fake, opened: Any) -> None:
    fake.answers["/schemas/ids/7"] = [(500, {})]
    registry = await opened()
    fetching = asyncio.ensure_future(registry.fetch(7))
    await told.trouble.wait()
    await registry.close()
    with pytest.raises(asyncio.CancelledError):
        await fetching


async def test_credentials_are_sent_and_never_told(fake: Fake, told: Told, opened: Any) -> None:
    fake.answers["/schemas/ids/7"] = [(401, {"message": "no, bob:hunter2"}), (200, {"schema": SIMPLE})]
    password = Secret("its.key_file", "hunter2", None, told.events.append)
    registry = await opened(user="bob", password=password)
    await registry.fetch(7)
    assert fake.authorizations == {f"Basic {base64.b64encode(b'bob:hunter2').decode()}"}
    assert "hunter2" not in repr(registry._policy)
    assert "hunter2" not in repr(told.events)
    assert "bob" not in repr(told.events)


async def test_a_replaced_password_file_is_read_again(fake: Fake, told: Told, opened: Any, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("old\n", encoding="utf-8")
    registry = await opened(user="bob", password=Secret("its.key_file", None, file, told.events.append))
    fake.schema("/schemas/ids/7", SIMPLE)
    fake.schema("/schemas/ids/8", SIMPLE)

    await registry.fetch(7)
    file.write_text("new-one\n", encoding="utf-8")
    await registry.fetch(8)

    assert fake.authorizations == {
        f"Basic {base64.b64encode(credentials).decode()}" for credentials in (b"bob:old", b"bob:new-one")
    }


@pytest.mark.parametrize("slash", ["", "/"])
async def test_the_address_may_have_a_path(fake: Fake, opened: Any, slash: str) -> None:
    fake.schema("/apis/ccompat/v7/schemas/ids/7", SIMPLE)
    registry = await opened(url=str(fake.server.make_url("/apis/ccompat/v7")) + slash)
    assert await registry.fetch(7)


async def test_another_kind_of_schema_is_unknown_to_us(fake: Fake, opened: Any) -> None:
    fake.schema("/schemas/ids/7", "syntax = proto3;", schemaType="PROTOBUF")
    registry = await opened()
    for _ in range(2):  # the second time from memory
        with pytest.raises(SchemaUnknown, match="PROTOBUF"):
            await registry.fetch(7)


# ---- references -----------------------------------------------------------------------------------------------------

ADDRESS = {"type": "record", "name": "Address", "namespace": "shop", "fields": [{"name": "city", "type": "string"}]}


def reference(name: str, version: int = 1) -> dict[str, Any]:
    return {"name": name, "subject": name, "version": version}


def record(name: str, *fields: tuple[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "record", "name": name, "fields": [{"name": each, "type": kind} for each, kind in fields], **more}


async def test_what_a_schema_refers_to_is_put_where_it_is_first_named(fake: Fake, opened: Any) -> None:
    order = record("shop.Order", ("bill", "shop.Address"), ("ship", ["null", "shop.Address"]))
    fake.schema("/schemas/ids/7", order, references=[reference("shop.Address", 3)])
    fake.schema("/subjects/shop.Address/versions/3", ADDRESS)
    schema = WriterSchema(await (await opened()).fetch(7))
    assert schema.root.fields["bill"].type.fields.keys() == {"city"}
    assert schema.root.fields["ship"].type.items[1] is schema.root.fields["bill"].type


async def test_a_subject_is_quoted(fake: Fake, opened: Any) -> None:
    order = record("shop.Order", ("bill", "shop.Address"))
    fake.schema("/schemas/ids/7", order, references=[{"name": "shop.Address", "subject": "a/b c", "version": 1}])
    fake.schema("/subjects/a%2Fb%20c/versions/1", ADDRESS)
    assert WriterSchema(await (await opened()).fetch(7)).name == "shop.Order"


@pytest.mark.parametrize(
    ("schema", "subject", "definition"),
    [
        (record("shop.Order"), 5, ADDRESS),
        (record("shop.Order"), "shop.Address", record("shop.Address") | {"name": 5}),
        (record("shop.Order") | {"name": 5}, "shop.Address", ADDRESS),
    ],
)
async def test_words_of_another_kind_than_avro_s_are_waited_out(
    fake: Fake, told: Told, opened: Any, schema: Any, subject: Any, definition: Any
) -> None:
    odd = {"schema": json.dumps(schema), "references": [{"name": "a", "subject": subject, "version": 1}]}
    fake.answers["/schemas/ids/7"] = [(200, odd), (200, {"schema": SIMPLE})]
    fake.schema("/subjects/shop.Address/versions/1", definition)

    assert WriterSchema(await (await opened()).fetch(7)).name == "Simple"
    assert ["holds no Avro schema" in trouble.detail for trouble in told.troubles] == [True]


async def test_two_references_to_one_definition_define_it_once(fake: Fake, opened: Any) -> None:
    fake.schema("/schemas/ids/7", record("Top", ("left", "L"), ("right", "R"), ("own", "shop.Address")),
                references=[reference("L"), reference("R"), reference("shop.Address")])  # fmt: skip
    for side in "LR":
        fake.schema(
            f"/subjects/{side}/versions/1", record(side, ("at", "shop.Address")), references=[reference("shop.Address")]
        )
    fake.schema("/subjects/shop.Address/versions/1", ADDRESS)
    root = WriterSchema(await (await opened()).fetch(7)).root
    assert root.fields["left"].type.fields["at"].type is root.fields["own"].type
    assert fake.asked["/subjects/shop.Address/versions/1"] == 1


async def test_names_keep_their_namespace_wherever_they_are_put(fake: Fake, opened: Any) -> None:
    # `Address` without a dot means shop.Address inside the namespace shop; `Plain` has no namespace and gets none.
    inner = record("Inner", ("at", "Address"), namespace="shop")
    top = record("Top", ("plain", "Plain"), ("inner", inner), ("many", {"type": "array", "items": "shop.Address"}))
    fake.schema("/schemas/ids/7", top, references=[reference("shop.Address"), reference("Plain")])
    fake.schema("/subjects/shop.Address/versions/1", ADDRESS)
    fake.schema("/subjects/Plain/versions/1", record("Plain", ("n", "int")))
    root = WriterSchema(await (await opened()).fetch(7)).root
    assert root.fields["plain"].type.name == "Plain"
    assert root.fields["inner"].type.fields["at"].type.name == "shop.Address"
    assert root.fields["many"].type.items[0].name == "shop.Address"


async def test_our_own_event_with_its_identity_by_reference_is_the_same_schema(fake: Fake, opened: Any) -> None:
    whole, referring = json.loads(schema_text("ProfileEvent")), json.loads(schema_text("ProfileEvent"))
    identity = next(field for field in referring["fields"] if field["name"] == "identity")
    fake.schema("/subjects/identity/versions/1", identity["type"])
    identity["type"] = "BrazeIdentity"  # the namespace is the record's
    fake.schema("/schemas/ids/7", referring, references=[{"name": "x", "subject": "identity", "version": 1}])
    schema = WriterSchema(await (await opened()).fetch(7))
    assert schema.root.fields["identity"].type.name == "aiq.export.v1.BrazeIdentity"
    assert schema.root.fields.keys() == {field["name"] for field in whole["fields"]}


async def test_a_reference_that_is_missing_makes_the_schema_unknown(fake: Fake, told: Told, opened: Any) -> None:
    fake.schema("/schemas/ids/7", record("Top", ("at", "shop.Address")), references=[reference("shop.Address")])
    with pytest.raises(SchemaUnknown, match=r"refers to version 1 of subject shop\.Address"):
        await (await opened()).fetch(7)
    assert told.troubles == []


async def test_an_outage_between_a_schema_and_its_reference_is_waited_out(fake: Fake, told: Told, opened: Any) -> None:
    fake.schema("/schemas/ids/7", record("Top", ("at", "shop.Address")), references=[reference("shop.Address")])
    fake.answers["/subjects/shop.Address/versions/1"] = [(503, {}), (200, {"schema": json.dumps(ADDRESS)})]
    schema = WriterSchema(await (await opened()).fetch(7))
    assert schema.root.fields["at"].type.name == "shop.Address"
    assert [each.halts for each in told.troubles] == [False]
