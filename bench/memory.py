"""How much memory the connector has resident while Braze is away, and while it works off a backlog."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from bench import contestants, usage
from bench.report import Options, Row
from bench.site import Site, opened
from bench.workload import Workload
from tests.real.children import Child

_EVERY_S = 0.25
_NOTES = (
    (
        "peak MiB = VmHWM of the process (goal: at most 300); first and last third = most that was resident in that"
        " third of the time from its start; growth = last third / first third"
    ),
)


def run(options: Options) -> Row:
    """Both on the same topics, each by a group of its own."""
    workload = _workload(options.backlog_mb * 1_000_000)
    with opened() as site:
        site.make_topics((contestants.LETTERS,))
        size = site.write(workload)
        lines = [
            {"situation": f"503 for {options.outage_min:g} min", **_outage(site, workload, options.outage_min * 60)},
            {"situation": "backlog drained", **_backlog(site, workload)},
        ]
    title = f"the connector on {size / 1e6:,.0f} MB of records, {size / workload.records:,.0f} bytes each"
    return Row("memory", title, lines, notes=_NOTES)


def _workload(size: int) -> Workload:
    """Records of about a kilobyte."""
    probe = Workload("backlog", 2, attributes=14, properties=16, chars=64)
    mean = (len(probe.value(0, 0, 0)) + len(probe.value(1, 0, 0))) / 2
    return Workload("backlog", int(size / mean), attributes=14, properties=16, chars=64)


def _outage(site: Site, workload: Workload, lasts_s: float) -> dict[str, Any]:
    with site.double(journal=False) as double:
        double.fault({"do": "status", "status": 503, "times": None})
        ends = time.monotonic() + lasts_s
        child = contestants.connector(site, "outage", workload.topics, double.url)
        return _watched(child, lambda: time.monotonic() > ends)


def _backlog(site: Site, workload: Workload) -> dict[str, Any]:
    with site.double(journal=False) as double:
        child = contestants.connector(site, "drain", workload.topics, double.url)
        return _watched(child, lambda: site.committed("drain", workload.topics) >= workload.records)


def _watched(child: Child, is_over: Callable[[], bool]) -> dict[str, Any]:
    began = time.monotonic()
    samples = []
    while not is_over():
        child.must_live()
        samples.append(usage.resident_mib(child.pid))
        time.sleep(_EVERY_S)
    peak = usage.peak_mib(child.pid)
    lasted_s = time.monotonic() - began
    child.kill()
    return {"peak MiB": round(peak), **thirds(samples), "seconds": round(lasted_s)}


def thirds(samples: Sequence[float]) -> dict[str, Any]:
    """The most in the first third, the most in the last, and the one by the other."""
    third = max(len(samples) // 3, 1)
    first, last = max(samples[:third]), max(samples[-third:])
    return {"first third MiB": round(first), "last third MiB": round(last), "growth": round(last / first, 2)}
