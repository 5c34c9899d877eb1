"""From start to the first delivery, and from SIGKILL to the next one of the same partitions; everybody's defaults."""

from __future__ import annotations

import time

from bench import contestants
from bench.report import Options, Row
from bench.site import Double, opened
from bench.trickle import Trickle
from bench.workload import Record, Workload, user
from tests.real.children import until

DELAY_S = 3.0
SESSION_S = 10.0
_SETTLE_S = 5.0
_ARRAYS = ("events", "attributes")
_NOTES = (
    (
        f"start = first arrival at Braze - start of the process (goal: at most 3 s and the broker's"
        f" group.initial.rebalance.delay.ms, {DELAY_S:g} s)"
    ),
    (
        f"restart = first arrival after a SIGKILL that is followed by a start at once, less the time of the kill (goal:"
        f" at most the session timeout, {SESSION_S:g} s, and 3 s; attributes: and settle_s, {_SETTLE_S:g} s)"
    ),
)


def run(options: Options) -> Row:
    """While 200 records a second are written."""
    workload = Workload("restart", 0)
    lines = []
    with opened({"group.initial.rebalance.delay.ms": int(DELAY_S * 1000)}) as site:
        site.make_topics((contestants.LETTERS, *workload.topics))
        names = {topic.kind: topic.name for topic in workload.topics}

        def make(number: int, at: int) -> Record:
            rank = number // 2 % 10_000
            return Record(names[workload.kind(number)], user(rank), workload.value(number, rank, at))

        with Trickle(site.address, 200, make):
            for repeat in range(1, options.repeats + 1):
                with site.double() as double:
                    group = f"restart-{repeat}"
                    began = time.time()
                    child = contestants.connector(site, group, workload.topics, double.url)
                    first = {array: _first(double, array, began) for array in _ARRAYS}
                    time.sleep(2)  # so that it is well under way, and has committed
                    killed = time.time()
                    child.kill()
                    successor = contestants.connector(site, group, workload.topics, double.url)
                    # What was on the wire may arrive a little after its sender's death.
                    again = {array: _first(double, array, killed + 0.5) for array in _ARRAYS}
                    successor.kill()
                lines.append(
                    {
                        "repeat": repeat,
                        **{f"start s, {array}": round(first[array] - began, 1) for array in _ARRAYS},
                        **{f"restart s, {array}": round(again[array] - killed, 1) for array in _ARRAYS},
                    }
                )
    return Row("start", "the connector, default settings, 200 records/s, 4 partitions a topic", lines, notes=_NOTES)


def _first(double: Double, array: str, after: float) -> float:
    """When the first object of that array arrived after that time."""

    def look() -> float:
        found = (line["arrived_at"] for line in double.journal() if line["array"] == array)
        return min((at for at in found if at > after), default=0.0)

    return until(f"{array} arrive", look)
