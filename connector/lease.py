"""The lease under which anything is sent: the coordinator has confirmed lately enough that the partitions are ours.

Pure; `boot` is seconds since boot, time in suspension included. Kafka does not tell a member that was frozen or cut off
in time (one protocol after eight seconds, the other never), so silence itself must stop us: two seconds before the
session can have ended without us, nothing leaves any more.

When the coordinator is back, it may take our commits, and librdkafka give the partitions up all the same: by its own
reckoning the session is over, and it looks about once a second. What was sent in between would be another owner's to
send again. So after a silence nothing leaves for a while, unless there is a new assignment, which settles it.
"""

from __future__ import annotations

from typing import Final

PROBATION_S: Final = 1.5
"""Seen after restarts of a broker: partitions were given up 2 to 410 ms after a commit had been taken."""


class Lease:
    """Renewed by every answer of the coordinator's, from the moment at which it was asked.

    Args:
        length_s: The session time-out less two seconds.
    """

    def __init__(self, length_s: float) -> None:
        self._length_s = length_s
        self._renewed_at = float("-inf")
        self._on_probation_until = float("-inf")

    def begin(self, asked_at: float) -> None:
        """The coordinator has confirmed an assignment, of which it was asked then."""
        self._renewed_at = max(self._renewed_at, asked_at)
        self._on_probation_until = float("-inf")

    def renew(self, asked_at: float, boot: float) -> None:
        """The coordinator has answered now what it was asked then."""
        if self._length_s <= boot - self._renewed_at < float("inf"):
            self._on_probation_until = boot + PROBATION_S
        self._renewed_at = max(self._renewed_at, asked_at)

    def holds(self, boot: float) -> bool:
        """Whether anything may be sent now."""
        return boot - self._renewed_at < self._length_s and boot >= self._on_probation_until

    def is_ageing(self, boot: float) -> bool:
        """Whether a third of it is gone: time to ask the coordinator something."""
        return boot - self._renewed_at > self._length_s / 3
