"""A row's ratios and its words for who was not run."""

from __future__ import annotations

import io

from rich.console import Console

from bench.report import Row

LINES = [{"contestant": "connector", "cost": 6.0}, {"contestant": "loop", "cost": 8.0}]


def test_a_ratio_is_one_line_by_another() -> None:
    row = Row("r", "t", LINES)
    row.ratio("connector / loop", [LINES], "cost", "connector", "loop")
    assert row.ratios == {"connector / loop": 0.75}


def test_of_several_rounds_it_is_the_median_of_each_ones_ratio() -> None:
    slow = [{"contestant": "connector", "cost": 20.0}, {"contestant": "loop", "cost": 20.0}]
    failed = [LINES[0], {"contestant": "loop", "not run": "came to no end"}]
    row = Row("r", "t", LINES)
    row.ratio("connector / loop", [slow, LINES, failed, LINES], "cost", "connector", "loop")
    assert row.ratios == {"connector / loop": 0.75}


def test_who_was_not_run_has_a_reason_and_no_ratio() -> None:
    lines = [LINES[0], {"contestant": "bento", "not run": "no go on the path"}]
    row = Row("r", "t", lines)
    row.ratio("connector / bento", [lines], "cost", "connector", "bento")
    assert row.ratios == {}
    output = io.StringIO()
    row.print(Console(file=output, width=100))
    assert "bento: not run: no go on the path" in output.getvalue()


def test_the_document_holds_all_there_is() -> None:
    assert set(Row("r", "t", LINES).document()) == {"name", "title", "lines", "ratios", "stages", "notes"}
