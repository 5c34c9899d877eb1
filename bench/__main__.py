"""`make bench`: processor time per delivered record, beside a hand-written loop on the same topics and the same double.

Apache Kafka and the double are processes of their own and do not count. Of each contestant the user and system time of
its process (all threads) is taken until its group has committed everything, less that of an idle run of equal length.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from bench import comparison
from bench.site import opened
from bench.topics import PARTITIONS, make_topics, produce


def main(
    records: Annotated[int, typer.Option(help="Half audiences (2 attributes), half events (6 properties).")] = 200_000,
    users: Annotated[int, typer.Option(help="Zipf 1.1 over so many.")] = 1_000_000,
    out: Annotated[Path | None, typer.Option(help="Write the figures as JSON, too.")] = None,
) -> None:
    """Measure and print one table."""
    console = Console()
    with opened() as site:
        make_topics(site)
        console.print(f"writing {records:,} records about {users:,} users")
        produce(site.address, records, users)
        produce(site.address, records, users, flood=True)
        rows = []
        for contestant in ("connector", "loop"):
            console.print(f"running the {contestant}")
            rows.append(comparison.mixed(site, contestant, records))
        console.print("running the connector on one partition of audiences")
        flood = comparison.one_partition(site, records)
        rows[0]["ratio"] = round(rows[0]["cpu_us_per_record"] / rows[1]["cpu_us_per_record"], 2)
    table = Table(*rows[0], title=f"{records:,} records, {PARTITIONS} partitions a topic, {os.cpu_count()} cores")
    for row in rows:
        table.add_row(*(str(row.get(name, "")) for name in rows[0]))
    console.print(table)
    console.print(
        "cpu_us_per_record = (user + system seconds - those of an idle run) / records; ratio = connector / loop"
    )
    console.print(
        f"one partition, {records:,} audience records, settle_s 5: {flood['records_per_s']:,} records/s from its"
        f" assignment to the last commit, {flood['objects_per_request']} objects a request"
    )
    if out is not None:
        document = {"mixed": rows, "one_partition_of_audiences": flood}
        out.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


typer.run(main)
