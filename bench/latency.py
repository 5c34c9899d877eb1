"""How long an event waits on its way when the quota does not bind: from its timestamp in Kafka to Braze."""

from __future__ import annotations

import time
from typing import Any

from bench import contestants, cores
from bench.campaigns import quantiles
from bench.report import Options, Row
from bench.site import Site, opened
from bench.trickle import Trickle
from bench.workload import Record, Topic, encoded, user
from tests.real.children import until

QUOTA = 75_000
"""Objects a second: 1,000 requests of 75."""

PARTS = (0.01, 0.1)
"""Of the quota. Four fifths of it, written, delivered and applied on one machine, would measure the machine; what the
rules alone add there is told by `make bench-policy`."""

WARMING_S = 30.0
"""From the first record on: a broker's first seconds are slow, and what piles up in them has to drain. Its machine code
is not made yet, either: in the first half minute it takes the slowest hundredth of the records twice as long."""

_SPARE = 1.3
"""Records more than the time should take."""

_NOTES = (
    "ms = arrival at Braze - the record's timestamp in Kafka, of users without another event (goal: p50 10, p99 50)",
    "Kafka ms = its acknowledgement to who wrote the record - the same timestamp, of 25 records a second: not ours",
    "batches linger for the quota alone, and audience records wait settle_s besides: neither is in here",
)


def run(options: Options) -> Row:
    """One line a rate."""
    # Processor time is not what is measured: broker, double and writer may have what the connector leaves of its core.
    with opened(rest=cores.ALL) as site:
        site.make_topics((contestants.LETTERS,))
        lines = [{"of the quota": f"{part:.0%}", **_waits(site, part * QUOTA, options.drain_s / 2)} for part in PARTS]
    return Row("latency", f"events of 6 properties, {QUOTA:,} objects/s are the quota", lines, notes=_NOTES)


def _record(topic: Topic, number: int, at: int) -> Record:
    name = user(number)
    values = {"count": number, "sku": "sku-1", "price": 12.5, "new": True, "shop": "north", "page": "/home"}
    record = {"event_id": f"e-{number}", "identity": {"external_id": name}, "event_name": "Viewed"}
    return Record(topic.name, name, encoded("event", {**record, "occurred_at": at, "properties": values}))


def _waits(site: Site, per_s: float, lasts_s: float) -> dict[str, Any]:
    topic = Topic(f"events-{per_s:.0f}", "event", 4)
    site.make_topics((topic,))

    at = int(time.time() * 1000)
    # Made beforehand: what makes them shares its core with broker and double.
    records = [_record(topic, number, at) for number in range(int(per_s * (WARMING_S + lasts_s) * _SPARE))]

    with site.double() as double:
        child = contestants.connector(site, topic.name, (topic,), double.url)
        until("it has its partitions", lambda: "partitions_assigned" in child.output())
        with Trickle(site.address, per_s, lambda number, _: records[number]) as trickle:
            ends = time.monotonic() + WARMING_S + lasts_s
            while time.monotonic() < ends:
                child.must_live()
                time.sleep(0.2)
        until("all are delivered", lambda: site.committed(topic.name, [topic]) >= len(trickle.written_at))
        child.kill()
        sizes = double.state()["objects_per_request"]["/users/track"]
        counted_from = trickle.written_at[0] + WARMING_S
        arrivals = ((line["object"]["properties"]["count"], line["arrived_at"]) for line in double.journal())
        counted = {number: at for number, at in arrivals if trickle.written_at[number] >= counted_from}
        waits = [at - trickle.written_at[number] for number, at in counted.items()]
        kafka = quantiles([taken_s for written_at, taken_s in trickle.taken_s if written_at >= counted_from])
    written_s = trickle.written_at[len(trickle.written_at) - 1] - trickle.written_at[0]
    rate = {"events/s": round(len(trickle.written_at) / written_s), "objects/request": round(sizes["mean"], 1)}
    of_kafka = {f"Kafka {name}": kafka[name] for name in ("p50 ms", "p99 ms")}
    return {**rate, "sent": len(waits), **quantiles(waits), **of_kafka}
