"""Sets the stage: broker, double, producer and the connector in one process; lets them play, then audits.

An edge. The broker is librdkafka's own in-process one: real protocol, real groups and commits, no JVM. It keeps about
5 MB a partition and evicts what is older, so the producer stays close to the consumer.
"""

from __future__ import annotations

import asyncio
import secrets
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition

from connector.app import Connector
from connector.demo.audit import Audit
from connector.demo.workload import REFUSED_BY_BRAZE, TOPICS, Workload
from connector.double.application import Applied
from connector.double.server import DoubleServer, serve
from connector.double.settings import ALL_PERMISSIONS, DoubleSettings
from connector.records import Fate
from connector.records import TopicPartition as Partition
from connector.settings import PACKAGED_SCHEMAS, Settings
from connector.telemetry import Telemetry

_AHEAD_MAX: Final = 8_000
"""Records that the producer may be ahead of the consumer: far below what the in-process broker keeps."""

_DEADLINE_S: Final = 300.0
_SETTLE_S: Final = 0.5
"""Shorter than the default of 5 s, so that a demonstration ends soon; the double's tail is cut to fit."""


@dataclass(frozen=True, slots=True)
class DemoOutcome:
    """The audit's figures; `lost`, `duplicated` and `order_violations` must be zero."""

    produced: int
    delivered: int
    coalesced: int
    dead_lettered: int
    skipped: int
    lost: int
    duplicated: int
    misjudged: int
    altered: int
    order_violations: int
    uncommitted: int
    unaccounted: int
    requests: int
    objects_per_request: float
    records_per_second: float
    latency_p50_s: float
    latency_p99_s: float
    quota_refusals: int

    @property
    def is_clean(self) -> bool:
        """Nothing lost, doubled, misordered, changed, blamed wrongly or unaccounted for."""
        return not any(
            (
                self.lost,
                self.duplicated,
                self.misjudged,
                self.altered,
                self.order_violations,
                self.uncommitted,
                self.unaccounted,
                self.quota_refusals,
            )
        )

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Progress:
    """What a watcher is shown, a few times a second."""

    produced: int
    total: int
    settled: int
    in_flight: int
    requests: int


@asynccontextmanager
async def in_process_broker() -> AsyncIterator[str]:
    """Librdkafka's mock broker, alive for the block; yields its address."""
    owner = Producer(
        {"bootstrap.servers": "unused", "test.mock.num.brokers": 1, "error_cb": lambda _error: None, "log_level": 0}
    )
    metadata = await asyncio.to_thread(owner.list_topics, timeout=10)
    broker = next(iter(metadata.brokers.values()))
    for topic in (*TOPICS.values(), "aiq.dead-letters"):
        await asyncio.to_thread(owner.list_topics, topic, timeout=10)  # asking for a topic makes it, four partitions
    try:
        yield f"{broker.host}:{broker.port}"
    finally:
        del owner


def note(audit: Audit, each: Applied) -> None:
    """Tell the audit what the double has applied.

    Requests may overtake each other at Braze. Attributes wait for that, so they must also be applied in order.
    """
    turn = each.sequence if each.array == "attributes" else each.request
    sent = each.object if each.campaign_id is None else {**each.object, "campaign_id": each.campaign_id}
    audit.applied(turn, each.array, each.index, sent)


async def perform(records: int, seed: int, telemetry: Telemetry, watch: Callable[[Progress], None]) -> DemoOutcome:
    """Play the whole piece once.

    Args:
        records: How many to produce.
        seed: Of the workload.
        telemetry: The connector's.
        watch: Called a few times a second.

    Raises:
        TimeoutError: The records were not all settled within five minutes.
    """
    audit = Audit()

    key = secrets.token_hex(16)
    double_settings = DoubleSettings(
        api_keys={key: ALL_PERMISSIONS}, apply_tail_s=_SETTLE_S * 0.9, keep_events=False, latency_s=0.02
    )  # fmt: skip
    async with (
        in_process_broker() as address,
        serve(double_settings, seed=seed, on_applied=partial(note, audit)) as double,
    ):
        double.double.set_faults(
            asyncio.get_running_loop().time(),
            [
                {"do": "refuse_object", "where": {"array": "events", "equals": {"name": REFUSED_BY_BRAZE}}},
                {"do": "refuse_object", "where": {"array": "attributes", "has": [REFUSED_BY_BRAZE]}},
            ],
        )
        connector = Connector(_settings(address, double.url, key), telemetry, seed)
        running = asyncio.create_task(connector.run(handle_signals=False))
        producing = _Producing(address, Workload(records, seed, PACKAGED_SCHEMAS, int(time.time() * 1000)), audit)
        started = time.monotonic()
        try:
            await _until_settled(connector, producing, running, records, watch)
        finally:
            producing.stop()
            connector.pipeline.stop()
        elapsed = time.monotonic() - started
        await running
        await asyncio.to_thread(_read_dead_letters, address, audit)
        uncommitted = await asyncio.to_thread(_uncommitted, address)
        double.double.advance(float("inf"))
        return _outcome(connector, double, audit, records, elapsed, uncommitted)


def _settings(address: str, endpoint: str, key: str) -> Settings:
    return Settings.model_validate(
        {
            "kafka": {"bootstrap.servers": address, "group.id": "aiq-braze-demo"},
            "topics": {topic: {"kind": kind} for kind, topic in TOPICS.items()},
            "braze": {"endpoint": endpoint, "api_key": key, "settle_s": _SETTLE_S},
            "http": {"host": "127.0.0.1", "port": 0},
        }
    )


