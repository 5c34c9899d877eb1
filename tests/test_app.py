import asyncio
import io
import json
import socket
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from connector.app import Connector
from connector.braze import Endpoint
from connector.configuration import ConfigurationInvalid
from connector.settings import Settings, load
from connector.telemetry import Telemetry
from tests.doorkeeper import at_the_door

SMALLEST = {
    "kafka": {"bootstrap.servers": "127.0.0.1:1", "group.id": "g"},
    "topics": {"audiences": {"kind": "audience"}},
    "braze": {"endpoint": "http://127.0.0.1:1", "api_key": "not-a-real-key"},
}


def settings(**sections: Any) -> Settings:
    """The smallest configuration, with whole sections put in its place."""
    return Settings.model_validate(SMALLEST | sections)


@pytest.mark.parametrize("kind", ["audience", "event", "campaign"])
async def test_the_source_knows_whether_triggers_are_among_its_topics(kind: str) -> None:
    chosen = settings(topics={"audiences": {"kind": "audience"}, "more": {"kind": kind}})

    assert Connector(chosen, Telemetry(output=None)).source._beside_triggers is (kind == "campaign")


@pytest.mark.parametrize(
    ("host", "fault"),
    [
        ("127.0.0.1", "http.port: {port} is in use: choose another (0: any free one), or end what listens there"),
        ("192.0.2.1", "http.host: 192.0.2.1 is no address of this machine: give one, or 0.0.0.0 for all of them"),
        ("host.invalid", "http.host: host.invalid is no address of this machine: give one, or 0.0.0.0 for all of them"),
    ],
)
async def test_where_nobody_can_listen_the_key_is_named_and_nothing_is_begun(host: str, fault: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        connector = Connector(settings(http={"host": host, "port": port}), Telemetry(output=None))

        with pytest.raises(ConfigurationInvalid) as refused:
            await connector.run(handle_signals=False)

    assert refused.value.faults == [fault.format(port=port)]
    assert connector.source.ticked_at == 0
    assert connector._client._session is not None
    assert connector._client._session.closed


async def test_a_key_file_that_is_written_badly_at_a_rotation_is_logged_without_what_it_holds(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("planted-secret\nplanted-secret", encoding="utf-8")
    chosen = settings(braze={"endpoint": "http://127.0.0.1:9", "api_key_file": str(file)})
    log = io.StringIO()
    client = Connector(chosen, Telemetry(output=log))._client
    await client.open()

    for _ in range(2):
        await client.attempt(Endpoint.TRACK, b"{}", lambda: True)
    await client.close()

    (line,) = log.getvalue().splitlines()
    told = json.loads(line)
    assert (told["event"], told["level"]) == ("api_key_file_ignored", "warning")
    assert told["detail"].startswith("braze.api_key_file: holds no API key")
    assert "planted" not in line


async def test_kafka_s_password_file_is_read_again_while_clients_live(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("connector.sasl._LOOK_S", 0.01)
    file = tmp_path / "password"
    file.write_text("old-s3cret\n", encoding="utf-8")
    log = io.StringIO()
    async with at_the_door(b"renewed-s3cret") as doorkeeper:
        kafka = {key: value for key, value in doorkeeper.kafka.items() if key != "sasl.password"}
        tree = SMALLEST | {
            "kafka": kafka | {"sasl.password_file": str(file)},
            "http": {"host": "127.0.0.1", "port": 0},
            "drain_deadline_s": 0,
            "revoke_deadline_s": 0,
        }
        config = tmp_path / "config.yaml"
        config.write_text(json.dumps(tree), encoding="utf-8")
        connector = Connector(load(config, {}), Telemetry(output=log))
        running = asyncio.create_task(connector.run(handle_signals=False))
        await doorkeeper.until(lambda: doorkeeper.refused)

        file.write_text("renewed-s3cret\n", encoding="utf-8")
        await doorkeeper.until(lambda: doorkeeper.seen)

        connector.pipeline.stop()
        await running
    assert "sasl_credentials_renewed" in log.getvalue()
    assert "s3cret" not in log.getvalue()


async def test_renewed_credentials_are_for_the_dead_letters_producer_too(monkeypatch: pytest.MonkeyPatch) -> None:
    connector = Connector(settings(), Telemetry(output=None))
    given: list[tuple[str, str, str]] = []
    for name, client in (("source", connector.source), ("letters", connector._dead_letters)):
        monkeypatch.setattr(client, "log_in_as", lambda *words, name=name: given.append((name, *words)))
    connector._log_in_as("user", "not-a-real-password")

    assert given == [("source", "user", "not-a-real-password"), ("letters", "user", "not-a-real-password")]


async def test_whoever_cannot_renew_credentials_ends_and_does_not_go_on_with_the_old_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(_self: object, _give: object) -> None:
        raise OSError("no more handles")

    monkeypatch.setattr("connector.sasl.SaslCredentials.keep_giving", fail)
    file = tmp_path / "password"
    file.write_text("not-a-real-password", encoding="utf-8")
    config = tmp_path / "config.yaml"
    kafka = SMALLEST["kafka"] | {"sasl.password_file": str(file)}
    config.write_text(json.dumps(SMALLEST | {"kafka": kafka, "http": {"port": 0}}), encoding="utf-8")

    with pytest.raises(OSError, match="no more handles"):
        await Connector(load(config, {}), Telemetry(output=None)).run(handle_signals=False)


async def test_the_registry_s_password_file_that_is_written_badly_is_logged_without_what_it_holds(
    tmp_path: Path,
) -> None:
    file = tmp_path / "password"
    file.write_bytes("plänted".encode("latin-1"))
    chosen = settings(schema_registry={"url": "http://127.0.0.1:9", "user": "u", "password_file": str(file)})
    log = io.StringIO()
    registry = Connector(chosen, Telemetry(output=log))._registry
    assert registry is not None
    await registry.open()

    for _ in range(2):
        with pytest.raises(aiohttp.ClientError):
            await registry.ask("/schemas/ids/1")
    await registry.close()

    (line,) = log.getvalue().splitlines()
    told = json.loads(line)
    assert (told["event"], told["level"]) == ("secret_file_ignored", "warning")
    assert told["detail"].startswith("schema_registry.password_file: holds no secret")
    assert "nted" not in line


def test_a_schema_file_in_another_encoding_is_refused_with_its_key(tmp_path: Path) -> None:
    (tmp_path / "mine.avsc").write_bytes('{"type": "record", "name": "É", "fields": []}'.encode("latin-1"))
    chosen = settings(topics={"audiences": {"kind": "audience", "schema": "mine.avsc"}}, schemas_dir=tmp_path)

    with pytest.raises(ConfigurationInvalid, match=r"^topics\.audiences\.schema: .*mine\.avsc in .* is no file"):
        Connector(chosen, Telemetry(output=None))
