"""What replay decides about a dead letter, and the account that it gives of all of them.

Pure. Every letter that was read ends in exactly one place of the account.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Verdict(StrEnum):
    """What became of a selected letter. All but the first leave it alone."""

    REPLAYED = "replayed"
    ALREADY_REPLAYED = "already_replayed"
    REPEATED = "repeated"
    SUPERSEDED = "superseded"
    PARTLY_SUPERSEDED = "partly_superseded"
    UNKNOWABLE = "unknowable"
    BUSY = "busy"
    MAY_BE_APPLIED = "may_be_applied"
    STILL_UNMAPPABLE = "still_unmappable"
    WOULD_BE_SKIPPED = "would_be_skipped"
    NOT_CONFIGURED = "not_configured"
    TOPIC_GONE = "topic_gone"
    PARTITION_GONE = "partition_gone"
    UNWRITABLE = "unwritable"


MEANING: dict[Verdict, str] = {
    Verdict.REPLAYED: "back in its original partition, acknowledged by Kafka",
    Verdict.ALREADY_REPLAYED: "was put back by an earlier replay",
    Verdict.REPEATED: "another letter of the same record stands before it: one is enough",
    Verdict.SUPERSEDED: "all its attributes have been written since: their newer values stay",
    Verdict.PARTLY_SUPERSEDED: "some of its attributes have been written since: have the user sent again",
    Verdict.UNKNOWABLE: "what was written since is not all there any more, or cannot be read: have the user sent again",
    Verdict.BUSY: "another producer's open transaction hides what was written last: run replay again",
    Verdict.MAY_BE_APPLIED: "Braze may have applied it; --reason ambiguous puts it back all the same",
    Verdict.STILL_UNMAPPABLE: "it would fail again: mend the mapping or the schema first",
    Verdict.WOULD_BE_SKIPPED: "a rule would skip it: expired, a control split, a rule of the mapping",
    Verdict.NOT_CONFIGURED: "its topic is not among the configuration's topics",
    Verdict.TOPIC_GONE: "its topic does not exist, or may not be described",
    Verdict.PARTITION_GONE: "its topic has fewer partitions now",
    Verdict.UNWRITABLE: "Kafka does not take it: too large with replay's headers (max.message.bytes of its topic)",
}
"""What a verdict means and, where something can be done, what."""


@dataclass(slots=True)
class Account:
    """Where every letter that was read has ended.

    read = foreign + not_selected + left + the sum of all verdicts.

    Attributes:
        is_dry: Nothing was written: `replayed` means that it would be.
        read: Letters read; marks of earlier replays are none.
        foreign: Without whole headers of ours: no letter of the connector's.
        not_selected: Passed over by the options.
        left: Selected, and not looked at because the limit was reached or Kafka refused.
        limit_reached: There may be more to put back.
        counts: (the letter's reason, verdict) -> letters.
    """

    is_dry: bool
    read: int = 0
    foreign: int = 0
    not_selected: int = 0
    left: int = 0
    limit_reached: bool = False
    counts: Counter[tuple[str, Verdict]] = field(default_factory=Counter)

    def enter(self, reason: str, verdict: Verdict) -> None:
        """One letter has its verdict."""
        self.counts[reason, verdict] += 1

    def total(self, verdict: Verdict) -> int:
        """How many ended so."""
        return sum(count for (_, each), count in self.counts.items() if each is verdict)

    @property
    def judged(self) -> int:
        """Letters that have a verdict."""
        return self.counts.total()

    def as_json(self) -> dict[str, Any]:
        """For `--json`; every verdict is named, also those that nobody got."""
        by_reason: dict[str, dict[str, int]] = {}
        for (reason, verdict), count in sorted(self.counts.items()):
            by_reason.setdefault(reason, {})[verdict.value] = count
        return {
            "dry_run": self.is_dry,
            "read": self.read,
            "foreign": self.foreign,
            "not_selected": self.not_selected,
            "left": self.left,
            "limit_reached": self.limit_reached,
            "verdicts": {verdict.value: self.total(verdict) for verdict in Verdict},
            "by_reason": by_reason,
        }
