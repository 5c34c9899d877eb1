"""P9: no key, user id or payload in a log, an error, a metric label or a dead letter's headers, whatever goes wrong."""

import asyncio
import io
import time
from typing import Any

import orjson
from confluent_kafka import Consumer, Producer, TopicPartition
from fastavro import parse_schema, schemaless_writer
from prometheus_client import generate_latest

from connector.app import Connector
from connector.demo.stage import in_process_broker
from connector.demo.workload import TOPICS
from connector.double.server import serve
from connector.double.settings import ALL_PERMISSIONS, DoubleSettings
from connector.records import Fate, Kind
from connector.settings import PACKAGED_SCHEMAS, SCHEMA_FILES, Settings
from connector.telemetry import Telemetry

KEY = "planted-key-5f0c"
USER = "planted-user-91aa"
PAYLOAD = "planted-payload-77b2"
EMAIL = "planted.person@example.com"
CAMPAIGN = "campaign-of-the-test"
PLANTED = (KEY, USER, PAYLOAD, EMAIL, "planted.person")

REJECTED = 9


def _value(kind: Kind, record: dict[str, Any]) -> bytes:
    out = io.BytesIO()
    schemaless_writer(out, parse_schema(orjson.loads((PACKAGED_SCHEMAS / SCHEMA_FILES[kind]).read_bytes())), record)
    return out.getvalue()


def _records() -> list[tuple[Kind, bytes]]:
    """Good and bad ones, with something planted in every corner."""
    at = int(time.time() * 1000)
    identity = {"external_id": USER, "braze_id": None}
    audience = {
        "event_id": PAYLOAD, "identity": identity, "audience_id": "1", "split_id": "a", "change": "ENTERED",
        "qualified_at": at, "attributes": {"city": PAYLOAD, "email": EMAIL},
    }  # fmt: skip
    event = {
        "event_id": PAYLOAD, "identity": identity, "event_name": "Seen", "occurred_at": at,
        "properties": {"what": PAYLOAD},
    }  # fmt: skip
    campaign = {
        "event_id": PAYLOAD, "identity": identity, "campaign_id": CAMPAIGN, "requested_at": at,
        "trigger_properties": {"what": PAYLOAD},
    }  # fmt: skip
    long = PAYLOAD * 30
    return [
        (Kind.AUDIENCE, _value(Kind.AUDIENCE, audience)),
        (Kind.EVENT, _value(Kind.EVENT, event)),
        (Kind.CAMPAIGN, _value(Kind.CAMPAIGN, campaign)),
        # refused here, each for another reason
        (Kind.AUDIENCE, PAYLOAD.encode()),
        (Kind.AUDIENCE, _value(Kind.AUDIENCE, audience) + PAYLOAD.encode()),
        (Kind.AUDIENCE, _value(Kind.AUDIENCE, audience | {"change": "UNKNOWN"})),
        (Kind.AUDIENCE, _value(Kind.AUDIENCE, audience | {"attributes": {"city": long}})),
        (Kind.AUDIENCE, _value(Kind.AUDIENCE, audience | {"attributes": {"email": PAYLOAD}})),
        (Kind.AUDIENCE, _value(Kind.AUDIENCE, audience | {"audience_id": long})),
        (Kind.EVENT, _value(Kind.EVENT, event | {"identity": {"external_id": USER * 100, "braze_id": None}})),
        (Kind.EVENT, _value(Kind.EVENT, event | {"occurred_at": at // 1000})),
        # refused by Braze
        (Kind.EVENT, _value(Kind.EVENT, event | {"event_name": "Refused"})),
    ]


_FAULTS: list[dict[str, Any]] = [
    {
        "do": "refuse_object",
        "type": f"{PAYLOAD} of {USER}",
        "where": {"array": "events", "equals": {"name": "Refused"}},
    },
    {"do": "status", "status": 401, "body": {"message": f"Invalid API key: {KEY}"}, "times": 1},
    {"do": "status", "status": 403, "body": {"message": f"{KEY} {USER}"}, "times": 1},
    {"do": "status", "status": 503, "body": "html", "times": 1},
    {"do": "drop", "apply": False, "times": 1},
    {"do": "rate_limit", "style": "mau", "wait_s": 1, "times": 1},
]


async def test_nothing_planted_is_ever_said() -> None:
    log = io.StringIO()
    telemetry = Telemetry(output=log, level="debug")
    async with in_process_broker() as address, serve(DoubleSettings(api_keys={KEY: ALL_PERMISSIONS})) as double:
        double.double.set_faults(asyncio.get_running_loop().time(), _FAULTS)
        settings = Settings.model_validate(
            {
                "kafka": {"bootstrap.servers": address, "group.id": "quiet"},
                "topics": {topic: {"kind": kind} for kind, topic in TOPICS.items()},
                "braze": {
                    "endpoint": double.url, "api_key": KEY, "settle_s": 0, "probe_s": 0.2, "retry": {"first_s": 0.05},
                },
                "http": {"host": "127.0.0.1", "port": 0},
            }
        )  # fmt: skip
        connector = Connector(settings, telemetry, seed=1)
        running = asyncio.create_task(connector.run(handle_signals=False))
        records = _records()
        await asyncio.to_thread(_produce, address, records)
        tallies = connector.pipeline.books.tallies
        async with asyncio.timeout(60):
            while sum(sum(tally.settled.values()) for tally in tallies.values()) < len(records):
                await asyncio.sleep(0.05)
        pages = repr(connector.health.status()) + repr(connector.pipeline.telemetry) + repr(settings)
        connector.pipeline.stop()
        assert await running == 0
        headers = await asyncio.to_thread(_dead_letter_headers, address)

    assert sum(tally.settled[Fate.DEAD_LETTERED] for tally in tallies.values()) == REJECTED == len(headers)
    said = {
        "log": log.getvalue(),
        "metrics": generate_latest(telemetry.registry).decode(),
        "dead letters": repr(headers),
        "pages": pages,
    }
    for where, text in said.items():
        assert len(text) > 100
        for planted in PLANTED:
            assert planted not in text, f"{planted} stands in the {where}"
    assert "key refused" in said["log"]


def _produce(address: str, records: list[tuple[Kind, bytes]]) -> None:
    producer = Producer({"bootstrap.servers": address})
    for kind, value in records:
        producer.produce(TOPICS[kind], value=value, key=USER)
    assert producer.flush(10) == 0


def _dead_letter_headers(address: str) -> list[dict[str, Any]]:
    consumer = Consumer({"bootstrap.servers": address, "group.id": "reader"})
    partitions = [TopicPartition("aiq.dead-letters", index, 0) for index in range(4)]
    left = sum(consumer.get_watermark_offsets(partition, timeout=10)[1] for partition in partitions)
    consumer.assign(partitions)
    found: list[dict[str, Any]] = []
    while len(found) < left:
        found += [dict(message.headers() or ()) for message in consumer.consume(100, 0.2)]
    consumer.close()
    return found
