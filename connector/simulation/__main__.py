"""`python -m connector.simulation --seeds 1000`: play, judge, and name the seeds that break a promise."""

from __future__ import annotations

import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from typing import Annotated

import typer

from connector.simulation.run import play_and_judge


def simulate(
    seeds: Annotated[int, typer.Option(min=1, help="How many, from --seed upwards.")] = 1000,
    seed: Annotated[int, typer.Option(help="The first one.")] = 0,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = os.cpu_count() or 1,
) -> None:
    """Play seeds; exits 1 if a promise is broken."""
    started = time.monotonic()
    broken = 0
    numbers = range(seed, seed + seeds)
    with ProcessPoolExecutor(workers) as pool:
        for number, verdicts in zip(numbers, pool.map(play_and_judge, numbers, chunksize=16), strict=True):
            if verdicts:
                broken += 1
                typer.echo(f"seed {number}: " + "; ".join(verdicts))
    typer.echo(f"{seeds} seeds, {broken} broken, {time.monotonic() - started:.1f} s")
    sys.exit(1 if broken else 0)


typer.run(simulate)