class _Producing:
    """ActionIQ's side: writes the workload in a thread of its own, never far ahead of the consumer."""

    def __init__(self, address: str, workload: Workload, audit: Audit) -> None:
        self._producer = Producer(
            {"bootstrap.servers": address, "enable.idempotence": True, "linger.ms": 5, "log_level": 0}
        )
        self._workload = workload
        self._audit = audit
        self._stop = threading.Event()
        self.consumed: Callable[[], int] = lambda: 0
        self.produced = 0
        self.failure: KafkaError | None = None

    def run(self) -> None:
        for made in self._workload:
            while made.number - self.consumed() > _AHEAD_MAX and not self._stop.is_set():
                self._producer.poll(0.005)
            if self._stop.is_set():
                return
            self._audit.made[made.number] = made
            self._producer.produce(
                TOPICS[made.kind],
                value=made.value,
                key=made.user,
                on_delivery=partial(self._delivered, made.number),
            )
            self._producer.poll(0)
        self._producer.flush(30)

    def stop(self) -> None:
        self._stop.set()

    def _delivered(self, number: int, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self.failure = error
            return
        where = Partition(str(message.topic()), int(message.partition() or 0))
        self._audit.positions[number] = (where, int(message.offset() or 0))
        self.produced += 1


async def _until_settled(
    connector: Connector,
    producing: _Producing,
    running: asyncio.Task[int],
    records: int,
    watch: Callable[[Progress], None],
) -> None:
    tallies = connector.pipeline.books.tallies
    producing.consumed = lambda: sum(tally.consumed for tally in tallies.values())
    thread = asyncio.create_task(asyncio.to_thread(producing.run))
    deadline = time.monotonic() + _DEADLINE_S
    while True:
        await asyncio.sleep(0.1)
        settled = sum(sum(tally.settled.values()) for tally in tallies.values())
        watch(Progress(producing.produced, records, settled, producing.consumed() - settled, _requests(connector)))
        if running.done() or (thread.done() and thread.exception() is not None):
            break
        if settled >= records and thread.done():
            break
        if producing.failure is not None:
            raise RuntimeError(f"the broker did not take a record: {producing.failure.name()}")
        if time.monotonic() > deadline:
            raise TimeoutError(f"{settled} of {records} records were settled within {_DEADLINE_S:.0f} s")
    await thread
    if running.done():
        raise RuntimeError("the connector ended early") from running.exception()


def _requests(connector: Connector) -> int:
    return sum(
        int(connector.telemetry.value("braze_requests_total", channel.endpoint, status))
        for channel in connector.pipeline.delivery.channels
        for status in ("2xx", "4xx", "5xx")
    )


def _read_dead_letters(address: str, audit: Audit) -> None:
    consumer = Consumer(
        {"bootstrap.servers": address, "group.id": "demo-audit", "auto.offset.reset": "earliest"}
    )  # fmt: skip
    try:
        topic = "aiq.dead-letters"
        partitions = [TopicPartition(topic, index, 0) for index in range(4)]
        left = sum(consumer.get_watermark_offsets(each, timeout=10)[1] for each in partitions)
        consumer.assign(partitions)
        deadline = time.monotonic() + 30
        while left and time.monotonic() < deadline:
            for message in consumer.consume(500, 0.1):
                if message.error() is not None:
                    continue
                headers = {name: _text(value) for name, value in dict(message.headers() or ()).items()}
                where = Partition(headers["aiq.dlq.topic"], int(headers["aiq.dlq.partition"]))
                audit.dead[where, int(headers["aiq.dlq.offset"])] += 1
                left -= 1
    finally:
        consumer.close()


def _text(value: str | bytes | None) -> str:
    return value.decode() if isinstance(value, bytes) else value or ""


def _uncommitted(address: str) -> int:
    """Records at or above the group's committed offsets: nothing may be left once all is settled."""
    consumer = Consumer({"bootstrap.servers": address, "group.id": "aiq-braze-demo", "enable.auto.commit": False})
    try:
        partitions = [TopicPartition(topic, index) for topic in TOPICS.values() for index in range(4)]
        left = 0
        for committed in consumer.committed(partitions, timeout=10):
            _, high = consumer.get_watermark_offsets(TopicPartition(committed.topic, committed.partition), timeout=10)
            left += high - max(committed.offset, 0)
        return left
    finally:
        consumer.close()


def _outcome(
    connector: Connector, double: DoubleServer, audit: Audit, records: int, elapsed_s: float, uncommitted: int
) -> DemoOutcome:
    settled = {
        fate: sum(tally.settled[fate] for tally in connector.pipeline.books.tallies.values()) for fate in Fate
    }  # fmt: skip
    state = double.double.state()
    sizes = state["objects_per_request"].values()
    requests = sum(size["requests"] for size in sizes)
    p50, p99 = connector.telemetry.quantiles("delivery_latency_seconds", (0.5, 0.99))
    return DemoOutcome(
        produced=len(audit.positions),
        delivered=settled[Fate.DELIVERED],
        coalesced=settled[Fate.COALESCED],
        dead_lettered=settled[Fate.DEAD_LETTERED],
        skipped=settled[Fate.SKIPPED],
        lost=len(audit.lost()),
        duplicated=len(audit.duplicated()),
        misjudged=len(audit.misjudged()),
        altered=len(audit.altered()),
        order_violations=audit.order_violations(),
        uncommitted=uncommitted,
        unaccounted=len(audit.positions) - sum(settled.values()) + abs(connector.pipeline.books.imbalance()),
        requests=requests,
        objects_per_request=round(sum(size["objects"] for size in sizes) / max(requests, 1), 1),
        records_per_second=round(records / elapsed_s, 1),
        latency_p50_s=p50,
        latency_p99_s=p99,
        quota_refusals=sum(state["rate_refusals"].values()),
    )
