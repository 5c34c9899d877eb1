"""`make bench`: what the connector costs and how quick it is, beside peers on the same topics and the same double.

Each row has a site of its own: Apache Kafka, a registry, Braze doubles, all processes of their own that do not count. A
contestant has one core to itself. `--only NAME` measures one row, and may be given several times.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from bench import campaigns, comparison, latency, memory, partition, restart, scaling
from bench.report import Options, Row

ROWS: dict[str, Callable[[Options], Row]] = {
    "mixed": comparison.mixed,
    "events": comparison.events,
    "bytes": scaling.run,
    "partition": partition.run,
    "memory": memory.run,
    "start": restart.run,
    "campaigns": campaigns.run,
    "latency": latency.run,
}
_USUAL = Options()


def main(
    *,
    only: Annotated[list[str] | None, typer.Option(help=f"A row: {', '.join(ROWS)}. Default: all.")] = None,
    records: Annotated[int, typer.Option(help="Of mixed, bytes and partition, each.")] = _USUAL.records,
    events: Annotated[int, typer.Option(help="Of events.")] = _USUAL.events,
    outage_min: Annotated[float, typer.Option(help="Of memory: how long Braze answers 503.")] = _USUAL.outage_min,
    backlog_mb: Annotated[int, typer.Option(help="Of memory: bytes of values in the topics.")] = _USUAL.backlog_mb,
    drain_s: Annotated[float, typer.Option(help="Of campaigns: how long triggers are written.")] = _USUAL.drain_s,
    repeats: Annotated[int, typer.Option(help="Of start.")] = _USUAL.repeats,
    rounds: Annotated[int, typer.Option(help="Of mixed and events: all contestants so often.")] = _USUAL.rounds,
    out: Annotated[Path | None, typer.Option(help="Write the figures as JSON, too.")] = None,
) -> None:
    """Measure rows, and print a table of each."""
    if unknown := set(only or ()) - set(ROWS):
        raise typer.BadParameter(f"no such row: {', '.join(sorted(unknown))}", param_hint="--only")
    options = Options(records, events, outage_min, backlog_mb, drain_s, repeats, rounds)
    console = Console(width=150)
    measured: list[dict[str, Any]] = []
    for name in only or ROWS:
        began = time.monotonic()
        console.print(f"measuring {name}", style="dim")
        try:
            row = ROWS[name](options)
        except AssertionError as reason:  # the other rows are worth having all the same
            row = Row(name, "came to no end", [{"row": name, "not run": " ".join(str(reason).split())[:300]}])
        row.print(console)
        console.print(
            f"  took {time.monotonic() - began:.0f} s, {os.cpu_count()} cores\n", style="dim", highlight=False
        )
        measured.append(row.document())
        if out is not None:
            document = {"cores": os.cpu_count(), "load": os.getloadavg(), "rows": measured}
            out.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
