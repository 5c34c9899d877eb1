"""The topics of the benchmark, and the records in them."""

from __future__ import annotations

import io
import random
import time
from itertools import accumulate
from typing import Any

import orjson
from confluent_kafka import Producer
from fastavro import parse_schema, schemaless_writer

from bench.site import ROOT, Site

FLOOD = "bench-flood"
MIXED = {"bench-audiences": "AudienceMembership.avsc", "bench-events": "ProfileEvent.avsc"}
PARTITIONS = 4
LETTERS = "bench-letters"


def make_topics(site: Site) -> None:
    for topic in (*MIXED, *(f"{topic}-idle" for topic in MIXED), LETTERS):
        site.broker.create_topic(topic, PARTITIONS)
    site.broker.create_topic(FLOOD, 1)


def produce(address: str, records: int, users: int, *, flood: bool = False) -> None:
    rng = random.Random(1)
    weights = list(accumulate(1 / rank**1.1 for rank in range(1, users + 1)))
    ranks = rng.choices(range(users), cum_weights=weights, k=records)
    schemas = {
        topic: parse_schema(orjson.loads((ROOT / "schemas" / file).read_bytes())) for topic, file in MIXED.items()
    }
    producer = Producer({"bootstrap.servers": address, "enable.idempotence": True, "linger.ms": 20})
    at = int(time.time() * 1000)
    for number, rank in enumerate(ranks):
        user = f"user-{rank:07d}"
        record: dict[str, Any] = {"event_id": f"e-{number}", "identity": {"external_id": user}}
        if flood or number % 2:
            topic = FLOOD if flood else "bench-audiences"
            record |= {"audience_id": str(rank % 50), "split_id": "a", "change": "ENTERED", "qualified_at": at}
            record["attributes"] = {"tier": "gold", "score": number % 100}
        else:
            topic = "bench-events"
            record |= {"event_name": "Viewed", "occurred_at": at}
            record["properties"] = {
                "sku": f"sku-{number % 9999}", "price": 12.5, "count": 3, "new": True, "shop": "north", "page": "/home"
            }  # fmt: skip
        buffer = io.BytesIO()
        schemaless_writer(buffer, schemas["bench-audiences" if flood else topic], record)
        while True:
            try:
                producer.produce(topic, value=buffer.getvalue(), key=user)
                break
            except BufferError:
                producer.poll(0.1)
        producer.poll(0)
    assert producer.flush(60) == 0
