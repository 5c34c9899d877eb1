"""One test's own topics, group, Braze double and connectors, around a broker that others use too; and the audit.

The connector and the double run as processes of their own, as they do in production; everything is read from outside:
the double's journal, the dead-letter topic, the group's committed offsets, the connector's own pages and log.
"""

from __future__ import annotations

import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer
from confluent_kafka import TopicPartition as KafkaPartition
from prometheus_client.parser import text_string_to_metric_families

from connector.demo.audit import Audit
from connector.demo.workload import REFUSED_BY_BRAZE, Made, Workload
from connector.offset_map import decode
from connector.records import Kind, TopicPartition
from connector.settings import PACKAGED_SCHEMAS
from tests.real.brokers import ApacheKafka, InProcessBroker
from tests.real.children import Child, Children, Found, ask, until

API_KEY = "not-a-real-key"

# A broker that has just been started says these until its coordinator is there.
_COORDINATOR_STARTS = {
    KafkaError.NOT_COORDINATOR,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
}

# What the workload's "refused" poison meets. `wall` puts more in front of these.
_REFUSALS = [
    {"do": "refuse_object", "where": {"array": "events", "equals": {"name": REFUSED_BY_BRAZE}}},
    {"do": "refuse_object", "where": {"array": "attributes", "has": [REFUSED_BY_BRAZE]}},
]


class Braze:
    """The double as a process."""

    def __init__(self, children: Children, folder: Path) -> None:
        self._journal = folder / "journal.jsonl"
        self._journal_read = 0
        self._lines: list[Any] = []
        command = [sys.executable, "-m", "connector", "simulate-braze", "--api-key", API_KEY, "--journal"]
        self._child = children.start([*command, self._journal], folder / "double.log")
        self.url = until("the double says its address", self._address)
        # Applies at once; what Braze's own delays bring is the simulation's subject.
        self.behave(apply_tail_chance=0, apply_delay_s=[0.0, 0.02], latency_s=0.005)
        self.open()

    def _address(self) -> str | None:
        self._child.must_live()
        first, end, _ = self._child.output().partition("\n")
        return first if end else None

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def state(self) -> Any:
        return json.loads(ask(f"{self.url}/_double/state")[1])

    def requests(self, status: int, path: str = "/users/track") -> int:
        """How many were answered so, so far."""
        return int(self.state()["requests"].get(path, {}).get(str(status), 0))

    def behave(self, **settings: Any) -> None:
        """Other settings of the double's than its own."""
        self._steer("settings", settings)

    def fault(self, *steps: Mapping[str, Any]) -> None:
        """What goes wrong from now on, besides the refusals."""
        self._steer("faults", [*steps, *_REFUSALS])

    def wall(self, after: int, unanswered: int = 0) -> None:
        """Let so many track requests pass, apply so many without ever answering, and refuse all others: an outage."""
        track = {"match": {"path": "/users/track"}, "after": after}
        hangs = {"do": "delay", "delay_s": 3600, "times": unanswered, **track}
        # A step counts only what no earlier one has taken.
        self.fault(*([hangs] if unanswered else []), {"do": "status", "status": 503, "times": None, **track})

    def cure(self) -> None:
        """Nothing goes wrong any more, not even with what is wrong with the records."""
        self._steer("faults", [])

    def refuse(self, *steps: Mapping[str, Any]) -> None:
        """What is refused from now on, and nothing else."""
        self._steer("faults", list(steps))

    def open(self) -> None:
        """Nothing goes wrong any more but what is wrong with the records."""
        self.fault()

    def applied(self) -> list[Any]:
        """Every applied object, in order, once all that was accepted is applied."""
        until("all that was accepted is applied", lambda: self.state()["pending_requests"] == 0)
        return self.journal()

    def journal(self) -> list[Any]:
        """Every object that was applied so far, in order; the same list each time, longer by what is new."""
        with self._journal.open("rb") as file:
            file.seek(self._journal_read)
            new = file.read()
        whole = new[: new.rfind(b"\n") + 1]
        self._journal_read += len(whole)
        self._lines.extend(json.loads(line) for line in whole.splitlines())
        return self._lines

    def close(self) -> None:
        self._child.kill()

    def _steer(self, what: str, document: Any) -> None:
        status, answer = ask(f"{self.url}/_double/{what}", "POST", document)
        assert status == 200, answer


