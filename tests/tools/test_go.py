"""Programs are pinned, built once, and where they cannot be had the reason says what is missing."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests import cache
from tests.tools import go
from tests.tools.programs import CLUSTER, TESTED, Program


def test_every_program_is_pinned_to_one_version() -> None:
    for each in (*TESTED, *CLUSTER):
        assert re.fullmatch(r"v\d+\.\d+\.\d+", each.version), each


def test_without_go_the_reason_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _empty_cache(tmp_path, monkeypatch)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(go.Unavailable, match="no go on the path"):
        go.program("kubeconform")


def test_a_module_that_is_not_there_is_a_reason_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if shutil.which("go") is None:
        cache.absent("no go on the path")
    _empty_cache(tmp_path, monkeypatch)
    monkeypatch.setenv("GOPROXY", "off")
    monkeypatch.setattr(go, "TESTED", (Program("example.invalid/none", "v1.0.0", {"none": "cmd/none"}),))
    with pytest.raises(go.Unavailable, match=r"`go get .*` failed: "):
        go.program("none")
    assert [path.suffix for path in tmp_path.iterdir()] == [".lock"]


def test_promtool_checks_a_rule(promtool: Path, tmp_path: Path) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text("groups: [{name: a, rules: [{record: 'a:b:c', expr: 'sum(rate(x_total[5m])'}]}]", encoding="utf-8")
    run = subprocess.run([promtool, "check", "rules", rules], capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert "unclosed left parenthesis" in run.stderr + run.stdout


def _empty_cache(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "FOLDER", folder)
    monkeypatch.setattr(go, "FOLDER", folder)
