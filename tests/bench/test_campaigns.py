"""Quantiles of waits."""

from __future__ import annotations

from bench.campaigns import quantiles


def test_quantiles_are_waits_that_occurred() -> None:
    waits = [number / 1000 for number in range(100, 0, -1)]
    assert quantiles(waits) == {"p50 ms": 51, "p99 ms": 100, "greatest ms": 100}
