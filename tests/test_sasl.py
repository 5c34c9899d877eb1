"""Kafka's credentials in files: looked at again, and with them living clients log in."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from connector.backpressure import Bounds
from connector.dead_letters import DeadLetterTopic
from connector.sasl import SaslCredentials
from connector.source import KafkaSource
from tests.doorkeeper import at_the_door


class Record:
    def value(self) -> bytes:
        return b"value"

    def key(self) -> None:
        return None

    def headers(self) -> None:
        return None

    def timestamp(self) -> tuple[int, int]:
        return 0, 0


async def test_living_clients_log_in_with_what_they_are_given() -> None:
    async with at_the_door(b"renewed") as doorkeeper:
        source = KafkaSource({**doorkeeper.kafka, "client.id": "consumer"}, ["t"], Bounds(100, 100), 0.1)
        letters = DeadLetterTopic(
            {**doorkeeper.kafka, "client.id": "producer"}, "dead", lambda _event: None, lambda: None
        )
        source.start(lambda _event: None)
        writing = asyncio.create_task(letters.write(Record(), [], lambda: True))
        await doorkeeper.until(lambda: doorkeeper.refused == {b"consumer", b"producer"})

        source.log_in_as("somebody", "renewed")
        letters.log_in_as("somebody", "renewed")

        await doorkeeper.until(
            lambda: doorkeeper.seen == {(client, b"somebody", b"renewed") for client in (b"consumer", b"producer")}
        )
        writing.cancel()
        letters.close()
        await source.close()


def test_what_is_made_anew_begins_with_what_was_given() -> None:
    source = KafkaSource({"sasl.username": "user", "sasl.password": "planted"}, ["t"], Bounds(100, 100), 0.1)
    letters = DeadLetterTopic({"sasl.password": "planted"}, "dead", lambda _event: None, lambda: None)

    source.log_in_as("somebody", "renewed")
    letters.log_in_as("somebody", "renewed")

    for properties in (source._kafka, letters._properties):
        assert (properties["sasl.username"], properties["sasl.password"]) == ("somebody", "renewed")
    assert "renewed" not in repr(source._mailbox.get_nowait())


def test_only_what_has_changed_is_given(tmp_path: Path) -> None:
    user, password = tmp_path / "user", tmp_path / "password"
    user.write_text("user\n", encoding="utf-8")
    password.write_text("planted\n", encoding="utf-8")
    told: list[str] = []
    kafka = {"sasl.username": "user", "sasl.password": "planted"}
    credentials = SaslCredentials(kafka, {"sasl.username": user, "sasl.password": password}, told.append)

    assert credentials.renewed() is None
    password.write_text("renewed\n", encoding="utf-8")
    assert credentials.renewed() == ("user", "renewed")
    assert credentials.renewed() is None
    password.write_bytes(b"")
    assert credentials.renewed() is None
    assert told == [
        "kafka.sasl.password_file: holds no secret: write it alone, as text in UTF-8; until then the last one is used"
    ]


@pytest.mark.parametrize("files", [{}, {"ssl.key.password": Path("absent")}])
def test_without_a_file_of_theirs_they_cannot_change(files: dict[str, Path]) -> None:
    kafka = {"sasl.username": "user", "sasl.password": "planted", "ssl.key.password": "p"}
    assert not SaslCredentials(kafka, files, print).can_change
    assert SaslCredentials(kafka, {"sasl.username": Path("there")}, print).can_change
