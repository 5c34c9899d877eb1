"""Many connectors, each with one thing wrong around it, all scraped by one Prometheus: a job a fault.

A fault's job says which alerts must fire of it, and which may follow from it; everything else must stay silent.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from confluent_kafka import Consumer
from confluent_kafka import TopicPartition as KafkaPartition

from connector.records import Kind
from tests.real.brokers import ApacheKafka
from tests.real.children import Children, free_port
from tests.real.stage import Braze, Replica, Stage

WAITING: Final = {"AiqBrazeBacklogOld", "AiqBrazeBacklogTooOld", "AiqBrazeRetentionRisk"}
"""What comes of everything that lasts: records get old, and the beginning of a small topic is never far behind."""

QUICK_GROUP: Final = {"session.timeout.ms": 6000, "heartbeat.interval.ms": 200}

UNBALANCED: Final = """
from connector.books import Books
from connector.cli import main
Books.imbalance = lambda self: 3  # what no outside fault can bring about
main()
"""
LIVES: Final = 8
"""Of the one that restarts: more than its alert needs, for a machine on which the first ones were seen too slowly."""

BORN_LATER: Final = """
import pathlib, sys, time
import uvloop
import connector.app, connector.cli
turn = pathlib.Path(sys.argv.pop(1))
turn.with_suffix(".loaded").touch()
while not turn.exists():
    time.sleep(0.02)
