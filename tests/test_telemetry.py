import errno
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import generate_latest

from connector.telemetry import Telemetry


def test_a_line_is_one_json_object_with_an_event_name() -> None:
    log = io.StringIO()

    Telemetry(output=log).log("info", "partitions_assigned", partitions=["a[0]@1"])

    line = json.loads(log.getvalue())
    assert line.pop("timestamp").endswith("Z")
    assert line == {"event": "partitions_assigned", "level": "info", "partitions": ["a[0]@1"]}


def test_a_state_is_told_when_it_changes_not_when_it_lasts() -> None:
    log = io.StringIO()
    telemetry = Telemetry(output=log)

    for state in ("began", "began", "ended", "ended", "began"):
        telemetry.change("kafka", state, "warning", f"trouble_{state}")

    events = [json.loads(line)["event"] for line in log.getvalue().splitlines()]
    assert events == ["trouble_began", "trouble_ended", "trouble_began"]


def test_the_level_bounds_what_is_written() -> None:
    log = io.StringIO()
    telemetry = Telemetry(output=log, level="error")

    telemetry.log("warning", "quiet")
    telemetry.log("error", "loud")

    assert "quiet" not in log.getvalue()
    assert "loud" in log.getvalue()


def test_a_line_that_cannot_be_written_is_lost_and_nothing_else() -> None:
    class Full(io.StringIO):
        fills = True

        def flush(self) -> None:
            if self.fills:
                raise OSError(errno.ENOSPC, "No space left on device")

    log = Full()
    telemetry = Telemetry(output=log)

    telemetry.log("info", "full")
    assert telemetry.change("kafka", "began", "warning", "trouble_began"), "what comes after it is done"
    log.fills = False
    telemetry.log("info", "room_again")

    assert "room_again" in log.getvalue()


def test_a_forgotten_series_is_gone_and_may_return() -> None:
    telemetry = Telemetry(output=None)
    telemetry.gauge("committed_offset", 7, "t", "0")

    telemetry.forget("committed_offset", "t", "0")
    telemetry.forget("committed_offset", "t", "0")

    assert telemetry.registry.get_sample_value("aiq_braze_committed_offset", {"topic": "t", "partition": "0"}) is None
    telemetry.gauge("committed_offset", 8, "t", "0")
    assert telemetry.value("committed_offset", "t", "0") == 8


def test_two_processes_in_one_share_nothing() -> None:
    one, other = Telemetry(output=None), Telemetry(output=None)

    one.count("lease_lost_total")

    assert other.value("lease_lost_total") == 0


def test_a_quantile_is_interpolated_in_its_bucket() -> None:
    telemetry = Telemetry(output=None)
    telemetry.observe("delivery_latency_seconds", [0.3] * 50, "event")
    telemetry.observe("delivery_latency_seconds", [0.6] * 50, "audience")

    low, high = telemetry.quantiles("delivery_latency_seconds", (0.25, 0.75))

    assert low == pytest.approx(0.375)
    assert high == pytest.approx(0.75)
    assert Telemetry(output=None).quantiles("delivery_latency_seconds", (0.5,)) == [0.0]


@given(st.lists(st.floats(0, 10_000, allow_nan=False), max_size=50))
def test_many_values_at_once_are_observed_as_the_library_would_one_by_one(values: list[float]) -> None:
    ours, theirs = Telemetry(output=None), Telemetry(output=None)

    ours.observe("delivery_latency_seconds", values, "event")
    library = theirs._child("delivery_latency_seconds", ("event",))
    for value in values:
        library.observe(value)

    told = {sample: value for sample, value in _samples(ours).items() if "_sum" not in sample}
    assert told == {sample: value for sample, value in _samples(theirs).items() if "_sum" not in sample}
    assert ours.registry.get_sample_value("aiq_braze_delivery_latency_seconds_sum", {"kind": "event"}) == pytest.approx(
        sum(values)
    )


def _samples(telemetry: Telemetry) -> dict[str, float]:
    text = generate_latest(telemetry.registry).decode()
    lines = [line.rpartition(" ") for line in text.splitlines() if line.startswith("aiq_braze_delivery_latency")]
    return {name: float(value) for name, _, value in lines}


@pytest.mark.parametrize("directory", ["", "absent"])
def test_values_stay_in_memory_whatever_a_web_server_s_variable_says(tmp_path: Path, directory: str) -> None:
    """In a process of its own: the library reads the variable when it is imported."""
    script = "from connector.telemetry import Telemetry; Telemetry().count('lease_lost_total')"
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": directory, "PYTHONPATH": os.pathsep.join(sys.path)}

    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=environment, check=True, timeout=60)

    assert list(tmp_path.iterdir()) == []
