"""A real Prometheus on the loopback interface, with the chart's own rules made quicker."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

import yaml

from tests.real.children import Child, Children, ask, free_port, until

RULES: Final = sorted((Path(__file__).parents[2] / "helm" / "files").glob("*.yaml"))

QUICKER: Final = 60
"""One factor for every window, every `for` and every age: five minutes become five seconds."""

LATE_S: Final = 5.0
"""The freshness objective here. No window, so the factor does not hold for it: it is one of the histogram's buckets."""

SCRAPE_S: Final = 1.0

_UNIT_S: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


class Prometheus:
    """One server.

    Args:
        children: Where it is started.
        program: Of the tests' tools.
        folder: Empty.
        targets: Ports by job.
    """

    def __init__(self, children: Children, program: Path, folder: Path, targets: Mapping[str, Sequence[int]]) -> None:
        self._children = children
        self._program = program
        self._folder = folder
        self.url = f"http://127.0.0.1:{free_port()}"
        rules = []
        for path in RULES:
            rules.append(folder / path.name)
            rules[-1].write_text(quicker(path.read_text(encoding="utf-8")), encoding="utf-8")
        document = {
            "global": {"scrape_interval": _duration(SCRAPE_S), "evaluation_interval": _duration(SCRAPE_S)},
            "rule_files": list(map(str, rules)),
            "scrape_configs": [
                {
                    "job_name": job,
                    "static_configs": [
                        {"targets": [f"127.0.0.1:{port}" for port in ports], "labels": {"namespace": "tests"}}
                    ],
                }
                for job, ports in targets.items()
            ],
        }
        self._config = folder / "prometheus.yaml"
        self._config.write_text(yaml.safe_dump(document), encoding="utf-8")
        self._process: Child | None = None

    def start(self) -> None:
        """Start and wait until it answers."""
        self._process = process = self._children.start(
            [
                self._program,
                f"--config.file={self._config}",
                f"--storage.tsdb.path={self._folder / 'series'}",
                f"--web.listen-address={self.url.removeprefix('http://')}",
                "--log.level=error",
            ],
            self._folder / "prometheus.log",
        )

        def answers() -> bool:
            process.must_live()
            try:
                return ask(f"{self.url}/-/ready")[0] == 200
            except OSError:
                return False

        until("Prometheus answers", answers)

    def close(self) -> None:
        assert self._process is not None
        self._process.kill()

    def query(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """Labels and value of every series that the expression has now.

        Raises:
            AssertionError: Prometheus refuses it, or warns of it.
        """
        status, text = ask(f"{self.url}/api/v1/query?{urlencode({'query': expression})}")
        answer = json.loads(text)
        assert status == 200, answer
        assert not answer.get("warnings"), answer
        return [(each["metric"], float(each["value"][1])) for each in answer["data"]["result"]]

    def names(self) -> set[str]:
        """Every metric that it has."""
        return set(json.loads(ask(f"{self.url}/api/v1/label/__name__/values")[1])["data"])

    def ever_fired(self) -> dict[str, set[str]]:
        """Alerts by job."""
        found: dict[str, set[str]] = {}
        for labels, _ in self.query('last_over_time(ALERTS{alertstate="firing", job!=""}[1h])'):
            found.setdefault(labels["job"], set()).add(labels["alertname"])
        return found


def quicker(text: str) -> str:
    """The rules of a file with everything that is a span of time divided by the one factor."""
    document = yaml.safe_load(text)
    for group in document["groups"]:
        for rule in group["rules"]:
            rule["expr"] = _quicker_expression(rule["expr"])
            for key in ("for", "keep_firing_for"):
                if key in rule:
                    rule[key] = _quicker_duration(rule[key])
    return yaml.safe_dump(document, width=200)


def _quicker_expression(expression: str) -> str:
    expression = re.sub(r"\[(\w+)\]", lambda found: f"[{_quicker_duration(found[1])}]", expression)
    expression = re.sub(r"\boffset (\w+)", lambda found: f"offset {_quicker_duration(found[1])}", expression)
    expression = re.sub(
        r"(backlog_age:seconds\)? > )(\d+)", lambda found: f"{found[1]}{int(found[2]) / QUICKER:g}", expression
    )
    return expression.replace('le="60.0"', f'le="{LATE_S}"')


def _quicker_duration(text: str) -> str:
    parts = re.findall(r"(\d+)([smhd])", text)
    assert "".join(number + unit for number, unit in parts) == text, text
    return _duration(sum(int(number) * _UNIT_S[unit] for number, unit in parts) / QUICKER)


def _duration(seconds: float) -> str:
    return f"{round(seconds * 1000)}ms"
