"""Triggers that were sent already: a window on `event_id`, so that one that comes twice sends one message.

Pure. A trigger is not idempotent at Braze. The window is kept in memory, bounded, one a partition: best effort across a
restart or a rebalance, where what lies between two equal ids may have been forgotten.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from connector.letters import REPLAY_COUNT
from connector.records import Assignment, CampaignSend, headers_of


class Repeats:
    """The windows of all partitions of this process.

    Args:
        size: Ids that each partition remembers; 0: none, and nothing is a repeat.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._seen: dict[Assignment, dict[str, int]] = {}  # id -> offset, oldest first

    def __repr__(self) -> str:
        """State as text: `ids=3 partitions=1`."""
        return f"ids={sum(map(len, self._seen.values()))} partitions={len(self._seen)}"

    def sift(self, sends: Sequence[CampaignSend]) -> tuple[list[CampaignSend], list[CampaignSend]]:
        """Those to be sent, remembered from now on, and the repeats of what was sent, or waits to be."""
        if not self._size:
            return list(sends), []
        fresh: list[CampaignSend] = []
        repeats: list[CampaignSend] = []
        for send in sends:
            seen = self._seen.setdefault(send.stay, {})
            if send.event_id is None:
                fresh.append(send)
            elif send.event_id in seen and not _was_put_back(send):
                repeats.append(send)
            else:
                seen[send.event_id] = send.offset
                if len(seen) > self._size:
                    del seen[next(iter(seen))]
                fresh.append(send)
        return fresh, repeats

    def forget(self, send: CampaignSend) -> None:
        """It was not sent after all: one that repeats it may be."""
        seen = self._seen.get(send.stay, {})
        if send.event_id is not None and seen.get(send.event_id) == send.offset:
            del seen[send.event_id]

    def close(self, stays: Iterable[Assignment]) -> None:
        """Partitions have left: what of them was open comes again, and is no repeat of itself."""
        for stay in stays:
            self._seen.pop(stay, None)


def _was_put_back(send: CampaignSend) -> bool:
    """Whether somebody asked for it with `aiq-braze replay`, knowing that it may have been sent."""
    return any(name == REPLAY_COUNT for name, _ in headers_of(send.record))
