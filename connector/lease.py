"""The lease under which anything is sent: the coordinator has confirmed lately enough that the partitions are ours.

Pure; `boot` is seconds since boot, time in suspension included. Kafka does not tell a member that was frozen or cut off
in time (one protocol after eight seconds, the other never), so silence itself must stop us: two seconds before the
session can have ended without us, nothing leaves any more.
"""

from __future__ import annotations


class Lease:
    """Renewed by every answer of the coordinator's, from the moment at which it was asked.

    Args:
        length_s: The session time-out less two seconds.
    """

    def __init__(self, length_s: float) -> None:
        self._length_s = length_s
        self._renewed_at = float("-inf")

    def renew(self, asked_at: float) -> None:
        """The coordinator has answered a question that was asked then."""
        self._renewed_at = max(self._renewed_at, asked_at)

    def holds(self, boot: float) -> bool:
        """Whether anything may be sent now."""
        return boot - self._renewed_at < self._length_s

    def is_ageing(self, boot: float) -> bool:
        """Whether a third of it is gone: time to ask the coordinator something."""
        return boot - self._renewed_at > self._length_s / 3
