"""Compiling the lane: where it cannot be, one sentence says what is missing, and the connector works without."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from connector.express import build, program


def test_a_library_is_made_and_says_what_it_was_made_from(tmp_path: Path) -> None:
    target = tmp_path / "walk.so"
    build.build(target)

    assert [each.name for each in tmp_path.iterdir()] == ["walk.so"]
    assert program.source_digest().encode() in target.read_bytes()


def test_without_a_compiler_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(build.CannotBuild, match="no-such-compiler is not on the PATH"):
        build.build(tmp_path / "walk.so")
    assert build.main([]) == 1
    assert build.main(["--if-possible"]) == 0
    assert capfd.readouterr().err.count("the ordinary way is taken instead: no C compiler") == 2


def test_a_compiler_that_fails_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", f"{sys.executable} -c 'raise SystemExit(\"no such luck\")'")
    with pytest.raises(build.CannotBuild, match="no such luck"):
        build.build(tmp_path / "walk.so")
    assert not list(tmp_path.iterdir())


def test_a_library_of_another_source_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "source_digest", lambda: "of another source")

    assert program._compiled() is None
