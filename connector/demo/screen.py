"""What a person sees of the demonstration: progress while it plays, the audit at the end.

An edge. On a terminal the progress is drawn in place; elsewhere it is a line now and then.
"""

from __future__ import annotations

import json
import sys

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from connector.demo.stage import DemoOutcome, perform
from connector.demo.stage import Progress as DemoProgress
from connector.telemetry import Telemetry

_MEANING = {
    "produced": "records written to Kafka",
    "delivered": "accepted by Braze",
    "coalesced": "carried by a delivered newer one",
    "dead_lettered": "poison, set aside with its reason",
    "skipped": "tombstones, control splits, expired and repeated triggers",
    "lost": "neither applied nor set aside",
    "duplicated": "applied twice",
    "misjudged": "good ones set aside, or bad ones applied",
    "altered": "applied with other values than the record's, or to somebody else",
    "order_violations": "a user's later record before an earlier one",
    "uncommitted": "offsets still open at the end",
    "unaccounted": "records without a fate",
    "requests": "sent to Braze",
    "objects_per_request": "on average",
    "records_per_second": "from the first record to the last settlement",
    "latency_p50_s": "from Kafka to Braze's acceptance",
    "latency_p99_s": "the same, with the settle time of repeated attribute writes",
    "quota_refusals": "429s",
}


async def show(records: int, seed: int, *, as_json: bool) -> int:
    """Perform and report; returns the exit code: 0 when the audit is clean."""
    console = Console(stderr=as_json)
    telemetry = Telemetry(output=sys.stderr, level="warning", text=True)
    if not as_json:
        console.print(
            f"[bold]aiq-braze demo[/]: {records:,} records, seed {seed}: Kafka (in process) → connector → Braze double"
        )
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:>8,}/{task.total:,} settled"),
        TextColumn("{task.fields[more]}"),
        TimeElapsedColumn(),
        console=console,
        disable=not console.is_terminal,
    ) as progress:
        bar = progress.add_task("delivering", total=records, more="")
        watch = _Watch(progress, bar, console, quiet=as_json)
        outcome = await perform(records, seed, telemetry, watch)
    if as_json:
        sys.stdout.write(json.dumps(outcome.as_json()) + "\n")
    else:
        console.print(_table(outcome))
        verdict = "[green]the audit is clean" if outcome.is_clean else "[red]the audit failed"
        console.print(f"{verdict}: every record has exactly one end[/]" if outcome.is_clean else f"{verdict}[/]")
    return 0 if outcome.is_clean else 1


class _Watch:
    """Progress on a terminal, or a line every tenth of the way."""

    def __init__(self, progress: Progress, bar: TaskID, console: Console, *, quiet: bool) -> None:
        self._progress = progress
        self._bar = bar
        self._console = console
        self._quiet = quiet
        self._tenth = -1

    def __call__(self, now: DemoProgress) -> None:
        more = f"{now.in_flight:>6,} in flight  {now.requests:>5,} requests"
        self._progress.update(self._bar, completed=now.settled, more=more)
        tenth = 10 * now.settled // now.total
        if not self._quiet and not self._console.is_terminal and tenth > self._tenth:
            self._tenth = tenth
            self._console.print(f"  {now.settled:>8,} of {now.total:,} settled {more}")


def _table(outcome: DemoOutcome) -> Table:
    table = Table("audit", "", "", show_edge=False)
    must_be_zero = {
        "lost",
        "duplicated",
        "misjudged",
        "altered",
        "order_violations",
        "uncommitted",
        "unaccounted",
        "quota_refusals",
    }
    for name, value in outcome.as_json().items():
        style = ("green" if not value else "bold red") if name in must_be_zero else ""
        shown = f"{value:,.3f}" if name.endswith("_s") else f"{value:,}"
        table.add_row(name, f"[{style}]{shown}[/]" if style else shown, _MEANING[name])
    table.columns[1].justify = "right"
    return table
