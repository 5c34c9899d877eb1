"""One play: Kafka, Braze and the replicas in virtual time, from the first record until all is settled and quiet.

Asynchronous, on the virtual loop. The replicas are built from production parts; their sources, transports, dead-letter
topic and clock are the simulation's.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from random import Random
from typing import Any

import orjson
from fastavro import parse_schema, schemaless_writer

from connector.app import read_schema
from connector.batching import Batcher, TrackLimit
from connector.breaker import BreakerPolicy
from connector.campaigns import CampaignBatcher
from connector.delivery import Delivery, DeliveryPolicy
from connector.double.application import Applied
from connector.double.braze_double import BrazeDouble
from connector.double.settings import ALL_PERMISSIONS, DoubleSettings, ObjectsMax, RatePool, RateWindow
from connector.limits import Pool, Rate
from connector.mapping import MappingRules, default_document
from connector.outcomes import RetryPolicy
from connector.pipeline import Pipeline, PipelinePolicy
from connector.records import Kind, TopicPartition
from connector.settings import PACKAGED_SCHEMAS, SCHEMA_FILES
from connector.simulation.braze import SimulatedTransport
from connector.simulation.kafka import (
    Group,
    GroupFaults,
    SimulatedDeadLetters,
    SimulatedRecord,
    SimulatedSource,
)
from connector.simulation.scenario import Scenario
from connector.simulation.virtual_time import VirtualClock
from connector.telemetry import Telemetry
from connector.translation import Translator

EPOCH = 1_790_000_000.0
KEY = "simulated-key"
QUIET_S = 900.0
"""Virtual seconds after the last happening within which all must be settled."""

_COMMITS_HAVE_ENDED_S = 4.0
"""The slowest coordinator has answered by then."""

_TOPICS = {Kind.AUDIENCE: "audiences", Kind.EVENT: "events", Kind.CAMPAIGN: "campaigns"}


@dataclass(slots=True)
class Written:
    """One record as the producer knows it.

    Attributes:
        where: Its partition.
        offset: Its offset.
        kind: What it is.
        user: Whom it is about.
        number: Its own.
        good: Whether it can be delivered.
        membership: For audiences: attribute name and value.
        expected_skip: A rule settles it without sending.
        repeats: Number of the earlier trigger whose `event_id` it carries; None: it has its own.
        written_at: Wall clock.
        expires_at: Of a trigger that does: wall clock.
        epoch: Under which leader it was written.
        truncated_at: When Kafka lost it; None: never.
        is_curable: It is no good for as long as Braze refuses it by name.
    """

    where: TopicPartition
    offset: int
    kind: Kind
    user: str
    number: int
    good: bool
    membership: tuple[str, bool] | None = None
    expected_skip: bool = False
    repeats: int | None = None
    written_at: float = 0.0
    expires_at: float | None = None
    epoch: int = 0
    truncated_at: float | None = None
    is_curable: bool = False


class _BusyPipeline(Pipeline):
    """One whose loop has much else to do: its turns come late."""

    def __init__(self, turn_delay_s: float, **parts: Any) -> None:
        super().__init__(**parts)
        self._turn_delay_s = turn_delay_s

    def _wake(self) -> None:
        if self._turn_delay_s and not self._turn_due:
            self._turn_due = True
            self._loop.call_later(self._turn_delay_s, self._turn)
        else:
            super()._wake()


@dataclass(slots=True)
class History:
    """Everything that the checker judges by."""

    scenario: Scenario
    written: list[Written] = field(default_factory=list)
    applied: list[Applied] = field(default_factory=list)
    letters: list[tuple[TopicPartition, int, str, float]] = field(default_factory=list)
    commits: dict[TopicPartition, list[tuple[float, int, str]]] = field(default_factory=dict)
    profiles: dict[str, Any] = field(default_factory=dict)
    rate_refusals: int = 0
    outstanding_max: int = 0
    violations: list[str] = field(default_factory=list)
    skipped: dict[str, int] = field(default_factory=dict)
    troubles: set[str] = field(default_factory=set)
    is_settled: bool = False
    mended_at: float | None = None
    restarts: int = 0
    ended_at: float = 0.0


class Replica:
    """One process of the connector."""

    def __init__(self, name: str, scenario: Scenario, group: Group, transport: SimulatedTransport,
                 letters: SimulatedDeadLetters, clock: VirtualClock, rng: Random,
                 breaker_run: int = 0) -> None:  # fmt: skip
        jitter = rng.random
        self.source = SimulatedSource(group, name, scenario.buffer)
        self.transport = transport
        rate = Rate(scenario.requests, scenario.per_s)
        delivery = Delivery(
            Batcher(TrackLimit(scenario.configured_objects, scenario.per_array), scenario.settle_s, linger_s=0.2),
            CampaignBatcher(0.2, None, parked_max=1000),
            Pool([rate]),
            Pool([Rate(250_000, 3600.0)]),
            DeliveryPolicy(
                track_requests_max=scenario.track_requests_max,
                trigger_requests_max=4,
                ambiguous_events=scenario.ambiguous_events,
                campaigns=scenario.campaigns,
                retry=RetryPolicy(0.2, 5.0),
                probe_s=2.0,
            ),
            jitter,
        )
        self.pipeline = _BusyPipeline(
            scenario.turn_delay_s,
            source=self.source,
            transport=transport,
            dead_letters=letters,
            schemas=None,
            clock=clock,
            translators=_translators(),
            delivery=delivery,
            settle_s=scenario.settle_s,
            policy=PipelinePolicy(
                commit_interval_s=0.5,
                drain_deadline_s=15.0,
                lease_s=8.0,
                turn_records=scenario.turn_records,
                breaker=BreakerPolicy(share=1, run=breaker_run),
                writer=name.replace("-", ""),
            ),
            telemetry=Telemetry(output=None),
        )
        self.running: asyncio.Task[int] = asyncio.get_running_loop().create_task(self.pipeline.run())

    @property
    def is_alive(self) -> bool:
        """Whether it runs and is not on its way out."""
        return self.source.is_alive and not self.running.done() and not self.pipeline.is_stopping

    async def kill(self, group: Group) -> None:
        """SIGKILL: whatever is on the wire arrives, nothing else happens."""
        self.transport.is_dead = True
        group.kill(self.source)
        self.running.cancel()
        await asyncio.gather(self.running, return_exceptions=True)


class World:
    """Plays one scenario.

    Args:
        scenario: What happens.
        loop: The virtual loop.
    """

    def __init__(self, scenario: Scenario, loop: asyncio.AbstractEventLoop) -> None:
        self._scenario = scenario
        self._rng = Random(scenario.seed * 31 + 7)  # noqa: S311  # reproducible, guards nothing
        self._clock = VirtualClock(loop, EPOCH)
        self.history = History(scenario)
        partitions = [TopicPartition(t, index) for t in _TOPICS.values() for index in range(scenario.partitions)]
        self._group = Group(
            partitions,
            self._clock,
            GroupFaults(
                commit_delay_s=scenario.commit_delay_s,
                commit_refusal=scenario.commit_refusal,
                last_commit_refusal=scenario.last_commit_refusal,
            ),
            self._rng,
        )
        tail = max(scenario.settle_s * 0.99, 0.011)
        limit = ObjectsMax(None, scenario.objects) if scenario.per_array else ObjectsMax(combined=scenario.objects)
        self._double = BrazeDouble(
            DoubleSettings(
                api_keys={KEY: ALL_PERMISSIONS},
                objects_max=limit,
                track_rate=RatePool((RateWindow(scenario.requests, scenario.per_s, "clock"),)),
                apply_delay_s=(0.001, 0.01),
                apply_tail_s=tail,
                apply_tail_chance=0.5,
                latency_s=0.05,
                latency_sigma=0.5,
                over_long="refuse",
                # Without a settle time nobody is promised that separate requests are applied in order.
                reorder=scenario.settle_s > 0,
            ),
            Random(scenario.seed * 17 + 3),  # noqa: S311
            self.history.applied.append,
        )
        self._letters = SimulatedDeadLetters(self._rng, self._clock, scenario.letter_refusal)
        self._replicas: list[Replica] = []
        self._made = 0
        self._breaker_run = scenario.breaker_run
        self._triggers: dict[str, int] = {}  # user -> number of his last trigger that is good and has an id of its own

    async def play(self, *, cured: bool) -> History:
        """Write, let happen, cure Braze unless told otherwise, wait until all is settled."""
        scenario = self._scenario
        faults = [{key: value for key, value in fault.items() if key != "doubt"} for fault in scenario.braze_faults]
        # What is wrong with the data comes first: the first step that fits decides a request.
        faults.sort(key=lambda fault: fault["do"] != "refuse_request")
        self._double.set_faults(self._clock.now(), {"seed": scenario.seed, "steps": [*_REFUSED_BY_NAME, *faults]})
        for _ in range(scenario.replicas):
            self._start_replica()
        try:
            await asyncio.gather(self._write(), self._let_happen())
            if cured:
                self._double.set_faults(self._clock.now(), {"seed": 0, "steps": [*_REFUSED_BY_NAME, *_unnamed(faults)]})
            await self._wait_until_settled(looks_after_breakers=cured)
        finally:
            await self._stop()
        return self._close()

    def _start_replica(self) -> None:
        self._made += 1
        transport = SimulatedTransport(self._double, self._clock, KEY, self.history.violations)
        rng = Random(self._scenario.seed * 101 + self._made)  # noqa: S311
        name = f"replica-{self._made}"
        self._replicas.append(
            Replica(name, self._scenario, self._group, transport, self._letters, self._clock, rng, self._breaker_run)
        )

    @property
    def _living(self) -> list[Replica]:
        return [replica for replica in self._replicas if replica.is_alive]

    async def _write(self) -> None:
        scenario, rng = self._scenario, self._rng
        for number in range(scenario.records):
            await asyncio.sleep(rng.expovariate(1.0) * scenario.span_s / scenario.records)
            user = f"u{min(int(rng.paretovariate(0.7)), scenario.users)}"
            kind = rng.choices(list(_TOPICS), (5, 5, 2))[0]
            index = sum(user.encode()) % scenario.partitions
            where = TopicPartition(_TOPICS[kind], index)
            written = Written(where, 0, kind, user, number, good=rng.random() >= scenario.poison)
            value = self._value(written)
            record: SimulatedRecord = self._group.append(where, user.encode(), value, int(rng.random() < 0.1))
            written.offset, written.epoch = record.offset(), record.leader_epoch()
            written.written_at = self._clock.at()
            self.history.written.append(written)

    def _value(self, written: Written) -> bytes | None:
        """Avro bytes of a record; of one that is no good, in one of several ways."""
        rng, number = self._rng, written.number
        at = int(self._clock.at() * 1000)
        record: dict[str, Any] = {"event_id": f"e{number}", "identity": {"external_id": written.user}}
        if not written.good:
            way = rng.choice(("bytes", "named", "unnamed", "nobody", "tombstone"))
            if way == "bytes":
                return b"\xff"
            if way == "tombstone":
                written.expected_skip = True
                return None
            if way == "nobody" or written.kind is Kind.CAMPAIGN:
                record["identity"] = {"external_id": "null"}
        match written.kind:
            case Kind.AUDIENCE:
                audience, entered = rng.randrange(3), rng.random() < 0.5
                written.membership = (f"AIQ_{audience}_s", entered)
                record |= {
                    "audience_id": str(audience),
                    "split_id": "s",
                    "change": "ENTERED" if entered else "EXITED",
                    "qualified_at": at,
                    "attributes": {f"n{number}": True},
                }
                if not written.good and way in {"named", "unnamed"}:
                    record["attributes"]["poison_named"] = written.is_curable = True
            case Kind.EVENT:
                record |= {"event_name": "e", "occurred_at": at, "properties": {"n": number}}
                if not written.good and way == "named":
                    record["properties"]["poison_named"] = written.is_curable = True
                if not written.good and way == "unnamed":
                    unnamed = any(fault["do"] == "refuse_request" for fault in self._scenario.braze_faults)
                    record["event_name"] = "poison-unnamed" if unnamed else ""
            case Kind.CAMPAIGN:
                if written.good and self._scenario.repeats:
                    written.repeats = self._repeated(written)
                    record["event_id"] = f"e{number if written.repeats is None else written.repeats}"
                record |= self._expiry(written, at)
                record |= {
                    "campaign_id": f"campaign-{rng.randrange(3)}",
                    "requested_at": at,
                    "trigger_properties": {"n": number},
                }
        return _encode(written.kind, record)

    def _expiry(self, written: Written, at_ms: int) -> dict[str, Any]:
        lasts_s = self._scenario.expires_after_s
        if lasts_s is None:
            return {}
        expires_at_ms = at_ms + int(lasts_s * 1000)
        written.expected_skip = True
        written.expires_at = expires_at_ms / 1000
        return {"expires_at": expires_at_ms}

    def _repeated(self, written: Written) -> int | None:
        earlier = self._triggers.get(written.user)
        if earlier is not None and self._rng.random() < self._scenario.repeats:
            return earlier
        self._triggers[written.user] = written.number
        return None

    async def _let_happen(self) -> None:
        for when, what in self._scenario.happenings:
            await asyncio.sleep(max(0.0, when - self._clock.now()))
            living = self._living
            one = self._rng.choice(living) if living else None
            if what == "join" or one is None:
                self._start_replica()
            elif what == "kill":
                await one.kill(self._group)
                self._start_replica()
            elif what == "leave":
                one.pipeline.stop()
            elif what == "truncate":
                await self._truncate()
            elif what == "lose":
                self._group.lose(one.source)
            elif what == "rebalance":
                await self._group.rebalance()
            elif what in {"cut", "mend"}:
                for each in living:
                    each.transport.is_cut = what == "cut"
        for replica in self._replicas:
            replica.transport.is_cut = False
        if not self._living:
            self._start_replica()

    async def _truncate(self) -> None:
        """A partition's owner dies, and with it the broker that led the partition; the next one had not got all."""
        logs = self._group.logs
        where = self._rng.choice(list(logs))
        if self._rng.random() < 0.5:  # where a map has most to say, it has most to be wrong about
            where = max(logs, key=lambda name: len((logs[name].committed or (0, ""))[1]))
        owner = self._group.owner(where)
        for replica in self._replicas:
            if replica.source is owner:
                await replica.kill(self._group)
        await asyncio.sleep(_COMMITS_HAVE_ENDED_S)
        first = self._group.truncate(where)
        for written in self.history.written:
            if written.where == where and written.offset >= first and written.truncated_at is None:
                written.truncated_at = self._clock.at()
        self._start_replica()

    async def _look_after_breakers(self) -> None:
        """What a person does when a topic has halted for all that is bad in it."""
        if not any("dead_letter_breaker" in str(replica.pipeline.troubles.present) for replica in self._living):
            return
        self._breaker_run = 0
        old = self._living
        for replica in old:
            replica.pipeline.stop()
        await asyncio.gather(*(replica.running for replica in self._replicas), return_exceptions=True)
        self.history.restarts += len(old)
        if self._scenario.is_mended:
            self.history.mended_at = self._clock.at()
            self._double.set_faults(self._clock.now(), {"seed": 0, "steps": _unnamed(self._scenario.braze_faults)})
        for _ in old:
            self._start_replica()

    async def _wait_until_settled(self, *, looks_after_breakers: bool) -> None:
        deadline = self._clock.now() + QUIET_S
        while self._clock.now() < deadline:
            self._watch()
            if looks_after_breakers:
                await self._look_after_breakers()
            if all(
                log.committed is not None and log.committed[0] >= log.records[-1].offset() + 1
                for log in self._group.logs.values()
                if log.records
            ):
                self.history.is_settled = True
                return
            await asyncio.sleep(0.5)

    def _watch(self) -> None:
        for replica in self._living:
            imbalance = replica.pipeline.books.imbalance()
            if imbalance:
                self.history.violations.append(f"P8: imbalance of {imbalance}")
            if replica.running.done() and replica.running.exception() is not None:
                self.history.violations.append(f"a replica failed: {replica.running.exception()!r}")

    async def _stop(self) -> None:
        for replica in self._living:
            replica.pipeline.stop()
        async with asyncio.timeout(120):
            ends = await asyncio.gather(*(replica.running for replica in self._replicas), return_exceptions=True)
        await self._group.close()
        for replica in self._replicas:
            replica.source.die()
        await asyncio.sleep(0)  # lets what was cancelled end
        for end in ends:
            if isinstance(end, Exception):
                self.history.violations.append(f"a replica failed: {end!r}")

    def _close(self) -> History:
        history = self.history
        history.ended_at = self._clock.now()
        self._double.advance(float("inf"))
        state = self._double.state()
        history.profiles = state["profiles"]
        history.rate_refusals = sum(state["rate_refusals"].values())
        history.letters = self._letters.letters
        history.commits = {name: log.history for name, log in self._group.logs.items()}
        for replica in self._replicas:
            for reason in ("claimed_unknown", "repeated"):
                skipped = replica.pipeline.telemetry.value("records_skipped_total", reason)
                history.skipped[reason] = history.skipped.get(reason, 0) + int(skipped)
            history.troubles |= set(replica.pipeline.troubles.present)
        history.outstanding_max = max(replica.source.outstanding_max for replica in self._replicas)
        return history


