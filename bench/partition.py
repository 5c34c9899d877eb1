"""All that one partition can bring, with the settle time on: the offset map is what it presses on."""

from __future__ import annotations

import time

from bench import contestants
from bench.comparison import until_committed
from bench.report import Options, Row
from bench.site import opened
from bench.workload import Workload
from tests.real.children import until


def run(options: Options) -> Row:
    """The connector on one partition of audiences."""
    workload = Workload("flood", options.records, kinds=("audience",), partitions=1)
    with opened() as site:
        site.make_topics((contestants.LETTERS,))
        site.write(workload)
        with site.double(journal=False) as double:
            child = contestants.connector(site, "flood", workload.topics, double.url)
            until("it has its partition", lambda: "partitions_assigned" in child.output())
            began = time.monotonic()
            until_committed(site, child, "flood", workload)
            wall_s = time.monotonic() - began
            child.kill()
            sizes = double.state()["objects_per_request"]["/users/track"]
    line = {"records/s": round(workload.records / wall_s), "objects/request": round(sizes["mean"], 1)}
    return Row(
        "partition",
        f"the connector on {options.records:,} audience records in one partition, settle_s 5",
        [line],
        notes=("records/s = records / (last commit - assignment)",),
    )
