"""Whose the event loop's processor time was: asked by chunk, turn and request, so cheap enough to be always on."""

from __future__ import annotations

from connector.metrics import Stage
from connector.ports import Clock
from connector.telemetry import Telemetry


class Stopwatch:
    """Adds intervals of the loop's thread to `stage_seconds_total`.

    Args:
        clock: Whose `cpu` is looked at.
        telemetry: Where they are added.
    """

    def __init__(self, clock: Clock, telemetry: Telemetry) -> None:
        self._clock = clock
        self._telemetry = telemetry

    def begin(self) -> float:
        """The time at which an interval begins."""
        return self._clock.cpu()

    def spent(self, stage: Stage, since: float) -> float:
        """What has passed since then was this stage's. Returns the time at which the next interval begins."""
        now = self._clock.cpu()
        self._telemetry.count("stage_seconds_total", now - since, stage)
        return now
