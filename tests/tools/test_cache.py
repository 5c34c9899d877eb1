"""What is fetched or built is there whole, made once, whoever asks and however often."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest

from tests import cache


def _ask(folder: Path, makings: Path) -> None:
    cache.FOLDER = folder

    def make(place: Path) -> None:
        place.mkdir()
        (place / "made").write_text("whole", encoding="utf-8")
        with makings.open("a", encoding="utf-8") as log:
            log.write("made\n")

    assert (cache.kept("thing", make) / "made").read_text(encoding="utf-8") == "whole"


def test_several_processes_that_ask_at_once_make_it_once(tmp_path: Path) -> None:
    makings = tmp_path / "makings"
    start = multiprocessing.get_context("spawn")
    asking = [start.Process(target=_ask, args=(tmp_path / "cache", makings)) for _ in range(4)]
    for each in asking:
        each.start()
    for each in asking:
        each.join()
    assert [each.exitcode for each in asking] == [0, 0, 0, 0]
    assert makings.read_text(encoding="utf-8") == "made\n"


def test_what_failed_half_way_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "FOLDER", tmp_path)

    def fail(place: Path) -> None:
        place.mkdir()
        (place / "half").touch()
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        cache.kept("thing", fail)
    assert [path.name for path in tmp_path.iterdir()] == ["thing.lock"]


def test_what_is_absent_skips_with_the_reason_and_fails_where_all_is_required(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REQUIRE_ALL", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no such thing"):
        cache.absent("no such thing")
    monkeypatch.setenv("REQUIRE_ALL", "1")
    with pytest.raises(pytest.fail.Exception, match="no such thing"):
        cache.absent("no such thing")
