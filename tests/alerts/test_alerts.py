"""The alerts: valid, on metrics that exist, shown to fire and not to fire, each with a page that says what to do."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from connector.metrics import PREFIX
from tests.alerts.exported import unknown_names
from tests.test_series import OF_A_TOPIC, TROUBLES

ROOT: Final = Path(__file__).parents[2]
RULES: Final = sorted((ROOT / "helm" / "files").glob("*.yaml"))
CASES: Final = sorted(Path(__file__).parent.glob("*.yaml"))
PAGES: Final = sorted((ROOT / "docs" / "runbooks").glob("*.md"))


def rules_of(path: Path) -> list[Any]:
    groups = yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


ALERTS: Final = {rule["alert"]: rule for path in RULES for rule in rules_of(path) if "alert" in rule}
RECORDED: Final = {rule["record"] for path in RULES for rule in rules_of(path) if "record" in rule}
TESTED: Final = [
    test
    for path in CASES
    for case in yaml.safe_load(path.read_text(encoding="utf-8"))["tests"]
    for test in case["alert_rule_test"]
]


@pytest.mark.parametrize("path", RULES, ids=lambda path: path.stem)
def test_promtool_takes_the_rules(path: Path, promtool: Path) -> None:
    run = subprocess.run(
        [promtool, "check", "rules", "--lint-fatal", path], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize("cases", CASES, ids=lambda path: path.stem)
def test_the_rules_do_at_their_true_windows_what_the_cases_say(cases: Path, promtool: Path) -> None:
    run = subprocess.run([promtool, "test", "rules", cases], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize("alert", ALERTS)
def test_every_alert_is_shown_to_fire_and_not_to_fire(alert: str) -> None:
    expected = [test["exp_alerts"] for test in TESTED if test["alertname"] == alert]
    assert any(expected), "no case in which it fires"
    assert not all(expected), "no case in which it does not"


def test_every_case_is_about_an_alert_that_exists() -> None:
    assert {test["alertname"] for test in TESTED} == ALERTS.keys()


@pytest.mark.parametrize("path", RULES, ids=lambda path: path.stem)
def test_every_metric_of_a_rule_is_one_that_is_exported(path: Path) -> None:
    rules = rules_of(path)
    assert rules
    for rule in rules:
        assert unknown_names(rule["expr"]) == set(), rule
        assert set(re.findall(rf"\b{PREFIX.rstrip('_')}:[a-z0-9_:]+", rule["expr"])) <= RECORDED, rule


@pytest.mark.parametrize("path", RULES, ids=lambda path: path.stem)
def test_what_is_recorded_is_read_in_the_same_group_and_later(path: Path) -> None:
    # Groups are evaluated in any order, and the value of the turn before may be too old to be seen.
    for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]:
        recorded: set[str] = set()
        for rule in group["rules"]:
            assert {name for name in RECORDED if name in rule["expr"]} <= recorded, rule
            recorded |= {rule["record"]} if "record" in rule else set()


def test_a_metric_that_nobody_exports_is_found() -> None:
    assert unknown_names("sum(rate(aiq_braze_records_lost_total[5m])) / aiq_braze_halted") == {
        "aiq_braze_records_lost_total"
    }
    assert unknown_names("aiq_braze_delivery_latency_seconds > 1") == {"aiq_braze_delivery_latency_seconds"}


@pytest.mark.parametrize("alert", ALERTS)
def test_every_alert_says_how_bad_it_is_and_where_to_read_on(alert: str) -> None:
    rule = ALERTS[alert]
    assert re.fullmatch(r"AiqBraze([A-Z][a-z]+)+", alert)
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert rule["annotations"].keys() == {"summary", "description", "runbook_url"}
    page = ROOT / rule["annotations"]["runbook_url"]
    assert page in PAGES
    assert f"`{alert}`" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "README.md"], ids=lambda page: page.stem)
def test_every_page_has_its_three_parts_and_belongs_to_an_alert(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == ["What it means", "How to look", "What to do"]
    assert any(rule["annotations"]["runbook_url"].endswith(f"/{page.name}") for rule in ALERTS.values())
    named = re.findall(r"`(AiqBraze\w+)`", text)
    assert set(named) <= ALERTS.keys()
    assert page.name in (page.parent / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_what_a_page_tells_to_look_at_exists(page: Path, promtool: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)#]+)", text):
        assert (page.parent / link).exists(), link
    for block in re.findall(r"```promql\n(.*?)```", text, re.DOTALL):
        assert unknown_names(block) == set()
        for query in block.strip().splitlines():
            run = subprocess.run(
                [promtool, "--experimental", "promql", "format", query], capture_output=True, text=True, check=False
            )
            assert run.returncode == 0, f"{query}: {run.stderr}"


def test_whatever_a_pod_waits_for_leads_to_a_page() -> None:
    text = (ROOT / "docs" / "runbooks" / "README.md").read_text(encoding="utf-8")
    named = {}
    for reasons, page in re.findall(r"^\| (`[^|]+`) \| \[[^]]+\]\(([a-z-]+\.md)\) \|$", text, re.MULTILINE):
        named |= dict.fromkeys(re.findall(r"`([a-z_]+)(?::…)?`", reasons), ROOT / "docs" / "runbooks" / page)

    waits = {"throttled", "campaigns_parked", "no_room", "no_farewell"}
    assert named.keys() == {reason.partition(":")[0] for reason in TROUBLES} | set(OF_A_TOPIC) | waits
    assert all(page.exists() for page in named.values())
