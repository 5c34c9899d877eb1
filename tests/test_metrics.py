import re
from pathlib import Path

import pytest

from connector.metrics import PREFIX, TABLE, Metric

UNITS = ("_seconds", "_records", "_objects", "_bytes", "_ratio")


@pytest.mark.parametrize("metric", TABLE, ids=lambda metric: metric.name)
def test_names_follow_prometheus_s_rules(metric: Metric) -> None:
    assert re.fullmatch(r"[a-z][a-z0-9_]*", PREFIX + metric.name)
    assert (metric.type == "counter") == metric.name.endswith("_total")
    assert metric.help.endswith(".")
    assert not any(label in metric.name.split("_") for label in ("topic", "partition", "kind"))
    assert not re.search(r"_(ms|millis|milliseconds|minutes|kb|mb)(_|$)", metric.name)


@pytest.mark.parametrize("metric", TABLE, ids=lambda metric: metric.name)
def test_no_label_can_hold_a_person_or_a_payload(metric: Metric) -> None:
    closed = {
        "topic", "partition", "kind", "outcome", "reason", "event", "endpoint", "status_class", "queue", "stage",
        "version", "revision", "hash",
    }  # fmt: skip

    assert set(metric.labels) <= closed


def test_each_name_stands_once() -> None:
    assert len({metric.name for metric in TABLE}) == len(TABLE)


def test_histograms_have_explicit_ascending_buckets() -> None:
    for metric in TABLE:
        assert (metric.type == "histogram") == bool(metric.buckets)
        assert list(metric.buckets) == sorted(metric.buckets)


def test_the_freshness_objective_is_a_bucket() -> None:
    (latency,) = (metric for metric in TABLE if metric.name == "delivery_latency_seconds")

    assert 60.0 in latency.buckets


def test_every_metric_of_the_table_is_used_and_every_used_one_stands_there() -> None:
    code = "\n".join(
        path.read_text(encoding="utf-8")
        for path in (Path(__file__).parent.parent / "connector").glob("*.py")
        if path.name != "metrics.py"
    )
    used = set(re.findall(r'telemetry\.(?:count|gauge|observe|forget|start_at_zero)\(\s*"([a-z_]+)"', code))
    named = {name for name in re.findall(r'"([a-z_]+)"', code) if name in {metric.name for metric in TABLE}}

    assert used <= {metric.name for metric in TABLE}
    assert {metric.name for metric in TABLE} - named == set(), "a metric exists only when its feature does"
