"""The same work under FastStream: it polls, hands over batches and commits; decoding and requests are the loop's own.

`python bench/stream.py ADDRESS GROUP ENDPOINT KEY KIND=TOPIC...`, in an environment that has FastStream.
"""

import asyncio
import sys
from typing import Any

import aiohttp
from faststream import AckPolicy, FastStream
from faststream.confluent import KafkaBroker
from loop import ROUND, bodies, kinds_and_schemas, post


async def main(address: str, group: str, endpoint: str, key: str, *topics: str) -> None:
    kinds, schemas = kinds_and_schemas(topics)
    broker = KafkaBroker(address, apply_types=False, logger=None)
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}

    async def as_it_is(message: Any) -> Any:
        return message.raw_message

    async with aiohttp.ClientSession(headers=headers) as session:

        @broker.subscriber(
            *kinds,
            group_id=group,
            auto_offset_reset="earliest",
            batch=True,
            max_records=ROUND,
            ack_policy=AckPolicy.NACK_ON_ERROR,  # commits after the handler, and not before it
            decoder=as_it_is,
        )
        async def handle(messages: Any) -> None:
            await asyncio.gather(*(post(session, endpoint, body) for body in bodies(messages, kinds, schemas)))

        await FastStream(broker).run()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
