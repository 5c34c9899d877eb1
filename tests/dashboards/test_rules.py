"""The rules of Grafana's dashboard linter on the committed files, each as a test; and the drift of the files.

The linter itself cannot be installed as published (its module replaces dependencies); its rules are short. A test of
the rules' own teeth breaks each of them on purpose.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import promql_parser
import pytest

from connector.metrics import PREFIX, TABLE
from dashboards import BOARDS, FOLDER
from dashboards.board import UnknownMetric, own
from dashboards.grafana import document, rendered

Dashboard = dict[str, Any]

FILES = sorted(FOLDER.glob("*.json"))
VALUES = {"$__rate_interval": "5m", "$__interval": "1m", "$__range": "3h", "$job": "j", "$instance": "i"}
UNITS = {"none", "short", "s", "h", "percentunit", "reqps", "cps", "ops", "bytes", "locale", "dateTimeFromNow"}
RATES = {"rate", "irate", "increase"}


def panels(board: Dashboard) -> list[Any]:
    return [panel for panel in board["panels"] if panel["type"] != "row"]


def expressions(board: Dashboard) -> list[str]:
    return [target["expr"] for panel in panels(board) for target in panel["targets"]]


def parsed(expression: str) -> Any:
    """The expression as Prometheus reads it, with Grafana's variables filled in.

    Raises:
        ValueError: It is no PromQL.
    """
    for variable, value in VALUES.items():
        expression = expression.replace(variable, value)
    return promql_parser.parse(expression)


def walk(node: Any, parents: tuple[Any, ...] = ()) -> Iterator[tuple[Any, tuple[Any, ...]]]:
    yield node, parents
    for name in ("expr", "lhs", "rhs", "args", "vector_selector", "param"):
        below = getattr(node, name, None)
        for each in below if isinstance(below, list) else [below]:
            if each is not None:
                yield from walk(each, (*parents, node))


def selectors(expression: str) -> Iterator[tuple[Any, tuple[Any, ...]]]:
    for node, parents in walk(parsed(expression)):
        if isinstance(node, promql_parser.VectorSelector):
            yield node, parents


def variables(board: Dashboard, kind: str) -> dict[str, Any]:
    return {each["name"]: each for each in board["templating"]["list"] if each["type"] == kind}


# ---- the rules, by the linter's names -------------------------------------------------------------------------------


def template_datasource(board: Dashboard) -> bool:
    sources = variables(board, "datasource")
    return [(name, each["label"], each["query"]) for name, each in sources.items()] == [
        ("datasource", "Data source", "prometheus")
    ]


def template_job_and_instance(board: Dashboard) -> bool:
    found = variables(board, "query")
    return {"job", "instance"} <= found.keys() and all(
        found[name]["label"] == name.capitalize()
        and found[name]["multi"] is True
        and found[name]["allValue"] == ".+"
        and found[name]["datasource"]["uid"] == "${datasource}"
        for name in ("job", "instance")
    )


def template_label_promql(board: Dashboard) -> bool:
    for each in variables(board, "query").values():
        asked = re.fullmatch(r"label_values\((.+), (\w+)\)", each["query"]["query"])
        if asked is None or each["definition"] != each["query"]["query"]:
            return False
        parsed(asked[1])
    return True


def template_on_time_change_reload(board: Dashboard) -> bool:
    return all(each["refresh"] == 2 for each in variables(board, "query").values())


def panel_datasource(board: Dashboard) -> bool:
    return all(
        source["uid"] == "${datasource}"
        for panel in panels(board)
        for source in (panel["datasource"], *(target["datasource"] for target in panel["targets"]))
    )


def panel_title_description(board: Dashboard) -> bool:
    return all(panel["title"].strip() and panel["description"].strip() for panel in panels(board))


def panel_units(board: Dashboard) -> bool:
    return all(panel["fieldConfig"]["defaults"]["unit"] in UNITS for panel in panels(board))


def panel_no_targets(board: Dashboard) -> bool:
    return all(panel["targets"] for panel in panels(board))


def target_promql(board: Dashboard) -> bool:
    try:
        return all(parsed(expression) is not None for expression in expressions(board))
    except ValueError:
        return False


def target_rate_interval(board: Dashboard) -> bool:
    return all(
        each == "$__rate_interval"
        for expression in expressions(board)
        for each in re.findall(r"\[([^\]]*)\]", re.sub(r'"[^"]*"', "", expression))
    )


def target_job_and_instance(board: Dashboard) -> bool:
    return all(
        {'job=~"j"', 'instance=~"i"'} <= {_matcher(each) for each in selector.matchers.matchers}
        for expression in expressions(board)
        for selector, _ in selectors(expression)
    )


def target_counter_agg(board: Dashboard) -> bool:
    for expression in expressions(board):
        for selector, parents in selectors(expression):
            if selector.name.endswith("_total"):
                ranged = len(parents) > 1 and isinstance(parents[-1], promql_parser.MatrixSelector)
                if not (ranged and isinstance(parents[-2], promql_parser.Call) and parents[-2].func.name in RATES):
                    return False
    return True


def uneditable(board: Dashboard) -> bool:
    return board["editable"] is False


# ---- and what we ask beside them ------------------------------------------------------------------------------------


def uid_and_no_id(board: Dashboard) -> bool:
    return board["uid"].startswith("aiq-braze-") and board["id"] is None and len(board["uid"]) <= 40


def panels_do_not_overlap(board: Dashboard) -> bool:
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        if cells & taken or place["x"] + place["w"] > 24:
            return False
        taken |= cells
    return len({panel["id"] for panel in board["panels"]}) == len(board["panels"])


def every_metric_exists(board: Dashboard) -> bool:
    known: set[str] = set()
    for metric in TABLE:
        endings = ("_bucket", "_count", "_sum") if metric.type == "histogram" else ("",)
        known |= {f"{PREFIX}{metric.name}{ending}" for ending in endings}
    return all(
        selector.name in known or selector.name.startswith("process_")
        for expression in expressions(board)
        for selector, _ in selectors(expression)
    )


def every_label_exists(board: Dashboard) -> bool:
    """A label that a metric does not have selects nothing, or groups everything into one."""
    of_metric = {PREFIX + metric.name: {*metric.labels, "job", "instance"} for metric in TABLE}
    for expression in expressions(board):
        for selector, _ in selectors(expression):
            name = re.sub("_(bucket|count|sum)$", "", selector.name)
            asked = {each.name for each in selector.matchers.matchers} - {"le"}
            if selector.name.startswith(PREFIX) and not asked <= of_metric.get(
                name, of_metric.get(selector.name, asked)
            ):
                return False
    return True


def _matcher(matcher: Any) -> str:
    operator = {"Equal": "=", "NotEqual": "!=", "Re": "=~", "NotRe": "!~"}[str(matcher.op).rpartition(".")[2]]
    return f'{matcher.name}{operator}"{matcher.value}"'


Rule = Callable[[Dashboard], bool]

RULES: tuple[Rule, ...] = (
    template_datasource,
    template_job_and_instance,
    template_label_promql,
    template_on_time_change_reload,
    panel_datasource,
    panel_title_description,
    panel_units,
    panel_no_targets,
    target_promql,
    target_rate_interval,
    target_job_and_instance,
    target_counter_agg,
    uneditable,
    uid_and_no_id,
    panels_do_not_overlap,
    every_metric_exists,
    every_label_exists,
)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__.replace("_", "-"))
def test_the_committed_file_keeps_the_rule(rule: Rule, file: Any) -> None:
    assert rule(json.loads(file.read_text(encoding="utf-8")))


# ---- the rules have teeth -------------------------------------------------------------------------------------------


def _first(board: Dashboard) -> Any:
    return panels(board)[0]


def _expression(text: str) -> Callable[[Dashboard], None]:
    return lambda board: _first(board)["targets"][0].update(expr=text)


EVERYWHERE = 'job=~"$job", instance=~"$instance"'
BREACHES: tuple[tuple[Rule, Callable[[Dashboard], Any]], ...] = (
    (template_datasource, lambda board: board["templating"]["list"][0].update(name="source")),
    (template_job_and_instance, lambda board: board["templating"]["list"][1].update(multi=False)),
    (template_job_and_instance, lambda board: board["templating"]["list"].pop()),
    (template_label_promql, lambda board: board["templating"]["list"][1].update(definition="label_values(job)")),
    (template_on_time_change_reload, lambda board: board["templating"]["list"][1].update(refresh=1)),
    (panel_datasource, lambda board: _first(board).update(datasource={"uid": "prometheus-1"})),
    (panel_title_description, lambda board: _first(board).update(description=" ")),
    (panel_units, lambda board: _first(board)["fieldConfig"]["defaults"].update(unit="parsecs")),
    (panel_no_targets, lambda board: _first(board).update(targets=[])),
    (target_promql, _expression("sum(rate(aiq_braze_lease_lost_total[5m])")),
    (target_rate_interval, _expression(f"rate(aiq_braze_lease_lost_total{{{EVERYWHERE}}}[5m])")),
    (target_job_and_instance, _expression('rate(aiq_braze_lease_lost_total{job=~"$job"}[$__rate_interval])')),
    (target_counter_agg, _expression(f"sum(aiq_braze_lease_lost_total{{{EVERYWHERE}}})")),
    (target_counter_agg, _expression(f"max_over_time(aiq_braze_lease_lost_total{{{EVERYWHERE}}}[$__rate_interval])")),
    (uneditable, lambda board: board.update(editable=True)),
    (uid_and_no_id, lambda board: board.update(id=7)),
    (panels_do_not_overlap, lambda board: _first(board)["gridPos"].update(y=0)),
    (every_metric_exists, _expression(f"aiq_braze_no_such_metric{{{EVERYWHERE}}}")),
    (every_label_exists, _expression(f'aiq_braze_halted{{{EVERYWHERE}, topic="t"}}')),
)


@pytest.mark.parametrize(("rule", "breach"), BREACHES, ids=lambda each: getattr(each, "__name__", ""))
def test_the_rule_finds_what_breaks_it(rule: Rule, breach: Callable[[Dashboard], Any]) -> None:
    board = copy.deepcopy(document(BOARDS[0]))
    assert rule(board)
    breach(board)

    assert not rule(board)


def test_every_rule_is_broken_once() -> None:
    assert {rule for rule, _ in BREACHES} == set(RULES)


# ---- the files are what the code writes -----------------------------------------------------------------------------


def test_the_committed_files_are_what_make_dashboards_writes() -> None:
    written = {f"{board.name}.json": rendered(board) for board in BOARDS}

    committed = {file.name: file.read_text(encoding="utf-8") for file in FILES}

    assert committed == written, "run: make dashboards"


def test_no_two_dashboards_share_a_uid_and_each_fits_a_config_map() -> None:
    assert len({document(board)["uid"] for board in BOARDS}) == len(BOARDS)
    assert max(len(rendered(board).encode()) for board in BOARDS) < 1_000_000


@pytest.mark.parametrize("name", ["no_such_metric", "delivery_latency_seconds", "halted_bucket", "halted_count"])
def test_a_metric_that_is_in_no_row_of_the_table_cannot_be_asked_for(name: str) -> None:
    with pytest.raises(UnknownMetric, match=name):
        own(name)


# Not on a board on purpose: their meaning is another metric's.
ELSEWHERE = {
    "committed_offset",  # a number that means something only beside another: the lag is shown
    "registry_requests_total",  # exists only with a registry; its troubles are among those shown
}


def test_every_metric_is_on_a_dashboard() -> None:
    shown = "\n".join(expression for board in BOARDS for expression in expressions(document(board)))

    missing = {
        metric.name for metric in TABLE if not re.search(rf"{PREFIX}{metric.name}(_bucket|_sum|_count)?\b", shown)
    }

    assert missing == ELSEWHERE
