"""The rival: what a good engineer writes in an afternoon. No order, no blame, no quota; one barrier a round.

`python bench/loop.py ADDRESS GROUP ENDPOINT KEY KIND=TOPIC...`: 16 requests of 75 at a time.
"""

import asyncio
import io
import json
import sys
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
from confluent_kafka import Consumer, Message
from fastavro import parse_schema, schemaless_reader

SCHEMAS = Path(__file__).parent.parent / "schemas"
FILES = {"audience": "AudienceMembership.avsc", "event": "ProfileEvent.avsc"}
ROUND = 75 * 16


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


def bodies(messages: list[Message], kinds: dict[str, str], schemas: dict[str, object]) -> list[str]:
    """One round's requests."""
    attributes, events = [], []
    for message in messages:
        kind = kinds[message.topic()]
        record = schemaless_reader(io.BytesIO(message.value()[5:]), schemas[kind])
        if kind == "event":
            events.append(event(record))
        else:
            attributes.append(attribute(record))
    found = [{"attributes": attributes[i : i + 75]} for i in range(0, len(attributes), 75)]
    found += [{"events": events[i : i + 75]} for i in range(0, len(events), 75)]
    return [json.dumps(body) for body in found]


def kinds_and_schemas(arguments: list[str]) -> tuple[dict[str, str], dict[str, object]]:
    kinds = {topic: kind for kind, _, topic in (argument.partition("=") for argument in arguments)}
    schemas = {kind: parse_schema(json.loads((SCHEMAS / FILES[kind]).read_text())) for kind in kinds.values()}
    return kinds, schemas


async def post(session: aiohttp.ClientSession, endpoint: str, body: str) -> None:
    async with session.post(f"{endpoint}/users/track", data=body) as answer:
        await answer.read()


async def main(address: str, group: str, endpoint: str, key: str, *topics: str) -> None:
    kinds, schemas = kinds_and_schemas(topics)
    consumer = Consumer(
        {"bootstrap.servers": address, "group.id": group, "auto.offset.reset": "earliest", "enable.auto.commit": False}
    )
    consumer.subscribe(list(kinds))
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    async with aiohttp.ClientSession(headers=headers) as session:
        while True:
            if messages := consumer.consume(ROUND, 0.1):
                await asyncio.gather(*(post(session, endpoint, body) for body in bodies(messages, kinds, schemas)))
                consumer.commit(asynchronous=False)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
