"""How long a trigger waits while a backlog of audiences drains."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from bench import contestants, cores
from bench.report import Options, Row
from bench.site import Site, opened
from bench.trickle import Trickle
from bench.workload import Record, Topic, Workload, encoded, user
from tests.real.children import until

PER_S = 50
_NOTES = (
    (
        "ms = arrival at Braze - the record's timestamp in Kafka, of triggers written while the backlog lasted"
        " (goal: p99 at most 250)"
    ),
    "left = audience records that were not committed when the last trigger was written",
)


def run(options: Options) -> Row:
    """The same trickle of triggers, alone and beside the backlog."""
    # A backlog that outlasts the measurement wherever it runs: nobody takes 40,000 records a second.
    backlog = Workload("backlog", int(options.drain_s * 40_000), kinds=("audience",))
    alone, beside = (Topic(f"triggers-{name}", "campaign", 4) for name in ("alone", "beside"))
    # What is measured is a wait, and one core for broker and double would be a queue of its own.
    with opened(rest=cores.ALL) as site:
        site.make_topics((contestants.LETTERS, alone, beside))
        site.write(backlog)
        lines = [
            {"triggers": "alone", **_waits(site, alone, None, options.drain_s / 2)},
            {"triggers": "beside the backlog", **_waits(site, beside, backlog, options.drain_s)},
        ]
    title = f"{PER_S} triggers/s beside {backlog.records:,} audience records, the connector with its defaults"
    return Row("campaigns", title, lines, notes=_NOTES)


def _waits(site: Site, topic: Topic, backlog: Workload | None, lasts_s: float) -> dict[str, Any]:
    group = topic.name
    topics = (topic, *(backlog.topics if backlog else ()))

    def make(number: int, at: int) -> Record:
        name = user(number % 5000)
        record = {"event_id": f"t-{number}", "identity": {"external_id": name}, "campaign_id": "c-1"}
        return Record(
            topic.name, name, encoded("campaign", {**record, "requested_at": at, "trigger_properties": {"n": number}})
        )

    with site.double() as double:
        child = contestants.connector(site, group, topics, double.url)
        until("it has its partitions", lambda: "partitions_assigned" in child.output())
        if backlog is not None:
            until("the backlog drains", lambda: site.committed(group, backlog.topics) > 0)
        with Trickle(site.address, PER_S, make) as trickle:
            ends = time.monotonic() + lasts_s
            while time.monotonic() < ends:
                child.must_live()
                time.sleep(0.2)
            left = backlog.records - site.committed(group, backlog.topics) if backlog else 0
        until("all triggers are delivered", lambda: site.committed(group, [topic]) >= len(trickle.written_at))
        child.kill()
        double.state()  # asking lets it write down what it applied
        sent = ((line["object"], line["arrived_at"]) for line in double.journal() if line["array"] == "recipients")
        waits = [at - trickle.written_at[thing["trigger_properties"]["n"]] for thing, at in sent]
    return {"sent": len(waits), **quantiles(waits), "left": max(left, 0)}


def quantiles(waits: Sequence[float]) -> dict[str, int]:
    """In milliseconds."""
    ordered = sorted(waits)
    at = {"p50 ms": 0.5, "p99 ms": 0.99, "greatest ms": 1.0}
    return {name: round(ordered[min(int(len(ordered) * part), len(ordered) - 1)] * 1000) for name, part in at.items()}
