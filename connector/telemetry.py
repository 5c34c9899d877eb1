"""Facts to metrics and log lines: the only module that talks to Prometheus and to the log.

An edge, but without sockets. The registry and the output are passed in, so tests need no global state. A log line is
one JSON object with an `event` name; its fields are counts, topics, reasons and our own sentences, never a key, a user
id or a payload (promise P9). A change of state is one line; a retry is a counter.
"""

from __future__ import annotations

import sys
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any, Final, TextIO

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, values
from prometheus_client.metrics import MetricWrapperBase

from connector.metrics import PREFIX, TABLE

_LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}

_TYPES: Final[dict[str, type[MetricWrapperBase]]] = {"counter": Counter, "gauge": Gauge}


class Telemetry:
    """Counters, gauges, histograms and the log of one process.

    Args:
        registry: Where the metrics are registered.
        output: Where log lines go; None: nowhere.
        level: `debug`, `info`, `warning` or `error`.
        text: Human-readable lines instead of JSON.
    """

    def __init__(
        self,
        registry: CollectorRegistry | None = None,
        output: TextIO | None = sys.stderr,
        level: str = "info",
        *,
        text: bool = False,
    ) -> None:
        # Where PROMETHEUS_MULTIPROC_DIR is set (for a web server's workers) the library would keep each value in a file
        # there, and begin with what the last process of the same number has left.
        values.ValueClass = values.MutexValue
        disable_created_metrics()  # type: ignore[no-untyped-call]  # the library's own gap
        self.registry = registry if registry is not None else CollectorRegistry()
        self._metrics: dict[str, Any] = {}
        for metric in TABLE:
            name = PREFIX + metric.name
            if metric.type == "histogram":
                self._metrics[metric.name] = Histogram(
                    name, metric.help, metric.labels, buckets=metric.buckets, registry=self.registry
                )
            else:
                self._metrics[metric.name] = _TYPES[metric.type](
                    name, metric.help, metric.labels, registry=self.registry
                )  # fmt: skip
        self._children: dict[tuple[str, tuple[str, ...]], Any] = {}
        self._states: dict[str, str] = {}
        self._log = _logger(output, level, text=text)

    # ---- metrics --------------------------------------------------------------------------------------------------

    def count(self, name: str, amount: float = 1, *labels: str) -> None:
        """Add to a counter; labels in the table's order."""
        self._child(name, labels).inc(amount)

    def gauge(self, name: str, value: float, *labels: str) -> None:
        """Set a gauge; labels in the table's order."""
        self._child(name, labels).set(value)

    def forget(self, name: str, *labels: str) -> None:
        """Remove one labelled series: its thing is gone, and 0 would be a lie."""
        if self._children.pop((name, labels), None) is not None:
            self._metrics[name].remove(*labels)

    def observe(self, name: str, values: Iterable[float], *labels: str) -> None:
        """Add values to a histogram; labels in the table's order.

        Sorted into buckets here and added once a bucket: the library takes a lock for every value.
        """
        child = self._child(name, labels)
        bounds: list[float] = child._upper_bounds  # noqa: SLF001  # the library has no way to add many at once
        ordered = sorted(values)
        child._sum.inc(sum(ordered))  # noqa: SLF001
        below = 0
        while below < len(ordered):
            index = bisect_left(bounds, ordered[below])
            up_to = bisect_right(ordered, bounds[index], below)
            child._buckets[index].inc(up_to - below)  # noqa: SLF001
            below = up_to

    def start_at_zero(self, name: str, rows: Sequence[Sequence[str]]) -> None:
        """Make series exist before their first event, so that a rate over them starts at 0."""
        for labels in rows:
            self._child(name, tuple(labels))

    def value(self, name: str, *labels: str) -> float:
        """A counter's or gauge's present value; for the audit and the status page."""
        return float(self._child(name, labels)._value.get())  # noqa: SLF001  # the library has no public reader

    def quantiles(self, name: str, wanted: Sequence[float]) -> list[float]:
        """Quantiles of a histogram over all its labels, interpolated within their bucket; 0 where it is empty."""
        below: dict[float, float] = {}
        for family in self._metrics[name].collect():
            for sample in family.samples:
                if sample.name.endswith("_bucket"):
                    bound = float(sample.labels["le"])
                    below[bound] = below.get(bound, 0.0) + sample.value
        return [_quantile(sorted(below.items()), each) for each in wanted]

    def _child(self, name: str, labels: tuple[str, ...]) -> Any:
        child = self._children.get((name, labels))
        if child is None:
            metric = self._metrics[name]
            child = self._children[name, labels] = metric.labels(*labels) if labels else metric
        return child

    # ---- log ------------------------------------------------------------------------------------------------------

    def log(self, level: str, event: str, **fields: Any) -> None:
        """One line. `event` is noun and verb: `partitions_assigned`.

        Where it cannot be written (the disk is full, nobody reads the pipe any more) it is lost, and nothing else.
        """
        if self._log is not None:
            with suppress(OSError):
                self._log.log(_LEVELS[level], event, **fields)

    def change(self, subject: str, state: str, level: str, event: str, **fields: Any) -> bool:
        """One line if `subject` was not in this `state` already; says whether it was news."""
        if self._states.get(subject) == state:
            return False
        self._states[subject] = state
        self.log(level, event, **fields)
        return True

    def __repr__(self) -> str:
        """State as text: what is known to be in which state."""
        return " ".join(f"{subject}={state}" for subject, state in sorted(self._states.items()))


def _logger(output: TextIO | None, level: str, *, text: bool) -> Any:
    if output is None:
        return None
    renderer: Any = structlog.dev.ConsoleRenderer(colors=False) if text else structlog.processors.JSONRenderer()
    return structlog.wrap_logger(
        structlog.WriteLogger(output),
        [structlog.processors.add_log_level, structlog.processors.TimeStamper("iso", utc=True), renderer],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        cache_logger_on_first_use=True,
    )


def _quantile(below: Sequence[tuple[float, float]], wanted: float) -> float:
    """As PromQL's `histogram_quantile` does it."""
    total = below[-1][1] if below else 0.0
    rank = wanted * total
    last_bound = last_count = 0.0
    for bound, count in below:
        if count >= rank and total:
            if bound == float("inf"):
                return last_bound
            return last_bound + (bound - last_bound) * (rank - last_count) / max(count - last_count, 1e-9)
        last_bound, last_count = bound, count
    return 0.0
