"""KEDA's question, asked of Prometheus' own evaluation: when a replica is worth adding, and when it is not."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.alerts.exported import unknown_names
from tests.helm.chart import CHART, Chart

LABELS = 'namespace="crm",instance="a"'
AGE = f"aiq_braze_oldest_unsettled_record_timestamp_seconds{{{LABELS}}}"
SENT = "aiq_braze_braze_requests_total{" + LABELS + ',endpoint="%s",status_class="2xx"}'
CAMPAIGN_AGE = AGE.replace("{", '{topic="campaigns",partition="0",')
ITS_NEIGHBOUR_S_AGE = AGE.replace("{", '{topic="campaigns",partition="1",')
AUDIENCE_AGE = AGE.replace("{", '{topic="audiences",partition="0",')
PARKED = f'aiq_braze_parked_records{{{LABELS},topic="campaigns",partition="0"}}'
PARKED_ELSEWHERE = PARKED.replace(LABELS, 'namespace="shop",instance="b"')
OF_ANOTHER = 'aiq_braze_oldest_unsettled_record_timestamp_seconds{namespace="shop",instance="b"}'


@pytest.fixture(scope="module")
def query(chart: Chart) -> str:
    """Of a release whose quota is 1,000 requests a second for track, 250,000 an hour for triggers; target: 60 s."""
    values = {
        "partitions": 24,
        "autoscaling": {"enabled": True, "prometheusAddress": "http://prometheus:9090", "targetAgeSeconds": 60},
    }
    (trigger,) = chart.render(values).one("ScaledObject")["spec"]["triggers"]
    assert (trigger["metricType"], trigger["metadata"]["threshold"]) == ("Value", "60")
    asked: str = trigger["metadata"]["query"]
    return asked


@pytest.mark.parametrize(
    ("series", "answer"),
    [
        ({}, None),
        ({AGE: "1500x60"}, 300),
        ({AGE: "0x60"}, 600),  # half an hour old: counted up to ten times the target
        ({AGE: "1770+0x60"}, 30),
        ({OF_ANOTHER: "0x60"}, None),
        ({AGE: "0x60", f'aiq_braze_throttled_seconds_total{{{LABELS},endpoint="/users/track"}}': "0+30x60"}, 60),
        ({AGE: "0x60", f'aiq_braze_throttled_seconds_total{{{LABELS},endpoint="/users/track"}}': "0x60"}, 600),
        ({AGE: "0x60", f'aiq_braze_halted{{{LABELS},reason="braze_outage"}}': "1x60"}, 60),
        ({AGE: "0x60", f'aiq_braze_halted{{{LABELS},reason="braze_outage"}}': "0x60"}, 600),
        ({AGE: "0x60", SENT % "/users/track": "0+57000x60"}, 60),  # 950 a second
        ({AGE: "0x60", SENT % "/users/track": "0+30000x60"}, 600),
        ({AGE: "0x60", SENT % "/campaigns/trigger/send": "0+4000x60"}, 60),  # 67 of 69 a second
        ({AGE: "0x60", SENT % "/campaigns/trigger/send": "0+600x60"}, 600),
        ({CAMPAIGN_AGE: "0x60", PARKED: "3x60"}, None),  # a paused campaign: no replica helps
        ({CAMPAIGN_AGE: "0x60", PARKED: "0x60"}, 600),
        ({CAMPAIGN_AGE: "0x60", PARKED_ELSEWHERE: "3x60"}, 600),
        ({CAMPAIGN_AGE: "0x60", PARKED: "3x60", AUDIENCE_AGE: "1500x60"}, 300),
        ({CAMPAIGN_AGE: "0x60", PARKED: "3x60", ITS_NEIGHBOUR_S_AGE: "1500x60"}, 300),
    ],
)
def test_age_counts_unless_braze_is_what_holds_us_up(
    series: dict[str, str], answer: int | None, query: str, promtool: Path, tmp_path: Path
) -> None:
    expected = [] if answer is None else [{"labels": "{}", "value": answer}]
    case = {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [{"expr": query, "eval_time": "30m", "exp_samples": expected}],
    }
    cases = tmp_path / "cases.yaml"
    cases.write_text(json.dumps({"tests": [case]}), encoding="utf-8")
    run = subprocess.run([promtool, "test", "rules", cases], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


def test_it_asks_for_what_is_exported(query: str) -> None:
    assert "{{" not in query
    assert unknown_names(query) == set()


def test_other_triggers_stand_beside_ours(chart: Chart) -> None:
    triggers = chart.render(CHART / "ci" / "everything-values.yaml").one("ScaledObject")["spec"]["triggers"]
    assert [each["type"] for each in triggers] == ["prometheus", "cron"]
    assert triggers[0]["authenticationRef"] == {"name": "prometheus"}
