"""Where the connector's processor time goes: its own `stage_seconds_total`, by record.

The stages that wait (http, wait_quota) are told apart: they are no work, and many requests wait at once. What the
process used beyond its stages is the rest: the HTTP client, the event loop, librdkafka's own threads.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, get_args

from prometheus_client.parser import text_string_to_metric_families
from rich.table import Table

from connector import metrics
from connector.metrics import PREFIX
from tests.real.children import Child, ask

WAITING: Final = frozenset({"http", "wait_quota"})
REST: Final = "rest"


@dataclass(frozen=True)
class Stage:
    """One stage.

    Attributes:
        stage: Its name; `rest` is what no stage accounts for.
        us_per_record: Microseconds.
        percent: Of all processor time; None: this is waiting, no work.
    """

    stage: str
    us_per_record: float
    percent: float | None


def stage_rows(exposition: str, records: int, cpu_us_per_record: float) -> list[Stage]:
    """Rows in the order in which a record goes through, those that wait at the end.

    Args:
        exposition: What `/metrics` says at the end of the run.
        records: That were delivered.
        cpu_us_per_record: All processor time, as measured from outside.
    """
    seconds = {
        sample.labels["stage"]: sample.value
        for family in text_string_to_metric_families(exposition)
        for sample in family.samples
        if sample.name == f"{PREFIX}stage_seconds_total"
    }
    took = {stage: seconds[stage] / records * 1e6 for stage in get_args(metrics.Stage)}
    work = {stage: us for stage, us in took.items() if stage not in WAITING}
    work[REST] = max(0.0, cpu_us_per_record - sum(work.values()))
    rows = [Stage(stage, round(us, 2), round(us / cpu_us_per_record * 100, 1)) for stage, us in work.items()]
    return rows + [Stage(stage, round(took[stage], 2), None) for stage in get_args(metrics.Stage) if stage in WAITING]


def stage_table(rows: Sequence[Stage]) -> Table:
    """For people."""
    table = Table("stage", "us_per_record", "% of cpu", title="where the connector's processor time goes")
    for row in rows:
        table.add_row(row.stage, f"{row.us_per_record:.2f}", "waiting" if row.percent is None else f"{row.percent:.1f}")
    return table


def exposition_of(connector: Child) -> str:
    """What a running connector's `/metrics` says; it tells its port in the log."""
    lines = [json.loads(line) for line in connector.output().splitlines() if '"connector_started"' in line]
    status, text = ask(f"http://127.0.0.1:{lines[0]['http_port']}/metrics")
    assert status == 200, text
    return text
