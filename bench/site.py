"""Where a row is measured: Apache Kafka, a folder, Braze doubles; all processes of their own, which do not count."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, TopicPartition

from tests.real.brokers import ApacheKafka
from tests.real.children import Child, Children, ask, until
from tests.real.maven import kafka_jars

ROOT = Path(__file__).parent.parent
KEY = "not-a-real-key"


class Site:
    """Everything around a contestant."""

    def __init__(self, children: Children, folder: Path) -> None:
        self.children = children
        self.folder = folder
        self.broker = ApacheKafka(children, kafka_jars(), folder)
        self.broker.start()

    @property
    def address(self) -> str:
        return self.broker.address

    @contextmanager
    def double(self) -> Iterator[Double]:
        """Answers after 10 ms at the median; forgets the events that it applied."""
        log = self.folder / f"double-{time.monotonic_ns()}.log"
        child = self.children.start([sys.executable, "-m", "connector", "simulate-braze", "--api-key", KEY], log)
        double = Double(until("the double listens", lambda: _address(child)))
        double.behave(keep_events=False, latency_s=0.01)
        yield double
        child.kill()

    def committed(self, group: str, partitions: Mapping[str, int]) -> int:
        """How many records that group has committed of these topics, which have so many partitions each."""
        consumer = Consumer({"bootstrap.servers": self.address, "group.id": group})
        try:
            time.sleep(0.2)  # asking costs the broker something: not too often
            places = [TopicPartition(topic, index) for topic, count in partitions.items() for index in range(count)]
            return sum(max(each.offset, 0) for each in consumer.committed(places, timeout=10))
        finally:
            consumer.close()


class Double:
    """Braze, as a process."""

    def __init__(self, url: str) -> None:
        self.url = url

    def behave(self, **settings: Any) -> None:
        ask(f"{self.url}/_double/settings", "POST", settings)

    def state(self) -> Any:
        return json.loads(ask(f"{self.url}/_double/state")[1])


@contextmanager
def opened() -> Iterator[Site]:
    """A site, taken away at the end."""
    children = Children()
    try:
        with tempfile.TemporaryDirectory() as folder:
            yield Site(children, Path(folder))
    finally:
        children.close()


def _address(child: Child) -> str | None:
    lines = child.output().splitlines()
    return lines[0].split()[-1] if lines else None
