"""What a dashboard consists of: rows of panels, each with its queries and a sentence that says how to read it.

A query names metrics through `own`, which knows the connector's table: a metric that does not exist is refused while
the dashboard is written, not found empty by somebody on call.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

from connector.metrics import PREFIX, TABLE

Unit = Literal["none", "short", "s", "h", "percentunit", "reqps", "cps", "ops", "bytes", "locale", "dateTimeFromNow"]
"""Grafana's names: `cps` is counts a second, `ops` operations a second, `locale` a number written in full."""

EVERYWHERE: Final = 'job=~"$job", instance=~"$instance"'

_BY_NAME: Final = {metric.name: metric for metric in TABLE}
_OF_A_HISTOGRAM: Final = ("_bucket", "_count", "_sum")
_OF_A_PROCESS: Final = frozenset(
    {
        "process_cpu_seconds_total",
        "process_resident_memory_bytes",
        "process_start_time_seconds",
        "process_open_fds",
        "process_max_fds",
    }
)


class UnknownMetric(LookupError):
    """A query names what the connector does not export."""


@dataclass(frozen=True)
class Query:
    """One expression and how its series are called.

    Attributes:
        expression: PromQL.
        legend: Grafana's template of a series' name, such as `{{topic}}`.
    """

    expression: str
    legend: str


@dataclass(frozen=True)
class Threshold:
    """From this value on the panel has that colour; the first one has none (`None`)."""

    at: float | None
    colour: Literal["green", "yellow", "red"]


@dataclass(frozen=True)
class Panel:
    """One panel.

    Attributes:
        title: A noun.
        says: What is seen, and what to make of it.
        unit: Of every query.
        queries: At least one.
        shows: `lines` over time, or the present `number`.
        width: Of the 24 columns.
        height: In Grafana's rows.
        is_stacked: The lines add up to something.
        thresholds: Colours; none: the palette's.
        most: Top of the axis; None: what is needed.
        empty: What stands there when the query finds nothing; None: "No data", which means that no process is there.
    """

    title: str
    says: str
    unit: Unit
    queries: tuple[Query, ...]
    shows: Literal["lines", "number"] = "lines"
    width: int = 8
    height: int = 8
    is_stacked: bool = False
    thresholds: tuple[Threshold, ...] = ()
    most: float | None = None
    empty: str | None = None


@dataclass(frozen=True)
class Row:
    """Panels under a heading, wrapped at 24 columns."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class Board:
    """One dashboard.

    Attributes:
        name: Of its file; with the project's name in front its fixed uid.
        title: For people.
        says: In Grafana's list.
        rows: From the first question to the last.
        range: How far it looks back when it is opened.
    """

    name: str
    title: str
    says: str
    rows: tuple[Row, ...]
    range: str = "now-3h"
    panels: tuple[Panel, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "panels", tuple(panel for row in self.rows for panel in row.panels))


def own(name: str, *matchers: str) -> str:
    """A selector of one of the connector's metrics, for the chosen jobs and instances.

    Args:
        name: As in the table, without the prefix; of a histogram with `_bucket`, `_count` or `_sum`.
        matchers: More of them, as PromQL writes them.

    Raises:
        UnknownMetric: The table has none of that name.
    """
    if name in _OF_A_PROCESS:
        return f"{name}{{{', '.join((EVERYWHERE, *matchers))}}}"
    base = name
    for ending in _OF_A_HISTOGRAM:
        if name.endswith(ending) and name.removesuffix(ending) in _BY_NAME:
            base = name.removesuffix(ending)
    metric = _BY_NAME.get(base)
    if metric is None or (metric.type == "histogram") != (base != name):
        raise UnknownMetric(f"{name} is in no row of connector/metrics.py")
    return f"{PREFIX}{name}{{{', '.join((EVERYWHERE, *matchers))}}}"


def per_second(name: str, *matchers: str, by: str = "") -> str:
    """How fast a counter rises, added up over everything but `by`."""
    return f"sum{_by(by)} (rate({own(name, *matchers)}[$__rate_interval]))"


def quantile(which: float, name: str, by: str = "") -> str:
    """A quantile of a histogram over all instances."""
    rate = f"rate({own(f'{name}_bucket')}[$__rate_interval])"
    return f"histogram_quantile({which}, sum by ({', '.join(filter(None, ('le', by)))}) ({rate}))"


def mean(name: str, by: str = "") -> str:
    """The mean of a histogram's values."""
    return f"{per_second(f'{name}_sum', by=by)} / {per_second(f'{name}_count', by=by)}"


def total(name: str, *matchers: str, by: str = "") -> str:
    """A gauge, added up."""
    return f"sum{_by(by)} ({own(name, *matchers)})"


def greatest(name: str, *matchers: str, by: str = "") -> str:
    """A gauge's greatest value."""
    return f"max{_by(by)} ({own(name, *matchers)})"


def nothing_if_absent(expression: str) -> str:
    """0 where the series are absent and a process is there: absence then is good news."""
    return f"{expression} or 0 * {greatest('build_info')}"


def _by(labels: str) -> str:
    return f" by ({labels})" if labels else ""
