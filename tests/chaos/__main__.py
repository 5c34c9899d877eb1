"""`make chaos`: every scenario at length, under both group protocols, with a line of figures for each.

Exits with 1 if a promise was broken. The seed decides moments and victims; what the machine does between is its own.
"""

from __future__ import annotations

import io
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, redirect_stdout
from pathlib import Path
from typing import Annotated

import typer

from connector.records import Kind
from tests.chaos.ordeal import Ordeal, Verdict
from tests.chaos.scenarios import PROTOCOLS, SCENARIOS, kills, kills_of_a_static_member, takeovers
from tests.real.brokers import ApacheKafka
from tests.real.children import Children
from tests.real.maven import kafka_jars
from tests.real.stage import Stage

_UNHURRIED = {
    "group.initial.rebalance.delay.ms": 3000,
    "group.min.session.timeout.ms": 6000,
    "group.consumer.heartbeat.interval.ms": 5000,
    "group.consumer.min.heartbeat.interval.ms": 5000,
    "group.consumer.session.timeout.ms": 45_000,
    "group.consumer.min.session.timeout.ms": 45_000,
}
"""The broker's own defaults, where those of the tests are quicker."""

_EVIDENCE_CHARS = 4000

Play = Callable[[Ordeal, int], Verdict]


def main(
    deaths: Annotated[int, typer.Option("--kills", help="How many, over the scenarios that kill.")] = 50,
    seed: Annotated[int, typer.Option(help="Decides moments and victims.")] = 1,
    minutes: Annotated[float, typer.Option(help="Begin again with the next seed until so much time is over.")] = 0,
    only: Annotated[str, typer.Option(help="Only scenarios whose name holds this.")] = "",
) -> None:
    """Play, print, judge."""
    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    with closing(Children()) as children:
        troupe = Troupe(children, folder)
        while True:
            for play, protocol, rounds, session_s in _programme(deaths, only):
                troupe.play(play, protocol, rounds, seed, session_s)
            seed += 1
            if time.monotonic() - began > minutes * 60:
                break
        if not only or only in "recovery":
            troupe.measure_recovery(seed)
    typer.echo(troupe.summary(time.monotonic() - began))
    if troupe.broken:
        typer.echo(f"the logs are in {folder}")
        raise typer.Exit(1)
    shutil.rmtree(folder)


def _programme(deaths: int, only: str) -> Iterator[tuple[Play, str, int, int | None]]:
    deadly = sum(scenario.long is None for scenario in SCENARIOS) * len(PROTOCOLS)
    shares = (deaths // deadly + (index < deaths % deadly) for index in range(deadly))
    for scenario in SCENARIOS:
        for protocol in PROTOCOLS:
            rounds = next(shares) if scenario.long is None else scenario.long
            if rounds and only in scenario.name:
                yield scenario.play, protocol, rounds, scenario.session_s(protocol)


class Troupe:
    """Plays one scenario after the other, each on a stage of its own, and adds up."""

    def __init__(self, children: Children, folder: Path) -> None:
        self._children = children
        self._folder = folder
        self._brokers: dict[str, ApacheKafka] = {}
        self._plays = 0
        self.broken = 0
        self._verdicts: list[Verdict] = []

    def play(
        self, play: Play, protocol: str, rounds: int, seed: int, session_s: int | None, broker: str = "quick"
    ) -> None:
        """Play one, and print its line."""
        self._plays += 1
        name = f"{self._plays}.{play.__name__}.{protocol}"
        folder = self._folder / name
        folder.mkdir()
        began = time.monotonic()
        stage = Stage(self._broker(broker), self._children, folder, name)
        try:
            ordeal = Ordeal(stage, protocol, random.Random(f"{seed} {play.__name__} {protocol}"), session_s)
            verdict = play(ordeal, rounds)
            evidence = "; ".join(f"{promise}: {found}" for promise, found in verdict.broken.items())
        except AssertionError as error:
            verdict, evidence = Verdict({"came to no end": error}, 0, 0, 0), f"came to no end: {error}"
        finally:
            with redirect_stdout(io.StringIO()):  # the logs are in the folder
                stage.close()
        self.broken += bool(verdict.broken)
        self._verdicts.append(verdict)
        word = "BROKEN" if verdict.broken else "ok"
        session = "default" if session_s is None else f"{session_s} s"
        typer.echo(
            f"{word:6} {play.__name__:25} {protocol:8} seed {seed}, session {session}, {rounds} rounds: "
            f"{_figures(verdict)}, {time.monotonic() - began:.0f} s"
        )
        if evidence:
            typer.echo(evidence[:_EVIDENCE_CHARS])

    def measure_recovery(self, seed: int) -> None:
        """From a kill to the next delivery, with everybody's defaults, the broker's included."""
        typer.echo("recovery, with the default session time-out and the broker's defaults:")
        for protocol, rounds in (("classic", 3), ("consumer", 1)):
            for play in (_kills_in_mid_stream, kills_of_a_static_member, takeovers):
                self.play(play, protocol, rounds, seed, None, "unhurried")

    def summary(self, took_s: float) -> str:
        """All of it."""
        deaths = sum(len(verdict.first_delivery_s) for verdict in self._verdicts)
        return (
            f"{self._plays} plays, {self.broken} broken, {took_s / 60:.0f} min: "
            f"{sum(verdict.records for verdict in self._verdicts):,} records, "
            f"{sum(verdict.requests for verdict in self._verdicts):,} requests, "
            f"{sum(verdict.abandonments for verdict in self._verdicts)} abandonments "
            f"({sum(verdict.deaths for verdict in self._verdicts)} of them kills, {deaths} timed), "
            f"{sum(verdict.repeats.total() for verdict in self._verdicts):,} repeats of at most "
            f"{sum(verdict.bound.total() for verdict in self._verdicts):,}"
        )

    def _broker(self, name: str) -> ApacheKafka:
        if name not in self._brokers:
            folder = self._folder / f"broker-{name}"
            folder.mkdir()
            self._brokers[name] = ApacheKafka(
                self._children, kafka_jars(), folder, _UNHURRIED if name == "unhurried" else None
            )
            self._brokers[name].start()
        return self._brokers[name]


def _kills_in_mid_stream(ordeal: Ordeal, rounds: int) -> Verdict:
    return kills(ordeal, rounds, is_early=False)


def _figures(verdict: Verdict) -> str:
    by_kind = ", ".join(f"{kind} {verdict.repeats[kind]}/{verdict.bound[kind]}" for kind in Kind)
    figures = (
        f"{verdict.records:,} records, {verdict.requests:,} requests, {verdict.abandonments} abandonments, "
        f"{verdict.repeats.total()} repeats of at most {verdict.bound.total()} ({by_kind})"
    )
    if verdict.restarts:
        figures += f", {verdict.restarts} restarted because librdkafka stood"
    times = verdict.first_delivery_s
    if times:
        figures += (
            f", first delivery after a kill {statistics.median(times):.1f} s ({min(times):.1f} to {max(times):.1f})"
            f", oldest repeat {verdict.oldest_repeat_s:.2f} s"
        )
    return figures


if __name__ == "__main__":
    typer.run(main)
