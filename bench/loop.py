"""The rival: what a good engineer writes in an afternoon. No order, no blame, no quota; one barrier a round.

`python bench/loop.py ADDRESS GROUP ENDPOINT KEY [SUFFIX]`: reads both topics of the benchmark, 16 requests of 75 at
a time.
"""

import asyncio
import io
import json
import sys
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
from confluent_kafka import Consumer
from fastavro import parse_schema, schemaless_reader

SCHEMAS = Path(__file__).parent.parent / "schemas"
FILES = {"bench-audiences": "AudienceMembership.avsc", "bench-events": "ProfileEvent.avsc"}


def attribute(record: dict) -> dict:
    name = f"AIQ_{record['audience_id']}_{record['split_id']}"
    return {
        "external_id": record["identity"]["external_id"],
        **record["attributes"],
        name: record["change"] != "EXITED",
    }


def event(record: dict) -> dict:
    return {
        "external_id": record["identity"]["external_id"],
        "name": record["event_name"],
        "time": datetime.fromtimestamp(record["occurred_at"].timestamp(), UTC).isoformat(),
        "properties": record["properties"],
    }


async def main(address: str, group: str, endpoint: str, key: str, suffix: str = "") -> None:
    schemas = {topic + suffix: parse_schema(json.loads((SCHEMAS / file).read_text())) for topic, file in FILES.items()}
    consumer = Consumer(
        {"bootstrap.servers": address, "group.id": group, "auto.offset.reset": "earliest", "enable.auto.commit": False}
    )
    consumer.subscribe(list(schemas))
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    async with aiohttp.ClientSession(headers=headers) as session:

        async def post(body: dict) -> None:
            async with session.post(f"{endpoint}/users/track", data=json.dumps(body)) as answer:
                await answer.read()

        while True:
            attributes, events = [], []
            for message in consumer.consume(75 * 16, 0.1):
                record = schemaless_reader(io.BytesIO(message.value()), schemas[message.topic()])
                if message.topic() == "bench-events":
                    events.append(event(record))
                else:
                    attributes.append(attribute(record))
            bodies = [{"attributes": attributes[i : i + 75]} for i in range(0, len(attributes), 75)]
            bodies += [{"events": events[i : i + 75]} for i in range(0, len(events), 75)]
            if bodies:
                await asyncio.gather(*map(post, bodies))
                consumer.commit(asynchronous=False)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
