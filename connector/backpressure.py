"""How much may be taken from Kafka and not settled, and which partitions that lets go on.

Pure. A partition stops when all of them together have used the bound up *and* it has its equal share of it: so one that
gets little is never starved by one that fills everything. It goes on when half of either is free, so that nobody stops
and goes with every record.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from connector.records import Assignment


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much may be handed out and not settled.

    Attributes:
        records: Over all partitions. One partition can go on to its equal share when others have used this up.
        bytes: The same in bytes of values.
    """

    records: int = 100_000
    bytes: int = 16_777_216


class Flow:
    """What one stay has outstanding.

    Attributes:
        stay: Which.
        committed: The offset that Kafka knows.
        expected: No record below this offset comes any more; written by the Kafka thread alone, like `astray`.
        astray: One did come, for reading has fallen back, or what comes next cannot be read: nothing more of the stay
            is handed out.
        closed: Kafka has the commit with which the stay ends; nothing that was written before it may follow.
        handed: Records handed out so far; written by the Kafka thread alone, like `handed_bytes`.
        released: Of these, settled; written by the event loop alone, like `released_bytes`.
        paused: Nothing more of it is fetched.
    """

    __slots__ = (
        "astray", "closed", "committed", "expected", "handed", "handed_bytes", "paused", "released", "released_bytes",
        "stay",
    )  # fmt: skip

    def __init__(self, stay: Assignment, committed: int) -> None:
        self.stay = stay
        self.committed = self.expected = committed
        self.astray = self.closed = False
        self.handed = self.released = 0
        self.handed_bytes = self.released_bytes = 0
        self.paused = False

    def used(self, bounds: Bounds) -> float:
        """The part of the bounds that is outstanding: of records or of bytes, whichever is more."""
        return max(
            (self.handed - self.released) / bounds.records, (self.handed_bytes - self.released_bytes) / bounds.bytes
        )


def regulate(
    flows: Sequence[Flow], bounds: Bounds, *, held: bool, held_back: Collection[Assignment]
) -> tuple[list[Flow], list[Flow]]:
    """Mark and return those that are to be paused and those that are to go on.

    Args:
        flows: All that are ours.
        bounds: Of all of them together.
        held: Everything is to stop.
        held_back: These are to stop, whatever is free.
    """
    used = max(
        sum(flow.handed - flow.released for flow in flows) / bounds.records,
        sum(flow.handed_bytes - flow.released_bytes for flow in flows) / bounds.bytes,
    )
    pause: list[Flow] = []
    resume: list[Flow] = []
    for flow in flows:
        share = flow.used(bounds) * len(flows)
        stopped = held or flow.astray or flow.stay in held_back
        if not flow.paused and (stopped or (used >= 1 and share >= 1)):
            pause.append(flow)
        elif flow.paused and not stopped and (used <= 0.5 or share <= 0.5):
            resume.append(flow)
    for flow in pause:
        flow.paused = True
    for flow in resume:
        flow.paused = False
    return pause, resume
