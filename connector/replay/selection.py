"""Which dead letters are meant: the options of `replay`, read once, and asked for every letter.

Pure. Values of one field are alternatives; fields all have to fit.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, get_args

from connector.mapping.document import near
from connector.records import Reason
from connector.replay.dead_letter import CONTEXT, DeadLetter

_DURATION: Final = re.compile(r"(?:(\d{1,6})d)?(?:(\d{1,6})h)?(?:(\d{1,6})m)?(?:(\d{1,6})s)?")
_UNIT_MS: Final = (86_400_000, 3_600_000, 60_000, 1_000)


class SelectionInvalid(ValueError):
    """An option that says nothing sensible.

    Args:
        faults: One line each, beginning with the option.
    """

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


@dataclass(frozen=True, slots=True)
class Selection:
    """What the options say.

    Attributes:
        fields: Field of the letter's context (`reason`, `topic`, `kind`, ...) -> the values that are meant.
        since_ms: Written at this instant or later, milliseconds since the epoch; None: ever.
    """

    fields: Mapping[str, frozenset[str]]
    since_ms: int | None = None

    def takes(self, letter: DeadLetter) -> bool:
        """Whether the letter is meant."""
        if self.since_ms is not None and letter.written_at_ms < self.since_ms:
            return False
        return all(letter.context.get(field, "") in values for field, values in self.fields.items())

    def names_reason(self, reason: str) -> bool:
        """Whether the reason was asked for by name, rather than taken because none was."""
        return reason in self.fields.get("reason", ())


def selection(
    reasons: Iterable[str],
    topics: Iterable[str],
    since: str | None,
    where: Iterable[str],
    known_topics: Collection[str],
    now_ms: int,
) -> Selection:
    """The options as a whole.

    Args:
        reasons: Of the closed list.
        topics: Original topics.
        since: ISO 8601 (UTC unless it says otherwise), or how long ago: `90s`, `2h`, `1d12h`.
        where: `FIELD=VALUE` each.
        known_topics: Those of the configuration.
        now_ms: Wall clock, milliseconds since the epoch.

    Raises:
        SelectionInvalid: With every fault.
    """
    faults: list[str] = []
    fields: dict[str, set[str]] = {}
    _take(fields, "reason", "--reason", reasons, get_args(Reason), faults)
    _take(fields, "topic", "--topic", topics, known_topics, faults)
    for text in where:
        field, equals, value = text.partition("=")
        option = f"--where {text}"
        if not equals:
            faults.append(f"{option}: must be FIELD=VALUE")
        elif field not in CONTEXT:
            faults.append(f"{option}: letters have no such field{near(field, CONTEXT)}")
        elif field == "reason":
            _take(fields, field, option, [value], get_args(Reason), faults)
        elif field == "topic":
            _take(fields, field, option, [value], known_topics, faults)
        else:
            fields.setdefault(field, set()).add(value)
    since_ms = None
    if since is not None:
        since_ms = _instant_ms(since, now_ms)
        if since_ms is None:
            faults.append(f"--since {since}: must be a time such as 2026-11-23T14:00:00Z, or a duration such as 2h")
        elif since_ms > now_ms:
            faults.append(f"--since {since}: lies in the future")
    if faults:
        raise SelectionInvalid(faults)
    return Selection({field: frozenset(values) for field, values in fields.items()}, since_ms)


def _take(  # one argument a part of the complaint
    fields: dict[str, set[str]],
    field: str,
    option: str,
    values: Iterable[str],
    known: Collection[str] | Sequence[str],
    faults: list[str],
) -> None:
    for value in values:
        if value in known:
            fields.setdefault(field, set()).add(value)
        else:
            faults.append(f"{option}{'' if '=' in option else f' {value}'}: no such {field}{near(value, known)}")


def _instant_ms(text: str, now_ms: int) -> int | None:
    ago = _DURATION.fullmatch(text)
    if ago is not None and text:
        return now_ms - sum(int(count or 0) * unit_ms for count, unit_ms in zip(ago.groups(), _UNIT_MS, strict=True))
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        return None
    try:
        return int((instant if instant.tzinfo is not None else instant.replace(tzinfo=UTC)).timestamp() * 1000)
    except (OverflowError, ValueError):
        return None
