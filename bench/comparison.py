"""Processor time per delivered record, beside the hand-written loop, on the same topics and the same double."""

from __future__ import annotations

import time
from typing import Any

from bench import contestants, usage
from bench.site import Site
from bench.topics import FLOOD, MIXED, PARTITIONS
from tests.real.children import until


def mixed(site: Site, contestant: str, records: int) -> dict[str, Any]:
    """One contestant on half audiences, half events; less an idle run of equal length."""
    with site.double() as double:
        began = time.monotonic()
        child = contestants.start(contestant, site, double, idle=False)
        topics = dict.fromkeys(MIXED, PARTITIONS)
        until(
            f"the {contestant} has committed all",
            lambda: site.committed(contestant, topics) >= records,
            within_s=600,
        )
        wall_s, cpu_s = time.monotonic() - began, usage.cpu_s(child.pid)
        resident_mib = usage.resident_mib(child.pid)
        child.kill()
        state = double.state()
        sizes = state["objects_per_request"]["/users/track"]
    with site.double() as double:
        idle = contestants.start(contestant, site, double, idle=True)
        ends = time.monotonic() + wall_s
        until("an idle run of equal length is over", lambda: time.monotonic() > ends, within_s=600)
        idle_s = usage.cpu_s(idle.pid)
        idle.kill()
    return {
        "contestant": contestant,
        "cpu_us_per_record": round((cpu_s - idle_s) / records * 1e6, 1),
        "records_per_s": round(records / wall_s),
        "requests": sizes["requests"],
        "objects_per_request": round(sizes["mean"], 1),
        "refused_429": sum(state["rate_refusals"].values()),
        "resident_mib": resident_mib,
        "ratio": "",
    }


def one_partition(site: Site, records: int) -> dict[str, Any]:
    """All that one partition can bring, with the settle time on: the offset map is what it presses on."""
    with site.double() as double:
        child = contestants.connector("flood", {FLOOD: {"kind": "audience"}}, site, double)
        until("it has its partition", lambda: "partitions_assigned" in child.output())
        began = time.monotonic()
        until("all is committed", lambda: site.committed("flood", {FLOOD: 1}) >= records, within_s=600)
        wall_s = time.monotonic() - began
        child.kill()
        sizes = double.state()["objects_per_request"]["/users/track"]
    return {"records_per_s": round(records / wall_s), "objects_per_request": round(sizes["mean"], 1)}