connector.cli.main()
"""
"""A connector that has loaded all its code and waits for its turn: a restart then is quick on a busy machine, too."""

GARBAGE: Final = b"\xff no record"


@dataclass
class Job:
    """One fault.

    Attributes:
        name: As Prometheus calls it.
        fires: Alerts that must fire.
        may_fire: Alerts that may.
        instances: How many connectors.
        ports: Theirs.
    """

    name: str
    fires: set[str]
    may_fire: set[str] = field(default_factory=set)
    instances: int = 1
    ports: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.ports = [free_port() for _ in range(self.instances)]


JOBS: Final = {
    job.name: job
    for job in (
        Job("healthy", set()),
        Job("refused", {"AiqBrazeRefused"}, WAITING),
        Job("outage", {"AiqBrazeOutage", *WAITING}),
        Job("throttled", {"AiqBrazeThrottled"}, WAITING),
        Job("lowered", {"AiqBrazeLimitLowered"}),
        Job("parked", {"AiqBrazeCampaignsParked"}, {"AiqBrazeRetentionRisk"}),
        Job("poison", {"AiqBrazeDeadLetters", "AiqBrazeDeadLettersMany"}),
        Job("letters", {"AiqBrazeDeadLetterTopicFails"}, WAITING),
        Job("halted", {"AiqBrazeTopicHalted"}, {"AiqBrazeDeadLetters", *WAITING}),
        Job("unbalanced", {"AiqBrazeAuditImbalance"}),
        # What takes six seconds has, at this pace, stood still for twelve minutes.
        Job(
            "late",
            {"AiqBrazeFreshnessBurnsFast", "AiqBrazeFreshnessBurnsSlowly"},
            {"AiqBrazePartitionStalled", *WAITING},
        ),
        Job("stalled", {"AiqBrazePartitionStalled"}, WAITING),
        Job("kafka", {"AiqBrazeKafkaUnreachable"}),
        Job("offset", {"AiqBrazeOffsetOutOfRange"}, WAITING),
        Job("damaged", {"AiqBrazePartitionUnreadable"}, WAITING),
        Job("missing", {"AiqBrazeTopicMissing"}),
        Job("registry", {"AiqBrazeSchemaRegistryUnreachable"}, WAITING),
        Job("rebalancing", {"AiqBrazeRebalanceStorm"}, {"AiqBrazeTargetDown"}),
        Job("drift", {"AiqBrazeConfigDrift"}, instances=2),
        Job("down", {"AiqBrazeGone", "AiqBrazeTargetDown"}),
        Job("restarting", {"AiqBrazeRestartLoop"}, {"AiqBrazeGone", "AiqBrazeTargetDown"}),
    )
}


class Fleet:
    """All of them.

    Args:
        broker: They share it.
        children: Where processes are started.
        folder: Empty.
    """

    def __init__(self, broker: ApacheKafka, children: Children, folder: Path) -> None:
        self._broker = broker
        self._children = children
        self._folder = folder
        self._stages: list[Stage] = []
        self._brazes: list[Braze] = []
        self._ended = threading.Event()
        self._starts_seen: Callable[[], set[float]] = set
        self._threads: list[threading.Thread] = []
        self._traffic: list[Callable[[], None]] = []
        self._well = self._braze("well")
        self._well.open()

    def start(self, starts_seen: Callable[[], set[float]]) -> None:
        """Everything that can go wrong goes wrong; the healthy one comes last, when the machine has calmed down.

        Args:
            starts_seen: When the job that restarts began, as Prometheus saw it last: a life that nobody saw is no
                restart to anybody.
        """
        self._starts_seen = starts_seen
        for name in JOBS:
            if name != "healthy":
                getattr(self, f"_{name}")()
        self._in_background(self._keep_writing)
        self._healthy()

    def close(self) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()
        for stage in self._stages:
            stage.close()
        for braze in self._brazes:
            braze.close()

    # ---- the faults, by job -----------------------------------------------------------------------------------------

    def _healthy(self) -> None:
        stage = self._stage("healthy")
        self._replica(stage, "healthy").until_ready()
        self._writes(stage)

    def _refused(self) -> None:
        braze = self._braze("refused")
        braze.refuse({"do": "status", "status": 401, "body": {"message": "Invalid API key"}, "times": None})
        self._with_records("refused", braze)

    def _outage(self) -> None:
        braze = self._braze("outage")
        braze.refuse({"do": "status", "status": 503, "times": None})
        self._with_records("outage", braze, 1500)

    def _throttled(self) -> None:
        braze = self._braze("throttled")
        braze.refuse({"do": "rate_limit", "style": "mau", "wait_s": 5, "times": None})
        self._with_records("throttled", braze)

    def _lowered(self) -> None:
        braze = self._braze("lowered")
        braze.refuse({"do": "too_many", "over": 10, "times": None})
        self._with_records("lowered", braze)

    def _parked(self) -> None:
        braze = self._braze("parked")
        braze.refuse({"do": "campaign", "state": "paused"})
        self._with_records("parked", braze)

    def _poison(self) -> None:
        stage = self._with_records("poison", self._well)
        self._writes(stage)
        self._traffic.append(lambda: self._spoil(stage, 3))

    def _letters(self) -> None:
        stage = self._stage("letters")
        self._replica(stage, "letters", dead_letter_topic="letters.that.nobody.made")
        self._spoil(stage, 10)

    def _halted(self) -> None:
        stage = self._stage("halted")
        self._replica(stage, "halted", dead_letter_breaker={"run": 5})
        self._spoil(stage, 20)

    def _unbalanced(self) -> None:
        self._with_records("unbalanced", self._well, command=(sys.executable, "-c", UNBALANCED))

    def _late(self) -> None:
        braze = self._braze("late")
        braze.behave(latency_s=6, latency_sigma=0)
        self._writes(self._with_records("late", braze, 10))

    def _stalled(self) -> None:
        braze = self._braze("stalled")
        stage = self._with_records("stalled", braze, 100, {"request_timeout_s": 3600})
        stage.until_all_committed()
        braze.refuse({"do": "delay", "delay_s": 3600, "times": None})
        stage.write(self._good(stage, 100))

    def _kafka(self) -> None:
        stage = self._stage("kafka")
        self._replica(stage, "kafka", kafka={"bootstrap.servers": f"127.0.0.1:{free_port()}"})

    def _offset(self) -> None:
        stage = self._stage("offset")
        topic = stage.topics[Kind.EVENT]
        stage.write(stage.made(40, [Kind.EVENT]), partition=0)
        stage.reset_offset(KafkaPartition(topic, 0, 5))
        self._broker.delete_records(topic, 0, below=20)
        self._replica(stage, "offset")

    def _damaged(self) -> None:
        stage = self._stage("damaged")
        topic = stage.topics[Kind.EVENT]
        stage.write(stage.made(20, [Kind.EVENT]), partition=0)
        self._broker.damage(topic, 0, 10)
        self._replica(stage, "damaged")

    def _missing(self) -> None:
        stage = self._stage("missing", without=Kind.AUDIENCE)
        self._replica(stage, "missing")

    def _registry(self) -> None:
        stage = self._stage("registry")
        self._replica(stage, "registry", schema_registry={"url": f"http://127.0.0.1:{free_port()}", "timeout_s": 1})
        stage.write_raw(stage.topics[Kind.EVENT], b"\x00\x00\x00\x00\x07 a record of schema 7")

    def _rebalancing(self) -> None:
        stage = self._stage("rebalancing")
        self._replica(stage, "rebalancing", kafka=QUICK_GROUP).until_ready()
        self._in_background(lambda: self._come_and_go(stage))

    def _drift(self) -> None:
        stage = self._stage("drift")
        for number, interval_s in enumerate((0.2, 0.3)):
            self._replica(stage, "drift", number, commit_interval_s=interval_s)

    def _down(self) -> None:
        self._down_replica = self._replica(self._stage("down"), "down")
        self._down_replica.until_ready()

    def kill_the_one_that_goes_down(self) -> None:
        self._down_replica.child.kill()

    def _restarting(self) -> None:
        stage = self._stage("restarting")
        self._in_background(lambda: self._restart(stage))

    # ---- what they are made of --------------------------------------------------------------------------------------

    def _braze(self, name: str) -> Braze:
        folder = self._folder / f"braze-{name}"
        folder.mkdir()
        braze = Braze(self._children, folder)
        self._brazes.append(braze)
        return braze

    def _stage(self, job: str, braze: Braze | None = None, *, without: Kind | None = None, **more: Any) -> Stage:
        folder = self._folder / job
        folder.mkdir()
        stage = Stage(self._broker, self._children, folder, f"fleet-{job}", braze=braze or self._well, **more)
        for kind, topic in stage.topics.items():
            if kind is not without:
                self._broker.create_topic(topic)
        self._broker.create_topic(stage.dead_letters, 1)
        self._stages.append(stage)
        return stage

    def _replica(self, stage: Stage, job: str, number: int = 0, **sections: Any) -> Replica:
        http = {"host": "127.0.0.1", "port": JOBS[job].ports[number]}
        return stage.replica(http=http, **sections)

    def _with_records(
        self,
        job: str,
        braze: Braze,
        records: int = 200,
        braze_settings: dict[str, Any] | None = None,
        **more: Any,
    ) -> Stage:
        stage = self._stage(job, braze, **more)
        self._replica(stage, job, braze=braze_settings or {}).until_ready()
        stage.write(self._good(stage, records))  # only now: what waits for a process to start is late, too
        return stage

    def _good(self, stage: Stage, records: int) -> Iterable[Any]:
        return [made for made in stage.made(records) if made.expected == "delivered"]

    def _spoil(self, stage: Stage, records: int) -> None:
        for _ in range(records):
            stage.write_raw(stage.topics[Kind.EVENT], GARBAGE)

    # ---- what goes on meanwhile -------------------------------------------------------------------------------------

    def _writes(self, stage: Stage) -> None:
        self._traffic.append(lambda: stage.write(self._good(stage, 10)))

    def _keep_writing(self) -> None:
        while not self._ended.wait(0.2):
            for write in list(self._traffic):
                write()

    def _come_and_go(self, stage: Stage) -> None:
        """A member that joins, gets its partitions and leaves, over and over."""
        shared = {"bootstrap.servers": self._broker.address, "group.id": stage.group, "log_level": 0}
        cooperative = {"partition.assignment.strategy": "cooperative-sticky", **QUICK_GROUP}
        while not self._ended.is_set():
            member = Consumer({**shared, **cooperative})
            member.subscribe(list(stage.topics.values()))
            while not self._ended.is_set() and not member.assignment():
                member.poll(0.05)
            member.close()

    def _restart(self, stage: Stage) -> None:
        """One life after the other, each killed as soon as it was seen."""
        turns = [self._folder / f"life-{number}.turn" for number in range(LIVES)]
        lives = []
        for turn in turns:
            stage.command = (sys.executable, "-c", BORN_LATER, turn)
            lives.append(self._replica(stage, "restarting"))
            self._ended.wait(0.05)  # the system tells a process's start to a hundredth of a second: none shall share it
        loaded = [turn.with_suffix(".loaded") for turn in turns]
        seen: set[float] = set()
        while not self._ended.wait(0.05) and not all(each.exists() for each in loaded):
            pass
        for life, turn in zip(lives, turns, strict=True):
            turn.touch()
            while not self._ended.wait(0.05) and not self._starts_seen() - seen:
                pass
            if self._ended.is_set():
                return
            seen |= self._starts_seen()
            life.child.kill()

    def _in_background(self, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work)
        self._threads.append(thread)
        thread.start()
