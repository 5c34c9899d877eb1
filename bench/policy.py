"""`python -m bench.policy`: what the rules make of the quota, in virtual time.

No clock of the machine's is in it, so the figures are the same everywhere: the production pipeline, its replicas on
the simulated group, and the Braze double. Rows about the quota play a small one (90 requests in 3 s) against backlog,
where one refusal is much, and beside another client a whole workspace's, too; rows about latency play that. Not in
it: the time that a processor takes (`make bench`).
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Any, Final

import orjson
from fastavro import parse_schema, schemaless_writer
from rich.console import Console
from rich.table import Table

from connector.double.application import Applied
from connector.double.braze_double import BrazeDouble
from connector.double.settings import ALL_PERMISSIONS, DoubleSettings, ObjectsMax, RatePool, RateWindow
from connector.records import TopicPartition
from connector.settings import PACKAGED_SCHEMAS
from connector.simulation.braze import SimulatedTransport
from connector.simulation.kafka import Group, GroupFaults, SimulatedDeadLetters
from connector.simulation.scenario import Scenario
from connector.simulation.virtual_time import VirtualClock, VirtualLoop, run_virtually
from connector.simulation.world import EPOCH, KEY, Replica

SMALL: Final = 90
WHOLE: Final = 3000
PER_S: Final = 3.0
OBJECTS: Final = 75
FEW: Final = 3
"""Objects a request, where only requests are counted: a whole quota of full ones would take hours to play."""

PARTITIONS: Final = 16


@dataclass(frozen=True)
class Row:
    """One situation.

    Attributes:
        what: In words.
        replicas: Processes in the group.
        window: How Braze counts.
        others: Share of the quota that another client takes.
        skew: Of two partitions one has so many times as much; the group's halves differ as much.
        load: Share of the quota that is written; None: backlog.
        requests: The quota, in any `PER_S` seconds.
        objects: What a request may carry.
        settled_after_s: Virtual seconds before: two windows, so that the start does not count, or as many as it takes
            to learn what another client leaves.
        lasts_s: Virtual seconds that count.
    """

    what: str
    replicas: int = 1
    window: Any = "bucket"
    others: float = 0.0
    skew: float = 1.0
    load: float | None = None
    requests: int = SMALL
    objects: int = OBJECTS
    settled_after_s: float = 6.0
    lasts_s: float = 30.0


ROWS: Final = (
    *(Row("backlog everywhere", replicas, window) for window in ("bucket", "clock") for replicas in (1, 2, 4)),
    Row("backlog 10:1 between partitions", 2, skew=10.0),
    *(
        Row("another client takes half", replicas, window, 0.5, settled_after_s=30.0, lasts_s=60.0)
        for window in ("bucket", "clock")
        for replicas in (1, 2, 4)
    ),
    *(
        Row("another client takes half", replicas, window, 0.5, requests=WHOLE, objects=FEW, settled_after_s=30.0)
        for window in ("bucket", "clock")
        for replicas in (1, 4)
    ),
    Row("1 % of the quota is written", load=0.01, requests=WHOLE),
    Row("10 % of the quota is written", load=0.1, requests=WHOLE, lasts_s=9.0),
    Row("80 % of the quota is written", load=0.8, requests=WHOLE, lasts_s=3.0),
)


class Measured:
    """One row, played."""

    def __init__(self, row: Row) -> None:
        self._row = row
        self._made = 0
        self._written_at: list[float] = []
        self._waited: list[float] = []
        self._applied = 0
        loop = VirtualLoop()
        self._clock = VirtualClock(loop, EPOCH)
        self.cells: list[str] = run_virtually(loop, self._play())

    async def _play(self) -> list[str]:
        row = self._row
        names = [TopicPartition("events", index) for index in range(PARTITIONS)]
        self._group = Group(names, self._clock, GroupFaults(), Random(1))
        pool = RatePool(
            (RateWindow(row.requests, PER_S, row.window),), others_per_s=row.others * self._row.requests / PER_S
        )
        double = BrazeDouble(
            DoubleSettings(
                api_keys={KEY: ALL_PERMISSIONS},
                objects_max=ObjectsMax(combined=row.objects),
                track_rate=pool,
                latency_s=0.05,
                keep_events=False,
            ),
            Random(2),
            self._note,
        )
        scenario = _scenario(row)
        if row.load is None:
            for name, count in zip(names, self._backlogs(), strict=True):
                for _ in range(count):
                    self._write(name)
        replicas = []
        for number in range(row.replicas):
            transport = SimulatedTransport(double, self._clock, KEY, [])
            letters = SimulatedDeadLetters(Random(3), self._clock, 0.0)
            replicas.append(
                Replica(f"r{number}", scenario, self._group, transport, letters, self._clock, Random(number))
            )
        writing = asyncio.get_running_loop().create_task(self._keep_writing(names))
        await asyncio.sleep(row.settled_after_s)
        before, refused = _requests(double), _refused(double)
        self._waited.clear()
        applied = self._applied
        await asyncio.sleep(row.lasts_s)
        spent, refused = _requests(double) - before, _refused(double) - refused
        applied = self._applied - applied
        writing.cancel()
        for replica in replicas:
            await replica.kill(self._group)
        await self._group.close()
        left = self._row.requests / PER_S * row.lasts_s * (1 - row.others)
        self.used_percent = 100 * (spent - refused) / left
        self.refused_percent = 100 * refused / max(spent, 1)
        waits = sorted(self._waited) if row.load is not None else []
        return [
            f"{self.used_percent:.1f} %",
            f"{self.refused_percent:.2f} %",
            f"{applied / max(spent - refused, 1):.1f} ({row.objects})",
            *(f"{_quantile(waits, part) * 1000:.0f}" if waits else "" for part in (0.5, 0.99)),
        ]

    def _backlogs(self) -> list[int]:
        """Of each partition: enough for the whole play, or a part of that in every second: one replica has those."""
        whole = self._row.requests / PER_S * (self._row.settled_after_s + self._row.lasts_s) * self._row.objects
        if self._row.skew == 1:
            return [int(whole * 1.1 / PARTITIONS)] * PARTITIONS
        most = whole * 2.2 / PARTITIONS
        return [int(most / self._row.skew) if index % 2 else int(most) for index in range(PARTITIONS)]

    async def _keep_writing(self, names: list[TopicPartition]) -> None:
        if self._row.load is None:
            return
        rng = Random(4)
        rate = self._row.load * self._row.requests / PER_S * self._row.objects
        while True:
            await asyncio.sleep(rng.expovariate(rate))
            self._write(rng.choice(names))

    def _write(self, name: TopicPartition) -> None:
        number, self._made = self._made, self._made + 1
        self._written_at.append(self._clock.at())
        record = {
            "event_id": f"e{number}",
            "identity": {"external_id": f"u{number}"},
            "event_name": "e",
            "occurred_at": int(self._clock.at() * 1000),
            "properties": {"n": number},
        }
        out = io.BytesIO()
        schemaless_writer(out, _SCHEMA, record)
        self._group.append(name, b"", out.getvalue(), 0)

    def _note(self, applied: Applied) -> None:
        self._applied += 1
        self._waited.append(applied.arrived_at - self._written_at[applied.object["properties"]["n"]])


_SCHEMA = parse_schema(orjson.loads((PACKAGED_SCHEMAS / "ProfileEvent.avsc").read_bytes()))


def _scenario(row: Row) -> Scenario:
    return Scenario(
        seed=1, records=0, users=1, span_s=1, replicas=row.replicas, partitions=PARTITIONS, settle_s=0.0,
        requests=row.requests, per_s=PER_S, per_array=False, objects=row.objects, configured_objects=row.objects,
        poison=0, ambiguous_events="retry", commit_refusal=0, letter_refusal=0, buffer=100_000,
        track_requests_max=96,
    )  # fmt: skip


def _requests(double: BrazeDouble) -> int:
    return sum(sum(statuses.values()) for statuses in double.state()["requests"].values())


def _refused(double: BrazeDouble) -> int:
    return sum(double.state()["rate_refusals"].values())


def _quantile(ordered: list[float], part: float) -> float:
    return ordered[min(int(len(ordered) * part), len(ordered) - 1)]


def rows() -> Iterator[list[str]]:
    """One line a situation."""
    for row in ROWS:
        yield [row.what, str(row.requests), str(row.replicas), row.window, *Measured(row).cells]


def main() -> None:
    """Play and print."""
    heads = (
        "situation",
        "requests in 3 s",
        "replicas",
        "window",
        "used of what is left",
        "429s",
        "objects a request (at most)",
        "p50 ms",
        "p99 ms",
    )
    table = Table(*heads, title="virtual time")
    for cells in rows():
        table.add_row(*cells)
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