class Replica:
    """One connector as a process; `name` is its client id at the broker."""

    def __init__(self, child: Child, name: str) -> None:
        self.child = child
        self.name = name
        self._url = ""

    def log(self) -> list[dict[str, Any]]:
        """Its log; librdkafka's own lines are left out."""
        return [json.loads(line) for line in self.child.output().splitlines() if line.startswith("{")]

    def events(self, name: str) -> list[dict[str, Any]]:
        return [line for line in self.log() if line["event"] == name]

    @property
    def started_at(self) -> float | None:
        """When it began, wall clock, by its own log: before it joined its group. None: it has not begun yet."""
        started = self.events("connector_started")
        return datetime.fromisoformat(started[0]["timestamp"]).timestamp() if started else None

    @property
    def url(self) -> str:
        def listening() -> str | None:
            self.child.must_live()
            started = self.events("connector_started")
            return f"http://127.0.0.1:{started[0]['http_port']}" if started else None

        self._url = self._url or until("the connector listens", listening) or ""
        return self._url

    def readiness(self) -> tuple[int, dict[str, Any]]:
        self.child.must_live()
        status, body = ask(f"{self.url}/readyz")
        return status, json.loads(body)

    def until_ready(self) -> None:
        until("the connector is ready", lambda: self.readiness()[0] == 200)

    def until_unready(self, words: str) -> str:
        """Wait until it says that it is not ready, with these words; returns the reason."""

        def reason() -> str | None:
            status, body = self.readiness()
            return next((each for each in body["reasons"] if status == 503 and words in each), None)

        return until(f"not ready because of {words}", reason)

    def status(self) -> dict[str, Any]:
        self.child.must_live()
        status: dict[str, Any] = json.loads(ask(f"{self.url}/status")[1])
        return status

    def last_status(self) -> str:
        """For people, when a test has failed."""
        try:
            return ask(f"{self._url}/status")[1] if self._url else "not listening"
        except OSError as error:
            return type(error).__name__

    def assigned(self) -> int:
        return len(self.status()["assigned"])

    def total(self, what: str) -> int:
        """One of the status page's counts, over all topics."""
        return sum(topic[what] for topic in self.status()["topics"].values())

    def metric(self, name: str, **labels: str) -> float:
        """A metric's value, summed over the labels that are not given."""
        found = 0.0
        for family in text_string_to_metric_families(ask(f"{self.url}/metrics")[1]):
            for sample in family.samples:
                if sample.name == f"aiq_braze_{name}" and labels.items() <= sample.labels.items():
                    found += sample.value
        return found

    def leave(self) -> None:
        """SIGTERM; it must leave well."""
        code = self.child.terminate()
        assert code == 0, self.child.output()[-2000:]


class Mark(NamedTuple):
    """What one partition's commit calls settled."""

    offset: int
    ranges: Sequence[tuple[int, int]]

    def covers(self, offset: int) -> bool:
        return offset < self.offset or any(start <= offset < end for start, end in self.ranges)


