"""What a row is asked, and what it says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from bench.stages import Stage, stage_table

Lines = Sequence[Mapping[str, Any]]
"""Figures by their name, a line each."""


@dataclass(frozen=True)
class Options:
    """How much is measured; the command's options tell each."""

    records: int = 200_000
    events: int = 400_000
    outage_min: float = 2.0
    backlog_mb: int = 200
    drain_s: float = 30.0
    repeats: int = 2
    rounds: int = 1


@dataclass
class Row:
    """One thing that was measured.

    Attributes:
        name: As it is asked for.
        title: What was done.
        lines: Figures by their name, a line each; all have those of the first one, or the reason why not.
        ratios: By their formula.
        stages: In which the connector's processor time went.
        notes: What the figures' names mean.
    """

    name: str
    title: str
    lines: list[dict[str, Any]]
    ratios: dict[str, float] = field(default_factory=dict)
    stages: Sequence[Stage] = ()
    notes: Sequence[str] = ()

    def ratio(self, formula: str, rounds: Sequence[Lines], figure: str, one: str, other: str) -> None:
        """One line's figure by another's of the same round, the median over all; left out where one was never run."""
        found: list[float] = []
        for lines in rounds:
            above, below = (next(line for line in lines if name in line.values()) for name in (one, other))
            if figure in above and figure in below:
                found.append(above[figure] / below[figure])
        if found:
            self.ratios[formula] = round(median(found), 2)

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)

    def print(self, console: Console) -> None:
        heads = list(max(self.lines, key=len))
        table = Table(*heads, title=f"{self.name}: {self.title}", box=box.SIMPLE, title_justify="left")
        for line in self.lines:
            if "not run" not in line:
                table.add_row(*(_cell(line.get(head, "")) for head in heads))
        console.print(table)
        for line in self.lines:
            if "not run" in line:
                console.print(f"  {next(iter(line.values()))}: not run: {line['not run']}", markup=False)
        for formula, value in self.ratios.items():
            console.print(f"  {formula} = {value}", highlight=False)
        if self.stages:
            console.print(stage_table(self.stages))
        for note in self.notes:
            console.print(f"  {note}", style="dim", highlight=False)


def _cell(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int | float) else str(value)
