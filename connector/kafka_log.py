"""librdkafka's own log lines, among ours and in our format.

An edge. They are told at level debug: what an operator must know of them is told as a trouble, once, by whoever waits
for it; these lines repeat with every try.
"""

from __future__ import annotations

import logging
from typing import Any

from connector.telemetry import Telemetry


class _Teller(logging.Handler):
    def __init__(self, telemetry: Telemetry) -> None:
        super().__init__()
        self._telemetry = telemetry

    def emit(self, record: logging.LogRecord) -> None:
        self._telemetry.log("debug", "librdkafka_said", severity=record.levelname.lower(), text=record.getMessage())


def kafka_logger(telemetry: Telemetry) -> logging.Logger:
    """A logger to hand to a Kafka client; nobody else knows it, so two processes in one share nothing."""
    logger = logging.Logger("librdkafka")  # noqa: LOG001  # not by getLogger: that would be global
    logger.addHandler(_Teller(telemetry))
    return logger


def unheard() -> dict[str, Any]:
    """Properties of a client of which nobody wants to hear: what it would say is told by another, or by its answer.

    Without a logger librdkafka writes to standard error.
    """
    nobody = logging.Logger("librdkafka")  # noqa: LOG001  # as above
    nobody.addHandler(logging.NullHandler())
    return {"error_cb": lambda _error: None, "logger": nobody}