class Stage:
    """Everything of one test.

    Args:
        broker: Shared with other tests; the names on it are this one's own.
        children: Where processes are started.
        folder: Empty.
        name: Prefix of every name at the broker.
        framing: Puts Confluent's header before a value of that kind.
        command: What starts a connector; may be changed for those that come.
        braze: Shared with other stages, and closed by whoever made it; None: an own one, when it is asked for.
    """

    def __init__(
        self,
        broker: ApacheKafka | InProcessBroker,
        children: Children,
        folder: Path,
        name: str,
        framing: Callable[[Kind, bytes], bytes] | None = None,
        command: Sequence[str | Path] = (sys.executable, "-m", "connector"),
        braze: Braze | None = None,
    ) -> None:
        self.broker = broker
        self.group = name
        self.topics = {kind: f"{name}.{kind}" for kind in Kind}
        self.dead_letters = f"{name}.dead-letters"
        self.audit = Audit(forgets=True)
        self._children = children
        self._folder = folder
        self.framing = framing
        self.command = command
        self._replicas: list[Replica] = []
        self._workload = iter(Workload(1_000_000, 1, PACKAGED_SCHEMAS, int(time.time() * 1000)))
        self._shared_braze = braze
        self._braze: Braze | None = None
        shared = {"bootstrap.servers": broker.address, "reconnect.backoff.max.ms": 500, "log_level": 0}
        self._producing = {**shared, "enable.idempotence": True, "linger.ms": 5}
        self._producer = Producer(self._producing)
        self._reader = Consumer({**shared, "group.id": name, "enable.auto.commit": False})
        self._letters = Consumer(
            {**shared, "group.id": f"{name}.audit", "enable.auto.commit": False, "enable.partition.eof": True}
        )

    def close(self) -> None:
        for replica in self._replicas:  # pytest shows what is printed of a test that failed
            if replica.child.is_alive:
                print(f"--- {replica.child.log.name}: {replica.last_status()}")  # noqa: T201
            print(f"--- {replica.child.log.name}: {replica.child.output()[-3000:]}")  # noqa: T201
            replica.child.kill()
        if self._braze is not None:
            self._braze.close()
        self._reader.close()
        self._letters.close()

    # ---- the parts --------------------------------------------------------------------------------------------------

    @property
    def braze(self) -> Braze:
        if self._shared_braze is not None:
            return self._shared_braze
        self._braze = self._braze or Braze(self._children, self._folder)
        return self._braze

    def make_topics(self) -> None:
        for topic in (*self.topics.values(), self.dead_letters):
            self.broker.create_topic(topic)

    def replica(self, *, kafka: Mapping[str, Any] | None = None, **sections: Any) -> Replica:
        """Start a connector. `kafka` and `braze` are merged into what every test has; other sections are as given."""
        number = len(self._replicas)
        name = f"connector-{number}"
        document = {
            "kafka": {
                "bootstrap.servers": self.broker.address,
                "client.id": name,
                "group.id": self.group,
                # Quicker than our defaults, so that a test does not wait for time-outs.
                "reconnect.backoff.max.ms": 500,
                **(kafka or {}),
            },
            "topics": {topic: {"kind": kind.value} for kind, topic in self.topics.items()},
            "dead_letter_topic": self.dead_letters,
            "http": {"host": "127.0.0.1", "port": 0},
            "commit_interval_s": 0.2,
            **sections,
            "braze": {
                "endpoint": self.braze.url,
                "api_key": "${TEST_BRAZE_KEY}",
                "settle_s": 0.2,
                "retry": {"first_s": 0.1, "longest_s": 0.5},
                "probe_s": 0.5,
                **sections.get("braze", {}),
            },
        }
        file = self._folder / f"{name}.yaml"
        file.write_text(yaml.safe_dump(document), encoding="utf-8")
        child = self._children.start(
            [*self.command, "run", "--config", file],
            self._folder / f"{name}.log",
            {"TEST_BRAZE_KEY": API_KEY},
        )
        replica = Replica(child, name)
        self._replicas.append(replica)
        return replica

    # ---- ActionIQ's side --------------------------------------------------------------------------------------------

    def made(self, records: int, kinds: Iterable[Kind] = Kind) -> Iterator[Made]:
        """The next records of the workload."""
        wanted = set(kinds)
        return islice((made for made in self._workload if made.kind in wanted), records)

    def produce(self, records: int, kinds: Iterable[Kind] = Kind) -> None:
        """Write the next records of the workload."""
        self.write(self.made(records, kinds))

    def write(self, records: Iterable[Made], partition: int | None = None, producer: Producer | None = None) -> None:
        """Write these records, and take down where they lie."""
        writer = producer or self._producer
        where = {} if partition is None else {"partition": partition}
        for made in records:
            value = made.value
            if self.framing is not None and value is not None:
                value = self.framing(made.kind, value)
            self.audit.made[made.number] = made
            writer.produce(self.topics[made.kind], value, made.user, **where, on_delivery=self._lies_at(made.number))
            writer.poll(0)
        assert writer.flush(30) == 0

    def write_raw(self, topic: str, value: bytes, **parts: Any) -> int:
        """Write one record, of no workload, to partition 0; returns its offset."""
        offsets: list[int] = []

        def delivered(error: KafkaError | None, message: Message) -> None:
            assert error is None, error
            offsets.append(message.offset())

        self._producer.produce(topic, value, partition=0, on_delivery=delivered, **parts)
        assert self._producer.flush(30) == 0
        return offsets[0]

    def producer(self, properties: Mapping[str, Any]) -> Producer:
        """Another one, with these over the usual ones."""
        return Producer({**self._producing, **properties})

    def transactional_producer(self) -> Producer:
        producer = self.producer({"transactional.id": f"{self.group}.producer"})
        producer.init_transactions(30)
        return producer

    def forget(self, numbers: Iterable[int]) -> None:
        """These records were never committed by their producer: they do not exist."""
        for number in numbers:
            del self.audit.made[number], self.audit.positions[number]

    def _lies_at(self, number: int) -> Callable[[KafkaError | None, Message], None]:
        def delivered(error: KafkaError | None, message: Message) -> None:
            assert error is None, error
            self.audit.positions[number] = (TopicPartition(message.topic(), message.partition()), message.offset())

        return delivered

    # ---- the broker's word ------------------------------------------------------------------------------------------

    def partitions(self) -> list[KafkaPartition]:
        return [
            KafkaPartition(topic, partition)
            for topic in self.topics.values()
            for partition in self._reader.list_topics(topic, timeout=10).topics[topic].partitions
        ]

    def committed(self) -> dict[TopicPartition, tuple[int, str]]:
        """Offset and metadata of every partition for which the group has committed."""

        def asked() -> list[KafkaPartition] | None:
            try:
                return self._reader.committed(self.partitions(), timeout=20)
            except KafkaException as error:
                if error.args[0].retriable() or error.args[0].code() in _COORDINATOR_STARTS:
                    return None
                raise

        found = until("the coordinator answers", asked)
        return {
            TopicPartition(each.topic, each.partition): (each.offset, each.metadata or "")
            for each in found
            if each.offset >= 0
        }

    def reset_offset(self, place: KafkaPartition) -> None:
        """What an operator does with the group stopped."""
        self._reader.commit(offsets=[place], asynchronous=False)

    def ends(self) -> dict[TopicPartition, int]:
        """One past the last record that a test wrote, by partition."""
        found: dict[TopicPartition, int] = defaultdict(int)
        for where, offset in self.audit.positions.values():
            found[where] = max(found[where], offset + 1)
        return found

    def marks(self) -> dict[TopicPartition, Mark]:
        """What the group's commits say, of every partition for which there is one."""
        return {
            where: Mark(offset, decode(metadata, offset).settled if metadata else ())
            for where, (offset, metadata) in self.committed().items()
        }

    def settled(self) -> set[int]:
        """Numbers of the records that the group's commits, offset and map, call settled."""
        marks = self.marks()
        nothing = Mark(0, ())
        return {
            number
            for number, (where, offset) in self.audit.positions.items()
            if marks.get(where, nothing).covers(offset)
        }

    def until_all_committed(self) -> None:
        """Wait until the committed offsets have reached the end of every partition."""

        def reached() -> bool:
            committed = self.committed()
            return all(committed.get(where, (0, ""))[0] >= end for where, end in self.ends().items())

        until("everything is committed", reached)

    def letters(self) -> list[Message]:
        """All dead letters. What a replay marked there is none."""
        return [each for each in self.read(self.dead_letters) if "aiq.replay.done" not in dict(each.headers() or ())]

    def read(self, topic: str) -> list[Message]:
        """Everything that is committed in a topic, partition by partition."""
        found = self._letters.list_topics(topic, timeout=10).topics[topic]
        places = [KafkaPartition(topic, partition, 0) for partition in found.partitions]
        ends = [_answer(partial(self._letters.get_watermark_offsets, place, timeout=10))[1] for place in places]
        self._letters.assign(places)
        messages: list[Message] = []
        ended: set[int | None] = set()

        def read() -> bool:
            # A partition's end is an event, not a number of records: transactions leave offsets without one.
            for message in self._letters.consume(500, 0.1):
                if message.error() is None:
                    messages.append(message)
                elif (
                    message.error().code() == KafkaError._PARTITION_EOF
                    and message.offset() >= ends[message.partition()]
                ):
                    ended.add(message.partition())
            return len(ended) == len(places)

        until(f"all of {topic} is read", read)
        self._letters.unassign()
        return sorted(messages, key=lambda message: (message.partition(), message.offset()))

    # ---- the operator's side ----------------------------------------------------------------------------------------

    @property
    def config(self) -> Path:
        """The first connector's."""
        return self._folder / "connector-0.yaml"

    def start_replay(self, *words: str) -> Child:
        """`aiq-braze replay` with the configuration of the first connector, in the background."""
        command = [sys.executable, "-m", "connector", "replay", "--config", self.config, "--json"]
        number = len(list(self._folder.glob("replay-*.log")))
        log = self._folder / f"replay-{number}.log"
        return self._children.start([*command, *words], log, {"TEST_BRAZE_KEY": API_KEY})

    def replay(self, *words: str) -> dict[str, Any]:
        """The same, to its end; returns the verdicts that were given, and how often."""
        child = self.start_replay(*words)
        assert child.wait() == 0, child.output()
        account = json.loads(child.output().splitlines()[-1])
        verdicts = {name: count for name, count in account["verdicts"].items() if count}
        others = ("foreign", "not_selected", "left")
        assert account["read"] == sum(verdicts.values()) + sum(account[name] for name in others)
        return verdicts

    # ---- the audit --------------------------------------------------------------------------------------------------

    def read_both_ends(self) -> Audit:
        """The audit with everything that Braze applied and the dead-letter topic holds by now."""
        self.audit.arrivals.clear()
        self.audit.dead.clear()
        self.audit.sent.clear()
        for line in self.braze.applied():
            campaign = {} if line["campaign_id"] is None else {"campaign_id": line["campaign_id"]}
            self.audit.applied(line["request"], line["array"], line["index"], line["object"] | campaign)
        for letter in self.letters():
            headers = {name: value.decode() for name, value in letter.headers() if name.startswith("aiq.dlq.")}
            where = TopicPartition(headers["aiq.dlq.topic"], int(headers["aiq.dlq.partition"]))
            self.audit.dead[where, int(headers["aiq.dlq.offset"])] += 1
        return self.audit

    def ended(self) -> set[int]:
        """Numbers of the records that Braze applied or the dead-letter topic holds."""
        audit = self.read_both_ends()
        return {
            number for number, where in audit.positions.items() if audit.arrivals.get(number) or audit.dead.get(where)
        }

    def faults(self) -> dict[str, Any]:
        """What is wrong, with each record's number, where it lies and where it arrived; empty if nothing is.

        Of what came twice the last time counts for the order.
        """
        audit = self.read_both_ends()
        wrong: dict[str, Any] = {}
        for name in ("lost", "duplicated", "misjudged", "altered"):
            numbers = getattr(audit, name)()
            if numbers:
                wrong[name] = {each: (audit.positions.get(each), audit.arrivals.get(each)) for each in numbers}
        for number, places in audit.arrivals.items():
            audit.arrivals[number] = places and [max(places)]
        if audit.order_violations():
            wrong["misordered"] = audit.order_violations()
        return wrong


def _answer(ask_broker: Callable[[], Found]) -> Found:
    """What a broker says, once it can: after a restart it does not know at once what it leads and coordinates."""

    def asked() -> Found | None:
        try:
            return ask_broker()
        except KafkaException:
            return None

    found = until("the broker answers", asked)
    assert found is not None
    return found
