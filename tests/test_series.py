"""Which series there are: all that can be known from the start, and never more than the configuration bounds."""

from __future__ import annotations

import subprocess
from collections import defaultdict
from pathlib import Path
from typing import get_args

import pytest
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest

from connector.metrics import PREFIX, TABLE
from connector.records import OBJECT_ERRORS, Fate, Kind, Reason, SkipReason
from connector.series import start_series
from connector.simulation import run, scenario, world
from connector.telemetry import Telemetry

KINDS = {"audiences": Kind.AUDIENCE, "events": Kind.EVENT, "campaigns": Kind.CAMPAIGN}

# What a series may be told apart by. A topic is what the operator named, a partition what he made.
CLOSED = {
    "kind": set(Kind),
    "outcome": set(Fate),
    "endpoint": {"/users/track", "/campaigns/trigger/send"},
    "status_class": {"2xx", "3xx", "4xx", "5xx", "none"},
    "event": {"assigned", "revoked", "lost"},
    "stage": {"poll", "decode", "map", "pack", "wait_quota", "http", "settle", "commit"},
    "queue": {"taken", "track", "trigger"},
}
REASONS = {
    "braze_object_errors_total": set(OBJECT_ERRORS),
    "records_dead_lettered_total": set(get_args(Reason)),
    "records_skipped_total": set(get_args(SkipReason)),
    "decode_errors_total": {"undecodable", "trailing_bytes", "bad_framing", "header_framing"},
    "braze_retries_total": {
        "TooLarge", "Throttled", "Unreachable", "Ambiguous", "Refused", "CampaignUnavailable", "Misconfigured",
    },
    "batches_closed_total": {"full", "bytes", "idle", "linger", "drain", "suspect"},
    "offset_map_ignored_total": {"foreign_or_damaged", "truncated"},
}  # fmt: skip
OF_A_TOPIC = (
    "schema",
    "dead_letter_breaker",
    "topic_missing",
    "topic_forbidden",
    "offset_out_of_range",
    "unreadable",
    "commit_refused",
)
TROUBLES = {
    "kafka", "kafka_client", "kafka_lease", "last_commit", "dead_letters", "schema_registry", "braze_outage",
    "braze:/users/track", "braze:/campaigns/trigger/send",
}  # fmt: skip


def labels(registry: CollectorRegistry) -> dict[str, list[dict[str, str]]]:
    """Labels of every series by the metric's name in the table."""
    found = defaultdict(list)
    for family in registry.collect():
        for sample in family.samples:
            if not sample.name.endswith(("_bucket", "_sum")):
                name = sample.name.removeprefix(PREFIX)
                found[name.removesuffix("_count") if family.type == "histogram" else name].append(sample.labels)
    return found


def test_every_counter_of_a_closed_list_is_there_before_its_first_event() -> None:
    telemetry = Telemetry(output=None)

    start_series(telemetry, KINDS, has_registry=True)

    found = labels(telemetry.registry)
    counters = {metric.name for metric in TABLE if metric.type == "counter"}
    assert counters - found.keys() == set()
    for name, reasons in REASONS.items():
        assert {each["reason"] for each in found[name]} == reasons, name
    assert len(found["records_settled_total"]) == len(KINDS) * len(Fate)
    assert len(found["braze_requests_total"]) == 2 * len(CLOSED["status_class"])
    assert all(
        sample.value == 0
        for family in telemetry.registry.collect()
        for sample in family.samples
        if sample.name.endswith("_total")
    )


def test_there_is_nothing_of_a_registry_where_there_is_none() -> None:
    telemetry = Telemetry(output=None)

    start_series(telemetry, KINDS, has_registry=False)

    found = labels(telemetry.registry)
    assert "registry_requests_total" not in found
    assert {"reason": "schema_registry"} not in found["halted"]


def _judged(promtool: Path, exposition: bytes) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([promtool, "check", "metrics"], input=exposition, capture_output=True, check=False)


def test_promtool_has_nothing_to_say_of_what_is_served(promtool: Path) -> None:
    """With every series that there can be from the start, and the process's own."""
    telemetry = Telemetry(output=None)
    start_series(telemetry, KINDS, has_registry=True)
    ProcessCollector(registry=telemetry.registry)
    for metric in TABLE:
        if metric.type == "gauge" and metric.name not in {"halted", "records_in_flight"}:
            telemetry.gauge(metric.name, 1, *metric.labels)

    served = generate_latest(telemetry.registry)

    run = _judged(promtool, served)
    assert run.stdout + run.stderr == b""
    assert run.returncode == 0
    assert _judged(promtool, served.replace(b"lease_lost_total", b"lease_lost_milliseconds")).returncode


SEEDS = range(20_000, 20_060)


def test_no_fault_and_no_record_brings_a_series_that_the_configuration_does_not_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Sixty lives in virtual time: poison, refusals, outages, kills, rebalances, lost leases."""
    made: list[Telemetry] = []

    class Kept(Telemetry):
        def __init__(self, output: None) -> None:
            super().__init__(output=output)
            made.append(self)

    monkeypatch.setattr(world, "Telemetry", Kept)

    for seed in SEEDS:
        run.play(scenario.draw(seed))

    assert made
    seen: dict[str, set[str]] = defaultdict(set)
    for telemetry in made:
        for name, series in labels(telemetry.registry).items():
            for each in series:
                for label, value in each.items():
                    if label in CLOSED:
                        assert value in CLOSED[label], (name, label, value)
                    elif name in REASONS and label == "reason":
                        assert value in REASONS[name], (name, value)
                    elif name == "halted":
                        assert value in TROUBLES or value.startswith(OF_A_TOPIC), value
                    else:
                        assert label in {"topic", "partition"}, (name, label)
                    seen[f"{name}.{label}"].add(value)
    # The faults did come: what is never seen is bounded by nothing.
    assert len(seen["records_dead_lettered_total.reason"]) > 2
    assert len(seen["halted.reason"]) > 2
    assert {"lost", "revoked"} <= seen["rebalances_total.event"]


def test_a_partition_that_has_left_leaves_no_series(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or each rebalance would add some, and what is stale would read as news."""
    worlds: list[world.World] = []

    class Kept(world.World):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments)
            worlds.append(self)

    monkeypatch.setattr(run, "World", Kept)

    for seed in SEEDS:
        run.play(scenario.draw(seed))

    left = 0
    for each in worlds:
        for replica in each._replicas:
            if replica.transport.is_dead:
                continue
            owned = {(stay.topic, str(stay.partition)) for stay in replica.pipeline.books.accounts}
            found = labels(replica.pipeline.telemetry.registry)
            shown = {(one["topic"], one["partition"]) for one in found["committed_offset"]}
            assert shown <= owned
            left += bool(replica.pipeline.telemetry.value("rebalances_total", "revoked"))
    assert left