_REFUSED_BY_NAME: tuple[dict[str, Any], ...] = tuple(
    {"do": "refuse_object", "where": {"array": array, "has": [path]}}
    for array, path in (("events", "properties.poison_named"), ("attributes", "poison_named"))
)


def _unnamed(faults: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What is wrong with the data stays wrong when everything else is cured."""
    return [fault for fault in faults if fault["do"] == "refuse_request"]


@cache
def _schemas() -> dict[Kind, Any]:
    return {
        kind: parse_schema(orjson.loads((PACKAGED_SCHEMAS / file).read_bytes())) for kind, file in SCHEMA_FILES.items()
    }  # fmt: skip


def _encode(kind: Kind, record: dict[str, Any]) -> bytes:
    out = io.BytesIO()
    schemaless_writer(out, _schemas()[kind], record)
    return out.getvalue()


@cache
def _translators() -> dict[str, Translator]:
    """Compiled once a process: they hold no state of a run."""
    made: dict[str, Translator] = {}
    for kind, topic in _TOPICS.items():
        schema = read_schema(PACKAGED_SCHEMAS, SCHEMA_FILES[kind])
        translator = Translator(
            topic, kind, default_document(kind), MappingRules(), {schema.name: schema}, framed=False
        )  # fmt: skip
        translator.learn(schema)
        made[topic] = translator
    return made


Play = Callable[[Scenario], History]
