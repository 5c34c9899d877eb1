"""The workflow is one that the runner understands, and asks for what the project has."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.tools.schemas import VERSIONS

ROOT: Final = Path(__file__).parents[2]
WORKFLOW: Final = ROOT / ".github" / "workflows" / "ci.yml"
TARGETS: Final = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


@pytest.fixture(scope="module")
def jobs() -> dict[str, Any]:
    jobs: dict[str, Any] = yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))["jobs"]
    return jobs


def _commands(job: Any) -> list[str]:
    return [step["run"] for step in job["steps"] if "run" in step]


def _lint(actionlint: Path, workflow: Path) -> subprocess.CompletedProcess[str]:
    """Without shellcheck and pyflakes, which may or may not be there."""
    return subprocess.run(
        [actionlint, "-no-color", "-shellcheck=", "-pyflakes=", workflow], capture_output=True, text=True, check=False
    )


def test_actionlint_finds_nothing(actionlint: Path) -> None:
    run = _lint(actionlint, WORKFLOW)
    assert run.returncode == 0, run.stdout + run.stderr


def test_actionlint_finds_what_is_wrong(actionlint: Path, tmp_path: Path) -> None:
    broken = tmp_path / "ci.yml"
    broken.write_text(WORKFLOW.read_text(encoding="utf-8").replace("github.run_number", "github.run_nummer"), "utf-8")
    run = _lint(actionlint, broken)
    assert run.returncode == 1
    assert "run_nummer" in run.stdout


def test_every_change_runs_what_ci_runs_and_the_long_ones_wait_for_the_night(jobs: dict[str, Any]) -> None:
    assert ".ci/run" in _commands(jobs["ci"])
    assert "if" not in jobs["ci"]
    for name, target in {"cluster": "test-cluster", "image": "test-image", "chaos": "chaos"}.items():
        assert "schedule" in jobs[name]["if"]
        assert any(f"make {target}" in command for command in _commands(jobs[name]))


def test_every_make_target_that_is_called_exists(jobs: dict[str, Any]) -> None:
    told = "\n".join(command for job in jobs.values() for command in _commands(job))
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    called = set(re.findall(r"\bmake ([a-z-]+)", told)) | set(re.findall(r"^stage ([a-z-]+)", script, re.MULTILINE))
    assert called >= {"check", "test", "tools", "test-cluster", "test-image"}
    assert called <= TARGETS


def test_no_job_has_more_rights_than_reading_and_none_runs_without_an_end(jobs: dict[str, Any]) -> None:
    assert yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))["permissions"] == {"contents": "read"}
    for job in jobs.values():
        assert "permissions" not in job
        assert job["timeout-minutes"] <= 90


def test_the_script_may_be_run() -> None:
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_the_versions_reach_from_the_chart_s_oldest_on() -> None:
    about = yaml.safe_load((ROOT / "helm" / "Chart.yaml").read_text(encoding="utf-8"))
    assert about["kubeVersion"] == f">={VERSIONS[0]}-0"
