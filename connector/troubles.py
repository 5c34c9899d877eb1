"""What is being waited for: told once when it begins and once when it ends, and shown to whoever asks.

An edge over the telemetry. The Kafka thread, the registry, the dead-letter topic and Braze's refusals all end up here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from connector.ports import Cured, Trouble
from connector.telemetry import Telemetry

_DETAIL_CHARACTERS_MAX: Final = 500
"""More than any of ours has."""


class Troubles:
    """Present troubles by reason.

    Args:
        telemetry: Metrics and log.
        ended: Called when one is over: there may be work to do.
    """

    def __init__(self, telemetry: Telemetry, ended: Callable[[], None]) -> None:
        self._telemetry = telemetry
        self._ended = ended
        self.present: dict[str, Trouble] = {}

    def __contains__(self, reason: str) -> bool:
        return reason in self.present

    @property
    def is_halted(self) -> bool:
        """Whether somebody has to mend something before all can go on."""
        return any(trouble.halts for trouble in self.present.values())

    def take(self, event: Trouble | Cured) -> None:
        """News of either kind."""
        if isinstance(event, Trouble):
            self.begin(event)
        else:
            self.end(event.reason)

    def begin(self, trouble: Trouble) -> None:
        """Something is wrong (still, or anew)."""
        reason, detail = trouble.reason, one_line(trouble.detail)
        self.present[reason] = replace(trouble, detail=detail)
        self._telemetry.gauge("halted", 1, reason)
        level = "error" if trouble.halts else "warning"
        self._telemetry.change(reason, "began", level, "trouble_began", reason=reason, detail=detail)

    def end(self, reason: str) -> None:
        """It is not, or not any more."""
        if self.present.pop(reason, None) is not None:
            self._telemetry.gauge("halted", 0, reason)
            self._telemetry.change(reason, "ended", "info", "trouble_ended", reason=reason)
            self._ended()


def one_line(words: str) -> str:
    """What can be shown: names in it may be a registry's, as long and as strange as it likes."""
    shown = words[:_DETAIL_CHARACTERS_MAX]
    shown = "".join(character if character.isprintable() else "?" for character in shown)
    return shown if len(words) <= _DETAIL_CHARACTERS_MAX else f"{shown}…"
