"""Thirds of a run: the most in the first, the most in the last."""

from __future__ import annotations

from bench.memory import thirds


def test_the_most_of_the_first_and_of_the_last_third() -> None:
    assert thirds([1, 10, 2, 50, 3, 4, 5, 12, 6]) == {"first third MiB": 10, "last third MiB": 12, "growth": 1.2}


def test_few_samples_will_do() -> None:
    assert thirds([7.0])["growth"] == 1.0
