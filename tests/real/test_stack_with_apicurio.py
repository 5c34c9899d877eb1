"""`make stack`, from its first line to Ctrl-C."""

from __future__ import annotations

import json
import re
import signal
import sys
from pathlib import Path

import pytest

from tests.real.children import Child, Children, ask, until
from tests.real.maven import apicurio_jar, kafka_jars

pytestmark = [pytest.mark.kafka, pytest.mark.registry]


@pytest.fixture
def started(children: Children, prometheus: Path, tmp_path: Path) -> Child:
    """With everything there that it needs, or the test is skipped and not the command refused."""
    assert prometheus.is_file()
    assert kafka_jars().is_dir()
    assert apicurio_jar().is_file()
    return children.start([sys.executable, "-m", "stack"], tmp_path / "stack.log")


def test_it_delivers_is_watched_and_stops_with_all_its_parts(started: Child) -> None:
    def ready() -> bool:
        started.must_live()
        return "Ctrl-C" in started.output()

    until("everything runs", ready)
    told = dict(re.findall(r"^(\w[\w ]*?)\s+(\S+://\S+|[\d.]+:\d+|/\S+)$", started.output(), re.MULTILINE))
    assert told.keys() == {"connector", "braze double", "kafka", "registry", "prometheus", "logs"}

    def delivered() -> int:
        state = json.loads(ask(told["braze double"])[1])
        return min(int(state["requests"].get("/users/track", {}).get("201", 0)), len(state["profiles"]))

    until("records are delivered", delivered)

    def watched() -> bool:
        return bool(json.loads(ask(told["prometheus"])[1])["data"]["result"])

    until("Prometheus has seen it", watched)

    started.signal(signal.SIGINT)
    assert started.wait() == 0
    assert "the connector has left with code 0" in started.output()
    for name in ("connector", "braze double", "prometheus"):
        with pytest.raises(OSError, match="refused"):
            ask(told[name])
    assert not Path(told["logs"]).exists()
