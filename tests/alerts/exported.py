"""What the connector exports, by the names that PromQL knows."""

from __future__ import annotations

import re
from typing import Final

from connector.metrics import PREFIX, TABLE

STANDARD: Final = {"process_start_time_seconds", "process_resident_memory_bytes"}
"""Of every Prometheus client; `up` is Prometheus' own."""


def series_of_the_table() -> set[str]:
    names = set()
    for metric in TABLE:
        endings = ("_bucket", "_count", "_sum") if metric.type == "histogram" else ("",)
        names |= {f"{PREFIX}{metric.name}{ending}" for ending in endings}
    return names


def unknown_names(text: str) -> set[str]:
    """Names of ours, or of a process, that nothing exports."""
    named = set(re.findall(rf"\b(?:{PREFIX}[a-z0-9_]+|process_[a-z_]+)(?![a-z0-9_:])", text))
    return named - series_of_the_table() - STANDARD
