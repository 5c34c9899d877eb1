"""`make bench`: processor time per delivered record, beside a hand-written loop on the same topics and the same double.

Apache Kafka and the double are processes of their own and do not count. Of each contestant the user and system time of
its process (all threads) is taken until its group has committed everything, less that of an idle run of equal length.
"""

from __future__ import annotations

import io
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from itertools import accumulate
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
import yaml
from confluent_kafka import Consumer, Producer, TopicPartition
from fastavro import parse_schema, schemaless_writer
from rich.console import Console
from rich.table import Table

from bench.stages import exposition_of, stage_rows, stage_table
from tests.real.brokers import ApacheKafka
from tests.real.children import Child, Children, ask, until
from tests.real.maven import kafka_jars

ROOT = Path(__file__).parent.parent
KEY = "not-a-real-key"
FLOOD = "bench-flood"
TOPICS = {"bench-audiences": "AudienceMembership.avsc", "bench-events": "ProfileEvent.avsc"}
PARTITIONS = 4
TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def main(
    records: Annotated[int, typer.Option(help="Half audiences (2 attributes), half events (6 properties).")] = 200_000,
    users: Annotated[int, typer.Option(help="Zipf 1.1 over so many.")] = 1_000_000,
    out: Annotated[Path | None, typer.Option(help="Write the figures as JSON, too.")] = None,
) -> None:
    """Measure and print one table."""
    console = Console()
    with tempfile.TemporaryDirectory() as name, _children() as children:
        folder = Path(name)
        broker = ApacheKafka(children, kafka_jars(), folder)
        broker.start()
        for topic in (*TOPICS, *(f"{topic}-idle" for topic in TOPICS), "bench-letters"):
            broker.create_topic(topic, PARTITIONS)
        console.print(f"writing {records:,} records about {users:,} users")
        _produce(broker.address, records, users)
        broker.create_topic(FLOOD, 1)
        _produce(broker.address, records, users, flood=True)
        rows = []
        for contestant in ("connector", "loop"):
            console.print(f"running the {contestant}")
            rows.append(_measure(contestant, children, folder, broker.address, records))
        console.print("running the connector on one partition of audiences")
        flood = _flood(children, folder, broker.address, records)
        stages = rows[0].pop("stages")
        rows[0]["ratio"] = round(rows[0]["cpu_us_per_record"] / rows[1]["cpu_us_per_record"], 2)
    table = Table(*rows[0], title=f"{records:,} records, {PARTITIONS} partitions a topic, {os.cpu_count()} cores")
    for row in rows:
        table.add_row(*(str(row.get(name, "")) for name in rows[0]))
    console.print(table)
    console.print(
        "cpu_us_per_record = (user + system seconds - those of an idle run) / records; ratio = connector / loop"
    )
    console.print(stage_table(stages))
    console.print(
        f"one partition, {records:,} audience records, settle_s 5: {flood['records_per_s']:,} records/s from its"
        f" assignment to the last commit, {flood['objects_per_request']} objects a request"
    )
    if out is not None:
        document = {"mixed": rows, "stages": [asdict(row) for row in stages], "one_partition_of_audiences": flood}
        out.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def _measure(contestant: str, children: Children, folder: Path, address: str, records: int) -> dict[str, Any]:
    with _double(children, folder) as endpoint:
        began = time.monotonic()
        child = _start(contestant, children, folder, address, endpoint, idle=False)
        until(f"the {contestant} has committed all", lambda: _committed(address, contestant) >= records, within_s=600)
        wall_s, cpu_s = time.monotonic() - began, _cpu_s(child)
        resident_mib = _resident_mib(child)
        exposition = exposition_of(child) if contestant == "connector" else None
        child.kill()
        state = json.loads(ask(f"{endpoint}/_double/state")[1])
        sizes = state["objects_per_request"]["/users/track"]
    with _double(children, folder) as endpoint:
        idle = _start(contestant, children, folder, address, endpoint, idle=True)
        ends = time.monotonic() + wall_s
        until("an idle run of equal length is over", lambda: time.monotonic() > ends, within_s=600)
        idle_s = _cpu_s(idle)
        idle.kill()
    cpu_us = (cpu_s - idle_s) / records * 1e6
    stages = {} if exposition is None else {"stages": stage_rows(exposition, records, cpu_us)}
    return stages | {
        "contestant": contestant,
        "cpu_us_per_record": round(cpu_us, 1),
        "records_per_s": round(records / wall_s),
        "requests": sizes["requests"],
        "objects_per_request": round(sizes["mean"], 1),
        "refused_429": sum(state["rate_refusals"].values()),
        "resident_mib": resident_mib,
        "ratio": "",
    }


