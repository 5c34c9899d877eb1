"""What a person sees of a replay: progress on standard error, the account on standard output at the end.

An edge. On a terminal the progress is drawn in place; elsewhere it is a line every tenth of the way.
No user, key or value is ever shown: only counts, reasons, topics.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from connector.replay.verdicts import MEANING, Account, Verdict


class ReplayScreen:
    """Progress; a context.

    Args:
        console: Standard error.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:>8,}/{task.total:,} dead letters"),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._bar: TaskID | None = None
        self._what = ""
        self._done = self._total = 0
        self._tenth = 0

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def begin(self, what: str, total: int) -> None:
        """A new piece of work of so many units."""
        self._what, self._done, self._total, self._tenth = what, 0, total, 0
        self._bar = self._progress.add_task(what, total=total)
        if not self._console.is_terminal:
            self._console.print(f"{what}: {total:,} records of the dead-letter topic")

    def advance(self, count: int) -> None:
        """So many more are done."""
        self._done += count
        if self._bar is not None:
            self._progress.update(self._bar, completed=self._done)
        tenth = 10 * self._done // max(self._total, 1)
        if tenth > self._tenth:
            self._tenth = tenth
            if not self._console.is_terminal:
                self._console.print(f"  {self._done:>8,} of {self._total:,}")


def print_account(account: Account, say: Callable[[str], object], *, as_json: bool) -> None:
    """The summary, as text or as one JSON object on one line."""
    if as_json:
        say(json.dumps(account.as_json()))
        return
    passed_over = [(account.not_selected, "not selected"), (account.foreign, "foreign: no letters of the connector's")]
    say(f"{account.read:>9,}  dead letters read")
    for count, words in passed_over:
        if count:
            say(f"{count:>9,}  {words}, left alone")
    for verdict in Verdict:
        total = account.total(verdict)
        if not total and verdict is not Verdict.REPLAYED:
            continue
        name, meaning = verdict.value, MEANING[verdict]
        if verdict is Verdict.REPLAYED and account.is_dry:
            name, meaning = "would be replayed", "a dry run: nothing was written"
        say(f"{total:>9,}  {name}: {meaning}")
        for (reason, each), count in sorted(account.counts.items()):
            if each is verdict:
                say(f"{'':11}{count:>9,}  {reason}")
    if account.left:
        say(f"{account.left:>9,}  selected and not looked at")
    if account.limit_reached:
        say("The limit is reached: run this again for the rest; what is done is not done twice.")
