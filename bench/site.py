"""Where a row is measured: Apache Kafka, a registry, Braze doubles; none counts, none is on a contestant's core."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import orjson
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from bench import cores, registry
from bench.workload import REFUSED, Record, Topic, Workload
from tests.real.brokers import ApacheKafka
from tests.real.children import Child, Children, ask, until
from tests.real.maven import kafka_jars

_LOADS_ITS_GROUPS = {KafkaError.NOT_COORDINATOR, KafkaError.COORDINATOR_LOAD_IN_PROGRESS}
"""What a broker says that has just started."""

ROOT = Path(__file__).parent.parent
KEY = "not-a-real-key"


class Double:
    """Braze, as a process: answers after 10 ms at the median, and forgets the events that it applied.

    It applies a request within 2 ms, in any order with others, and thus before it answers: who waits for the answer
    keeps a user's order, who does not may lose it.
    """

    def __init__(self, site: Site, *, journal: bool) -> None:
        log = site.new_file("double.log")
        self._journal = site.new_file("journal.jsonl")
        command = [sys.executable, "-m", "connector", "simulate-braze", "--api-key", KEY]
        self.child = site.children.start([*command, *(["--journal", self._journal] if journal else [])], log)
        self.url = until("the double listens", self._address)
        self.behave(keep_events=False, latency_s=0.01, apply_delay_s=[0.0, 0.002], apply_tail_chance=0)

    def behave(self, **settings: Any) -> None:
        self._steer("settings", settings)

    def fault(self, *steps: Mapping[str, Any]) -> None:
        self._steer("faults", list(steps))

    def refuse(self) -> None:
        """The events named so, each by its index, inside a 201."""
        self.fault({"do": "refuse_object", "where": {"array": "events", "equals": {"name": REFUSED}}})

    def state(self) -> Any:
        """Everything counted, once all that was accepted is applied."""
        while True:
            state = json.loads(ask(f"{self.url}/_double/state")[1])
            if not state["pending_requests"]:
                return state
            time.sleep(0.2)

    def journal(self, start: int = 0) -> Iterator[dict[str, Any]]:
        """Every applied object from that line on; a line that is being written is left out."""
        with self._journal.open("rb") as file:
            for number, line in enumerate(file):
                if number >= start and line.endswith(b"\n"):
                    yield orjson.loads(line)

    def _steer(self, what: str, document: Any) -> None:
        status, answer = ask(f"{self.url}/_double/{what}", "POST", document)
        assert status == 200, answer

    def _address(self) -> str | None:
        self.child.must_live()
        first, end, _ = self.child.output().partition("\n")
        return first.split()[-1] if end else None


class Site:
    """Everything around a contestant."""

    def __init__(self, children: Children, folder: Path, registry_url: str, properties: Mapping[str, object]) -> None:
        self.children = children
        self.registry_url = registry_url
        self._folder = folder
        self._files = 0
        self.broker = ApacheKafka(children, kafka_jars(), folder, properties)
        self.broker.start()
        self.address = self.broker.address

    def new_file(self, name: str) -> Path:
        """A path that nobody else has."""
        self._files += 1
        return self._folder / f"{self._files}-{name}"

    def start(self, command: Sequence[str | Path], log: Path, environment: Mapping[str, str] | None = None) -> Child:
        """Start a contestant, on its core."""
        with cores.on(cores.CONTESTANT):
            return self.children.start(command, log, environment)

    @contextmanager
    def double(self, *, journal: bool = True) -> Iterator[Double]:
        double = Double(self, journal=journal)
        yield double
        double.child.kill()

    def make_topics(self, topics: Iterable[Topic]) -> None:
        for topic in topics:
            self.broker.create_topic(topic.name, topic.partitions)

    def write(self, workload: Workload) -> int:
        """Make the topics and write the records; returns how many bytes their values have."""
        self.make_topics(workload.topics)
        return self.produce(workload.made())

    def produce(self, records: Iterable[Record]) -> int:
        producer = Producer({"bootstrap.servers": self.address, "enable.idempotence": True, "linger.ms": 20})
        size = 0
        for record in records:
            size += len(record.value)
            while True:
                try:
                    producer.produce(record.topic, record.value, record.key)
                    break
                except BufferError:
                    producer.poll(0.1)
            producer.poll(0)
        assert producer.flush(60) == 0
        return size

    def committed(self, group: str, topics: Iterable[Topic]) -> int:
        """How many records that group has committed of these topics."""
        consumer = Consumer({"bootstrap.servers": self.address, "group.id": group})
        try:
            time.sleep(0.2)  # asking costs the broker something: not too often
            places = [TopicPartition(topic.name, index) for topic in topics for index in range(topic.partitions)]
            return sum(max(each.offset, 0) for each in consumer.committed(places, timeout=10))
        except KafkaException as refusal:
            if refusal.args[0].code() not in _LOADS_ITS_GROUPS:
                raise
            return 0  # asked again
        finally:
            consumer.close()

    def count(self, topic: Topic) -> int:
        """How many records lie in it."""
        consumer = Consumer({"bootstrap.servers": self.address, "group.id": "nobody"})
        try:
            places = [TopicPartition(topic.name, index) for index in range(topic.partitions)]
            return sum(consumer.get_watermark_offsets(place, timeout=10)[1] for place in places)
        finally:
            consumer.close()


@contextmanager
def opened(properties: Mapping[str, object] | None = None, rest: Iterable[int] = cores.REST) -> Iterator[Site]:
    """A site, taken away at the end; everything but contestants is on the cores `rest`."""
    with ExitStack() as stack:
        stack.enter_context(cores.on(set(rest)))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url = stack.enter_context(registry.serving())
        children = Children()
        stack.callback(children.close)
        yield Site(children, folder, url, properties or {})
