"""The table of stages that `make bench` prints, from what a connector serves."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import get_args

import pytest
import yaml
from prometheus_client import generate_latest

from bench.stages import exposition_of, stage_rows, stage_table
from connector.metrics import Stage
from connector.series import start_series
from connector.telemetry import Telemetry
from tests.real.brokers import InProcessBroker
from tests.real.children import Children, until


def exposition(**seconds: float) -> str:
    telemetry = Telemetry(output=None)
    start_series(telemetry, {}, has_registry=False)
    for stage, spent in seconds.items():
        telemetry.count("stage_seconds_total", spent, stage)
    return generate_latest(telemetry.registry).decode()


def test_work_is_told_by_record_with_its_share_and_what_is_waited_for_without_one() -> None:
    text = exposition(poll=1.0, decode=4.0, map=2.0, pack=2.0, settle=1.0, http=50.0, wait_quota=3.0)

    rows = stage_rows(text, records=1_000_000, cpu_us_per_record=20.0)

    assert [(row.stage, row.us_per_record, row.percent) for row in rows] == [
        ("poll", 1.0, 5.0),
        ("decode", 4.0, 20.0),
        ("map", 2.0, 10.0),
        ("pack", 2.0, 10.0),
        ("settle", 1.0, 5.0),
        ("commit", 0.0, 0.0),
        ("rest", 10.0, 50.0),
        ("wait_quota", 3.0, None),
        ("http", 50.0, None),
    ]
    assert {row.stage for row in rows} == {*get_args(Stage), "rest"}
    table = stage_table(rows)
    assert table.row_count == len(rows)
    assert list(table.columns[2].cells)[-1] == "waiting"


def test_a_rest_is_never_less_than_nothing() -> None:
    rows = stage_rows(exposition(decode=2.0), records=1_000_000, cpu_us_per_record=1.9)  # the outside clock is coarse

    assert [row.us_per_record for row in rows if row.stage == "rest"] == [0.0]


def test_an_exposition_without_a_stage_is_refused() -> None:
    with pytest.raises(KeyError):
        stage_rows("", records=1, cpu_us_per_record=1.0)


def test_a_running_connector_is_asked_for_its_stages(
    children: Children, in_process_broker: InProcessBroker, tmp_path: Path
) -> None:
    settings = {
        "kafka": {"bootstrap.servers": in_process_broker.address, "group.id": "stages"},
        "topics": {"stages-events": {"kind": "event"}},
        "braze": {"endpoint": "http://127.0.0.1:9", "api_key": "not-a-real-key"},
        "http": {"host": "127.0.0.1", "port": 0},
    }
    path = tmp_path / "connector.yaml"
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    child = children.start([sys.executable, "-m", "connector", "run", "--config", path], tmp_path / "connector.log")
    until("it has started", lambda: child.must_live() or "connector_started" in child.output())

    rows = stage_rows(exposition_of(child), records=1, cpu_us_per_record=1.0)

    child.kill()
    assert {row.stage for row in rows} == {*get_args(Stage), "rest"}