def _flood(children: Children, folder: Path, address: str, records: int) -> dict[str, Any]:
    """All that one partition can bring, with the settle time on: the offset map is what it presses on."""
    with _double(children, folder) as endpoint:
        child = _connector("flood", {FLOOD: {"kind": "audience"}}, children, folder, address, endpoint)
        until("it has its partition", lambda: "partitions_assigned" in child.output())
        began = time.monotonic()
        until("all is committed", lambda: _committed(address, "flood", {FLOOD: 1}) >= records, within_s=600)
        wall_s = time.monotonic() - began
        child.kill()
        sizes = json.loads(ask(f"{endpoint}/_double/state")[1])["objects_per_request"]["/users/track"]
    return {"records_per_s": round(records / wall_s), "objects_per_request": round(sizes["mean"], 1)}


def _start(contestant: str, children: Children, folder: Path, address: str, endpoint: str, *, idle: bool) -> Child:
    group = f"{contestant}{'-idle' if idle else ''}"
    log = folder / f"{group}.log"
    if contestant == "loop":
        suffix = ["-idle"] if idle else []
        return children.start([sys.executable, ROOT / "bench" / "loop.py", address, group, endpoint, KEY, *suffix], log)
    idle_suffix = "-idle" if idle else ""
    topics = {f"bench-audiences{idle_suffix}": {"kind": "audience"}, f"bench-events{idle_suffix}": {"kind": "event"}}
    return _connector(group, topics, children, folder, address, endpoint)


def _connector(
    group: str, topics: dict[str, Any], children: Children, folder: Path, address: str, endpoint: str
) -> Child:
    settings = {
        "kafka": {"bootstrap.servers": address, "group.id": group},
        "topics": topics,
        "dead_letter_topic": "bench-letters",
        "braze": {"endpoint": endpoint, "api_key": KEY},
        "http": {"host": "127.0.0.1", "port": 0},
    }
    path = folder / f"{group}.yaml"
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return children.start([sys.executable, "-m", "connector", "run", "--config", path], folder / f"{group}.log")


@contextmanager
def _children() -> Iterator[Children]:
    children = Children()
    try:
        yield children
    finally:
        children.close()


@contextmanager
def _double(children: Children, folder: Path) -> Iterator[str]:
    """Answers after 10 ms at the median; forgets the events that it applied."""
    log = folder / f"double-{time.monotonic_ns()}.log"
    child = children.start([sys.executable, "-m", "connector", "simulate-braze", "--api-key", KEY], log)
    endpoint = until("the double listens", lambda: _address(child))
    ask(f"{endpoint}/_double/settings", "POST", {"keep_events": False, "latency_s": 0.01})
    yield endpoint
    child.kill()


def _address(child: Child) -> str | None:
    lines = child.output().splitlines()
    return lines[0].split()[-1] if lines else None


def _produce(address: str, records: int, users: int, *, flood: bool = False) -> None:
    rng = random.Random(1)
    weights = list(accumulate(1 / rank**1.1 for rank in range(1, users + 1)))
    ranks = rng.choices(range(users), cum_weights=weights, k=records)
    schemas = {
        topic: parse_schema(orjson.loads((ROOT / "schemas" / file).read_bytes())) for topic, file in TOPICS.items()
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


def _committed(address: str, group: str, topics: dict[str, int] | None = None) -> int:
    counts = topics or dict.fromkeys(TOPICS, PARTITIONS)
    consumer = Consumer({"bootstrap.servers": address, "group.id": group})
    try:
        partitions = [TopicPartition(topic, index) for topic, count in counts.items() for index in range(count)]
        time.sleep(0.2)  # asking costs the broker something: not too often
        return sum(max(each.offset, 0) for each in consumer.committed(partitions, timeout=10))
    finally:
        consumer.close()


def _cpu_s(child: Child) -> float:
    fields = Path(f"/proc/{child.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * TICK_S


def _resident_mib(child: Child) -> int:
    pages = int(Path(f"/proc/{child.pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 1_048_576


if __name__ == "__main__":
    typer.run(main)
