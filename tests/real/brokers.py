"""Two Kafka brokers for tests: Apache Kafka itself, one KRaft node, and librdkafka's in-process one."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path

from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic

from tests.real.children import Child, Children, free_port, until

_PROPERTIES = """
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
controller.listener.names=CONTROLLER
log.dirs={folder}
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
offsets.topic.num.partitions=4
transaction.state.log.num.partitions=2
auto.create.topics.enable=false
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
group.consumer.heartbeat.interval.ms=1000
group.consumer.min.heartbeat.interval.ms=1000
group.consumer.session.timeout.ms=5000
group.consumer.min.session.timeout.ms=5000
"""
_CLUSTER_ID = "MkU3OEVBNTcwNTJENDM2Qg"  # any 16 bytes will do


class ApacheKafka:
    """One broker on the loopback interface, in a folder of its own; it keeps its port over a restart."""

    def __init__(self, children: Children, jars: Path, folder: Path) -> None:
        self._children = children
        self._classpath = f"{jars}/*"
        self._log = folder / "broker.log"
        self._properties = folder / "server.properties"
        self._port = free_port()
        self.address = f"127.0.0.1:{self._port}"
        text = _PROPERTIES.format(port=self._port, controller=free_port(), folder=folder / "data")
        self._properties.write_text(text, encoding="utf-8")
        subprocess.run(
            [*self._java("128m"), "kafka.tools.StorageTool", "format", "-t", _CLUSTER_ID, "-c", self._properties],
            check=True,
            capture_output=True,
            timeout=60,
        )
        self._process: Child | None = None
        self._admin: AdminClient | None = None

    def start(self) -> None:
        """Start and wait until it answers."""
        self._process = process = self._children.start(
            [*self._java("768m"), "kafka.Kafka", self._properties], self._log
        )

        def listens() -> bool:
            process.must_live()
            with socket.socket() as attempt:
                return attempt.connect_ex(("127.0.0.1", self._port)) == 0

        until("Apache Kafka listens", listens)
        if self._admin is None:
            self._admin = AdminClient({"bootstrap.servers": self.address, "reconnect.backoff.max.ms": 500})
        self._admin.list_topics(timeout=30)

    def stop(self) -> None:
        """Stop as an operator would."""
        assert self._process is not None
        self._process.terminate()

    def create_topic(self, topic: str, partitions: int = 2) -> None:
        self._done(self.admin.create_topics([NewTopic(topic, partitions, 1)]))
        until(f"{topic} is known", lambda: self.admin.list_topics(topic, timeout=10).topics[topic].error is None)

    def raise_partitions(self, topic: str, partitions: int) -> None:
        self._done(self.admin.create_partitions([NewPartitions(topic, partitions)]))

    def delete_records(self, topic: str, partition: int, below: int) -> None:
        """What retention does: the partition begins at `below` from now on."""
        self._done(self.admin.delete_records([TopicPartition(topic, partition, below)]))

    @property
    def admin(self) -> AdminClient:
        assert self._admin is not None
        return self._admin

    def _done(self, asked: dict[object, object]) -> None:
        for answer in asked.values():
            answer.result(30)  # type: ignore[attr-defined]

    def _java(self, heap: str) -> list[str]:
        quick = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
        return ["java", f"-Xmx{heap}", *quick, "-cp", self._classpath]


class InProcessBroker:
    """Librdkafka's own broker, alive as long as this object: real protocol and groups, no JVM, four partitions."""

    def __init__(self) -> None:
        self._owner = Producer({"bootstrap.servers": "none", "test.mock.num.brokers": 1, "error_cb": lambda _: None})
        (broker,) = self._owner.list_topics(timeout=10).brokers.values()
        self.address = f"{broker.host}:{broker.port}"

    def create_topic(self, topic: str) -> None:
        self._owner.list_topics(topic, timeout=10)  # asking makes it
