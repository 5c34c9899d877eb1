"""What is watched, proven on the living: a real Prometheus scrapes real connectors, most of them in trouble.

Every panel's query returns data, every metric that an alert names exists, each alert fires of its fault and of no
other, and of a healthy connector none does. Windows and `for` are the chart's own, divided by one factor; the true ones
are the matter of promtool's tests (`tests/alerts`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

from dashboards import BOARDS
from dashboards.board import Board, Panel
from dashboards.grafana import document
from tests.real.brokers import ApacheKafka
from tests.real.children import Children, until
from tests.real.fleet import JOBS, Fleet
from tests.real.prometheus import RULES, SCRAPE_S, Prometheus, quicker

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(900)]

GRAFANA = {"$__rate_interval": f"{round(8 * SCRAPE_S)}s", "$job": ".+", "$instance": ".+"}
QUERIES = [(board, panel, query.expression) for board in BOARDS for panel in board.panels for query in panel.queries]
PAIRS = [(alert, job.name) for job in JOBS.values() for alert in sorted(job.fires)]


@pytest.fixture(scope="module")
def watched(
    children: Children, prometheus: Path, apache_kafka: ApacheKafka, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prometheus]:
    """Prometheus, when every fault has been there for as long as its alert takes."""
    targets = {job.name: job.ports for job in JOBS.values()}
    server = Prometheus(children, prometheus, tmp_path_factory.mktemp("prometheus"), targets)
    fleet = Fleet(apache_kafka, children, tmp_path_factory.mktemp("fleet"))
    server.start()
    try:
        fleet.start(lambda: {value for _, value in server.query('process_start_time_seconds{job="restarting"}')})
        until("the one that goes down was seen", lambda: server.query('aiq_braze_build_info{job="down"}'))
        fleet.kill_the_one_that_goes_down()
        yield server
    finally:
        fleet.close()
        server.close()


@pytest.mark.parametrize(("alert", "job"), PAIRS, ids=lambda each: each)
def test_the_alert_fires_of_its_fault(watched: Prometheus, alert: str, job: str) -> None:
    until(f"{alert} fires of {job}", lambda: alert in watched.ever_fired().get(job, ()))


def test_every_alert_has_a_fault_that_makes_it_fire() -> None:
    alerts = {
        rule["alert"]
        for path in RULES
        for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]
        for rule in group["rules"]
        if "alert" in rule
    }

    assert {alert for alert, _ in PAIRS} == alerts


@pytest.mark.parametrize("job", JOBS)
def test_no_other_alert_fires_of_it(watched: Prometheus, job: str) -> None:
    for alert in JOBS[job].fires:
        until(f"{alert} fires of {job}", lambda alert=alert: alert in watched.ever_fired().get(job, ()))

    assert watched.ever_fired().get(job, set()) <= JOBS[job].fires | JOBS[job].may_fire


def filled_in(expression: str) -> str:
    for variable, value in GRAFANA.items():
        expression = expression.replace(variable, value)
    return expression


@pytest.mark.parametrize(
    ("board", "panel", "expression"), QUERIES, ids=[f"{board.name}-{panel.title}" for board, panel, _ in QUERIES]
)
def test_the_panel_s_query_returns_data(watched: Prometheus, board: Board, panel: Panel, expression: str) -> None:
    until(
        f"{board.name}: {panel.title}",
        lambda: [value for _, value in watched.query(filled_in(expression)) if not math.isnan(value)],
        within_s=30,
    )


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.name)
def test_of_a_healthy_one_no_panel_is_empty_either(watched: Prometheus, board: Board) -> None:
    """ "No data" must mean that there is no process: what has not happened is 0."""
    empty = [
        panel.title
        for panel in board.panels
        for query in panel.queries
        if not watched.query(filled_in(query.expression.replace("$job", "healthy")))
    ]

    assert empty == []


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.name)
def test_the_variables_and_the_annotation_find_something(watched: Prometheus, board: Board) -> None:
    shown = document(board)
    for variable in shown["templating"]["list"]:
        if variable["type"] == "query":
            asked = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["definition"])
            assert asked is not None
            assert any(asked[2] in labels for labels, _ in watched.query(filled_in(asked[1])))
    for annotation in shown["annotations"]["list"]:
        assert watched.query(filled_in(annotation["expr"]))


def named_in(node: Any) -> Iterator[str]:
    """Every metric that an expression names."""
    if isinstance(node, promql_parser.VectorSelector):
        yield node.name
    for name in ("expr", "lhs", "rhs", "args", "vector_selector", "param"):
        below = getattr(node, name, None)
        for each in below if isinstance(below, list) else [below]:
            if each is not None:
                yield from named_in(each)


def test_every_metric_that_a_rule_or_a_panel_names_exists(watched: Prometheus) -> None:
    named: set[str] = set()
    for path in RULES:
        for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]:
            for rule in group["rules"]:
                named |= set(named_in(promql_parser.parse(rule["expr"])))
    for _, _, expression in QUERIES:
        named |= set(named_in(promql_parser.parse(filled_in(expression))))

    assert len(named) > 50
    assert named - watched.names() == set()


@pytest.mark.parametrize("path", RULES, ids=lambda path: path.stem)
def test_the_quicker_rules_differ_in_spans_of_time_alone(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    true, quick = yaml.safe_load(text), yaml.safe_load(quicker(text))

    spans = re.compile(r"\[\w+\]|\boffset \w+|seconds\)? > [\d.]+|le=\"[\d.]+\"")
    for before, after in zip(true["groups"], quick["groups"], strict=True):
        assert before["name"] == after["name"]
        for one, other in zip(before["rules"], after["rules"], strict=True):
            assert spans.sub("~", one["expr"]) == spans.sub("~", other["expr"])
            assert one.keys() == other.keys()
            assert all(one[key] == other[key] for key in one.keys() - {"expr", "for", "keep_firing_for"})
