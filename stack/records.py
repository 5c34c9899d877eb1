"""Writes what ActionIQ would: the demonstration's three kinds of record, at a steady pace, until it is stopped.

`KAFKA`, `REGISTRY` and `RECORDS_PER_S` say where and how fast. Schemas are registered under the topics' names and every
value carries Confluent's header. One record in a hundred is no good on purpose, so that there are dead letters to see.
"""

from __future__ import annotations

import json
import os
import sys
import time
from urllib.error import URLError
from urllib.request import Request, urlopen

from confluent_kafka import KafkaError, Message, Producer

from connector.demo.workload import TOPICS, Workload
from connector.records import Kind
from connector.settings import PACKAGED_SCHEMAS, SCHEMA_FILES

_TURNS_PER_S = 10
_REGISTRY_WAIT_S = 120
_ENDLESS = 10**12


def register(registry: str, kind: Kind) -> bytes:
    """Register the kind's schema; returns the header of a value that is written with it."""
    schema = (PACKAGED_SCHEMAS / SCHEMA_FILES[kind]).read_text(encoding="utf-8")
    body = json.dumps({"schema": schema}).encode()
    request = Request(  # noqa: S310  # an address that whoever starts this gives
        f"{registry}/subjects/{TOPICS[kind]}-value/versions", body, {"Content-Type": "application/json"}
    )
    with urlopen(request, timeout=10) as answer:  # noqa: S310
        number: int = json.loads(answer.read())["id"]
    return b"\x00" + number.to_bytes(4, "big")


def headers(registry: str) -> dict[Kind, bytes]:
    """Of every kind, once the registry is there."""
    deadline = time.monotonic() + _REGISTRY_WAIT_S
    while True:
        try:
            return {kind: register(registry, kind) for kind in Kind}
        except (URLError, ConnectionError) as error:
            if time.monotonic() > deadline:
                sys.exit(f"the schema registry at REGISTRY does not answer ({error}): start it, or correct REGISTRY")
            time.sleep(1)


def _report(error: KafkaError | None, _message: Message) -> None:
    if error is not None:
        print(f"not written: Kafka says {error.name()}", file=sys.stderr)  # noqa: T201  # a program's output


def main() -> None:
    """Write until stopped."""
    framing = headers(os.environ["REGISTRY"])
    producer = Producer({"bootstrap.servers": os.environ["KAFKA"], "enable.idempotence": True, "linger.ms": 20})
    a_turn = max(1, int(os.environ.get("RECORDS_PER_S", "50")) // _TURNS_PER_S)
    due = time.monotonic()
    for made in Workload(_ENDLESS, int(due), PACKAGED_SCHEMAS, int(time.time() * 1000)):
        value = None if made.value is None else framing[made.kind] + made.value
        producer.produce(TOPICS[made.kind], value, made.user, on_delivery=_report)
        producer.poll(0)
        if made.number % a_turn == a_turn - 1:
            due += 1 / _TURNS_PER_S
            time.sleep(max(0.0, due - time.monotonic()))


if __name__ == "__main__":
    main()
